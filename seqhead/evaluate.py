"""A run's numbers on its held-out patients, with intervals, beside the baseline's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from seqhead.baselines import SERIES_FEATURES, SLICE_FEATURES
from seqhead.errors import FitError, RunError
from seqhead.metrics import (
    choose_threshold,
    has_both_classes,
    label_metrics,
    macro_metrics,
    micro_metrics,
    rsna_loss,
)
from seqhead.run import Run
from seqhead.scores import Scores, scores_at
from seqhead.stats import PatientBootstrap


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of a model and of the baseline on the same rows.

    Parameters
    ----------
    level : str
        ``"slice"``, ``"series"`` or ``"patient"``.
    n : int
        Rows at that level.
    patients, series : int
        How many there are of each.
    model, baseline : dict
        ``labels``, ``macro``, ``micro`` and ``rsna_loss``; `baseline` also ``features``, what it
        knows.
    combine : str or None
        How slices made the score of a series; None where they did not.
    """

    level: str
    n: int
    patients: int
    series: int
    model: dict[str, Any]
    baseline: dict[str, Any]
    combine: str | None = None

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead evaluate --json``."""
        return {
            "schema_version": 1,
            "level": self.level,
            "split": "test",
            "n": self.n,
            "patients": self.patients,
            "series": self.series,
            "combine": self.combine,
            **self.model,
            "baseline": self.baseline,
        }


def evaluate_run(
    run: Run, level: str | None = None, *, combine: str | None = None, seed: int = 0
) -> Evaluation:
    """Score a run on its test patients.

    Thresholds are the ones that the validation patients chose; at a coarser level than the
    run's own they are chosen there again, on validation patients.

    Parameters
    ----------
    run : Run
        The run.
    level : str or None
        ``"slice"``, ``"series"``, ``"patient"``, or None for the level of the fit.
    combine : str or None
        How slices make the score of a series, see `seqhead.rules`; None: as their largest.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Evaluation

    Raises
    ------
    RunError
        A file of the run is missing or damaged.
    LeakError
        A patient is in two splits.
    FitError
        The run is coarser than the level, or no slices are combined at it.
    """
    level = level or run.config.level
    if combine is not None and (run.config.level != "slice" or level == "slice"):
        raise FitError(
            "--combine has no effect: it makes series of slices. Use it with a run of slices and "
            "--level series or patient"
        )
    _check_same_split(run.predictions, run.folds, run.path.name)
    series = run.series if run.config.level == "slice" and level != "slice" else None
    return evaluate_predictions(
        run.predictions,
        run.config.labels,
        level,
        series=series,
        combine=combine or "max",
        seed=seed,
    )


def evaluate_predictions(
    predictions: pd.DataFrame,
    names: tuple[str, ...],
    level: str,
    *,
    series: pd.DataFrame | None = None,
    combine: str = "max",
    seed: int = 0,
) -> Evaluation:
    """Score predictions of the test split with thresholds of the validation split.

    Parameters
    ----------
    predictions : DataFrame
        As ``predictions.csv``: ``split``, ``series``, ``group``, ``y:NAME``, ``p:NAME``,
        ``baseline:NAME``.
    names : tuple of str
        Names of the K labels.
    level : str
        ``"slice"``, ``"series"`` or ``"patient"``.
    series : DataFrame or None
        ``series.csv`` of a slice run, for the levels above slices.
    combine : str
        How slices make the score of a series, see `seqhead.rules`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Evaluation

    Raises
    ------
    FitError
        The predictions are coarser than the level, or there are no test rows.
    RunError
        `series` lacks a series.
    """
    parts = {str(name): rows for name, rows in predictions.groupby("split")}
    if "test" not in parts:
        raise FitError("no test patients: every patient is in training or validation")
    test, validation = (
        scores_at(parts.get(name, parts["test"].iloc[:0]), names, level, series, combine)
        for name in ("test", "validation")
    )
    bootstrap = PatientBootstrap.of(test.patients, seed=seed)
    model, model_auc = _metrics_of(test, test.probability, validation, "probability", bootstrap)
    baseline, baseline_auc = _metrics_of(test, test.baseline, validation, "baseline", bootstrap)
    _add_differences(model, baseline, model_auc - baseline_auc, bootstrap)
    baseline["features"] = list(SLICE_FEATURES if level == "slice" else SERIES_FEATURES)
    return Evaluation(
        level=level, n=len(test), patients=len(np.unique(test.patients)),
        series=int(parts["test"]["series"].nunique()), model=model, baseline=baseline,
        combine=combine if "slice" in predictions and level != "slice" else None,
    )  # fmt: skip


def thresholds_of(scores: Scores, kind: str = "probability") -> tuple[float, ...]:
    """Operating point of each label with the largest Youden index.

    Parameters
    ----------
    scores : Scores
        Of validation patients.
    kind : str
        ``"probability"`` or ``"baseline"``.

    Returns
    -------
    tuple of float (K,)
    """
    values = getattr(scores, kind)
    return tuple(choose_threshold(scores.y[:, k], values[:, k]) for k in range(len(scores.names)))


def _metrics_of(
    test: Scores, values: np.ndarray, validation: Scores, kind: str, bootstrap: PatientBootstrap
) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics with intervals, and the resampled AUC of each label (K, R)."""
    thresholds = thresholds_of(validation, kind)
    resampled = np.stack(
        [bootstrap.auc(test.y[:, k], values[:, k]) for k in range(len(test.names))]
    )
    labels: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(test.names):
        metrics = label_metrics(test.y[:, k], values[:, k], thresholds[k])
        interval = bootstrap.interval(resampled[k]) if bootstrap.supports(test.y[:, k]) else None
        chosen = has_both_classes(validation.y[:, k])
        labels[name] = {**metrics, "threshold_chosen": chosen, "auc_ci": interval}
    macro = {**macro_metrics(labels), "auc_ci": bootstrap.interval(_mean_defined(resampled))}
    return {
        "labels": labels,
        "macro": macro,
        "micro": micro_metrics(test.y, values, thresholds),
        "rsna_loss": rsna_loss(test.names, test.y, values),
    }, resampled


