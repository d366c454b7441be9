"""Human readers beside the model: their rows, their points on its ROC curve, their agreement."""

from itertools import combinations
from typing import Any

import numpy as np

from seqhead.agreement import cohen_kappa, fleiss_kappa
from seqhead.judged import Judged
from seqhead.metrics import rates
from seqhead.proportions import mcnemar, wilson_of_patients
from seqhead.reads import Reads
from seqhead.stats import PatientBootstrap

_SHOWN = ("recall", "specificity", "precision", "npv", "accuracy", "f1", "balanced_accuracy")


def reader_figures(judged: Judged, reads: Reads, *, seed: int = 0) -> dict[str, Any]:
    """Compute what readers are worth on the rows that they read, and the model on the same rows.

    Parameters
    ----------
    judged : Judged
        Test rows.
    reads : Reads
        Of the same rows.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        Label -> ``readers`` (name -> figures of the reader and, as ``model``, of the model on the
        same rows), ``agreement`` (Cohen's kappa of each two, of the model with each, Fleiss' of
        all readers).
    """
    return {
        label: _label_figures(judged, reads, k, judged.test.names.index(label), seed)
        for k, label in enumerate(reads.labels)
    }


def _label_figures(judged: Judged, reads: Reads, k: int, column: int, seed: int) -> dict[str, Any]:
    y = judged.test.y[:, column]
    answers = dict(zip(reads.readers, reads.answers[:, :, k], strict=True))
    calls = judged.called[:, column].astype(np.float64)
    readers = {}
    for name, answer in answers.items():
        others = [other for who, other in answers.items() if who != name]
        readers[name] = {
            **_beside(judged, column, y, answer, seed),
            "against_others": _against_others(judged, column, answer, others, seed),
        }
    agreement = {
        "readers": {
            f"{one} and {other}": cohen_kappa(answers[one], answers[other])
            for one, other in combinations(answers, 2)
        },
        "model": {name: cohen_kappa(calls, answer) for name, answer in answers.items()},
        "fleiss": fleiss_kappa(list(answers.values())),
    }
    return {"readers": readers, "agreement": agreement}


def _beside(
    judged: Judged, column: int, reference: np.ndarray, answer: np.ndarray, seed: int
) -> dict[str, Any]:
    """A reader against a reference, and the model on the same rows."""
    both = ~np.isnan(reference) & ~np.isnan(answer)
    truth, patients = reference[both], judged.test.patients[both]
    said, called = answer[both] == 1, judged.called[both, column]
    score = judged.test.probability[both, column]
    repeats = judged.repeats
    found = {
        "n": int(both.sum()) // repeats,
        "positives": int(truth.sum()) // repeats,
        "patients": len(np.unique(patients.astype(str))),
        **_figures(truth, said, patients),
        "kappa": cohen_kappa(answer[both], truth),
        "model": {
            **_figures(truth, called, patients),
            "kappa": cohen_kappa(called.astype(np.float64), truth),
            **_at_equal_rates(truth, said, score),
        },
    }
    return found | _tests(truth, said, called, patients, seed)


def _figures(truth: np.ndarray, said: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    found = rates(truth, said)
    return {
        **{name: found[name] for name in _SHOWN},
        "recall_wilson": wilson_of_patients(said[truth == 1], patients[truth == 1]),
        "specificity_wilson": wilson_of_patients(~said[truth == 0], patients[truth == 0]),
    }


def _at_equal_rates(truth: np.ndarray, said: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    """The model's curve at the reader's point: its threshold is then chosen on these very rows."""
    reader = rates(truth, said)
    if reader["recall"] is None or reader["specificity"] is None:
        return {"recall_at_equal_specificity": None, "specificity_at_equal_recall": None}
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(truth, score, drop_intermediate=False)
    spares = fpr <= 1 - reader["specificity"] + 1e-12
    finds = tpr >= reader["recall"] - 1e-12
    return {
        "recall_at_equal_specificity": float(tpr[spares].max()),
        "specificity_at_equal_recall": float(1 - fpr[finds].min()),
    }


def _tests(
    truth: np.ndarray, said: np.ndarray, called: np.ndarray, patients: np.ndarray, seed: int
) -> dict[str, Any]:
    """Model minus reader, by resampled patients; McNemar where every row is another patient."""
    if not len(truth):
        return {"difference": None, "mcnemar": None}
    bootstrap, positive = PatientBootstrap.of(patients, seed=seed), truth == 1
    difference = {
        "recall": _difference(bootstrap, positive, called, said),
        "specificity": _difference(bootstrap, ~positive, ~called, ~said),
    }
    if len(np.unique(patients.astype(str))) < len(patients):
        return {"difference": difference, "mcnemar": None}
    test = mcnemar(called == positive, said == positive)
    return {"difference": difference,
            "mcnemar": {"only_model": test.only_one, "only_reader": test.only_other,
                        "p_exact": test.p_exact, "p_mid": test.p_mid}}  # fmt: skip


def _difference(
    bootstrap: PatientBootstrap, rows: np.ndarray, model: np.ndarray, reader: np.ndarray
) -> dict[str, Any]:
    """Share of some rows that the model gets right, minus the reader's."""
    if not rows.any():
        return {"difference": None, "ci": None, "p": None}
    columns = np.stack([rows, rows & model, rows & reader], axis=1).astype(np.float64)
    whole, of_model, of_reader = bootstrap.totals(columns).T
    gained = of_model - of_reader
    resampled = np.divide(gained, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    several = bootstrap.several_patients(rows)
    return {
        "difference": float((columns[:, 1] - columns[:, 2]).sum() / rows.sum()),
        "ci": bootstrap.interval(resampled) if several else None,
        "p": bootstrap.p_value(resampled) if several else None,
    }


def _against_others(
    judged: Judged, column: int, answer: np.ndarray, others: list[np.ndarray], seed: int
) -> dict[str, Any] | None:
    """Reader and model against what all other readers agree on; None with fewer than two others."""
    if len(others) < 2:
        return None
    table = np.stack(others)
    agreed = np.where((table == table[0]).all(axis=0), table[0], np.nan)
    return _beside(judged, column, agreed, answer, seed)
