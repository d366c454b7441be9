"""Labels beside scores, at the level they are judged on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seqhead.errors import FitError, RunError
from seqhead.labels.statistics import any_of
from seqhead.rules import combine

EVALUATION_LEVELS = ("slice", "series", "patient")
"""From the finest to the coarsest."""


@dataclass(frozen=True, slots=True)
class Scores:
    """n slices, series or patients with their labels and scores.

    Parameters
    ----------
    names : tuple of str
        Names of the K labels.
    y : float array (n, K)
        1, 0, or NaN for unknown.
    probability : float array (n, K)
        The model's.
    baseline : float array (n, K)
        The position-and-length baseline's.
    patients : array of str (n,)
        Patient of each row, whatever its spellings (``group``, see `seqhead.groups`).
    ids : array of str (n,)
        The slice, series or patient that a row is.
    """

    names: tuple[str, ...]
    y: np.ndarray
    probability: np.ndarray
    baseline: np.ndarray
    patients: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray) -> "Scores":
        """Some of the rows.

        Parameters
        ----------
        rows : int array or bool array (n,)
            Which.

        Returns
        -------
        Scores
        """
        arrays = (self.y, self.probability, self.baseline, self.patients, self.ids)
        return Scores(self.names, *(array[rows] for array in arrays))

    @classmethod
    def joined(cls, parts: Sequence["Scores"]) -> "Scores":
        """Rows of several, one after the other.

        Parameters
        ----------
        parts : sequence of Scores
            Of the same labels.

        Returns
        -------
        Scores
        """
        fields = ("y", "probability", "baseline", "patients", "ids")
        arrays = (np.concatenate([getattr(part, name) for part in parts]) for name in fields)
        return cls(parts[0].names, *arrays)


def scores_from(predictions: pd.DataFrame, names: Sequence[str]) -> Scores:
    """Rows of ``predictions.csv`` as they are.

    Parameters
    ----------
    predictions : DataFrame
        Columns ``series`` (and ``slice``), ``group``, ``y:NAME``, ``p:NAME`` and
        ``baseline:NAME``.
    names : sequence of str
        Names of the K labels.

    Returns
    -------
    Scores
    """
    y, probability, baseline = (
        predictions[[f"{kind}:{name}" for name in names]].to_numpy(np.float64)
        for kind in ("y", "p", "baseline")
    )
    patients = predictions["group"].to_numpy(dtype=object)
    ids = predictions["slice" if "slice" in predictions else "series"].to_numpy(dtype=object)
    return Scores(tuple(names), y, probability, baseline, patients, ids)


def scores_at(
    predictions: pd.DataFrame,
    names: Sequence[str],
    level: str,
    series: pd.DataFrame | None = None,
    rule: str = "max",
) -> Scores:
    """Predictions at a level that is coarser than, or the same as, the one they were made at.

    A series has what any of its planned slices has, and the probability that a rule makes of its
    slices', by default that of the most suspicious one; the baseline beside it is the one of
    series. A patient has what any of its series has, and the mean probability of its series.

    Parameters
    ----------
    predictions : DataFrame
        As `scores_from`; a column ``slice`` says that rows are slices, else they are series.
    names : sequence of str
        Names of the K labels.
    level : str
        ``"slice"``, ``"series"`` or ``"patient"``.
    series : DataFrame or None
        ``series.csv`` of a slice run; needed where its slices are put together.
    rule : str
        How slices make the score of a series, see `seqhead.rules`.

    Returns
    -------
    Scores

    Raises
    ------
    FitError
        The predictions are coarser than the level, or there is no such rule.
    RunError
        `series` lacks a series.
    """
    made_at = "slice" if "slice" in predictions else "series"
    if EVALUATION_LEVELS.index(level) < EVALUATION_LEVELS.index(made_at):
        raise FitError(
            f"this run predicts each {made_at}, so it cannot be evaluated at level {level}. "
            f"Fit one with --level {level}"
        )
    scores = scores_from(predictions, names)
    if level == made_at:
        return scores
    if made_at == "slice":
        scores = _of_series(predictions, scores, series, rule)
    return scores if level == "series" else _of_patients(scores)


def _of_series(
    predictions: pd.DataFrame, scores: Scores, series: pd.DataFrame | None, rule: str
) -> Scores:
    """Labels and baseline cannot come from the slices: some of them may have failed."""
    first = predictions.drop_duplicates("series")
    owners = first["series"].to_numpy(dtype=object)
    if series is None or not set(owners) <= set(series["series"]):
        raise RunError("series.csv lacks series of predictions.csv. Fit again")
    slices_of = predictions["series"].to_numpy(dtype=object)
    combined = combine(rule, scores.probability, slices_of, owners)
    table = series.set_index("series").loc[owners]
    y, baseline = (
        table[[f"{kind}:{name}" for name in scores.names]].to_numpy(np.float64)
        for kind in ("y", "baseline")
    )
    return Scores(scores.names, y, combined, baseline,
                  first["group"].to_numpy(dtype=object), owners)  # fmt: skip


def _of_patients(scores: Scores) -> Scores:
    owners = pd.unique(scores.patients)
    probability, baseline = (
        pd.DataFrame(values).groupby(scores.patients).mean().loc[owners].to_numpy()
        for values in (scores.probability, scores.baseline)
    )
    y = any_of(scores.y, scores.patients, owners)
    return Scores(scores.names, y, probability, baseline, owners, owners)
