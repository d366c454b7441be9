"""Every file of a new part or array, as bytes: equal input gives equal files."""

from collections.abc import Mapping
from typing import Any

from featurecache.errors import StoreError
from featurecache.nodes import Draft
from featurecache.tables import COLUMNS, TABLE_ROWS, PartTables, TableBlock

FORMAT_VERSION = 1
"""Raised when an older featurecache could misread a newer store."""

GROUPS = ("series", "slices", "features", "status")
"""Groups of a part."""

CHUNK_ROWS = 1024
"""Rows of a chunk in a shard of a packed store: what a reader decodes at once."""


def root_files(key_digest: str | None) -> dict[str, bytes]:
    """Every file of a store without parts.

    Parameters
    ----------
    key_digest : str or None
        Digest of the key that its ids are hashed with; None where ids are kept.

    Returns
    -------
    dict
        Key -> bytes.
    """
    attributes = {"format": "featurecache", "format_version": FORMAT_VERSION}
    return {"zarr.json": group_metadata({**attributes, "key_digest": key_digest})}


def group_metadata(attributes: Mapping[str, Any]) -> bytes:
    """The ``zarr.json`` of a group.

    Parameters
    ----------
    attributes : mapping
        JSON values.

    Returns
    -------
    bytes
    """
    draft = Draft()
    draft.group("", attributes)
    return draft.files()["zarr.json"]


def part_files(tables: PartTables, replaces_below: int | None = None) -> dict[str, bytes]:
    """Every file of a part before it has features.

    Parameters
    ----------
    tables : PartTables
        The rows.
    replaces_below : int, optional
        Number below which parts may be missing, since this one has their current rows.

    Returns
    -------
    dict
        Key in the part -> bytes.

    Raises
    ------
    StoreError
        Fewer or more rows came than were announced.
    """
    announced = {"series": tables.n_series, "slices": tables.n_slices}
    replaces = {} if replaces_below is None else {"replaces_parts_below": replaces_below}
    draft = Draft()
    draft.group("", {**{f"n_{table}": n for table, n in announced.items()}, **replaces})
    for group in GROUPS:
        draft.group(group, {})
    for table, n_rows in announced.items():
        for column, kind in COLUMNS[table].items():
            _add_column(draft, f"{table}/{column}", kind, n_rows)
    came = dict.fromkeys(announced, 0)
    for block in tables.blocks:
        came[block.table] += len(block.rows)
        if came[block.table] <= announced[block.table]:
            _fill(draft, block)
    if came != announced:
        raise StoreError(
            f"{came} rows came for a new part, and {announced} were expected: the index changed "
            "meanwhile. Run the same command again"
        )
    return draft.files()


def _fill(draft: Draft, block: TableBlock) -> None:
    for column, kind in COLUMNS[block.table].items():
        values = block.rows[column].to_numpy(dtype=object if kind == "str" else kind)
        draft.rows(f"{block.table}/{column}", block.first_row, values)


def features_files(
    n_slices: int, dim: int, dtype: str, unit_slices: int, attributes: Mapping[str, Any],
    inner_slices: int | None = None,
) -> dict[str, bytes]:  # fmt: skip
    """Every file of a feature array without units.

    Parameters
    ----------
    n_slices, dim, dtype, unit_slices, attributes, inner_slices
        As in `create_features`.

    Returns
    -------
    dict
        Key in the array -> bytes.
    """
    draft = Draft()
    draft.array(
        "", shape=(n_slices, dim), chunks=(inner_slices or unit_slices, dim), dtype=dtype,
        fill_value=float("nan"), attributes=attributes,
        shards=(unit_slices, dim) if inner_slices else None,
    )  # fmt: skip
    return draft.files()


def status_files(n_slices: int, unit_slices: int) -> dict[str, bytes]:
    """Every file of a status array without units.

    Parameters
    ----------
    n_slices, unit_slices
        As in `create_features`.

    Returns
    -------
    dict
        Key in the array -> bytes.
    """
    draft = Draft()
    draft.array("", shape=(n_slices,), chunks=(unit_slices,), dtype="uint8", fill_value=0)
    return draft.files()


def column_metadata(table: str, column: str, n_rows: int) -> bytes:
    """The ``zarr.json`` of a table's column.

    Parameters
    ----------
    table : {"series", "slices"}
        Which table.
    column : str
        One of its columns.
    n_rows : int
        How many rows it has.

    Returns
    -------
    bytes
    """
    draft = Draft()
    _add_column(draft, "", COLUMNS[table][column], n_rows)
    return draft.files()["zarr.json"]


def _add_column(draft: Draft, path: str, kind: str, n_rows: int) -> None:
    draft.array(
        path, shape=(n_rows,), chunks=(min(max(n_rows, 1), TABLE_ROWS),),
        dtype=str if kind == "str" else kind,
        fill_value="" if kind == "str" else (float("nan") if "float" in kind else -1),
    )  # fmt: skip
