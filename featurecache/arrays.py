"""The store's arrays on disk: the only module that imports zarr.

A store is a plain Zarr v3 group; ``docs/reference/store.md`` describes it byte by byte. Three
rules make it safe to kill at any moment:

* arrays are created at full shape in a temporary folder that is then renamed;
* one chunk is one unit of work; its status chunk is written first and its feature chunk last,
  each by temporary file and rename, so that an existing feature chunk is the commit;
* a missing chunk is never read as fill values: readers list the chunks first.
"""

import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import zarr
from zarr.codecs import Crc32cCodec
from zarr.storage import LocalStore

from featurecache.chunks import chunk_numbers, read_rows
from featurecache.errors import StoreCorruptError, StoreError, UsageError
from featurecache.metadata import read_metadata, seal
from featurecache.tables import (
    SERIES_COLUMNS,
    SLICES_COLUMNS,
    TABLE_ROWS,
    PartTables,
    TableBlock,
)

FORMAT_VERSION = 1
"""Raised when an older featurecache could misread a newer store."""

UNWRITTEN, OK = 0, 1
"""The two status codes that are not reasons; 2 and up are listed in the attributes."""

_FLAT_KEYS: Any = {"name": "default", "separator": "."}  # one folder per array, fast to list
_PART = re.compile(r"part-(\d{4})")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def part_name(part: int) -> str:
    """Folder of a part.

    Parameters
    ----------
    part : int
        Number of the part.

    Returns
    -------
    str
        E.g. ``part-0003``.
    """
    return f"part-{part:04d}"


def create_store(path: Path, key_digest: str | None) -> None:
    """Create an empty store unless there is one.

    Parameters
    ----------
    path : Path
        Folder of the store.
    key_digest : str or None
        Digest of the key that its ids are hashed with; None where ids are kept.

    Raises
    ------
    StoreError
        `path` is something else.
    """
    if path.exists():
        if (path / "zarr.json").is_file():
            return
        if any(path.iterdir()) if path.is_dir() else True:
            raise StoreError(f"{path} exists and is not a store: choose another --store")
        path.rmdir()
    draft = _fresh(path.with_name(f".{path.name}.partial"))
    attributes = {"format": "featurecache", "format_version": FORMAT_VERSION}
    _create_group(draft, "", {**attributes, "key_digest": key_digest})
    draft.rename(path)


def read_root(path: Path) -> dict[str, Any]:
    """Attributes of a store's root.

    Parameters
    ----------
    path : Path
        Folder of the store.

    Returns
    -------
    dict
        ``format``, ``format_version``, ``key_digest``.

    Raises
    ------
    StoreError
        There is no store at `path`, or a newer featurecache wrote it.
    StoreCorruptError
        The metadata are not what was written.
    """
    if not path.is_dir():
        raise StoreError(f"there is no store at {path}: `featurecache extract` makes one")
    if not (path / "zarr.json").is_file():
        if list(path.glob("part-*")):
            raise StoreCorruptError(f"{path}/zarr.json is missing")
        raise StoreError(f"{path} is not a featurecache store: it has no zarr.json")
    if b'"featurecache"' not in (path / "zarr.json").read_bytes():
        raise StoreError(f"{path} is a Zarr group, but featurecache did not make it")
    attributes: dict[str, Any] = read_metadata(path)["attributes"]
    if attributes["format_version"] > FORMAT_VERSION:
        raise StoreError(
            f"{path} has format {attributes['format_version']}; this version reads up to "
            f"{FORMAT_VERSION}. Update featurecache"
        )
    return attributes


def check_writable(path: Path) -> None:
    """Refuse a store that cannot be written, before any work.

    Parameters
    ----------
    path : Path
        Folder of the store.

    Raises
    ------
    StoreError
        The folder, or a part of it, is read-only.
    """
    for folder in (path, *path.glob("part-*/features/*")):
        if not os.access(folder, os.W_OK):
            raise StoreError(f"{folder} cannot be written: check its owner and permissions")


def list_parts(path: Path) -> list[int]:
    """Numbers of a store's parts, in order.

    Parameters
    ----------
    path : Path
        Folder of the store.

    Returns
    -------
    list of int

    Raises
    ------
    StoreCorruptError
        A part is missing between others.
    """
    matches = (_PART.fullmatch(entry.name) for entry in path.iterdir())
    parts = sorted(int(match.group(1)) for match in matches if match)
    if parts != list(range(len(parts))):
        raise StoreCorruptError(f"{path}: parts {parts} are not consecutive; one was removed")
    return parts


