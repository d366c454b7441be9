"""From a row of the store back to the file that it comes from."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from featurecache.catalogue import Catalogue, look_up, read_catalogue
from featurecache.errors import UsageError
from featurecache.identifiers import Identifiers
from featurecache.parts import PartSeries, digests, part_series
from featurecache.pixels import DecodeJob, job_for
from featurecache.reasons import CHANGED, VANISHED
from featurecache.storage import Storage
from featurecache.tables import series_source

if TYPE_CHECKING:
    from featurecache.index import Index
    from featurecache.stacks import Stack

_VANISHED, _CHANGED = 0, -1  # instead of a stack's number, which is 1 at least
_STACKS_KEPT = 4  # rows come in order: the series being read, and those of its neighbours
_INDEX_WAIT_MS = 600_000  # a re-scan of an archive that did not change takes seconds


class RowSource:
    """Finds the slice of every row of a store.

    Memory holds a few bytes a series; slices are read from the index when their turn comes, so
    the index must stay open and as it is.

    Parameters
    ----------
    store : Storage
        Where the store lies.
    index : Index
        What the scan found; open.
    identifiers : Identifiers
        Turns UIDs into store ids.
    catalogue : Catalogue, optional
        Of this index, where it has been read already.
    """

    def __init__(
        self, store: Storage, index: "Index", identifiers: Identifiers,
        catalogue: Catalogue | None = None,
    ) -> None:  # fmt: skip
        index.database.execute(f"PRAGMA busy_timeout = {_INDEX_WAIT_MS}")
        self._index, self._root, self._identifiers = index, index.root, identifiers
        catalogue = catalogue or read_catalogue(index, identifiers)
        self._parts = part_series(store)
        self._numbers = [_stack_numbers(part, catalogue) for part in self._parts]
        self._stacks: OrderedDict[tuple[int, int], Stack] = OrderedDict()

    def current(self, part: int) -> np.ndarray:
        """Which rows of a part count in it: bool (N,), False for superseded series."""
        return self._parts[part].rows(self._parts[part].counts)

    def missing(self, part: int) -> np.ndarray:
        """Which rows count, but their series is not in the index: bool (N,)."""
        return self._parts[part].rows(self._is_missing(part))

    def missing_series(self) -> int:
        """How many series of the store count, but are not in the index."""
        return sum(int(self._is_missing(part).sum()) for part in range(len(self._parts)))

    def count_series(self, series: Iterable[str]) -> int:
        """How many of these series (store ids) count in some part."""
        wanted = digests(series)
        counting = (part.series[part.counts] for part in self._parts)
        return sum(int(np.isin(ids, wanted).sum()) for ids in counting)

    def jobs(self, part: int, rows: range) -> Iterator[DecodeJob | str]:
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
                series = self._identifiers.series(stack.key)
                yield job_for(self._root, stack, stack.slices[position], series)

    def path(self, part: int, row: int) -> str | None:
        """File of a row, relative to the scanned root; None when it is no longer there."""
        stack, position = next(self._slices(part, range(row, row + 1)))
        return None if isinstance(stack, str) else stack.slices[position].path

    def _is_missing(self, part: int) -> np.ndarray:
        return self._parts[part].counts & (self._numbers[part] <= 0)

    def _slices(self, part: int, rows: range) -> "Iterator[tuple[Stack | str, int]]":
        first = self._parts[part].first_row
        for row in rows:
            place = int(np.searchsorted(first, row, side="right")) - 1
            yield self._stack(part, place), row - int(first[place])

    def _stack(self, part: int, place: int) -> "Stack | str":
        number = int(self._numbers[part][place])
        if number in (_VANISHED, _CHANGED):
            return VANISHED if number == _VANISHED else CHANGED
        if (part, place) not in self._stacks:
            self._stacks[part, place] = self._read(number, self._parts[part].source[place])
            while len(self._stacks) > _STACKS_KEPT:
                self._stacks.popitem(last=False)
        return self._stacks[part, place]

    def _read(self, number: int, source: bytes) -> "Stack":
        stack = self._index.numbered_stack(number)
        if stack is None or digests([series_source(stack, self._identifiers)])[0] != source:
            raise UsageError(
                f"{self._index.path} changed during this run: a scan wrote to it. Nothing wrong "
                "was stored; run the same command again, and it continues"
            )
        return stack


def _stack_numbers(part: PartSeries, catalogue: Catalogue) -> np.ndarray:
    """Number in the index of each series of a part, or what became of it: int64 (B,)."""
    places = look_up(part.series, catalogue.series)
    if not len(catalogue.numbers):
        return np.full(len(places), _VANISHED)
    same = catalogue.source[places] == part.source
    numbers = np.where(same, catalogue.numbers[places], _CHANGED)
    return np.where(places < 0, _VANISHED, numbers)
