"""Which series, or slices, learn, stop and test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqhead.cohort import Cohort
from seqhead.matrices import lengths_of


@dataclass(frozen=True, slots=True)
class Assignment:
    """One split of a cohort.

    Parameters
    ----------
    names : array of str (B,), or (N,) where the slices of a series are split
        A name of `seqhead.splits.SPLITS` for each.
    of_slices : bool
        Whether slices are split, as one published protocol does: heads then see whole series, and
        learn from the labels of the training slices alone.
    repeat, fold : int
        Which split of a cross-validation this is, from 1.
    """

    names: np.ndarray
    of_slices: bool = False
    repeat: int = 1
    fold: int = 1

    def take(
        self, cohort: Cohort, name: str
    ) -> tuple[Sequence[np.ndarray], np.ndarray | list[np.ndarray]]:
        """Features and labels of one side.

        Parameters
        ----------
        cohort : Cohort
            What is split.
        name : str
            A name of `SPLITS`.

        Returns
        -------
        X, y
            Where slices are split, the labels of the other sides are unknown.
        """
        X, y = cohort.take(self.series_on(cohort, name))
        if not self.of_slices:
            return X, y
        rows = np.split(self.names == name, np.cumsum(lengths_of(cohort.X))[:-1])
        mine = [side for side in rows if side.any()]
        hidden = [np.where(side[:, None], labels, np.float32(np.nan))
                  for side, labels in zip(mine, y, strict=True)]  # fmt: skip
        return X, hidden

    def series_on(self, cohort: Cohort, name: str) -> np.ndarray:
        """Which series have anything on one side.

        Parameters
        ----------
        cohort : Cohort
            What is split.
        name : str
            A name of `SPLITS`.

        Returns
        -------
        bool array (B,)
        """
        if not self.of_slices:
            return self.names == name
        return np.bincount(cohort.owner, self.names == name, minlength=len(cohort.X)) > 0

    def of_rows(self, owner: np.ndarray) -> np.ndarray:
        """Side of each row of predictions.

        Parameters
        ----------
        owner : int array (M,)
            Series of each row.

        Returns
        -------
        array of str (M,)
        """
        return self.names if self.of_slices else self.names[owner]


def whole_series(names: Sequence[str] | np.ndarray, repeat: int = 1, fold: int = 1) -> Assignment:
    """A split that leaves series whole.

    Parameters
    ----------
    names : sequence of str (B,)
        Side of each series.
    repeat, fold : int
        Which split of a cross-validation this is.

    Returns
    -------
    Assignment
    """
    return Assignment(np.asarray(names, dtype=object), repeat=repeat, fold=fold)