def create_part(path: Path, tables: PartTables) -> int:
    """Write the series and slices tables of a new part; its features come later.

    Parameters
    ----------
    path : Path
        Folder of the store.
    tables : PartTables
        The rows, which are taken block by block.

    Returns
    -------
    int
        Number of the part.

    Raises
    ------
    StoreError
        Fewer or more rows came than were announced; nothing is left of the part.
    """
    part = len(list_parts(path))
    draft = _fresh(path / f".{part_name(part)}.partial")
    announced = {"series": tables.n_series, "slices": tables.n_slices}
    _create_group(draft, "", {f"n_{table}": n_rows for table, n_rows in announced.items()})
    for group in ("series", "slices", "features", "status"):
        _create_group(draft, group, {})
    for table, n_rows in announced.items():
        _create_table(draft, table, n_rows)
    came = dict.fromkeys(announced, 0)
    for block in tables.blocks:
        came[block.table] += len(block.rows)
        if came[block.table] <= announced[block.table]:
            _write_block(draft, block)
    if came != announced:
        shutil.rmtree(draft)
        raise StoreError(
            f"{path}: {came} rows came for {part_name(part)}, and {announced} were expected: the "
            "index changed meanwhile. Run the same command again"
        )
    draft.rename(path / part_name(part))
    return part


def count_slices(path: Path, part: int) -> int:
    """Rows N of a part's flat arrays.

    Parameters
    ----------
    path : Path
        Folder of the store.
    part : int
        Number of the part.

    Returns
    -------
    int
    """
    return int(read_metadata(path / part_name(part))["attributes"]["n_slices"])


def read_table(
    path: Path, part: int, table: str, columns: Collection[str] | None = None
) -> pd.DataFrame:
    """The ``series`` or ``slices`` table of a part.

    Parameters
    ----------
    path : Path
        Folder of the store.
    part : int
        Number of the part.
    table : {"series", "slices"}
        Which one.
    columns : collection of str, optional
        Read these only.

    Returns
    -------
    DataFrame
        Columns `SERIES_COLUMNS` or `SLICES_COLUMNS`, or those asked for.

    Raises
    ------
    StoreCorruptError
        A chunk is missing or damaged, or a column has another length.
    """
    columns = columns or _columns(table)
    n_rows = read_metadata(path / part_name(part))["attributes"][f"n_{table}"]
    data = {name: _read_whole(path, f"{part_name(part)}/{table}/{name}") for name in columns}
    for name, values in data.items():
        if len(values) != n_rows:
            raise StoreCorruptError(
                f"{path}: {part_name(part)}/{table}/{name} has {len(values)} rows, not {n_rows}"
            )
    return pd.DataFrame(
        {k: v.astype(object).astype(str) if v.dtype.kind == "T" else v for k, v in data.items()}
    )


def check_name(name: str) -> None:
    """Refuse a feature set name that is no safe folder name.

    Parameters
    ----------
    name : str
        Name of a feature set.

    Raises
    ------
    UsageError
        `name` has other characters than letters, digits, ``.``, ``_`` and ``-``.
    """
    if not _SAFE_NAME.fullmatch(name) or name.endswith(".partial"):
        raise UsageError(
            f"--name {name!r}: a feature set's name has letters, digits, '.', '_' and '-' only, "
            "begins with a letter or digit, does not end in .partial, and is at most 64 long"
        )


def create_features(
    path: Path, part: int, name: str, *, n_slices: int, dim: int, dtype: str, unit_slices: int,
    attributes: Mapping[str, Any],
) -> None:  # fmt: skip
    """Create the empty feature and status arrays of one feature set in one part.

    Parameters
    ----------
    path : Path
        Folder of the store.
    part : int
        Number of the part.
    name : str
        Name of the feature set.
    n_slices, dim : int
        Shape (N, D) of the features.
    dtype : {"float16", "float32"}
        Stored type.
    unit_slices : int
        Rows of a chunk: the unit of work and of commit.
    attributes : mapping
        JSON values: recipe, fingerprint, plan, versions, reason codes.

    Raises
    ------
    UsageError
        `name` is no safe folder name.
    """
    check_name(name)
    folder = path / part_name(part)
    draft = _fresh(folder / ".features.partial")
    common: dict[str, Any] = {"chunk_key_encoding": _FLAT_KEYS, "filters": None}
    group = _create_group(draft, "", {})
    group.create_array(
        "features", shape=(n_slices, dim), chunks=(unit_slices, dim), dtype=dtype,
        fill_value=float("nan"), compressors=[Crc32cCodec()], attributes=dict(attributes), **common,
    )  # fmt: skip
    group.create_array(
        "status", shape=(n_slices,), chunks=(unit_slices,), dtype="uint8",
        fill_value=UNWRITTEN, compressors=[Crc32cCodec()], **common,
    )  # fmt: skip
    for array in ("status", "features"):
        seal(draft / array)
        target = folder / array / name
        if array == "status" and target.exists():
            shutil.rmtree(target)
        (draft / array).rename(target)
    shutil.rmtree(draft)


