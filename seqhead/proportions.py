"""Shares of patients: Wilson's interval, and McNemar's test of two models' calls."""

from dataclasses import dataclass

import numpy as np


def wilson(successes: float, n: float, level: float = 0.95) -> list[float] | None:
    """Score interval of a share.

    Parameters
    ----------
    successes, n : float
        How many of how many; need not be whole (see `wilson_of_patients`).
    level : float
        Coverage.

    Returns
    -------
    [low, high], or None where `n` is 0

    References
    ----------
    Wilson 1927, Journal of the American Statistical Association 22, 209-212.
    """
    from scipy.stats import norm

    if not n:
        return None
    share, z2 = successes / n, float(norm.ppf((1 + level) / 2)) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return [max(0.0, float(middle - half)), min(1.0, float(middle + half))]


def wilson_of_patients(
    hits: np.ndarray, patients: np.ndarray, level: float = 0.95
) -> list[float] | None:
    """Wilson's interval of a share of rows, as if there were only as many rows as patients.

    With one row for each patient it is Wilson's interval. Rows of one patient are not
    independent; counting each patient once can only make it wider than it need be.

    Parameters
    ----------
    hits : bool array (n,)
        Whether each row counts.
    patients : array (n,)
        Patient of each row.
    level : float
        Coverage.

    Returns
    -------
    [low, high], or None where there is no row
    """
    if not len(hits):
        return None
    n = len(set(patients.tolist()))
    return wilson(float(np.mean(hits)) * n, n, level)


@dataclass(frozen=True, slots=True)
class McNemar:
    """Rows on which two models disagree, and whether one is right more often.

    Parameters
    ----------
    only_one, only_other : int
        Rows that only one, or only the other, calls rightly.
    p_exact, p_mid : float
        Two-sided p values: the exact one, which is conservative, and the mid-p value.
    """

    only_one: int
    only_other: int
    p_exact: float
    p_mid: float


def mcnemar(right_one: np.ndarray, right_other: np.ndarray) -> McNemar:
    """McNemar's test, conditional on the rows that the models disagree on.

    Parameters
    ----------
    right_one, right_other : bool arrays (n,)
        Whether each row is called rightly; rows must be independent (one for each patient).

    Returns
    -------
    McNemar

    References
    ----------
    McNemar 1947, Psychometrika 12, 153-157. Fagerland, Lydersen, Laake 2013, BMC Medical Research
    Methodology 13, 91 (equations 1 and 2 of its supplement).
    """
    from scipy.stats import binom, binomtest

    one = int((right_one & ~right_other).sum())
    other = int((~right_one & right_other).sum())
    n, fewer = one + other, min(one, other)
    if not n:
        return McNemar(0, 0, 1.0, 1.0)
    exact = float(binomtest(fewer, n).pvalue)
    at = float(binom.pmf(fewer, n, 0.5))
    return McNemar(one, other, exact, exact - (at / 2 if one == other else at))
