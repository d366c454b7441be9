"""Ragged matrices to padded batches of like length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqhead.matrices import Matrices, lengths_of, one_ahead
from seqhead.sampling import Pick

if TYPE_CHECKING:
    import torch

_CONSTANT = 1e-6  # relative to the mean: less is rounding, not variation
_JITTER = 0.1  # relative: series of like length meet in changing batches


@dataclass(frozen=True, slots=True)
class Batch:
    """Some series, padded at the end to the longest of them.

    Parameters
    ----------
    x : float32 tensor (B, S, D)
        Features; padding is zero.
    mask : bool tensor (B, S)
        True where there is a slice.
    y : float32 tensor (B, K) or (B, S, K), or None
        Labels; NaN where unknown, and in padding.
    rows : int array (B,)
        Which series these are.
    labelled : bool
        Whether any label is known.
    """

    x: "torch.Tensor"
    mask: "torch.Tensor"
    y: "torch.Tensor | None"
    rows: np.ndarray
    labelled: bool = False


def batch_rows(
    lengths: Sequence[int] | np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Group series of like length, so that little is padding.

    Parameters
    ----------
    lengths : int array (B,)
        Slices of each series.
    batch_size : int
        Series in a batch; the last batch may have fewer.
    rng : Generator or None
        Shuffles within like lengths, and the order of the batches; None: by length.

    Returns
    -------
    list of int arrays
        Every series once.
    """
    key = np.asarray(lengths, dtype=np.float64)
    if rng is not None:
        key = key * rng.uniform(1 - _JITTER, 1 + _JITTER, size=len(key))
    order = np.argsort(key, kind="stable")
    groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if rng is not None:
        groups = [groups[k] for k in rng.permutation(len(groups))]
    return groups


def collate(
    X: Sequence[np.ndarray],
    y: np.ndarray | Sequence[np.ndarray] | None,
    rows: np.ndarray,
    device: "torch.device | str" = "cpu",
    pad_to: int | None = None,
    pick: Pick | None = None,
) -> Batch:
    """Pad some series to one tensor.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        Features of all series.
    y : array (B, K), sequence of arrays (n, K), or None
        Labels of all series, or of their slices.
    rows : int array
        The series wanted.
    device : torch.device or str
        Where the tensors go.
    pad_to : int or None
        Slices to pad to at least; None: the longest of these series.
    pick : callable or None
        Length of a series -> the slices of it to take; None: all.

    Returns
    -------
    Batch
    """
    import torch

    whole = [X[row] for row in rows]
    picked = [slice(None) if pick is None else pick(len(matrix)) for matrix in whole]
    matrices = [matrix[places] for matrix, places in zip(whole, picked, strict=True)]
    lengths = [len(matrix) for matrix in matrices]
    S, D = max(pad_to or 0, *lengths), matrices[0].shape[1]
    x = np.zeros((len(rows), S, D), dtype=np.float32)
    for place, matrix in enumerate(matrices):
        x[place, : len(matrix)] = matrix
    mask = np.arange(S) < np.array(lengths)[:, None]
    labels = None if y is None else _padded_labels(y, rows, picked, S)
    return Batch(
        torch.from_numpy(x).to(device),
        torch.from_numpy(mask).to(device),
        None if labels is None else torch.from_numpy(labels).to(device),
        rows,
        labels is not None and not bool(np.isnan(labels).all()),
    )


def batches(
    X: Sequence[np.ndarray],
    y: np.ndarray | Sequence[np.ndarray] | None,
    batch_size: int,
    rng: np.random.Generator | None = None,
    device: "torch.device | str" = "cpu",
    *,
    among: np.ndarray | None = None,
    pad_to: int | None = None,
    pick: Pick | None = None,
) -> Iterator[Batch]:
    """All series as batches, each series once.

    Where there is something to wait for, the disk or a device of its own, the next batch is made
    in a thread meanwhile; batches are the same.

    Parameters
    ----------
    X, y, device, pad_to, pick
        As in `collate`.
    batch_size, rng
        As in `batch_rows`.
    among : int array or None
        The series to take, as often as they are named; None: each once.

    Yields
    ------
    Batch
    """
    among = np.arange(len(X)) if among is None else among
    made = (
        collate(X, y, among[places], device, pad_to, pick)
        for places in batch_rows(lengths_of(X)[among], batch_size, rng)
    )
    wait = isinstance(X, Matrices) or str(device) != "cpu"
    yield from one_ahead(made) if wait else made


def row_statistics(X: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature over all slices of all series.

    Parameters
    ----------
    X : sequence of arrays (n, D)
        Training features.

    Returns
    -------
    mean, scale : float32 arrays (D,)
        `scale` is 1 for a feature that does not vary.
    """
    count = lengths_of(X).sum()
    mean = sum(matrix.sum(axis=0, dtype=np.float64) for matrix in X) / count
    square = sum(((matrix.astype(np.float64) - mean) ** 2).sum(axis=0) for matrix in X) / count
    scale = np.sqrt(square)
    scale[scale <= np.maximum(_CONSTANT * np.abs(mean), np.finfo(np.float32).tiny)] = 1.0
    return np.asarray(mean, dtype=np.float32), scale.astype(np.float32)


def _padded_labels(
    y: np.ndarray | Sequence[np.ndarray], rows: np.ndarray, picked: Sequence[Any], S: int
) -> np.ndarray:
    if isinstance(y, np.ndarray):
        return y[rows].astype(np.float32)
    padded = np.full((len(rows), S, y[rows[0]].shape[1]), np.nan, dtype=np.float32)
    for place, (row, slices) in enumerate(zip(rows, picked, strict=True)):
        labels = y[row][slices]
        padded[place, : len(labels)] = labels
    return padded
