"""Tests between two models that were judged on the same folds, and Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class FoldTest:
    """Differences over J folds.

    Parameters
    ----------
    folds : int
        J.
    difference, deviation : float
        Mean and standard deviation of the differences.
    t, p : float or None
        Student's statistic with J - 1 degrees of freedom and its two-sided p value; None where
        all differences are equal.
    ci : [low, high] or None
        95 % interval of the mean difference.
    """

    folds: int
    difference: float
    deviation: float
    t: float | None
    p: float | None
    ci: list[float] | None


def paired_t(differences: Sequence[float] | np.ndarray) -> FoldTest | None:
    """Paired t-test over folds, as the DrCT2 paper reports it.

    The training sets of the folds overlap, so the differences are not independent and this test
    finds too much: `corrected_t` is the one to believe.

    Parameters
    ----------
    differences : sequence of float (J,)
        One model minus the other, fold by fold.

    Returns
    -------
    FoldTest or None
        None for fewer than two folds.
    """
    return _t_test(differences, added=0.0)


def corrected_t(differences: Sequence[float] | np.ndarray, test_to_train: float) -> FoldTest | None:
    """Corrected resampled t-test: the variance of the mean is larger by the overlap.

    Parameters
    ----------
    differences : sequence of float (J,)
        One model minus the other, fold by fold (of all repeats).
    test_to_train : float
        Rows that a fold is tested on, divided by the rows it is trained on.

    Returns
    -------
    FoldTest or None
        None for fewer than two folds.

    References
    ----------
    Nadeau and Bengio 2003, Machine Learning 52, 239-281. Bouckaert and Frank 2004, PAKDD, 3-12
    (repeated cross-validation).
    """
    return _t_test(differences, added=test_to_train)


def _t_test(differences: Sequence[float] | np.ndarray, added: float) -> FoldTest | None:
    from scipy.stats import t as student

    values = np.asarray(differences, dtype=np.float64)
    J = len(values)
    if J < 2:
        return None
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if deviation < 1e-12:
        return FoldTest(J, mean, deviation, None, None, None)
    error = deviation * float(np.sqrt(1 / J + added))
    statistic, half = mean / error, float(student.ppf(0.975, J - 1)) * error
    p = 2 * float(student.sf(abs(statistic), J - 1))
    return FoldTest(J, mean, deviation, statistic, p, [mean - half, mean + half])


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for being several, so that one of 0.05 keeps its meaning.

    Parameters
    ----------
    p_values : sequence of float or None
        None is no test: it stays None, and is not counted.

    Returns
    -------
    list of float or None
        In the same order.

    References
    ----------
    Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    tested = [place for place, p in enumerate(p_values) if p is not None]
    tested.sort(key=lambda place: p_values[place] or 0.0)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, place in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * (p_values[place] or 0.0)))
        adjusted[place] = least
    return adjusted
