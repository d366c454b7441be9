"""Test rows of the runs of a comparison, brought into one order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seqhead.errors import RunError
from seqhead.evaluation import Evaluation
from seqhead.judged import Judged
from seqhead.run import Run

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of a comparison.

    Parameters
    ----------
    name : str
        What it is called in tables.
    run : Run
        The run.
    evaluation : Evaluation
        Its figures, as `seqhead evaluate` gives them.
    """

    name: str
    run: Run
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class RunRows:
    """Test rows of a run, sorted by what they are, with the common labels only.

    Parameters
    ----------
    entry : Entry
        The run.
    labels : tuple of str
        Names of the K common labels.
    judged : Judged
        Its rows, sorted.
    y, score, cut : float arrays (n, K)
        Labels, probabilities and thresholds.
    """

    entry: Entry
    labels: tuple[str, ...]
    judged: Judged
    y: np.ndarray
    score: np.ndarray
    cut: np.ndarray

    @classmethod
    def of(cls, entry: Entry, labels: Sequence[str]) -> "RunRows":
        """Rows of a run.

        Parameters
        ----------
        entry : Entry
            The run.
        labels : sequence of str
            The common labels.

        Returns
        -------
        RunRows
        """
        judged = entry.evaluation.judged
        repeat = np.array([repeat for repeat, _ in judged.folds])[judged.fold]
        judged = judged.take(np.lexsort((repeat, judged.test.ids.astype(str))))
        columns = [judged.test.names.index(name) for name in labels]
        cut = judged.thresholds[judged.rule]
        test = judged.test
        return cls(
            entry, tuple(labels), judged,
            test.y[:, columns], test.probability[:, columns], cut[:, columns],
        )  # fmt: skip

    @property
    def independent(self) -> bool:
        """Whether every row is another patient."""
        patients = self.judged.test.patients.astype(str)
        return len(np.unique(patients)) == len(patients)


def refuse_other_rows(one: RunRows, other: RunRows, level: str) -> None:
    """Stop where two runs were not tested on the same things, or with other labels.

    Parameters
    ----------
    one, other : RunRows
        Rows of two runs.
    level : str
        What a row is.

    Raises
    ------
    RunError
        The message names the difference.
    """
    names = one.entry.name, other.entry.name
    ids = [pd.Index(rows.judged.test.ids).unique() for rows in (one, other)]
    for k, missing in enumerate((ids[0].difference(ids[1]), ids[1].difference(ids[0]))):
        if len(missing):
            shown = ", ".join(map(str, missing[:_SHOWN])) + (
                ", ..." if len(missing) > _SHOWN else ""
            )
            raise RunError(
                f"the test rows differ: {len(missing)} of the {len(ids[k])} {level} rows of "
                f"{names[k]} are not tested in {names[1 - k]} ({shown}). Fit both on one split: "
                "--split with the folds.csv of the other"
            )
    first = [np.unique(rows.judged.test.ids.astype(str), return_index=True)[1]
             for rows in (one, other)]  # fmt: skip
    y = [rows.y[place] for rows, place in zip((one, other), first, strict=True)]
    wrong = np.argwhere(~((y[0] == y[1]) | (np.isnan(y[0]) & np.isnan(y[1]))))
    if len(wrong):
        row, k = wrong[0]
        said = [_label(values[row, k]) for values in y]
        what = one.judged.test.ids[first[0]][row]
        raise RunError(
            f"the labels differ: {level} {what} has {one.labels[k]} {said[0]} in {names[0]} and "
            f"{said[1]} in {names[1]} ({len(wrong)} such labels)"
        )


def _label(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.0f}"
