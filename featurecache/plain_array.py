"""Arrays whose chunk files are their rows as memory has them: read straight into the result.

zarr copies every chunk several times and hands each to a thread; over the hundreds of chunks of
an archive that takes three times as long as the bytes and their checksums do.
"""

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

_TYPES = ("float16", "float32", "uint8")
_KEYS = {"name": "default", "configuration": {"separator": "."}}
_CHECKSUM_BYTES = 4


class PlainArray:
    """The rows of an array in a folder.

    A chunk is compared with its checksum when it is first read. Some rows of it, read once more
    while the file is the same, are read alone.

    Parameters
    ----------
    folder : Path
        Of the array's chunk files.
    metadata : mapping
        Content of its ``zarr.json``, for which `is_plain` holds.

    Attributes
    ----------
    shape, chunks : tuple of int
        Of the whole, and of one chunk, which differ in the number of rows only.
    dtype : numpy.dtype
    """

    def __init__(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        self._folder, self._fill_value = folder, metadata["fill_value"]
        self.shape = tuple(metadata["shape"])
        self.chunks = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        self.dtype = np.dtype(metadata["data_type"])
        self._row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        self._compared: dict[int, tuple[int, ...]] = {}

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Rows, as zarr gives them: a chunk that is not there is fill values.

        Raises
        ------
        ValueError
            A chunk does not match its checksum or has another length.
        OSError
            A chunk cannot be read.
        """
        start, stop, _ = rows.indices(self.shape[0])
        found = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        for chunk in range(start // self.chunks[0], -(-stop // self.chunks[0])):
            first = chunk * self.chunks[0]
            low, high = max(first, start), min(first + self.chunks[0], stop)
            wanted = found[low - start : high - start]
            if wanted.shape == self.chunks:
                self._read_chunk(chunk, wanted)
            elif not self._read_again(chunk, low - first, wanted):
                whole = np.empty(self.chunks, self.dtype)
                self._read_chunk(chunk, whole)
                wanted[:] = whole[low - first : high - first]
        return found

    def _path(self, chunk: int) -> Path:
        zeros = [0] * (len(self.shape) - 1)
        return self._folder / ".".join(map(str, ["c", chunk, *zeros]))

    def _read_again(self, chunk: int, row: int, into: np.ndarray) -> bool:
        """Rows of a chunk that was compared with its checksum; False if the file is another."""
        if chunk not in self._compared:
            return False
        content = into.reshape(-1).view(np.uint8)
        try:
            with self._path(chunk).open("rb", buffering=0) as file:
                if _state(file.fileno()) != self._compared[chunk]:
                    return False
                file.seek(row * self._row_bytes)
                return file.readinto(content.data) == content.nbytes
        except FileNotFoundError:
            return False

    def _read_chunk(self, chunk: int, into: np.ndarray) -> None:
        content = into.reshape(-1).view(np.uint8)
        try:
            with self._path(chunk).open("rb") as file:
                length, checksum = file.readinto(content.data), file.read(_CHECKSUM_BYTES + 1)
                state = _state(file.fileno())
        except FileNotFoundError:
            into.fill(self.dtype.type(self._fill_value))
            return
        if length != content.nbytes or len(checksum) != _CHECKSUM_BYTES:
            expected = content.nbytes + _CHECKSUM_BYTES
            raise ValueError(f"{length + len(checksum)} bytes or more, expected {expected}")
        if google_crc32c.value(content) != int.from_bytes(checksum, "little"):
            raise ValueError("stored and computed checksum do not match")
        self._compared[chunk] = state


def _state(file: int) -> tuple[int, ...]:
    """What changes when a file is written or replaced."""
    about = os.fstat(file)
    return about.st_ino, about.st_size, about.st_mtime_ns


def is_plain(metadata: Mapping[str, Any]) -> bool:
    """Whether chunks are rows as memory has them here, followed by their CRC-32C.

    Parameters
    ----------
    metadata : mapping
        Content of an array's ``zarr.json``.

    Returns
    -------
    bool
    """
    grid, (order, *rest) = metadata["chunk_grid"], metadata["codecs"]
    endian = order.get("configuration", {}).get("endian", sys.byteorder)  # none where it is bytes
    return bool(
        metadata["data_type"] in _TYPES
        and order["name"] == "bytes"
        and endian == sys.byteorder
        and [codec["name"] for codec in rest] == ["crc32c"]
        and grid["name"] == "regular"
        and grid["configuration"]["chunk_shape"][1:] == metadata["shape"][1:]
        and metadata["chunk_key_encoding"] == _KEYS
    )
