"""Tests between two runs on the same rows."""

from dataclasses import asdict
from typing import Any

import numpy as np

from seqhead.delong import delong
from seqhead.fold_tests import corrected_t, holm, paired_t
from seqhead.measures import Measured, mean_defined
from seqhead.metrics import METRICS, macro_metrics
from seqhead.proportions import mcnemar
from seqhead.run import Run
from seqhead.run_rows import RunRows
from seqhead.stats import PatientBootstrap

CORRECTED = ("delong", "bootstrap", "mcnemar", "mcnemar_mid")
"""Tests whose p values are corrected for all labels and pairs of runs."""


def pair_of(
    one: RunRows,
    other: RunRows,
    of_one: Measured,
    of_other: Measured,
    bootstrap: PatientBootstrap,
) -> dict[str, Any]:
    """Everything about two runs.

    Parameters
    ----------
    one, other : RunRows
        Their rows.
    of_one, of_other : Measured
        Their figures, from the same resamples of patients.
    bootstrap : PatientBootstrap
        These resamples.

    Returns
    -------
    dict
        ``one``, ``other`` (names), ``labels`` (name -> differences and tests), ``macro`` and
        ``folds``; differences are one minus other.
    """
    figures = {}
    for k, name in enumerate(one.labels):
        a, b = of_one.document["labels"][name], of_other.document["labels"][name]
        figures[name] = {
            "n": a["n"], "positives": a["positives"], "patients": a["patients"],
            "positive_patients": a["positive_patients"],
            **_differences(a, b, {m: of_one.resampled[m][k] - of_other.resampled[m][k]
                                  for m in METRICS}, bootstrap),
            "delong": _delong(one, other, k),
            "mcnemar": _mcnemar(one, other, k),
        }  # fmt: skip
    macro = {
        m: mean_defined(of_one.resampled[m]) - mean_defined(of_other.resampled[m]) for m in METRICS
    }
    a, b = of_one.document["macro"], of_other.document["macro"]
    return {
        "one": one.entry.name,
        "other": other.entry.name,
        "labels": figures,
        "macro": _differences(a, b, macro, bootstrap),
        "folds": _over_folds(one, other),
    }


def _differences(
    one: dict[str, Any],
    other: dict[str, Any],
    resampled: dict[str, np.ndarray],
    bootstrap: PatientBootstrap,
) -> dict[str, Any]:
    """One minus the other, metric by metric, from the paired resamples."""
    found = {}
    for metric in METRICS:
        known = one[metric] is not None and other[metric] is not None
        several = known and one[f"{metric}_ci"] is not None
        found[metric] = {
            "difference": one[metric] - other[metric] if known else None,
            "ci": bootstrap.interval(resampled[metric]) if several else None,
            "p": bootstrap.p_value(resampled[metric]) if several else None,
        }
    return {"differences": found}


def _delong(one: RunRows, other: RunRows, k: int) -> dict[str, Any] | None:
    """None with repeats: rows of two models are then not paired one to one."""
    if one.judged.repeats > 1 or other.judged.repeats > 1:
        return None
    scores = np.stack([one.score[:, k], other.score[:, k]], axis=1)
    found = delong(one.y[:, k], scores, one.judged.test.patients)
    return None if found is None else asdict(found.compare())


def _mcnemar(one: RunRows, other: RunRows, k: int) -> dict[str, Any] | None:
    """None where patients have several rows: the test takes rows as independent."""
    if not (one.independent and other.independent):
        return None
    known = ~np.isnan(one.y[:, k])
    right = [
        ((rows.score[:, k] >= rows.cut[:, k]) == (rows.y[:, k] == 1))[known]
        for rows in (one, other)
    ]
    return asdict(mcnemar(*right)) if known.any() else None


def _over_folds(one: RunRows, other: RunRows) -> dict[str, Any] | None:
    """t-tests of macro figures, where both runs were tested on the same folds."""
    runs = (one.entry.run, other.entry.run)
    if not all(run.crossed for run in runs) or _tested(runs[0]) != _tested(runs[1]):
        return None
    sizes = runs[0].folds.groupby(["repeat", "fold", "split"]).size().unstack("split")
    share = float((sizes["test"] / sizes.drop(columns="test").sum(axis=1)).mean())
    of_common = [
        [
            macro_metrics({name: fold["labels"][name] for name in rows.labels})
            for fold in rows.entry.evaluation.folds
        ]
        for rows in (one, other)
    ]
    found: dict[str, Any] = {"folds": len(sizes), "test_to_train": share}
    for metric in METRICS:
        values = [[macro[metric] for macro in macros] for macros in of_common]
        pairs = [(a, b) for a, b in zip(*values, strict=True) if a is not None and b is not None]
        differences = [a - b for a, b in pairs]
        plain, corrected = paired_t(differences), corrected_t(differences, share)
        found[metric] = {
            "paired_t": asdict(plain) if plain else None,
            "corrected_t": asdict(corrected) if corrected else None,
        }
    return found


def _tested(run: Run) -> list[tuple[Any, ...]]:
    """Which series each fold tests."""
    test = run.folds[run.folds["split"] == "test"][["repeat", "fold", "series"]]
    return sorted(test.itertuples(index=False, name=None))


def correct(pairs: list[dict[str, Any]]) -> None:
    """Add Holm's correction of each test over all labels and pairs, as ``p_holm``.

    Parameters
    ----------
    pairs : list of dict
        What `pair_of` gave; changed in place.
    """
    cells = [figures for pair in pairs for figures in pair["labels"].values()]
    p_values = {
        "delong": [cell["delong"] and cell["delong"]["p"] for cell in cells],
        "bootstrap": [cell["differences"]["auc"]["p"] for cell in cells],
        "mcnemar": [cell["mcnemar"] and cell["mcnemar"]["p_exact"] for cell in cells],
        "mcnemar_mid": [cell["mcnemar"] and cell["mcnemar"]["p_mid"] for cell in cells],
    }
    adjusted = {name: holm(values) for name, values in p_values.items()}
    for number, cell in enumerate(cells):
        cell["p_holm"] = {name: adjusted[name][number] for name in CORRECTED}
