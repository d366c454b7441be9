"""The parts of a store together: which series counts where."""

import numpy as np
import pandas as pd

from featurecache import arrays
from featurecache.storage import Storage


def series_tables(store: Storage) -> list[pd.DataFrame]:
    """The ``series`` table of every part, with a column ``row_current``.

    A SeriesInstanceUID counts in the last part that has any stack of it, with all its stacks
    there: when its files change, it is written whole again.

    Parameters
    ----------
    store : Storage
        Where the store lies.

    Returns
    -------
    list of DataFrame
        One a part, columns `SERIES_COLUMNS` and ``row_current`` (bool).

    Raises
    ------
    StoreCorruptError
        A table is damaged.
    """
    tables = [arrays.read_table(store, part, "series") for part in arrays.list_parts(store)]
    newer: set[str] = set()
    for table in reversed(tables):
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
