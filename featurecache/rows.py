"""From a row of the store back to the file that it comes from."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from featurecache import arrays
from featurecache.identifiers import Identifiers
from featurecache.pixels import DecodeJob, job_for
from featurecache.reasons import CHANGED, VANISHED
from featurecache.tables import series_source

if TYPE_CHECKING:
    from featurecache.geometry import Stack
    from featurecache.index import Index


class RowSource:
    """Finds the slice of every row of a store.

    Parameters
    ----------
    store : Path
        Folder of the store.
    index : Index
        What the scan found.
    identifiers : Identifiers
        Turns UIDs into store ids.
    """

    def __init__(self, store: Path, index: "Index", identifiers: Identifiers) -> None:
        self._store, self._root = store, index.root
        self._stacks = {identifiers.series(stack.key): stack for stack in index.stacks()}
        self._tables = cache(self._read_tables)

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
        series, sources, numbers, positions = self._tables(part)
        for row in rows:
            number = numbers[row]
            stack = self._stacks.get(series[number])
            if stack is None:
                yield VANISHED, 0
            elif self._source(series[number]) != sources[number]:
                yield CHANGED, 0
            else:
                yield stack, int(positions[row])

    @cache  # noqa: B019 (lives as long as one run)
    def _source(self, series: str) -> str:
        return series_source(slice_.source for slice_ in self._stacks[series].slices)

    def _read_tables(self, part: int) -> tuple[list[str], list[str], list[int], list[int]]:
        series = arrays.read_table(self._store, part, "series")
        slices = arrays.read_table(self._store, part, "slices")
        return (
            series["series"].tolist(), series["source"].tolist(),
            slices["series"].tolist(), slices["position"].tolist(),
        )  # fmt: skip
