"""Feature sets of a store as matrices: in memory where they fit, else read batch by batch."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from featurecache.store import FeatureSet
from seqhead.errors import FitError
from seqhead.matrices import Matrices, lengths_of
from seqhead.memory import budget_bytes

_KEY = ["series", "slice", "position"]


def bytes_of(sets: Sequence[FeatureSet]) -> int:
    """Memory that feature sets take.

    Parameters
    ----------
    sets : sequence of FeatureSet
        Read as a whole.

    Returns
    -------
    int
        In bytes.
    """
    return sum(len(one.slices) * one.dim * one.dtype.itemsize for one in sets)


def too_large(
    sets: Sequence[FeatureSet],
    memory_gb: float | None = None,
    views: Sequence[FeatureSet] = (),
) -> str | None:
    """Whether feature sets are more than memory may hold, in words.

    Parameters
    ----------
    sets : sequence of FeatureSet
        What is read together; two are laid side by side, which takes their size again.
    memory_gb : float or None
        What they may take, in 10^9 bytes; None: half of what is available.
    views : sequence of FeatureSet
        Augmented views of these sets that are read too.

    Returns
    -------
    str or None
        None where they fit.
    """
    size = bytes_of([*sets, *views]) * len(sets)
    allowed = budget_bytes(memory_gb)
    if size <= allowed:
        return None
    return (
        f"features take {size / 1e9:.2g} GB, more than the {allowed / 1e9:.2g} GB that they may "
        "(--memory): read from the store batch by batch"
    )


def stored_matrices(
    features: FeatureSet, series: pd.Index, *, streamed: bool
) -> tuple[np.ndarray, Sequence[np.ndarray]]:
    """Matrices of some series of a feature set.

    Parameters
    ----------
    features : FeatureSet
        The set.
    series : Index
        Ids of B series that have features.
    streamed : bool
        Read a series each time it is asked for, instead of all of them now.

    Returns
    -------
    rows : int array (N,)
        Lines of ``features.slices``, series by series.
    X : sequence of B arrays (n, D)
        `Matrices` if streamed.

    Raises
    ------
    FitError
        Features are not finite.
    StoreError
        The store is damaged.
    """
    places = features.slices.groupby("series", sort=False).indices
    picked = [places[name] for name in series]
    rows = np.concatenate(picked)
    if streamed:
        lengths = [len(lines) for lines in picked]
        X = Matrices(lengths, features.dim, lambda k: _finite(features[series[k]], series[k]))
        for _ in X:  # damage is found before any work, as it is when all of them are read
            pass
        return rows, X
    everything = features.to_numpy()
    held = [
        everything[lines[0] : lines[-1] + 1]
        if lines[-1] - lines[0] + 1 == len(lines)
        else everything[lines]
        for lines in picked
    ]
    return rows, [_finite(matrix, name) for matrix, name in zip(held, series, strict=True)]


def lay_beside(
    X: Sequence[np.ndarray], slices: pd.DataFrame, second: FeatureSet
) -> tuple[Sequence[np.ndarray], list[np.ndarray]]:
    """Join every slice's features of one set with those of another.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        The first set.
    slices : DataFrame
        Lines of ``FeatureSet.slices`` for the rows of `X`, series by series.
    second : FeatureSet
        The other set, of D2 features.

    Returns
    -------
    X : sequence of B arrays (n', D + D2)
        Slices that both sets have; a series may have none left. In memory if `X` is.
    kept : list of B bool arrays (n,)
        Which slices these are.
    """
    there = pd.MultiIndex.from_frame(second.slices[_KEY])
    rows = there.get_indexer(pd.MultiIndex.from_frame(slices[_KEY]))
    ends = np.cumsum(lengths_of(X))
    places = np.split(rows, ends[:-1])
    kept = [lines >= 0 for lines in places]
    if not isinstance(X, Matrices):
        values = second.to_numpy()
        each = zip(X, places, kept, strict=True)
        return [np.hstack([one[found], values[lines[found]]]) for one, lines, found in each], kept
    first, names = X, slices["series"].to_numpy()[ends - 1]
    within = second.slices.groupby("series").cumcount().to_numpy()

    def read(k: int) -> np.ndarray:
        found = kept[k]
        return np.hstack([first[k][found], second[names[k]][within[places[k][found]]]])

    return Matrices([int(found.sum()) for found in kept], X.width + second.dim, read), kept


def _finite(matrix: np.ndarray, series: str) -> np.ndarray:
    if not np.isfinite(matrix).all():
        raise FitError(f"features of series {series} are not finite. Run `featurecache verify`")
    return matrix
