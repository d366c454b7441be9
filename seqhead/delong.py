"""Areas under ROC curves with DeLong's covariance, also where patients have several rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

_TINY = 1e-20  # variances below are rounding: AUCs lie between 0 and 1


@dataclass(frozen=True, slots=True)
class DeLong:
    """Areas of M scores on the same rows.

    Parameters
    ----------
    auc : float array (M,)
        Areas; ties count half.
    covariance : float array (M, M)
        Their covariance.
    """

    auc: np.ndarray
    covariance: np.ndarray

    def interval(self, score: int = 0, level: float = 0.95) -> list[float] | None:
        """Wald interval of one area, cut at 0 and 1 as pROC does.

        Parameters
        ----------
        score : int
            Which of the M.
        level : float
            Coverage.

        Returns
        -------
        [low, high], or None where the variance is 0 and says nothing
        """
        variance = self.covariance[score, score]
        if variance <= _TINY:
            return None
        half = _normal_quantile(level) * np.sqrt(variance)
        return [float(np.clip(self.auc[score] + side, 0, 1)) for side in (-half, half)]

    def compare(self, one: int = 0, other: int = 1, level: float = 0.95) -> "DeLongTest":
        """Test whether two areas are equal.

        Parameters
        ----------
        one, other : int
            Which of the M.
        level : float
            Coverage of the interval.

        Returns
        -------
        DeLongTest
        """
        from scipy.stats import norm

        sign = np.zeros(len(self.auc))
        sign[one] += 1
        sign[other] -= 1
        difference = float(sign @ self.auc)
        variance = float(sign @ self.covariance @ sign)
        if variance <= _TINY:  # the same order of all rows, or one without any error
            same = abs(difference) < np.sqrt(_TINY)
            return DeLongTest(difference, None, None, 1.0 if same else None)
        z = difference / np.sqrt(variance)
        half = _normal_quantile(level) * float(np.sqrt(variance))
        p = 2 * float(norm.sf(abs(z)))
        return DeLongTest(difference, [difference - half, difference + half], float(z), p)


@dataclass(frozen=True, slots=True)
class DeLongTest:
    """Difference of two areas on the same rows.

    Parameters
    ----------
    difference : float
        One minus the other.
    ci : [low, high] or None
        Its interval; None where the variance is 0.
    z, p : float or None
        Normal statistic and two-sided p value; None where undefined.
    """

    difference: float
    ci: list[float] | None
    z: float | None
    p: float | None


def delong(
    y: np.ndarray,
    scores: np.ndarray,
    patients: Sequence[str] | np.ndarray | None = None,
) -> DeLong | None:
    """Areas and their covariance in O(n log n).

    With one row for each patient this is DeLong's covariance. Where patients have several rows,
    their parts of the sums are added up first (Obuchowski), which gives the same numbers for
    one row each.

    Parameters
    ----------
    y : float array (n,)
        1, 0, or NaN for unknown: those rows are left out.
    scores : float array (n,) or (n, M)
        Larger means more likely present.
    patients : sequence (n,) or None
        Patient of each row; None: each row is its own.

    Returns
    -------
    DeLong or None
        None where positives, or negatives, come from fewer than two patients.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44, 837-845. Sun and Xu 2014, IEEE Signal
    Processing Letters 21, 1389-1393 (mid-ranks). Obuchowski 1997, Biometrics 53, 567-578
    (clusters, equations 3 and 4).
    """
    known = ~np.isnan(y)
    positive = y[known] == 1
    table = np.asarray(scores, dtype=np.float64).reshape(len(y), -1)[known]
    code = np.arange(len(table))
    if patients is not None:
        code = pd.factorize(np.asarray(patients, dtype=object)[known])[0]
    of_positive, of_negative = np.unique(code[positive]), np.unique(code[~positive])
    if min(len(of_positive), len(of_negative)) < 2:
        return None
    auc, placement = _placements(positive, table)
    centred = placement - auc
    P = int(code.max()) + 1
    ten = _sums(centred[positive], code[positive], P) / positive.sum()
    one = _sums(centred[~positive], code[~positive], P) / (~positive).sum()
    either = len(np.unique(code))
    covariance = (
        _scaled(ten, ten, len(of_positive))
        + _scaled(one, one, len(of_negative))
        + _scaled(ten, one, either)
        + _scaled(one, ten, either)
    )
    return DeLong(auc, covariance)


def _placements(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas (M,), and for each row the share of the other class that it beats (n, M)."""
    from scipy.stats import rankdata

    m, n = int(positive.sum()), int((~positive).sum())
    placement = np.empty_like(scores)
    rank = rankdata(scores, axis=0)
    placement[positive] = (rank[positive] - rankdata(scores[positive], axis=0)) / n
    placement[~positive] = 1 - (rank[~positive] - rankdata(scores[~positive], axis=0)) / m
    return placement[positive].mean(axis=0), placement


def _sums(values: np.ndarray, code: np.ndarray, P: int) -> np.ndarray:
    """Sum of each patient's rows, (P, M)."""
    return np.stack([np.bincount(code, column, minlength=P) for column in values.T], axis=1)


def _scaled(one: np.ndarray, other: np.ndarray, clusters: int) -> np.ndarray:
    return one.T @ other * (clusters / (clusters - 1))


def _normal_quantile(level: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + level) / 2))
