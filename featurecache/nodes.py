"""Groups and arrays of Zarr, to and from bytes: the file that knows how zarr writes."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.buffer.cpu import Buffer
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from featurecache.metadata import sealed

_FLAT_KEYS: Any = {"name": "default", "separator": "."}  # one folder per array, fast to list
_METADATA = "zarr.json"


class Draft:
    """Groups and arrays in memory, to be published together."""

    def __init__(self) -> None:
        self._files: dict[str, Any] = {}
        self._store = MemoryStore(self._files)

    def group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Add a group.

        Parameters
        ----------
        path : str
            Where; empty for the draft's root.
        attributes : mapping
            JSON values.
        """
        zarr.create_group(self._store, path=path, zarr_format=3, attributes=dict(attributes))

    def array(
        self, path: str, *, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any,
        fill_value: Any, attributes: Mapping[str, Any] | None = None,
        values: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Add an array whose chunks end with a checksum; `rows` fills it.

        Parameters
        ----------
        path : str
            Where; empty for the draft's root.
        shape, chunks : tuple of int
            Of the whole, and of one chunk.
        dtype, fill_value
            As zarr takes them.
        attributes : mapping, optional
            JSON values.
        """
        zarr.create_array(
            self._store, name=path or None, shape=shape, chunks=chunks, dtype=dtype,
            fill_value=fill_value, filters=None, compressors=[Crc32cCodec()],
            attributes=dict(attributes or {}), chunk_key_encoding=_FLAT_KEYS, zarr_format=3,
        )  # fmt: skip

    def rows(self, path: str, start: int, values: np.ndarray) -> None:
        """Fill rows of an array that was added.

        Parameters
        ----------
        path : str
            Where it is.
        start : int
            First row.
        values : ndarray
            Of these rows.
        """
        array = zarr.open_array(self._store, path=path, mode="r+")
        _with_empty_chunks(array)[start : start + len(values)] = values

    def files(self) -> dict[str, bytes]:
        """Key -> bytes, metadata sealed; an array's metadata before its chunks, the root's last."""
        files = {}
        for key in sorted(self._files, key=_order):
            content = self._files[key].to_bytes()
            files[key] = sealed(content) if _is_metadata(key) else content
        return files


def _order(key: str) -> tuple[bool, str, bool, str]:
    return key == _METADATA, key.rpartition("/")[0], not _is_metadata(key), key


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] == _METADATA


def encode_rows(metadata: Mapping[str, Any], start: int, rows: np.ndarray) -> dict[str, bytes]:
    """Chunks of an array that hold these rows.

    Parameters
    ----------
    metadata : mapping
        Content of the array's ``zarr.json``.
    start : int
        First row; the first of a chunk.
    rows : ndarray
        Whole chunks, or to the end of the array.

    Returns
    -------
    dict
        Key in the array -> bytes.
    """
    files: dict[str, Any] = {_METADATA: Buffer.from_bytes(json.dumps(metadata).encode())}
    array = _with_empty_chunks(zarr.open_array(MemoryStore(files), mode="r+"))
    array[start : start + len(rows)] = rows
    del files[_METADATA]
    return {key: chunk.to_bytes() for key, chunk in files.items()}


def decode_rows(metadata: Mapping[str, Any], start: int, stop: int, chunk: bytes) -> np.ndarray:
    """Rows of an array from the one chunk that holds them.

    Parameters
    ----------
    metadata : mapping
        Content of the array's ``zarr.json``.
    start, stop : int
        First row, and the one after the last.
    chunk : bytes
        What `encode_rows` gave.

    Returns
    -------
    ndarray
    """
    rows = metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
    zeros = [0] * (len(metadata["shape"]) - 1)
    key = ".".join(map(str, ["c", start // rows, *zeros]))
    files = {_METADATA: json.dumps(metadata).encode(), key: chunk}
    return np.asarray(open_array(memory_store(files), "")[start:stop])


def memory_store(files: Mapping[str, bytes]) -> Store:
    """Files that were read, for zarr.

    Parameters
    ----------
    files : mapping
        Key -> bytes.

    Returns
    -------
    zarr.abc.store.Store
    """
    buffers: dict[str, Any] = {key: Buffer.from_bytes(content) for key, content in files.items()}
    return MemoryStore(buffers)


def open_array(store: Store, where: str) -> "zarr.Array[Any]":
    """Open an array to read.

    Parameters
    ----------
    store : zarr.abc.store.Store
        Of a storage, or in memory.
    where : str
        The array in it, e.g. ``part-0000/features/vgg16``; empty for the root.

    Returns
    -------
    zarr.Array
    """
    return zarr.open_array(store, path=where, mode="r")


def _with_empty_chunks(array: "zarr.Array[Any]") -> "zarr.Array[Any]":
    """A handle that writes chunks of fill values; a plain one deletes them."""
    return array.with_config({"write_empty_chunks": True})
