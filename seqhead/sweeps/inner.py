"""Inner folds: what candidates learn from, stop on and are scored on, test patients left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seqhead.assignment import Assignment, whole_series
from seqhead.errors import SweepError
from seqhead.split_plan import INNER_FRACTION
from seqhead.splits import SPLITS, fold_patients, inner_validation

_SIDES = ("learn", "stop", "score")


@dataclass(frozen=True, slots=True)
class InnerFold:
    """One fit of a candidate.

    Parameters
    ----------
    learn, stop, score : bool arrays (B,)
        Which series it learns from, stops on, and is scored on.
    """

    learn: np.ndarray
    stop: np.ndarray
    score: np.ndarray

    @property
    def assignment(self) -> Assignment:
        """The fold as a split: what is neither learnt from nor stopped on is called test."""
        sides = [SPLITS[0], SPLITS[1]]
        return whole_series(np.select([self.learn, self.stop], sides, default=SPLITS[2]))


def draw_inner_folds(
    split: np.ndarray, groups: np.ndarray, y: np.ndarray, *, folds: int, seed: int
) -> tuple[InnerFold, ...]:
    """Draw the folds that candidates are compared on.

    Parameters
    ----------
    split : array of str (B,)
        Side of each series, ``"train"`` or ``"validation"``: test series are not given.
    groups : array of str (B,)
        Patient of each.
    y : float array (B, K)
        Labels; NaN is unknown.
    folds : int
        1: learn from the training patients, stop and be scored on the validation patients; K: each
        fold of all patients is scored by a model of the others, stopped on 15 % of them.
    seed : int
        Of the draws.

    Returns
    -------
    tuple of InnerFold

    Raises
    ------
    SplitError
        There are too few patients.
    """
    if folds == 1:
        validation = split == SPLITS[1]
        return (InnerFold(~validation, validation, validation),)
    fold = fold_patients(groups, y, folds=folds, seed=seed)
    made = []
    for number in range(1, folds + 1):
        others = np.flatnonzero(fold != number)
        held = inner_validation(groups[others], y[others], fraction=INNER_FRACTION, seed=seed)
        stop = np.zeros(len(fold), dtype=bool)
        stop[others[held]] = True
        made.append(InnerFold((fold != number) & ~stop, stop, fold == number))
    return tuple(made)


def inner_table(
    inner: Sequence[InnerFold], series: Sequence[str], groups: np.ndarray
) -> pd.DataFrame:
    """``inner.csv`` of a sweep.

    Parameters
    ----------
    inner : sequence of InnerFold
        The folds.
    series : sequence of str (B,)
        Ids of the series.
    groups : array of str (B,)
        Patient of each.

    Returns
    -------
    DataFrame
        ``fold``, ``series``, ``group``, and 0 or 1 for ``learn``, ``stop`` and ``score``.
    """
    return pd.concat(
        [
            pd.DataFrame(
                {"fold": number, "series": series, "group": groups}
                | {side: getattr(fold, side).astype(int) for side in _SIDES}
            )
            for number, fold in enumerate(inner, start=1)
        ],
        ignore_index=True,
    )


def read_inner_folds(table: pd.DataFrame, series: Sequence[str]) -> tuple[InnerFold, ...]:
    """Folds of ``inner.csv``.

    Parameters
    ----------
    table : DataFrame
        As from `inner_table`, all cells text.
    series : sequence of str (B,)
        Ids of the series, in the order wanted.

    Returns
    -------
    tuple of InnerFold

    Raises
    ------
    SweepError
        A series is missing, or a patient is learnt from and scored in one fold.
    """
    found = []
    for number, rows in table.groupby("fold", sort=False):
        of_series = rows.set_index("series")
        if sorted(of_series.index) != sorted(series):
            raise SweepError(f"inner.csv: fold {number} does not have the series of split.csv")
        of_series = of_series.loc[list(series)]
        fold = InnerFold(*((of_series[side] == "1").to_numpy() for side in _SIDES))
        groups = of_series["group"].to_numpy(dtype=object)
        if set(groups[fold.learn]) & set(groups[fold.stop | fold.score]):
            raise SweepError(f"inner.csv: fold {number} learns from patients that it is scored on")
        found.append(fold)
    return tuple(found)
