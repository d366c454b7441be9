"""Test rows beside everything that validation rows decided about them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seqhead.calibration import METHODS, Calibration
from seqhead.errors import FitError
from seqhead.operating_points import (
    STANDARD_RULES,
    YOUDEN,
    Rule,
    choose_threshold,
    has_both_classes,
    parse_rule,
)
from seqhead.scores import Scores, scores_at

FOLD_COLUMNS = ("repeat", "fold")
"""Columns of the tables of a cross-validation that say which of its models made a row."""


@dataclass(frozen=True, slots=True)
class Judged:
    """n test rows of K labels, of one model or of one model for each fold.

    Parameters
    ----------
    test : Scores
        The test rows; with several repeats each stands there once for each.
    rule : str
        Name of the rule that the calls go by.
    thresholds : dict of str to float array (n, K)
        Rule -> threshold of each row, chosen on the validation rows of its fold.
    baseline_thresholds : float array (n, K)
        The baseline's, by `rule`.
    chosen : bool array (K,)
        Whether validation rows of every fold show both classes; else some threshold is 0.5.
    calibrated : dict of str to float array (n, K)
        Method -> probabilities, calibrated on the validation rows of the fold.
    fold : int array (n,)
        Place in `folds`.
    folds : tuple of (int, int)
        Repeat and fold; ``((1, 1),)`` for a single split.
    """

    test: Scores
    rule: str
    thresholds: dict[str, np.ndarray]
    baseline_thresholds: np.ndarray
    chosen: np.ndarray
    calibrated: dict[str, np.ndarray]
    fold: np.ndarray
    folds: tuple[tuple[int, int], ...]

    @property
    def repeats(self) -> int:
        """How often every row was tested."""
        return len({repeat for repeat, _ in self.folds})

    @property
    def called(self) -> np.ndarray:
        """Whether the model calls a label present, bool (n, K)."""
        return self.test.probability >= self.thresholds[self.rule]

    def take(self, rows: np.ndarray) -> "Judged":
        """Some of the rows.

        Parameters
        ----------
        rows : int array or bool array (n,)
            Which.

        Returns
        -------
        Judged
        """
        return Judged(
            self.test.take(rows), self.rule,
            {rule: values[rows] for rule, values in self.thresholds.items()},
            self.baseline_thresholds[rows], self.chosen,
            {method: values[rows] for method, values in self.calibrated.items()},
            self.fold[rows], self.folds,
        )  # fmt: skip


def judge(
    predictions: pd.DataFrame,
    names: Sequence[str],
    level: str,
    *,
    series: pd.DataFrame | None = None,
    combine: str = "max",
    rule: Rule = YOUDEN,
) -> Judged:
    """Put test rows together with what validation rows of the same fold decide.

    Parameters
    ----------
    predictions : DataFrame
        ``predictions.csv``, with `FOLD_COLUMNS` where it is of a cross-validation.
    names : sequence of str
        Names of the K labels.
    level : str
        ``"slice"``, ``"series"`` or ``"patient"``.
    series : DataFrame or None
        ``series.csv`` of a slice run, for the levels above slices.
    combine : str
        How slices make the score of a series, see `seqhead.rules`.
    rule : Rule
        How the thresholds of the calls are chosen.

    Returns
    -------
    Judged

    Raises
    ------
    FitError
        The predictions are coarser than the level, or there are no test rows.
    RunError
        `series` lacks a series.
    """
    parts = []
    for number, rows, its_series in _folds_of(predictions, series):
        test = rows[rows["split"] == "test"]
        if not len(test):
            raise FitError("no test patients: every patient is in training or validation")
        validation = scores_at(
            rows[rows["split"] == "validation"], names, level, its_series, combine
        )
        scored = scores_at(test, names, level, its_series, combine)
        parts.append((number, decide(validation, scored, rule)))
    return _joined(parts)


def decide(validation: Scores, test: Scores, rule: Rule = YOUDEN) -> Judged:
    """Judge test rows by thresholds and calibration of validation rows.

    Parameters
    ----------
    validation, test : Scores
        Rows of the same level.
    rule : Rule
        How the thresholds of the calls are chosen.

    Returns
    -------
    Judged
    """
    n = len(test)
    rules = {one.name: one for one in [rule, *map(parse_rule, STANDARD_RULES)]}
    thresholds = {
        name: np.tile(thresholds_of(validation, rule=one), (n, 1)) for name, one in rules.items()
    }
    calibration = Calibration.fit(test.names, validation.y, validation.probability)
    return Judged(
        test,
        rule.name,
        thresholds,
        np.tile(thresholds_of(validation, "baseline", rule), (n, 1)),
        np.array([rule.kind == "fixed" or has_both_classes(column) for column in validation.y.T]),
        {method: calibration.apply(test.probability, method) for method in METHODS},
        np.zeros(n, dtype=np.int64),
        ((1, 1),),
    )


def thresholds_of(
    scores: Scores, kind: str = "probability", rule: Rule = YOUDEN
) -> tuple[float, ...]:
    """Operating point of each label.

    Parameters
    ----------
    scores : Scores
        Of validation patients.
    kind : str
        ``"probability"`` or ``"baseline"``.
    rule : Rule
        How they are chosen.

    Returns
    -------
    tuple of float (K,)
    """
    values = getattr(scores, kind)
    K = len(scores.names)
    return tuple(choose_threshold(scores.y[:, k], values[:, k], rule) for k in range(K))


def averaged(parts: Sequence[Judged]) -> Judged:
    """Several models on the same rows, taken together: means of everything.

    Parameters
    ----------
    parts : sequence of Judged
        Of the same test rows, in the same order.

    Returns
    -------
    Judged
    """
    first = parts[0]

    def mean(arrays: list[np.ndarray]) -> np.ndarray:
        return np.mean(arrays, axis=0)

    test = Scores(
        first.test.names, first.test.y,
        mean([part.test.probability for part in parts]),
        mean([part.test.baseline for part in parts]),
        first.test.patients, first.test.ids,
    )  # fmt: skip
    return Judged(
        test, first.rule,
        {rule: mean([part.thresholds[rule] for part in parts]) for rule in first.thresholds},
        mean([part.baseline_thresholds for part in parts]),
        np.all([part.chosen for part in parts], axis=0),
        {method: mean([part.calibrated[method] for part in parts]) for method in METHODS},
        first.fold, first.folds,
    )  # fmt: skip


def _folds_of(
    predictions: pd.DataFrame, series: pd.DataFrame | None
) -> Iterator[tuple[tuple[int, int], pd.DataFrame, pd.DataFrame | None]]:
    """Rows of each model, with its part of ``series.csv``."""
    if "fold" not in predictions:
        yield (1, 1), predictions, series
        return
    keys = list(FOLD_COLUMNS)
    for repeat, fold in predictions[keys].drop_duplicates().sort_values(keys).to_numpy().tolist():
        number = (repeat, fold)
        its_series = None if series is None else _of_fold(series, number)
        yield number, _of_fold(predictions, number), its_series


def _of_fold(table: pd.DataFrame, number: tuple[int, int]) -> pd.DataFrame:
    return table[(table["repeat"] == number[0]) & (table["fold"] == number[1])]


def _joined(parts: Sequence[tuple[tuple[int, int], Judged]]) -> Judged:
    judged = [part for _, part in parts]
    first = judged[0]

    def stacked(dictionaries: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([d[name] for d in dictionaries]) for name in dictionaries[0]}

    return Judged(
        Scores.joined([part.test for part in judged]),
        first.rule,
        stacked([part.thresholds for part in judged]),
        np.concatenate([part.baseline_thresholds for part in judged]),
        np.all([part.chosen for part in judged], axis=0),
        stacked([part.calibrated for part in judged]),
        np.repeat(np.arange(len(judged)), [len(part.test) for part in judged]),
        tuple(number for number, _ in parts),
    )
