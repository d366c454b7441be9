"""The columns of a part's tables, to and from arrays."""

import numpy as np

from featurecache.chunks import chunk_numbers, read_rows
from featurecache.errors import StoreCorruptError, StoreError
from featurecache.metadata import checked_metadata
from featurecache.nodes import Draft, memory_store, open_array
from featurecache.storage import Storage
from featurecache.tables import SERIES_COLUMNS, SLICES_COLUMNS, TABLE_ROWS, PartTables


def columns_of(table: str) -> dict[str, str]:
    """Columns of a table and their types.

    Parameters
    ----------
    table : {"series", "slices"}
        Which one.

    Returns
    -------
    dict
        `SERIES_COLUMNS` or `SLICES_COLUMNS`.
    """
    return SERIES_COLUMNS if table == "series" else SLICES_COLUMNS


def part_draft(storage: Storage, tables: PartTables) -> Draft:
    """A part with its tables and without any features.

    Parameters
    ----------
    storage : Storage
        What the store is called in a message.
    tables : PartTables
        The rows, which are taken block by block.

    Returns
    -------
    Draft

    Raises
    ------
    StoreError
        Fewer or more rows came than were announced.
    """
    announced = {"series": tables.n_series, "slices": tables.n_slices}
    draft = Draft()
    draft.group("", {f"n_{table}": n_rows for table, n_rows in announced.items()})
    for group in ("series", "slices", "features", "status"):
        draft.group(group, {})
    for table, n_rows in announced.items():
        _add_table(draft, table, n_rows)
    came = dict.fromkeys(announced, 0)
    for block in tables.blocks:
        came[block.table] += len(block.rows)
        if came[block.table] <= announced[block.table]:
            for column, kind in columns_of(block.table).items():
                values = block.rows[column].to_numpy(dtype=object if kind == "str" else kind)
                draft.rows(f"{block.table}/{column}", block.first_row, values)
    if came != announced:
        raise StoreError(
            f"{storage}: {came} rows came for a new part, and {announced} were expected: the "
            "index changed meanwhile. Run the same command again"
        )
    return draft


def _add_table(draft: Draft, name: str, n_rows: int) -> None:
    for column, kind in columns_of(name).items():
        draft.array(
            f"{name}/{column}", shape=(n_rows,), chunks=(min(max(n_rows, 1), TABLE_ROWS),),
            dtype=str if kind == "str" else kind,
            fill_value="" if kind == "str" else (float("nan") if "float" in kind else -1),
        )  # fmt: skip


def read_column(storage: Storage, where: str, n_rows: int) -> np.ndarray:
    """A whole column; a missing chunk is an error, not fill values.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    where : str
        The column, e.g. ``part-0000/series/patient``.
    n_rows : int
        Rows that its table has.

    Returns
    -------
    ndarray (n_rows,)
        Text as objects of type str.

    Raises
    ------
    StoreCorruptError
        A chunk is missing or damaged, or the column has another length.
    """
    files = storage.read_below(where)
    if "zarr.json" not in files:
        raise StoreCorruptError(f"{storage}/{where}/zarr.json is missing")
    checked_metadata(files["zarr.json"], f"{storage}/{where}/zarr.json")
    array = open_array(memory_store(files), "")
    if array.shape[0] != n_rows:
        raise StoreCorruptError(f"{storage}: {where} has {array.shape[0]} rows, not {n_rows}")
    missing = set(range(-(-n_rows // array.chunks[0]))) - chunk_numbers(files)
    if missing:
        raise StoreCorruptError(f"{storage}: {where} lacks its chunks {sorted(missing)[:5]}")
    values = read_rows(array, storage, where, 0, None)
    return values.astype(object).astype(str) if values.dtype.kind == "T" else values