def _add_differences(
    model: dict[str, Any],
    baseline: dict[str, Any],
    resampled: np.ndarray,
    bootstrap: PatientBootstrap,
) -> None:
    """Model minus baseline, with the interval of the paired resamples."""
    for k, (name, metrics) in enumerate(baseline["labels"].items()):
        metrics["auc_difference"] = _minus(model["labels"][name]["auc"], metrics["auc"])
        known = metrics["auc_ci"] is not None
        metrics["auc_difference_ci"] = bootstrap.interval(resampled[k]) if known else None
    macro = baseline["macro"]
    macro["auc_difference"] = _minus(model["macro"]["auc"], macro["auc"])
    macro["auc_difference_ci"] = bootstrap.interval(_mean_defined(resampled))


def _mean_defined(resampled: np.ndarray) -> np.ndarray:
    """Mean over the labels that are defined in a resample, as macro averages are taken."""
    defined = ~np.isnan(resampled)
    count = defined.sum(axis=0)
    total = np.where(defined, resampled, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _check_same_split(predictions: pd.DataFrame, folds: pd.DataFrame, run: str) -> None:
    """Both files must have the same series in the same splits, and every row of each series."""
    keys = ["series", "split", "group"]
    found = predictions.groupby(keys).size().rename("found").reset_index()
    both = folds[[*keys, "rows"]].merge(found, how="outer", on=keys).fillna({"rows": 0, "found": 0})
    wrong = both[both["rows"] != both["found"]]
    if len(wrong):
        row = wrong.iloc[0]
        raise RunError(
            f"{run}: series {row['series']} ({row['split']}) has {row['found']:.0f} row(s) in "
            f"predictions.csv and should have {row['rows']:.0f} by folds.csv ({len(wrong)} such "
            "series). The run folder was changed; fit again"
        )
