"""Metrics of one model on one set of rows, each with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqhead.delong import delong
from seqhead.metrics import METRICS, label_metrics, macro_metrics, micro_metrics, rsna_losses
from seqhead.proportions import wilson_of_patients
from seqhead.stats import PatientBootstrap

WILSON = ("recall", "specificity", "precision", "npv", "accuracy")
"""Metrics that are shares of rows and have Wilson's interval too."""

FEW_POSITIVES = 10
"""Figures of labels with fewer positives than that are warned of."""

_NEEDS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("recall", "average_precision"), (1,)),
    "specificity": (0,),
    **dict.fromkeys(("auc", "balanced_accuracy", "precision", "npv", "f1"), (0, 1)),
}
"""Classes that must come from several patients each for a metric to have an interval."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics and their resamples.

    Parameters
    ----------
    document : dict
        ``labels``, ``macro``, ``micro``, ``rsna_loss`` and its interval.
    resampled : dict of str to float array (K, R)
        Each metric of each label in each resample of patients; NaN where undefined.
    """

    document: dict[str, Any]
    resampled: dict[str, np.ndarray]


def measure(
    names: Sequence[str],
    y: np.ndarray,
    score: np.ndarray,
    thresholds: np.ndarray,
    patients: np.ndarray,
    bootstrap: PatientBootstrap,
    *,
    repeats: int = 1,
) -> Measured:
    """Compute all metrics of all labels.

    Parameters
    ----------
    names : sequence of str
        Names of the K labels.
    y, score, thresholds : float arrays (n, K)
        Labels (NaN: unknown), probabilities, and from which one on a label is called.
    patients : array (n,)
        Patient of each row.
    bootstrap : PatientBootstrap
        Resamples of these patients.
    repeats : int
        How often each row stands there: counts are divided by it.

    Returns
    -------
    Measured
    """
    called = score >= thresholds
    by_label = [_resampled(bootstrap, *columns) for columns in zip(y.T, score.T, called.T,
                                                                    strict=True)]  # fmt: skip
    resampled = {name: np.stack([one[name] for one in by_label]) for name in METRICS}
    labels = {
        name: {
            **label_metrics(y[:, k], score[:, k], thresholds[:, k]),
            **_counts(y[:, k], patients),
            **_intervals(y[:, k], by_label[k], bootstrap),
            **_wilson(y[:, k], called[:, k], patients),
            "auc_ci_delong": _delong_interval(y[:, k], score[:, k], patients),
        }
        for k, name in enumerate(names)
    }
    together = _together(bootstrap, y, score, called)
    document = {
        "labels": labels,
        "macro": {**macro_metrics(labels), **_macro_intervals(resampled, bootstrap)},
        "micro": {**micro_metrics(y, score, thresholds), **together},
        **_rsna(names, y, score, bootstrap),
    }
    for one in [*labels.values(), document["micro"]]:
        one["n"], one["positives"] = one["n"] // repeats, one["positives"] // repeats
    return Measured(document, resampled)


def mean_defined(resampled: np.ndarray) -> np.ndarray:
    """Mean over the labels that are defined in a resample, as macro averages are taken.

    Parameters
    ----------
    resampled : float array (K, R)
        A metric of each label; NaN where undefined.

    Returns
    -------
    float array (R,)
    """
    defined = ~np.isnan(resampled)
    count = defined.sum(axis=0)
    total = np.where(defined, resampled, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _resampled(
    bootstrap: PatientBootstrap, y: np.ndarray, score: np.ndarray, called: np.ndarray
) -> dict[str, np.ndarray]:
    """Every metric in every resample, (R,) each."""
    known = ~np.isnan(y)
    inside = np.clip(score, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    loss = -np.where(y == 1, np.log(inside), np.log1p(-inside))
    columns = [
        called & (y == 1), called & (y == 0), ~called & (y == 1), ~called & (y == 0),
        np.where(known, loss, 0.0), np.where(known, (score - np.nan_to_num(y)) ** 2, 0.0),
    ]  # fmt: skip
    tp, fp, fn, tn, losses, squares = bootstrap.totals(np.stack(columns, axis=1)).T
    n = tp + fp + fn + tn
    recall, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    return {
        "auc": bootstrap.auc(y, score),
        "accuracy": _ratio(tp + tn, n),
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "average_precision": bootstrap.average_precision(y, score),
        "log_loss": _ratio(losses, n),
        "npv": _ratio(tn, tn + fn),
        "balanced_accuracy": (recall + specificity) / 2,
        "brier": _ratio(squares, n),
    }


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _counts(y: np.ndarray, patients: np.ndarray) -> dict[str, int]:
    return {
        "patients": len(np.unique(patients[~np.isnan(y)].astype(str))),
        "positive_patients": len(np.unique(patients[y == 1].astype(str))),
    }


def _intervals(
    y: np.ndarray, resampled: dict[str, np.ndarray], bootstrap: PatientBootstrap
) -> dict[str, list[float] | None]:
    """None where the class that a metric is about comes from a single patient."""
    several = {answer: bootstrap.several_patients(y == answer) for answer in (0, 1)}
    return {
        f"{name}_ci": bootstrap.interval(resampled[name])
        if all(several[answer] for answer in _NEEDS.get(name, ()))
        and bootstrap.several_patients(~np.isnan(y))
        else None
        for name in METRICS
    }


def _wilson(
    y: np.ndarray, called: np.ndarray, patients: np.ndarray
) -> dict[str, list[float] | None]:
    right = called == (y == 1)
    rows = {
        "recall": y == 1, "specificity": y == 0, "precision": called & ~np.isnan(y),
        "npv": ~called & ~np.isnan(y), "accuracy": ~np.isnan(y),
    }  # fmt: skip
    return {
        f"{name}_wilson": wilson_of_patients(right[rows[name]], patients[rows[name]])
        for name in WILSON
    }


def _delong_interval(y: np.ndarray, score: np.ndarray, patients: np.ndarray) -> list[float] | None:
    found = delong(y, score, patients)
    return None if found is None else found.interval()


def _macro_intervals(
    resampled: dict[str, np.ndarray], bootstrap: PatientBootstrap
) -> dict[str, list[float] | None]:
    return {f"{name}_ci": bootstrap.interval(mean_defined(resampled[name])) for name in METRICS}


def _together(
    bootstrap: PatientBootstrap, y: np.ndarray, score: np.ndarray, called: np.ndarray
) -> dict[str, list[float] | None]:
    """Intervals over all labels' entries taken together."""
    repeated = bootstrap.repeated(y.shape[1])
    flat = y.ravel()
    return _intervals(flat, _resampled(repeated, flat, score.ravel(), called.ravel()), repeated)


def _rsna(
    names: Sequence[str], y: np.ndarray, score: np.ndarray, bootstrap: PatientBootstrap
) -> dict[str, Any]:
    weighted = rsna_losses(names, y, score)
    if weighted is None:
        return {"rsna_loss": None, "rsna_loss_ci": None}
    loss, weight = bootstrap.totals(weighted).T
    of_all = weighted.sum(axis=0)
    return {
        "rsna_loss": float(of_all[0] / of_all[1]) if of_all[1] else None,
        "rsna_loss_ci": bootstrap.interval(_ratio(loss, weight)),
    }
