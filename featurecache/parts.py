"""The parts of a store together: which series counts where."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache import arrays
from featurecache.storage import Storage

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class PartSeries:
    """The series of one part as digests of their ids: a few bytes each, in the order of their rows.

    Parameters
    ----------
    series, series_of, source : ndarray (B,), S16
        `digests` of the columns of the ``series`` table.
    first_row, n_slices : ndarray (B,), int64
        Their rows.
    counts : ndarray (B,), bool
        Whether a series counts in this part; False where a later part has it.
    """

    series: np.ndarray
    series_of: np.ndarray
    source: np.ndarray
    first_row: np.ndarray
    n_slices: np.ndarray
    counts: np.ndarray

    def rows(self, series: np.ndarray) -> np.ndarray:
        """Turn a value for each series (B,) into one for each row (N,)."""
        return np.repeat(series, self.n_slices)


def digests(texts: Iterable[str]) -> np.ndarray:
    """Texts of any length as 16 bytes each, to be compared and sorted.

    Parameters
    ----------
    texts : iterable of str
        Ids.

    Returns
    -------
    ndarray (n,), S16
    """
    gathered = bytearray()
    for text in texts:
        data = text.encode("utf-8", "surrogateescape")
        gathered += hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
    return np.frombuffer(bytes(gathered), dtype=f"S{_DIGEST_BYTES}")


def part_series(store: Storage) -> list[PartSeries]:
    """The series of every part, by the rule of `series_tables`.

    Parameters
    ----------
    store : Storage
        Where the store lies.

    Returns
    -------
    list of PartSeries
        One a part.

    Raises
    ------
    StoreCorruptError
        A table is damaged.
    """
    parts: list[PartSeries] = []
    newer = digests([])
    for number in reversed(arrays.list_parts(store)):
        rows = arrays.read_table(store, number, "series", ("first_row", "n_slices"))
        first_row, n_slices = rows["first_row"].to_numpy(), rows["n_slices"].to_numpy()
        series, series_of, source = (  # one column of texts in memory at a time
            digests(arrays.read_table(store, number, "series", (name,))[name])
            for name in ("series", "series_of", "source")
        )
        counts = ~np.isin(series_of, newer)
        parts.insert(0, PartSeries(series, series_of, source, first_row, n_slices, counts))
        newer = np.union1d(newer, series_of)
    return parts


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


def dropped_series(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Series that an earlier part has, and that count in no part.

    When the files of a stack change and another stack of its SeriesInstanceUID is written again
    without it, because it is not selected or is gone, its old rows are read no longer.

    Parameters
    ----------
    tables : sequence of DataFrame
        From `series_tables`.

    Returns
    -------
    list of str
        Store ids, in order.
    """
    counting = {name for table in tables for name in table["series"][table["row_current"]]}
    return sorted({name for table in tables for name in table["series"]} - counting)
