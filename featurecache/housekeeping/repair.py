"""What is damaged in a store, written again: from its neighbours, the index, and the network."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from featurecache.arrays import read_root, read_table
from featurecache.blueprints import root_files
from featurecache.columns import (
    TABLES,
)
from featurecache.errors import FeatureCacheError, StoreCorruptError, StoreError
from featurecache.housekeeping.faults import REPAIR, VerifyReport
from featurecache.housekeeping.repair_metadata import CannotRepairError, metadata_again
from featurecache.housekeeping.repair_tables import chunks_again
from featurecache.housekeeping.repair_units import Machine, units_again
from featurecache.housekeeping.verify import verify
from featurecache.identifiers import Identifiers
from featurecache.index import Index
from featurecache.locks import store_lock
from featurecache.open_storage import open_storage
from featurecache.part_numbers import parts_there
from featurecache.storage import Storage

Progress = Callable[[int, int], None]


def repair(
    store: str | Path | Storage, index_path: Path, identifiers: Callable[[], Identifiers],
    machine: Machine, progress: Progress | None = None,
) -> VerifyReport:  # fmt: skip
    """Verify a store, write again what is damaged, and verify it once more.

    Every file is replaced in one step, by content that is there in full; what cannot be had stays
    as it is.

    Parameters
    ----------
    store : str, Path or Storage
        The store.
    index_path : Path
        Index of the files that the store was made of.
    identifiers : callable
        Gives the key of the store; called when it is needed.
    machine : Machine
        What computes.
    progress : callable, optional
        Called with (done, to do) of each step.

    Returns
    -------
    VerifyReport
        Of the second reading, with what was repaired, and why the rest was not.

    Raises
    ------
    StoreError
        There is no store, it is being written, or it is no folder.
    """
    storage = open_storage(store)
    if storage.shared:
        raise StoreError(
            f"{storage}: --repair works on stores in a folder. Copy the store to one, repair it "
            "there and copy it back"
        )
    with store_lock(storage), ExitStack() as stack:
        report = verify(storage, progress)
        if not _damaged(report):
            return report
        mender = _Repair(storage, index_path, identifiers, machine, progress, stack)
        mender.metadata(_damaged(report))
        mender.root(_damaged(report))
        if mender.repaired:
            report = verify(storage, progress)  # chunks are read when their metadata can be
        mender.tables(_damaged(report))
        mender.units(_damaged(report))
        report = verify(storage, progress)
    report.repaired, report.kept = mender.repaired, mender.kept
    return report


def _damaged(report: VerifyReport) -> list[str]:
    """Files that may be written again.

    A status whose features are missing is among them: a run was killed there, or the features were
    deleted.
    """
    return [
        fault.file
        for fault in report.faults
        if fault.remedy == REPAIR or (fault.kind == "stray" and "/c." in fault.file)
    ]


class _Repair:
    """One repair: what was written, and what could not be."""

    def __init__(
        self, storage: Storage, index_path: Path, identifiers: Callable[[], Identifiers],
        machine: Machine, progress: Progress | None, stack: ExitStack,
    ) -> None:  # fmt: skip
        self._storage, self._index_path, self._machine = storage, index_path, machine
        self._identifiers, self._progress, self._stack = identifiers, progress, stack
        self._opened: Index | None = None
        self.repaired: list[str] = []
        self.kept: list[str] = []

    def root(self, damaged: list[str]) -> None:
        """The root, whose key is the one that gives the ids in the tables."""
        if "zarr.json" not in damaged:
            return
        try:
            index = self._index()
            ids = self._series()
            for load in (lambda: Identifiers(None), self._identifiers):
                identifiers = load()
                if any(identifiers.series(stack.key) in ids for stack in index.stacks()):
                    self._write("zarr.json", root_files(identifiers.digest)["zarr.json"])
                    return
            raise CannotRepairError(
                "the ids in the store are not those that this key gives for the series of the "
                "index. Name the right --key and --index"
            )
        except FeatureCacheError as error:
            self.kept.append(f"zarr.json: {error}")

    def metadata(self, damaged: list[str]) -> None:
        """All metadata but the root's."""
        # The deepest first: a part counts the rows of its tables.
        for key in sorted(damaged, key=lambda key: (-key.count("/"), key)):
            if key.endswith("/zarr.json"):
                try:
                    self._write(key, metadata_again(self._storage, key))
                except CannotRepairError as error:
                    self.kept.append(f"{key}: {error}")

    def tables(self, damaged: list[str]) -> None:
        """Chunks of table columns."""
        columns: dict[int, set[str]] = defaultdict(set)
        for key in damaged:
            part, table, column, chunk = [*key.split("/"), "", "", ""][:4]
            if table in TABLES and chunk.startswith("c."):
                columns[_part(part)].add(f"{table}/{column}")
        for number, names in columns.items():
            try:
                again = chunks_again(self._storage, number, names, self._index(), self._key())
            except FeatureCacheError as error:
                self.kept.append(str(error))
                continue
            for key in sorted(set(again) & set(damaged)):
                self._write(key, again[key])

    def units(self, damaged: list[str]) -> None:
        """Units of feature sets, all of a set at once."""
        units: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for key in damaged:
            part, group, name, chunk = [*key.split("/"), "", "", ""][:4]
            if group in ("features", "status") and chunk.startswith("c."):
                units[name][_part(part)].add(int(chunk.split(".")[1]))
        for name, of_parts in units.items():
            try:
                written, refused = units_again(
                    self._storage, name, of_parts, self._index(), self._key(), self._machine,
                    self._progress,
                )  # fmt: skip
            except FeatureCacheError as error:
                self.kept.append(str(error))
                continue
            self.repaired += written
            self.kept += refused

    def _series(self) -> set[str]:
        """Ids of the series in the store, as far as they can be read."""
        ids: set[str] = set()
        for part in parts_there(self._storage):
            with suppress(StoreCorruptError):
                ids.update(read_table(self._storage, part, "series", ["series"])["series"])
        return ids

    def _write(self, key: str, content: bytes) -> None:
        self._storage.write(key, content)
        self.repaired.append(key)

    def _index(self) -> Index:
        if self._opened is None:
            if not self._index_path.exists():
                raise CannotRepairError(
                    f"there is no index {self._index_path}: name that of the scan with --index"
                )
            self._opened = self._stack.enter_context(Index.open(self._index_path, readonly=True))
        return self._opened

    def _key(self) -> Identifiers:
        digest = read_root(self._storage)["key_digest"]
        identifiers = Identifiers(None) if digest is None else self._identifiers()
        identifiers.check(digest)
        return identifiers


def _part(folder: str) -> int:
    return int(folder.removeprefix("part-"))