def list_features(path: Path, part: int) -> list[str]:
    """Names of the feature sets in a part.

    Parameters
    ----------
    path : Path
        Folder of the store.
    part : int
        Number of the part.

    Returns
    -------
    list of str
        Sorted.

    Raises
    ------
    StoreCorruptError
        The part has no folder of features.
    """
    folder = path / part_name(part) / "features"
    if not folder.is_dir():
        raise StoreCorruptError(f"{path}: {part_name(part)}/features is missing")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def remove_debris(path: Path) -> int:
    """Remove what a killed run left half-written; the caller holds the store's lock.

    Parameters
    ----------
    path : Path
        Folder of the store.

    Returns
    -------
    int
        How many files and folders were removed.
    """
    drafts = [*path.glob(".part-*.partial"), *path.glob("part-*/.features.partial")]
    chunks = list(path.glob("part-*/*/*/*.partial"))  # zarr's own temporary files
    for draft in drafts:
        shutil.rmtree(draft)
    for chunk in chunks:
        chunk.unlink()
    return len(drafts) + len(chunks)


def _create_group(folder: Path, name: str, attributes: dict[str, Any]) -> zarr.Group:
    group = zarr.create_group(LocalStore(folder), path=name, zarr_format=3, attributes=attributes)
    seal(folder / name)
    return group


def _columns(table: str) -> dict[str, str]:
    return SERIES_COLUMNS if table == "series" else SLICES_COLUMNS


def _create_table(folder: Path, table: str, n_rows: int) -> None:
    group = zarr.open_group(LocalStore(folder), path=table, mode="r+")
    for column, kind in _columns(table).items():
        group.create_array(
            column, shape=(n_rows,), chunks=(min(max(n_rows, 1), TABLE_ROWS),),
            dtype=str if kind == "str" else kind, filters=None, compressors=[Crc32cCodec()],
            fill_value="" if kind == "str" else (float("nan") if "float" in kind else -1),
            chunk_key_encoding=_FLAT_KEYS,
        )  # fmt: skip
        seal(folder / table / column)


def _write_block(folder: Path, block: TableBlock) -> None:
    rows = slice(block.first_row, block.first_row + len(block.rows))
    for column, kind in _columns(block.table).items():
        array = open_array(folder, f"{block.table}/{column}", "r+")
        array[rows] = block.rows[column].to_numpy(dtype=object if kind == "str" else kind)


def _fresh(draft: Path) -> Path:
    """A new temporary folder, in place of one that a killed run left."""
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(parents=True)
    return draft


def open_array(path: Path, where: str, mode: Literal["r", "r+"] = "r") -> "zarr.Array[Any]":
    """Open an array: the one place that does, with metadata checked and empty chunks written.

    Parameters
    ----------
    path : Path
        Folder of the store.
    where : str
        The array in it, e.g. ``part-0000/features/vgg16``.
    mode : {"r", "r+"}
        Read only, or read and write.

    Returns
    -------
    zarr.Array

    Raises
    ------
    StoreCorruptError
        The metadata are not what was written.
    """
    read_metadata(path / where)
    array = zarr.open_array(LocalStore(path), path=where, mode=mode)
    return array.with_config({"write_empty_chunks": True})


def _read_whole(path: Path, where: str) -> np.ndarray:
    """A whole one-dimensional table column; a missing chunk is an error, not fill values."""
    array = open_array(path, where)
    expected = set(range(-(-array.shape[0] // array.chunks[0])))
    missing = expected - chunk_numbers(path / where)
    if missing:
        raise StoreCorruptError(f"{path}: {where} lacks its chunks {sorted(missing)[:5]}")
    return read_rows(array, path, where, 0, None)
