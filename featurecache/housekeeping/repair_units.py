"""Units of a feature set computed again, as they were planned."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featurecache.arrays import OK
from featurecache.devices import resolve_device, threads_kept
from featurecache.embed import Embedder
from featurecache.errors import FeatureCacheError, StoreCorruptError
from featurecache.feature_array import FeatureArray
from featurecache.housekeeping.repair_metadata import CannotRepairError
from featurecache.networks import is_of_file, options_of
from featurecache.pipeline import run
from featurecache.plan import earlier_plan
from featurecache.rows import RowSource
from featurecache.runner import open_backbone
from featurecache.storage import Storage
from featurecache.units import Target, Unit
from featurecache.words import plural

if TYPE_CHECKING:
    from featurecache.identifiers import Identifiers
    from featurecache.index import Index


@dataclass(frozen=True, slots=True)
class Machine:
    """What computes.

    Parameters
    ----------
    weights : Path or None
        File of weights, for features whose weights came from one.
    device : str
        As ``--device`` of `extract`.
    workers : int
        Processes that decode.
    """

    weights: Path | None
    device: str
    workers: int


class MendedArray(FeatureArray):
    """Writes a unit again if it agrees with what is left of it; else leaves it as it is.

    Parameters
    ----------
    storage, part, name
        As of `FeatureArray`.
    current : ndarray (N,), bool
        Rows that count; superseded ones cannot be computed again.

    Attributes
    ----------
    refused : list of str
        Why units were left as they are.
    written : list of int
        Units that were written.
    """

    def __init__(self, storage: Storage, part: int, name: str, current: np.ndarray) -> None:
        super().__init__(storage, part, name, writable=True)
        self._current = current
        self.refused: list[str] = []
        self.written: list[int] = []

    def write_unit(self, unit: int, values: np.ndarray, status: np.ndarray) -> None:
        """Commit one unit, see `FeatureArray.write_unit`.

        Rows that were ok must be ok again. Those that had failed keep their reason, and features
        that can be read stay.
        """
        rows = self.rows(unit)
        old_status, old_values = self._left_of(unit)
        if old_status is not None:
            was_ok = old_status == OK
            status = np.where(was_ok, status, old_status)
        elif old_values is not None:
            was_ok = np.isfinite(old_values).all(axis=1)
            values = np.where(was_ok[:, None], old_values, values)
        else:
            was_ok = np.zeros(len(rows), bool)
        lost = was_ok & (status != OK) & self._current[rows.start : rows.stop]
        if lost.any():
            row = int(np.flatnonzero(lost)[0])
            self.refused.append(
                f"{self.where}, unit {unit}: {plural(int(lost.sum()), 'slice')} that had features "
                f"cannot be computed now ({self.reason(int(status[row]))}). Run `featurecache "
                "scan`, see what became of their files, and repair again"
            )
            return
        super().write_unit(unit, values, status)
        self.written.append(unit)

    def _left_of(self, unit: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Status and features of a unit, each None where it cannot be read or trusted."""
        rows, known = self.rows(unit), {OK, *map(int, self.attributes["reason_codes"])}
        status = self._try(lambda: self.unit_status(unit))
        values = self._try(lambda: self.read(rows.start, rows.stop))
        if status is not None and not known.issuperset(status.tolist()):
            status = None
        there = self.storage.exists(f"{self.where}/c.{unit}.0")
        return status, values if there else None

    def _try(self, reader: Callable[[], np.ndarray]) -> np.ndarray | None:
        try:
            return reader()
        except StoreCorruptError:
            return None


def units_again(
    storage: Storage, name: str, units: Mapping[int, Collection[int]], index: "Index",
    identifiers: "Identifiers", machine: Machine, progress: Callable[[int, int], None] | None,
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Compute units of a feature set again, with its recipe and its plan.

    Parameters
    ----------
    storage : Storage
        Where the store lies; its lock is held.
    name : str
        Name of the feature set.
    units : mapping
        Number of a part -> its units.
    index : Index
        What the scan found.
    identifiers : Identifiers
        The key of the store.
    machine : Machine
        What computes.
    progress : callable, optional
        Called with (slices done, slices to do).

    Returns
    -------
    written : list of str
        Keys of the feature chunks that were written.
    refused : list of str
        Why others were not.

    Raises
    ------
    CannotRepairError
        The weights or the device are not those of the features.
    """
    source = RowSource(storage, index, identifiers)
    arrays = [MendedArray(storage, part, name, source.current(part)) for part in sorted(units)]
    work, refused = [], []
    for array in arrays:
        for unit in sorted(units[array.part]):
            why = _refusal(array, unit, source, index)
            if why is None:
                work.append(Unit(array.part, array.rows(unit), (Target(0, array, unit),)))
            else:
                refused.append(why)
    if not work:
        return [], refused
    total, done = sum(len(unit.rows) for unit in work), 0

    def advance(n_slices: int) -> None:
        nonlocal done
        done += n_slices
        if progress is not None:
            progress(done, total)

    with threads_kept():
        embedder = _embedder(storage, name, arrays[0].attributes["recipe"], machine)
        run(work, source, [embedder], workers=machine.workers, progress=advance)
    written = [f"{array.where}/c.{unit}.0" for array in arrays for unit in array.written]
    return written, refused + [why for array in arrays for why in array.refused]


def _refusal(array: MendedArray, unit: int, source: RowSource, index: "Index") -> str | None:
    """Why a unit cannot be computed, as far as the index says."""
    rows = array.rows(unit)
    count = int(source.missing(array.part)[rows.start : rows.stop].sum())
    if not count:
        return None
    return (
        f"{array.where}, unit {unit}: series of {count} of its slices are not in the index "
        f"{index.path} as they were. Bring the files back, scan, and repair again"
    )


def _embedder(
    storage: Storage, name: str, recipe: Mapping[str, Any], machine: Machine
) -> Embedder:  # fmt: skip
    """The network as it was planned, or the reason why there is none."""
    try:
        weights = machine.weights if is_of_file(recipe) else None
        options = options_of(recipe, weights=weights, name=name)
        device = resolve_device(machine.device)
        planned = earlier_plan(storage, options, open_backbone(options), device)
    except FeatureCacheError as error:
        raise CannotRepairError(f"features {name!r} cannot be computed here: {error}") from error
    if planned is None:
        raise CannotRepairError(f"no part has features {name!r}")
    embedder = planned.embedder(device)
    embedder.warm_up()
    return embedder
