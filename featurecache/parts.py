"""The parts of a store together: which series counts where."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from featurecache import arrays
from featurecache.storage import Storage


def series_tables(store: Storage, parts: Sequence[int] | None = None) -> dict[int, pd.DataFrame]:
    """The ``series`` table of every part, with a column ``row_current``.

    A SeriesInstanceUID counts in the last part that has any stack of it, with all its stacks
    there: when its files change, it is written whole again.

    Parameters
    ----------
    store : Storage
        Where the store lies.
    parts : sequence of int, optional
        Numbers of the parts, where they are known.

    Returns
    -------
    dict of DataFrame
        Number of the part, in order -> columns `SERIES_COLUMNS` and ``row_current`` (bool).

    Raises
    ------
    StoreCorruptError
        A table is damaged.
    """
    parts = arrays.list_parts(store) if parts is None else parts
    tables = {part: arrays.read_table(store, part, "series") for part in parts}
    newer: set[str] = set()
    for table in reversed(tables.values()):
        table["row_current"] = ~table["series_of"].isin(newer)
        newer.update(table["series_of"])
    return tables


def current_rows(table: pd.DataFrame) -> np.ndarray:
    """Which rows of a part's flat arrays belong to series that count in it.

    Parameters
    ----------
    table : DataFrame
        From `series_tables`.

    Returns
    -------
    ndarray (N,), bool
    """
    return np.repeat(table["row_current"].to_numpy(bool), table["n_slices"].to_numpy())
