"""What is to be computed: rows that are decoded once, for every feature set that lacks them."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from featurecache import arrays
from featurecache.arrays import OK
from featurecache.catalogue import Catalogue
from featurecache.errors import StoreIncompleteError
from featurecache.feature_array import FeatureArray
from featurecache.index import Index
from featurecache.job import Job
from featurecache.reasons import PASSING_REASONS
from featurecache.rows import RowSource

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """One chunk of one feature set: what is committed at once.

    Parameters
    ----------
    place : int
        Which feature set, in the order of the job.
    array : FeatureArray
        Where it is written.
    unit : int
        Which chunk.
    retry : frozenset of int, optional
        Rows to compute again in a chunk that is committed; all rows where None.
    """

    place: int
    array: FeatureArray
    unit: int
    retry: frozenset[int] | None = None

    @property
    def wanted(self) -> np.ndarray:
        """Which of its rows are computed: bool (n,)."""
        rows = self.array.rows(self.unit)
        return np.array([self.retry is None or row in self.retry for row in rows])

    def commit(self, values: np.ndarray, status: np.ndarray) -> None:
        """Write the chunk, or its rows that were tried again; see `FeatureArray.write_unit`."""
        if self.retry is None:
            self.array.write_unit(self.unit, values, status)
        else:
            self.array.update_unit(self.unit, values, status, self.wanted)


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows of a part that are decoded once.

    Parameters
    ----------
    part : int
        Number of the part.
    rows : range
        Its rows.
    targets : tuple of Target
        The chunks of these rows that are to be computed, one a feature set at most.
    """

    part: int
    rows: range
    targets: tuple[Target, ...]

    @property
    def span(self) -> tuple[int, int, int]:
        """Part, first row, row after the last: names the unit, in other processes too."""
        return self.part, self.rows.start, self.rows.stop

    @property
    def wanted(self) -> np.ndarray:
        """Which of the rows are decoded: bool (n,)."""
        wanted: np.ndarray = np.logical_or.reduce([target.wanted for target in self.targets])
        return wanted


class Work:
    """The feature sets of a job in its store: what is there, what is left, what failed.

    Parameters
    ----------
    job : Job
        Feature sets, share and how to run.
    index : Index
        What the scan found; it must stay open.
    catalogue : Catalogue, optional
        Of this index, where it has been read already.

    Attributes
    ----------
    arrays : list of list of FeatureArray
        By feature set, then by part.
    source : RowSource
        Finds the file of each row.

    Raises
    ------
    StoreIncompleteError
        The store was not planned for these feature sets.
    StoreCorruptError
        The store is damaged.
    """

    def __init__(self, job: Job, index: Index, catalogue: Catalogue | None = None) -> None:
        self._job = job
        parts = arrays.list_parts(job.store)
        _check_planned(job, parts)
        self.arrays = [
            [FeatureArray(job.store, part, name, writable=True) for part in parts]
            for name in job.names
        ]
        self.source = RowSource(job.store, index, job.identifiers, catalogue)

    def units(self) -> list[Unit]:
        """What is left to do in the job's share, part by part."""
        units: list[Unit] = []
        for part in range(len(self.arrays[0])):
            mine = [sets[part] for sets in self.arrays]
            sizes = sorted({array.unit_slices for array in mine})
            found = [list(self._units(part, size)) for size in sizes]
            if sum(map(bool, found)) > 1:
                _log.warning(
                    "these feature sets were planned with units of different size (%s slices), so "
                    "slices are decoded more than once", ", ".join(map(str, sizes)),
                )  # fmt: skip
            units += [unit for of_size in found for unit in of_size]
        return units

    def share(self, array: FeatureArray) -> set[int]:
        """Units of an array that are in the job's share, done or not."""
        return {unit for unit in range(array.n_units) if self._job.has(unit, array.part)}

    def failed_rows(self) -> Iterator[tuple[int, int, str]]:
        """Rows of the share that failed in some feature set: (part, row, reason)."""
        for part in range(len(self.arrays[0])):
            reasons: dict[int, str] = {}
            current = self.source.current(part)
            for array in (sets[part] for sets in self.arrays):
                status = array.read_status()
                for row in np.flatnonzero((status > OK) & current).tolist():
                    if self._job.has(row // array.unit_slices, part):
                        reasons.setdefault(row, array.reason(int(status[row])))
            yield from ((part, row, reason) for row, reason in sorted(reasons.items()))

    def n_failed(self, place: int) -> int:
        """How many rows of one feature set failed, of all shares; superseded rows do not count."""
        return sum(
            int(((array.read_status() > OK) & self.source.current(array.part)).sum())
            for array in self.arrays[place]
        )

    def _units(self, part: int, size: int) -> Iterator[Unit]:
        """Units of the feature sets whose chunks have this many rows."""
        targets: dict[int, list[Target]] = defaultdict(list)
        for place, sets in enumerate(self.arrays):
            if sets[part].unit_slices == size:
                for target in self._targets(place, sets[part]):
                    targets[target.unit].append(target)
        for unit in sorted(targets):
            yield Unit(part, targets[unit][0].array.rows(unit), tuple(targets[unit]))

    def _targets(self, place: int, array: FeatureArray) -> Iterator[Target]:
        """Chunks of one array to compute: those without a commit, and those to be tried again."""
        run, share, done = self._job.run, self.share(array), array.units_done()
        missing = self.source.missing(array.part)
        for unit in share - done:
            if run.accept_missing or not missing[_slice(array.rows(unit))].any():
                yield Target(place, array, unit)
        status = array.read_status()
        again = array.interrupted_rows(status, done)
        if run.retry_failed:
            passing = np.isin(status, sorted(PASSING_REASONS))
            again |= passing & self.source.current(array.part) & ~missing
        for unit in share & done:
            rows = array.rows(unit)
            retry = frozenset((np.flatnonzero(again[_slice(rows)]) + rows.start).tolist())
            if retry:
                yield Target(place, array, unit, retry)


def count_slices(units: Sequence[Unit]) -> int:
    """Slices that are decoded for some units.

    Parameters
    ----------
    units : sequence of Unit
        From `Work.units`.

    Returns
    -------
    int
    """
    return sum(int(unit.wanted.sum()) for unit in units)


def _check_planned(job: Job, parts: Sequence[int]) -> None:
    for part in parts:
        lacking = set(job.names) - set(arrays.list_features(job.store, part))
        if lacking:
            raise StoreIncompleteError(
                f"{job.store} has no plan for features {', '.join(sorted(lacking))} in "
                f"{arrays.part_name(part)}, and none can be made while other shards run. Wait for "
                "them, or ask for the feature sets that they compute"
            )


def _slice(rows: range) -> slice:
    return slice(rows.start, rows.stop)
