"""Chunk files of an array: which are there, and what is wrong with one that cannot be read."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from featurecache.errors import StoreCorruptError
from featurecache.storage import Storage


def chunk_numbers(names: Iterable[str]) -> set[int]:
    """Numbers along the first axis of an array's chunks.

    Parameters
    ----------
    names : iterable of str
        Names of files in the array.

    Returns
    -------
    set of int
    """
    matches = (re.fullmatch(r"c\.(\d+)(\.0)?", name) for name in names)
    return {int(match.group(1)) for match in matches if match}


def read_rows(array: Any, storage: Storage, where: str, start: int, stop: int | None) -> np.ndarray:
    """Rows of an array, with any damage reported as what it is.

    Parameters
    ----------
    array : zarr.Array
        From `open_array`.
    storage, where
        What it is called in a message.
    start : int
        First row.
    stop : int or None
        Row after the last; None for all.

    Returns
    -------
    ndarray

    Raises
    ------
    StoreCorruptError
        A chunk does not match its checksum or has another length.
    StoreError
        The disk or the server does not answer.
    """
    try:
        return np.asarray(array[start:stop])
    except Exception as error:
        trouble = storage.trouble(error)
        if trouble is not None:
            raise trouble from None
        chunk = _damaged_chunk(array, start, stop)
        raise StoreCorruptError(
            f"{storage}: chunk {chunk} of {where} is damaged ({error}). "
            f"{remedy(storage, where, chunk)}"
        ) from error


def _damaged_chunk(array: Any, start: int, stop: int | None) -> int:
    rows = array.chunks[0]
    last = (stop if stop is not None else array.shape[0]) - 1
    for chunk in range(start // rows, last // rows + 1):
        try:
            array[chunk * rows : (chunk + 1) * rows]
        except Exception:
            return chunk
    return start // rows


def remedy(storage: Storage, where: str, chunk: int) -> str:
    """What to do about a damaged chunk.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    where : str
        The array, e.g. ``part-0000/features/vgg16``.
    chunk : int
        Number along its first axis.

    Returns
    -------
    str
        A sentence or two.
    """
    part, kind, name = where.split("/")
    if kind not in ("features", "status"):
        return "Restore it from a copy, or extract into another --store"
    files = f"{storage}/{part}/features/{name}/c.{chunk}.0"
    if storage.shared:  # where a status that is there is not replaced
        files += f" and {storage}/{part}/status/{name}/c.{chunk}"
    return f"Delete {files} and run the same `featurecache extract` again: it computes that unit"
