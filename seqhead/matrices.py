"""Feature matrices of series: in memory, as a list, or read from the store when they are wanted."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, overload

import numpy as np

from seqhead.errors import FitError

T = TypeVar("T")


class Matrices(Sequence[np.ndarray]):
    """Matrices (n, D) of B series that are read each time they are asked for.

    Estimators take it where they take a list of arrays, and give the same results bit for bit;
    while they compute, a thread reads what the next batch needs.

    Parameters
    ----------
    lengths : int array (B,)
        Slices of each series.
    width : int
        D.
    read : callable
        Number of a series -> its array (n, D).

    Examples
    --------
    >>> stored = {"a": np.ones((3, 2)), "b": np.zeros((5, 2))}
    >>> X = Matrices([3, 5], 2, lambda k: stored["ab"[k]])
    >>> X[1].shape
    (5, 2)
    """

    def __init__(
        self, lengths: Sequence[int] | np.ndarray, width: int, read: Callable[[int], np.ndarray]
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.width = width
        self._read = read

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[np.ndarray]:
        """All of them: what `Sequence` does would take an `IndexError` of a reader for the end."""
        for number in range(len(self)):
            yield self[number]

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "Matrices": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | Matrices":
        """Read a series.

        Raises
        ------
        FitError
            It has another shape than it should, or a value that is not finite.
        """
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        number = range(len(self))[index]
        matrix = self._read(number)
        expected = (int(self.lengths[number]), self.width)
        if matrix.shape != expected:
            raise FitError(f"series {number} has shape {matrix.shape}; expected {expected}")
        if not np.isfinite(matrix).all():
            raise FitError(f"series {number} has features that are not finite")
        return matrix

    def take(self, places: np.ndarray) -> "Matrices":
        """Some of them, in another order, any of them several times.

        Parameters
        ----------
        places : int array
            Which.

        Returns
        -------
        Matrices
        """
        return Matrices(self.lengths[places], self.width, lambda k: self._read(int(places[k])))


def lengths_of(X: Sequence[np.ndarray]) -> np.ndarray:
    """Slices of each series; nothing is read for it.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        Features.

    Returns
    -------
    int array (B,)
    """
    if isinstance(X, Matrices):
        return X.lengths
    return np.array([len(matrix) for matrix in X], dtype=np.int64)


def width_of(X: Sequence[np.ndarray]) -> int:
    """Width of the features; nothing is read for it.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        Features; at least one.

    Returns
    -------
    int
        D.
    """
    return X.width if isinstance(X, Matrices) else X[0].shape[1]


def take_series(X: Sequence[np.ndarray], places: np.ndarray) -> Sequence[np.ndarray]:
    """Some series, in memory or not as they were.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        Features.
    places : int array
        Which.

    Returns
    -------
    sequence of arrays
    """
    return X.take(places) if isinstance(X, Matrices) else [X[k] for k in places]


def take_slices_of(
    X: Sequence[np.ndarray], owners: np.ndarray, places: Sequence[np.ndarray]
) -> Sequence[np.ndarray]:
    """Some slices of some series.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        Features.
    owners : int array (C,)
        The series.
    places : sequence of C int arrays
        The slices of each.

    Returns
    -------
    sequence of C arrays, in memory or not as they were
    """
    if not isinstance(X, Matrices):
        return [X[owner][rows] for owner, rows in zip(owners, places, strict=True)]
    whole = X
    lengths = [len(rows) for rows in places]
    return Matrices(lengths, X.width, lambda k: whole[int(owners[k])][places[k]])


def take_from(sets: Sequence[Sequence[np.ndarray]], chosen: np.ndarray) -> Sequence[np.ndarray]:
    """Each series from one of several sets of the same series.

    Parameters
    ----------
    sets : sequence of sequences of B arrays (n, D)
        Series, and views of them.
    chosen : int array (B,)
        Which set each series is taken from.

    Returns
    -------
    sequence of B arrays, in memory or not as the sets were
    """
    if not any(isinstance(X, Matrices) for X in sets):
        return [sets[which][k] for k, which in enumerate(chosen)]
    return Matrices(lengths_of(sets[0]), width_of(sets[0]), lambda k: sets[chosen[k]][k])


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next of which is made in a thread while one is used.

    Parameters
    ----------
    items : iterator
        Not used by anybody else meanwhile.

    Yields
    ------
    items, in their order
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
