"""Intervals from patients drawn with replacement."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 2000
"""Bootstrap resamples of an interval."""

_CHUNK_VALUES = 1_000_000  # bounds the memory of the weights, and fits a processor's cache
_ROWS_PER_PATIENT = 8  # from here on, pairs of patients are fewer than resampled rows


@dataclass(frozen=True, slots=True)
class PatientBootstrap:
    """Resamples of patients that all labels and models of one test set share.

    Sharing makes differences paired: both models meet the same patients in each resample.

    Parameters
    ----------
    code : int array (n,)
        Number of each row's patient.
    draws : uint16 array (R, P)
        How often each patient was drawn in each resample.
    """

    code: np.ndarray
    draws: np.ndarray

    @classmethod
    def of(
        cls, patients: Sequence[str] | np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES
    ) -> "PatientBootstrap":
        """Draw patients with replacement.

        Parameters
        ----------
        patients : sequence of str (n,)
            Patient of each row.
        seed : int
            Of the draws.
        resamples : int
            R.

        Returns
        -------
        PatientBootstrap
        """
        code, unique = pd.factorize(np.asarray(patients, dtype=object))
        P = len(unique)
        draws = np.random.default_rng(seed).multinomial(P, np.full(P, 1 / P), size=resamples)
        return cls(code, draws.astype(np.uint16))

    def auc(self, y: np.ndarray, score: np.ndarray) -> np.ndarray:
        """AUC in each resample.

        Parameters
        ----------
        y : float array (n,)
            1, 0, or NaN for unknown.
        score : float array (n,)
            Larger means more likely present.

        Returns
        -------
        float array (R,)
            NaN where a resample lacks positives or negatives.
        """
        return resampled_auc(y, score, self.code, self.draws)

    def average_precision(self, y: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Average precision in each resample.

        Parameters
        ----------
        y : float array (n,)
            1, 0, or NaN for unknown.
        score : float array (n,)
            Larger means more likely present.

        Returns
        -------
        float array (R,)
            NaN where a resample lacks positives.
        """
        known = np.flatnonzero(~np.isnan(y))
        if not (y == 1).any():
            return np.full(len(self.draws), np.nan)
        order = known[np.argsort(-score[known], kind="stable")]
        ranked = _Descending.of(self.code[order], y[order] == 1, score[order])
        rows = max(1, _CHUNK_VALUES // len(order))
        chunks = np.array_split(self.draws, range(rows, len(self.draws), rows))
        return np.concatenate([_average_precision(ranked, chunk) for chunk in chunks])

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sums over the rows of each resample.

        Parameters
        ----------
        values : array (n, C)
            What is added up.

        Returns
        -------
        float array (R, C)
        """
        P = self.draws.shape[1]
        of_patient = np.stack(
            [np.bincount(self.code, column, minlength=P) for column in values.T], axis=1
        )
        rows = max(1, _CHUNK_VALUES // P)
        chunks = np.array_split(self.draws, range(rows, len(self.draws), rows))
        return np.concatenate([chunk.astype(np.float64) @ of_patient for chunk in chunks])

    def repeated(self, K: int) -> "PatientBootstrap":
        """The same draws for rows that stand K times one after the other.

        Parameters
        ----------
        K : int
            How often: one for each label, where labels are taken together.

        Returns
        -------
        PatientBootstrap
        """
        return PatientBootstrap(np.repeat(self.code, K), self.draws)

    def supports(self, y: np.ndarray) -> bool:
        """Tell whether a label's resamples say anything.

        Parameters
        ----------
        y : float array (n,)
            1, 0, or NaN for unknown.

        Returns
        -------
        bool
            False where positives, or negatives, come from fewer than two patients.
        """
        return all(self.several_patients(y == answer) for answer in (0, 1))

    def several_patients(self, rows: np.ndarray) -> bool:
        """Tell whether some rows come from more than one patient.

        Parameters
        ----------
        rows : bool array (n,)
            Which.

        Returns
        -------
        bool
        """
        return len(np.unique(self.code[rows])) > 1

    def interval(self, values: np.ndarray, level: float = 0.95) -> list[float] | None:
        """Percentile interval.

        Parameters
        ----------
        values : float array (R,)
            A statistic in each resample; NaN where undefined.
        level : float
            Coverage.

        Returns
        -------
        [low, high], or None where fewer than half of the resamples are defined
        """
        return percentile_interval(values, level)

    def p_value(self, differences: np.ndarray) -> float | None:
        """Two-sided p value of no difference: the level whose percentile interval ends at 0.

        Parameters
        ----------
        differences : float array (R,)
            A difference in each resample; NaN where undefined.

        Returns
        -------
        float or None
            At least 2 / (R + 1); None where fewer than half of the resamples are defined.

        References
        ----------
        Davison and Hinkley 1997, Bootstrap Methods and their Application, section 4.2.3 (the
        count of the observed sample).
        """
        defined = differences[~np.isnan(differences)]
        if 2 * len(defined) < len(differences):
            return None
        fewer = min((defined <= 0).sum(), (defined >= 0).sum())
        return min(1.0, 2 * float(fewer + 1) / (len(defined) + 1))


def percentile_interval(values: np.ndarray, level: float = 0.95) -> list[float] | None:
    """Interval that holds the middle of some resamples.

    Parameters
    ----------
    values : float array (R,)
        A statistic in each resample; NaN where undefined.
    level : float
        Coverage.

    Returns
    -------
    [low, high], or None where fewer than half of the resamples are defined
    """
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values):
        return None
    tail = (1 - level) / 2
    return [float(edge) for edge in np.quantile(defined, [tail, 1 - tail])]


def resampled_auc(
    y: np.ndarray, score: np.ndarray, code: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """AUC with each row counted as often as its patient was drawn; ties count half.

    Parameters
    ----------
    y, score : float arrays (n,)
        Labels (NaN: unknown) and scores.
    code : int array (n,)
        Number of each row's patient.
    draws : int array (R, P)
        How often each patient was drawn.

    Returns
    -------
    float array (R,)
        As `PatientBootstrap.auc`.
    """
    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    if not len(positive) or not len(negative):
        return np.full(len(draws), np.nan)
    negative = negative[np.argsort(score[negative], kind="stable")]
    positive = positive[np.argsort(score[positive], kind="stable")]
    ranked = _Ranked(
        code[positive],
        code[negative],
        below=np.searchsorted(score[negative], score[positive], side="left"),
        up_to=np.searchsorted(score[negative], score[positive], side="right"),
    )
    if len(y) >= _ROWS_PER_PATIENT * draws.shape[1]:
        return _auc_by_patient(ranked, draws)
    rows = max(1, _CHUNK_VALUES // len(y))
    chunks = np.array_split(draws, range(rows, len(draws), rows))
    return np.concatenate([_auc_by_row(ranked, chunk) for chunk in chunks])


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Patients of positives and negatives by score, and each positive's place among negatives."""

    positive: np.ndarray
    negative: np.ndarray
    below: np.ndarray
    up_to: np.ndarray


def _auc_by_row(ranked: _Ranked, draws: np.ndarray) -> np.ndarray:
    """Few rows a patient: weigh every row."""
    of_positive = draws[:, ranked.positive]
    cumulative = np.zeros((len(draws), len(ranked.negative) + 1))
    np.cumsum(draws[:, ranked.negative], axis=1, out=cumulative[:, 1:])
    under = (cumulative[:, ranked.below] + cumulative[:, ranked.up_to]) / 2
    pairs = of_positive.sum(axis=1, dtype=np.float64) * cumulative[:, -1]
    return _share((of_positive * under).sum(axis=1), pairs)


def _auc_by_patient(ranked: _Ranked, draws: np.ndarray) -> np.ndarray:
    """Many rows a patient: count the ordered pairs of each two patients once."""
    P = draws.shape[1]
    ordered, under, at = np.zeros((P, P)), np.zeros(P), 0
    for owner, below, up_to in zip(ranked.positive, ranked.below, ranked.up_to, strict=True):
        under += np.bincount(ranked.negative[at:below], minlength=P)
        at = below
        ordered[owner] += under
        if up_to > below:
            ordered[owner] += np.bincount(ranked.negative[below:up_to], minlength=P) / 2
    counts = draws.astype(np.float64)
    pairs = (counts @ np.bincount(ranked.positive, minlength=P)) * (
        counts @ np.bincount(ranked.negative, minlength=P)
    )
    return _share(((counts @ ordered) * counts).sum(axis=1), pairs)


@dataclass(frozen=True, slots=True)
class _Descending:
    """Patients of all rows and of the positives by falling score, and where equal scores end.

    Precision counts only where recall grows: at the last row, and the last positive, of each score
    that a positive has.
    """

    every: np.ndarray
    positive: np.ndarray
    last_row: np.ndarray
    last_positive: np.ndarray

    @classmethod
    def of(cls, code: np.ndarray, positive: np.ndarray, score: np.ndarray) -> "_Descending":
        place = np.flatnonzero(positive)
        new = np.append(score[place][1:] != score[place][:-1], True)
        last_positive = np.flatnonzero(new)
        ends = np.searchsorted(-score, -score[place][last_positive], side="right") - 1
        return cls(code, code[place], ends, last_positive)


def _average_precision(ranked: _Descending, draws: np.ndarray) -> np.ndarray:
    called = np.cumsum(np.take(draws, ranked.every, axis=1), axis=1, dtype=np.int32)
    found = np.cumsum(np.take(draws, ranked.positive, axis=1), axis=1, dtype=np.int32)
    found = found[:, ranked.last_positive].astype(np.float64)
    above = called[:, ranked.last_row]
    precision = np.divide(found, above, out=np.zeros_like(found), where=above > 0)
    gained = np.diff(found, axis=1, prepend=0)
    return _share((gained * precision).sum(axis=1), found[:, -1])


def _share(ordered: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.divide(ordered, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
