"""How good a candidate is on the inner folds, with what resampled patients say of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqhead.measures import mean_defined
from seqhead.metrics import label_metrics
from seqhead.stats import PatientBootstrap, percentile_interval


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of a candidate.

    Parameters
    ----------
    value : float or None
        Mean over the labels that have the metric; None where none has.
    labels : dict of str to float or None
        Of each label.
    resampled : float array (R,)
        The mean in each resample of patients; NaN where undefined. The resamples are the same for
        all candidates, so that differences are paired.
    interval : [low, high] or None
        95 % of the resamples.
    """

    value: float | None
    labels: dict[str, float | None]
    resampled: np.ndarray
    interval: list[float] | None


def score_of(
    metric: str, names: Sequence[str], y: np.ndarray, probability: np.ndarray, patients: np.ndarray
) -> Score:
    """Measure a candidate.

    Parameters
    ----------
    metric : str
        ``"auc"``, ``"average_precision"``, ``"log_loss"`` or ``"brier"``.
    names : sequence of str
        Names of the K labels.
    y, probability : float arrays (n, K)
        Labels (NaN: unknown) and what the candidate says.
    patients : array (n,)
        Patient of each row.

    Returns
    -------
    Score
    """
    bootstrap = PatientBootstrap.of(patients)
    labels = {
        name: label_metrics(y[:, k], probability[:, k], 0.5)[metric] for k, name in enumerate(names)
    }
    defined = [value for value in labels.values() if value is not None]
    resampled = mean_defined(
        np.stack([_resampled(metric, y[:, k], probability[:, k], bootstrap)
                  for k in range(len(names))])
    )  # fmt: skip
    value = float(np.mean(defined)) if defined else None
    return Score(value, labels, resampled, percentile_interval(resampled) if defined else None)


def _resampled(
    metric: str, y: np.ndarray, probability: np.ndarray, bootstrap: PatientBootstrap
) -> np.ndarray:
    if metric == "auc":
        return bootstrap.auc(y, probability)
    if metric == "average_precision":
        return bootstrap.average_precision(y, probability)
    known = ~np.isnan(y)
    eps = np.finfo(np.float64).eps
    inside = np.clip(probability.astype(np.float64), eps, 1 - eps)
    loss = -np.where(y == 1, np.log(inside), np.log1p(-inside))
    terms = loss if metric == "log_loss" else (probability - y) ** 2
    total, count = bootstrap.totals(np.stack([np.where(known, terms, 0.0), known], axis=1)).T
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
