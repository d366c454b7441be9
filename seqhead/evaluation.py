"""Every figure of judged rows: metrics with intervals, operating points, calibration, folds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from seqhead.baselines import SERIES_FEATURES, SLICE_FEATURES
from seqhead.calibration import METHODS, expected_calibration_error, reliability
from seqhead.judged import Judged
from seqhead.leaks import Leak
from seqhead.measures import FEW_POSITIVES, Measured, mean_defined, measure
from seqhead.metrics import brier, label_metrics, log_loss, macro_metrics, rates
from seqhead.proportions import wilson_of_patients
from seqhead.stats import PatientBootstrap

_AT_A_POINT = ("recall", "specificity", "precision", "npv", "accuracy", "f1")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of a model and of the baseline on the same rows.

    Parameters
    ----------
    judged : Judged
        The rows.
    level : str
        ``"slice"``, ``"series"`` or ``"patient"``.
    split : str
        ``"test"``, ``"out of fold"`` or ``"external"``.
    n : int
        Rows at that level.
    patients, series : int
        How many there are of each.
    model, baseline : dict
        ``labels``, ``macro``, ``micro`` and ``rsna_loss``; `baseline` also ``features``, what it
        knows.
    folds : list of dict
        Figures of each fold of a cross-validation.
    subgroups : dict
        Name of a division -> figures of each kind of scan.
    leak : Leak or None
        What test and training share.
    notes : tuple of str
        What else is to be said beside the figures.
    combine : str or None
        How slices made the score of a series; None where they did not.
    views : int
        How many augmented views the probabilities are means over, besides the images themselves.
    """

    judged: Judged
    level: str
    split: str
    n: int
    patients: int
    series: int
    model: dict[str, Any]
    baseline: dict[str, Any]
    folds: list[dict[str, Any]]
    subgroups: dict[str, list[dict[str, Any]]]
    leak: Leak | None = None
    notes: tuple[str, ...] = ()
    combine: str | None = None
    views: int = 0

    @property
    def warnings(self) -> list[str]:
        """What must stand beside the figures."""
        few = [
            f"{name} ({m['positives']})"
            for name, m in self.model["labels"].items()
            if 0 < m["positives"] < FEW_POSITIVES
        ]
        found = [self.leak.sentence] if self.leak else []
        if few:
            found.append(
                f"fewer than {FEW_POSITIVES} positives: {', '.join(few)}. Such figures are "
                "anecdotes, whatever their intervals say"
            )
        return [*found, *self.notes]

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead evaluate --json``."""
        return {
            "schema_version": 1,
            "level": self.level,
            "split": self.split,
            "n": self.n,
            "patients": self.patients,
            "series": self.series,
            "combine": self.combine,
            "operating_point": self.judged.rule,
            "warnings": self.warnings,
            "leak": self.leak.document() if self.leak else None,
            **self.model,
            "baseline": self.baseline,
            **({"views": self.views} if self.views else {}),
            **({"folds": self.folds} if self.folds else {}),
            **({"subgroups": self.subgroups} if self.subgroups else {}),
        }


def evaluate_judged(
    judged: Judged, level: str, split: str, series: int, *, seed: int = 0
) -> Evaluation:
    """Compute every figure of judged rows.

    Parameters
    ----------
    judged : Judged
        The rows.
    level, split : str
        As in `Evaluation`.
    series : int
        How many series the rows are of.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Evaluation
    """
    test = judged.test
    bootstrap = PatientBootstrap.of(test.patients, seed=seed)
    cut = judged.thresholds[judged.rule]
    model, baseline = (
        measure(test.names, test.y, values, thresholds, test.patients, bootstrap,
                repeats=judged.repeats)
        for values, thresholds in (
            (test.probability, cut), (test.baseline, judged.baseline_thresholds)
        )
    )  # fmt: skip
    for measured in (model, baseline):
        for k, metrics in enumerate(measured.document["labels"].values()):
            metrics["threshold_chosen"] = bool(judged.chosen[k])
    for k, name in enumerate(test.names):
        model.document["labels"][name] |= {
            "operating_points": _operating_points(judged, k),
            "calibration": _calibration(judged, k),
        }
    _add_differences(model, baseline, bootstrap)
    baseline.document["features"] = list(SLICE_FEATURES if level == "slice" else SERIES_FEATURES)
    return Evaluation(
        judged=judged, level=level, split=split, n=len(test) // judged.repeats,
        patients=bootstrap.draws.shape[1], series=series, model=model.document,
        baseline=baseline.document, folds=_fold_figures(judged), subgroups={},
    )  # fmt: skip


def _operating_points(judged: Judged, k: int) -> dict[str, dict[str, Any]]:
    """What a label's calls are worth under each rule, on the same rows."""
    test = judged.test
    y, score = test.y[:, k], test.probability[:, k]
    known, points = ~np.isnan(y), {}
    for rule, thresholds in judged.thresholds.items():
        called = score >= thresholds[:, k]
        found = rates(y[known], called[known])
        points[rule] = {
            "threshold": float(thresholds[:, k].mean()),
            "threshold_chosen": bool(judged.chosen[k]),
            **{name: found[name] for name in _AT_A_POINT},
            "recall_wilson": wilson_of_patients(called[y == 1], test.patients[y == 1]),
            "specificity_wilson": wilson_of_patients(~called[y == 0], test.patients[y == 0]),
        }
    return points


def _calibration(judged: Judged, k: int) -> dict[str, Any]:
    """Reliability as it is, and what calibration on validation rows makes of it."""
    y, score = judged.test.y[:, k], judged.test.probability[:, k]
    known, calibrated = ~np.isnan(y), {}
    for method in METHODS:
        values = judged.calibrated[method][:, k]
        calibrated[method] = {
            "ece": expected_calibration_error(y, values),
            "brier": brier(y[known], values[known]),
            "log_loss": log_loss(y[known], values[known]),
        }
    return {
        "ece": expected_calibration_error(y, score),
        "reliability": reliability(y, score),
        **calibrated,
    }


def _fold_figures(judged: Judged) -> list[dict[str, Any]]:
    """Metrics of each fold, without intervals: a fold is small."""
    if judged.folds == ((1, 1),):
        return []
    figures = []
    for place, (repeat, fold) in enumerate(judged.folds):
        part = judged.take(judged.fold == place)
        test, cut = part.test, part.thresholds[part.rule]
        labels = {
            name: label_metrics(test.y[:, k], test.probability[:, k], cut[:, k])
            for k, name in enumerate(test.names)
        }
        patients = len(np.unique(test.patients.astype(str)))
        figures.append({"repeat": repeat, "fold": fold, "n": len(test), "patients": patients,
                        "labels": labels, "macro": macro_metrics(labels)})  # fmt: skip
    return figures


def _add_differences(model: Measured, baseline: Measured, bootstrap: PatientBootstrap) -> None:
    """AUC of the model minus the baseline's, with the interval of the paired resamples."""
    resampled = model.resampled["auc"] - baseline.resampled["auc"]
    of_model, of_baseline = model.document, baseline.document
    for k, (name, metrics) in enumerate(of_baseline["labels"].items()):
        metrics["auc_difference"] = _minus(of_model["labels"][name]["auc"], metrics["auc"])
        known = metrics["auc_ci"] is not None
        metrics["auc_difference_ci"] = bootstrap.interval(resampled[k]) if known else None
    macro = of_baseline["macro"]
    macro["auc_difference"] = _minus(of_model["macro"]["auc"], macro["auc"])
    macro["auc_difference_ci"] = bootstrap.interval(mean_defined(resampled))


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
