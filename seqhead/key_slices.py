"""Does attention find the slices with a lesion? The three tasks of DrCT2, for one series."""

from math import comb

import numpy as np

TOP = 5
"""Slices that the easy and the difficult task look at."""

TASKS = ("easy", "difficult", "comprehensive")
"""Names of the tasks."""


def task_scores(weights: np.ndarray, lesion: np.ndarray) -> dict[str, float]:
    """Score one series in each task that it belongs to.

    Equal weights are taken in random order, and the score is the mean over these orders; so
    weights that are all equal give what a random choice scores on average.

    Parameters
    ----------
    weights : float array (n,)
        Of the slices that can be chosen; higher comes first.
    lesion : bool array (n,)
        Which of them show the lesion; h of them do.

    Returns
    -------
    dict of str to float
        ``easy`` (h at least 5): share of the top 5 that show it. ``difficult`` (h from 1 to 5):
        1 where one of the top 5 shows it. ``comprehensive`` (h at least 1): share of the top h
        that show it. In [0, 1]; a series of 5 lesion slices is in all three, one of none in none.

    References
    ----------
    DrCT2, section IV and Algorithm 1. Table 5 counts 6,529 easy and 1,759 difficult scans among
    7,855 with a lesion, so those of 5 lesion slices are both, and those of none are neither.
    """
    h, scores = int(lesion.sum()), {}
    if h >= TOP:
        scores["easy"] = float(chosen_share(weights, TOP)[lesion].sum() / TOP)
    if 1 <= h <= TOP:
        scores["difficult"] = chance_of_a_hit(weights, TOP, lesion)
    if h >= 1:
        scores["comprehensive"] = float(chosen_share(weights, h)[lesion].sum() / h)
    return scores


def chosen_share(weights: np.ndarray, k: int) -> np.ndarray:
    """How often each slice is among the k highest, equal weights taken in random order.

    Parameters
    ----------
    weights : float array (n,)
        Higher comes first.
    k : int
        How many are chosen, at least 1; all where there are no more.

    Returns
    -------
    float64 array (n,)
        1 above the k-th weight, 0 below it, in between where it is shared. The sum is the smaller
        of k and n.
    """
    above, tied, left = _border(weights, k)
    return above + tied * (left / tied.sum())


def chance_of_a_hit(weights: np.ndarray, k: int, lesion: np.ndarray) -> float:
    """Probability that the k highest slices show a lesion, equal weights taken in random order.

    Parameters
    ----------
    weights : float array (n,)
        Higher comes first.
    k : int
        How many are chosen.
    lesion : bool array (n,)
        Which of them show it.

    Returns
    -------
    float
        0 or 1 where the k-th weight is not shared.
    """
    above, tied, left = _border(weights, k)
    if (above & lesion).any():
        return 1.0
    among, without = int(tied.sum()), int((tied & ~lesion).sum())
    return 1.0 - comb(without, left) / comb(among, left)


def is_tied(weights: np.ndarray, k: int = TOP) -> bool:
    """Whether equal weights leave open which slices are the k highest.

    Parameters
    ----------
    weights : float array (n,)
        Higher comes first.
    k : int
        How many are chosen.

    Returns
    -------
    bool
    """
    _, tied, left = _border(weights, k)
    return left < int(tied.sum())


def middle_weights(n: int) -> np.ndarray:
    """Weights of a reader who looks at the middle of every series.

    Parameters
    ----------
    n : int
        Slices of the series.

    Returns
    -------
    float array (n,)
        The nearer to the middle the higher; two slices are equally near.
    """
    return -np.abs(np.arange(n) - (n - 1) / 2)


def _border(weights: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Slices above the k-th weight, those that have it, and how many of these are chosen."""
    k = min(k, len(weights))
    border = np.sort(weights)[len(weights) - k]
    above = weights > border
    return above, weights == border, k - int(above.sum())
