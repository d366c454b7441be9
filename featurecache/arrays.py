"""What lies where in a store: its root, its parts and their tables, its feature sets.

A store is a plain Zarr v3 group; ``docs/reference/store.md`` describes it byte by byte. Three
rules make it safe to kill at any moment:

* groups and arrays are made elsewhere, at full shape, and appear whole (`Storage.publish`);
* one chunk is one unit of work; its status chunk is written first and its feature chunk last,
  so that an existing feature chunk is the commit;
* a missing chunk is never read as fill values: readers list the chunks first.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from featurecache.columns import columns_of, part_draft, read_column
from featurecache.errors import StoreCorruptError, StoreError, StoreMismatchError, UsageError
from featurecache.metadata import checked_metadata, read_metadata
from featurecache.nodes import Draft, open_array
from featurecache.storage import Storage
from featurecache.tables import PartTables

FORMAT_VERSION = 1
"""Raised when an older featurecache could misread a newer store."""

UNWRITTEN, OK = 0, 1
"""The two status codes that are not reasons; 2 and up are listed in the attributes."""

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


def create_store(storage: Storage, key_digest: str | None) -> None:
    """Create an empty store unless there is one.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    key_digest : str or None
        Digest of the key that its ids are hashed with; None where ids are kept.

    Raises
    ------
    StoreError
        Something else lies there.
    """
    if storage.exists("zarr.json"):
        return
    if (storage.files() or storage.folders()) and not storage.exists("zarr.json"):
        raise StoreError(f"{storage} exists and is not a store: choose another --store")
    draft = Draft()
    attributes = {"format": "featurecache", "format_version": FORMAT_VERSION}
    draft.group("", {**attributes, "key_digest": key_digest})
    storage.publish("", draft.files())


def read_root(storage: Storage) -> dict[str, Any]:
    """Attributes of a store's root.

    Parameters
    ----------
    storage : Storage
        Where the store lies.

    Returns
    -------
    dict
        ``format``, ``format_version``, ``key_digest``.

    Raises
    ------
    StoreError
        There is no store, or a newer featurecache wrote it.
    StoreCorruptError
        The metadata are not what was written.
    """
    if not storage.exists("zarr.json"):
        raise _no_root(storage)
    content = storage.read("zarr.json")
    if b'"featurecache"' not in content:
        raise StoreError(f"{storage} is a Zarr group, but featurecache did not make it")
    attributes: dict[str, Any] = checked_metadata(content, f"{storage}/zarr.json")["attributes"]
    if attributes["format_version"] > FORMAT_VERSION:
        raise StoreError(
            f"{storage} has format {attributes['format_version']}; this version reads up to "
            f"{FORMAT_VERSION}. Update featurecache"
        )
    return attributes


def _no_root(storage: Storage) -> StoreError:
    folders, files = storage.folders(), storage.files()
    if any(_PART.fullmatch(name) for name in folders):
        return StoreCorruptError(f"{storage}/zarr.json is missing")
    if folders or files:
        return StoreError(f"{storage} is not a featurecache store: it has no zarr.json")
    return StoreError(f"there is no store at {storage}: `featurecache extract` makes one")


def list_parts(storage: Storage) -> list[int]:
    """Numbers of a store's parts, in order.

    Parameters
    ----------
    storage : Storage
        Where the store lies.

    Returns
    -------
    list of int

    Raises
    ------
    StoreCorruptError
        A part is missing between others, or lacks its metadata.
    """
    matches = (_PART.fullmatch(name) for name in storage.folders())
    parts = sorted(int(match.group(1)) for match in matches if match)
    if parts != list(range(len(parts))):
        raise StoreCorruptError(f"{storage}: parts {parts} are not consecutive; one was removed")
    if parts and storage.shared and _is_begun(storage, part_name(parts[-1])):
        parts.pop()
    return parts


def _is_begun(storage: Storage, part: str) -> bool:
    """Whether the tables of a part are still being written: features come after its metadata."""
    return not storage.exists(f"{part}/zarr.json") and not storage.folders(f"{part}/features")


def create_part(storage: Storage, tables: PartTables, part: int | None = None) -> int:
    """Write the series and slices tables of a new part; its features come later.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    tables : PartTables
        The rows, which are taken block by block.
    part : int, optional
        Its number: how many parts there were when the rows were chosen, since a rival may have
        added one. By default the next.

    Returns
    -------
    int
        Number of the part.

    Raises
    ------
    StoreError
        Fewer or more rows came than were announced; nothing is left of the part.
    StoreMismatchError
        Another run has written this part, or begun it, with other series.
    """
    part = len(list_parts(storage)) if part is None else part
    if not storage.publish(part_name(part), part_draft(storage, tables).files()):
        raise StoreMismatchError(
            f"{storage}: another run has begun {part_name(part)} with other series. Wait for it "
            "and run the same `featurecache extract` again: it adds what is missing. If no other "
            f"run is active, delete {storage}/{part_name(part)} first"
        )
    return part


def count_slices(storage: Storage, part: int) -> int:
    """Rows N of a part's flat arrays.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    part : int
        Number of the part.

    Returns
    -------
    int
    """
    return int(read_metadata(storage, part_name(part))["attributes"]["n_slices"])


def read_table(
    storage: Storage, part: int, table: str, columns: Collection[str] | None = None
) -> pd.DataFrame:
    """The ``series`` or ``slices`` table of a part.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
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
    n_rows = read_metadata(storage, part_name(part))["attributes"][f"n_{table}"]
    where = f"{part_name(part)}/{table}"
    return pd.DataFrame(
        {
            name: read_column(storage, f"{where}/{name}", n_rows)
            for name in columns or columns_of(table)
        }
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
    storage: Storage, part: int, name: str, *, n_slices: int, dim: int, dtype: str,
    unit_slices: int, attributes: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Create the empty feature and status arrays of one feature set in one part.

    Where a rival has created them before, its plan is the plan.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    part : int
        Number of the part.
    name : str
        Name of the feature set.
    n_slices, dim : int
        Shape (N, D) of the features.
    dtype : {"float16", "float32"}
        Stored type.
    unit_slices : int
        Rows of a chunk: the unit of work and of commit. Where a rival, or a run that was killed
        right here, has created the status array already, its unit counts.
    attributes : mapping
        JSON values: recipe, fingerprint, plan, versions, reason codes.

    Returns
    -------
    dict
        The attributes that are there now: those given, or a rival's.

    Raises
    ------
    UsageError
        `name` is no safe folder name.
    """
    check_name(name)
    where, status_where = (f"{part_name(part)}/{kind}/{name}" for kind in ("features", "status"))
    storage.discard_debris(status_where)
    status = Draft()
    status.array("", shape=(n_slices,), chunks=(unit_slices,), dtype="uint8", fill_value=UNWRITTEN)
    if not storage.publish(status_where, status.files()):
        unit_slices = open_array(storage.zarr_store(), status_where).chunks[0]
    features = Draft()
    features.array(
        "", shape=(n_slices, dim), chunks=(unit_slices, dim), dtype=dtype,
        fill_value=float("nan"), attributes=attributes,
    )  # fmt: skip
    storage.publish(where, features.files())
    return dict(read_metadata(storage, where)["attributes"])


def list_features(storage: Storage, part: int) -> list[str]:
    """Names of the feature sets in a part.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
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
    where = f"{part_name(part)}/features"
    names = storage.folders(where)
    if not names and not storage.files(where):
        raise StoreCorruptError(f"{storage}: {where} is missing")
    return [name for name in names if not name.startswith(".")]
