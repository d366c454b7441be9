"""From a row of the store back to the file that it comes from."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from featurecache import arrays
from featurecache.identifiers import Identifiers
from featurecache.parts import current_rows, series_tables
from featurecache.pixels import DecodeJob, job_for
from featurecache.reasons import CHANGED, VANISHED
from featurecache.storage import Storage
from featurecache.tables import series_source

if TYPE_CHECKING:
    from featurecache.geometry import Stack
    from featurecache.index import Index


class RowSource:
    """Finds the slice of every row of a store.

    Parameters
    ----------
    store : Storage
        Where the store lies.
    index : Index
        What the scan found.
    identifiers : Identifiers
        Turns UIDs into store ids.
    """

    def __init__(self, store: Storage, index: "Index", identifiers: Identifiers) -> None:
        self._store, self._root, self._identifiers = store, index.root, identifiers
        self._stacks = {identifiers.series(stack.key): stack for stack in index.stacks()}
        self._sources = {
            series: series_source(stack, identifiers) for series, stack in self._stacks.items()
        }

    @property
    def part_count(self) -> int:
        """Parts that the store had when it was looked at; a rival may add others later."""
        return len(self._series)

    def current(self, part: int) -> np.ndarray:
        """Which rows of a part count in it: bool (N,), False for superseded series."""
        return current_rows(self._series[part])

    def missing(self, part: int) -> np.ndarray:
        """Which rows count, but their series is not in the index: bool (N,)."""
        table = self._series[part]
        return np.repeat(self._is_missing(table), table["n_slices"].to_numpy())

    def missing_series(self) -> int:
        """How many series of the store count, but are not in the index."""
        return sum(int(self._is_missing(table).sum()) for table in self._series.values())

    def count_series(self, series: Iterable[str]) -> int:
        """How many of these series (store ids) count in some part."""
        wanted = set(series)
        counting = (table["series"][table["row_current"]] for table in self._series.values())
        return sum(int(ids.isin(wanted).sum()) for ids in counting) if wanted else 0

    def _is_missing(self, table: pd.DataFrame) -> np.ndarray:
        found = table["series"].map(self._sources).eq(table["source"])
        return (table["row_current"] & ~found).to_numpy(bool)

    def jobs(self, part: int, rows: range) -> "Iterator[DecodeJob | str]":
        """What to decode for rows of a part.

        Parameters
        ----------
        part : int
            Number of the part.
        rows : range
            Consecutive rows.

        Yields
        ------
        DecodeJob or str
            The reason in words where the file is no longer what the row was planned for.
        """
        for stack, position in self._slices(part, rows):
            if isinstance(stack, str):
                yield stack
            else:
                yield job_for(self._root, stack, stack.slices[position])

    def path(self, part: int, row: int) -> str | None:
        """File of a row, relative to the scanned root; None when it is no longer there."""
        stack, position = next(self._slices(part, range(row, row + 1)))
        return None if isinstance(stack, str) else stack.slices[position].path

    def _slices(self, part: int, rows: range) -> "Iterator[tuple[Stack | str, int]]":
        ids, sources, numbers, positions = self._places[part]
        for row in rows:
            series, source = ids[numbers[row]], sources[numbers[row]]
            if self._sources.get(series) == source:
                yield self._stacks[series], int(positions[row])
            else:
                yield (CHANGED if series in self._sources else VANISHED), 0

    @cached_property
    def _series(self) -> dict[int, pd.DataFrame]:
        return series_tables(self._store)

    @cached_property
    def _places(self) -> dict[int, tuple[list[str], list[str], list[int], list[int]]]:
        slices = {part: arrays.read_table(self._store, part, "slices") for part in self._series}
        return {
            part: (
                table["series"].tolist(), table["source"].tolist(),
                slices[part]["series"].tolist(), slices[part]["position"].tolist(),
            )
            for part, table in self._series.items()
        }  # fmt: skip
