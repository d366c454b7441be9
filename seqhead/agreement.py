"""Agreement beyond chance: Cohen's kappa of two readers, Fleiss' of several."""

from collections.abc import Sequence

import numpy as np


def cohen_kappa(one: np.ndarray, other: np.ndarray) -> float | None:
    """Cohen's kappa on the rows that both answered.

    Parameters
    ----------
    one, other : float arrays (n,)
        1, 0, or NaN for no answer.

    Returns
    -------
    float or None
        None without a row, or where both give one same answer throughout: chance explains it all.

    References
    ----------
    Cohen 1960, Educational and Psychological Measurement 20, 37-46.
    """
    from sklearn.metrics import cohen_kappa_score

    both = ~np.isnan(one) & ~np.isnan(other)
    one, other = one[both], other[both]
    if not len(one) or len(np.unique(np.concatenate([one, other]))) < 2:
        return None
    return float(cohen_kappa_score(one, other))


def fleiss_kappa(reads: Sequence[np.ndarray] | np.ndarray) -> float | None:
    """Fleiss' kappa on the rows that all readers answered.

    Parameters
    ----------
    reads : float arrays (M, n)
        Of M readers: 1, 0, or NaN for no answer.

    Returns
    -------
    float or None
        None with fewer than two readers, without a row, or where there is one answer only.

    References
    ----------
    Fleiss 1971, Psychological Bulletin 76, 378-382.
    """
    table = np.asarray(reads, dtype=np.float64)
    table = table[:, ~np.isnan(table).any(axis=0)]
    M, n = table.shape
    if M < 2 or not n:
        return None
    return kappa_of_counts(np.stack([(table == answer).sum(axis=0) for answer in (0, 1)], axis=1))


def kappa_of_counts(counts: np.ndarray) -> float | None:
    """Fleiss' kappa of how many readers chose each category.

    Parameters
    ----------
    counts : int array (n, C)
        Readers that put row i into category j; the same total in every row.

    Returns
    -------
    float or None
        None where all readers chose one category throughout.
    """
    M = counts[0].sum()
    share = counts.sum(axis=0) / counts.sum()
    by_chance = float((share**2).sum())
    if by_chance >= 1:
        return None
    agreeing = ((counts**2).sum(axis=1) - M) / (M * (M - 1))
    return float((agreeing.mean() - by_chance) / (1 - by_chance))
