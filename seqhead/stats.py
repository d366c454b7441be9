"""Intervals from patients drawn with replacement."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 2000
"""Bootstrap resamples of an interval."""

_CHUNK_VALUES = 8_000_000  # bounds the memory of the weights: 64 MB


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
        return all(len(np.unique(self.code[y == answer])) > 1 for answer in (0, 1))

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
    below = np.searchsorted(score[negative], score[positive], side="left")
    up_to = np.searchsorted(score[negative], score[positive], side="right")
    rows = max(1, _CHUNK_VALUES // len(y))
    return np.concatenate(
        [
            _weighted_auc(chunk[:, code[positive]], chunk[:, code[negative]], below, up_to)
            for chunk in np.array_split(draws, range(rows, len(draws), rows))
        ]
    )


def _weighted_auc(
    of_positive: np.ndarray, of_negative: np.ndarray, below: np.ndarray, up_to: np.ndarray
) -> np.ndarray:
    """Share of (positive, negative) pairs in the right order, (R,)."""
    cumulative = np.zeros((len(of_negative), of_negative.shape[1] + 1))
    np.cumsum(of_negative, axis=1, out=cumulative[:, 1:])
    ranked = (of_positive * (cumulative[:, below] + cumulative[:, up_to])).sum(axis=1) / 2
    pairs = of_positive.sum(axis=1, dtype=np.float64) * cumulative[:, -1]
    return np.divide(ranked, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
