"""Read every byte of a store and say what is not as it was written."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from featurecache import arrays, faults
from featurecache.arrays import part_name
from featurecache.chunks import chunk_numbers
from featurecache.errors import StoreCorruptError, StoreError
from featurecache.faults import Fault, Kind, VerifyReport
from featurecache.feature_checks import FeatureChecks
from featurecache.metadata import checked_metadata
from featurecache.nodes import memory_store, open_array
from featurecache.open_storage import open_storage
from featurecache.storage import Storage
from featurecache.table_checks import table_findings
from featurecache.tables import SERIES_COLUMNS, SLICES_COLUMNS

_TABLES = {"series": SERIES_COLUMNS, "slices": SLICES_COLUMNS}
_GROUPS = ("series", "slices", "features", "status")


def verify(
    store: str | Path | Storage, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check a store: every file is there, and is what was written; every number fits the others.

    Nothing is written, and no lock is taken: while an extraction runs, its units are reported as
    missing.

    Parameters
    ----------
    store : str, Path or Storage
        The store.
    progress : callable, optional
        Called with (units read, units there).

    Returns
    -------
    VerifyReport

    Raises
    ------
    StoreError
        There is no store, or a newer featurecache wrote it.
    """
    storage = open_storage(store)
    return _Verification(storage, progress).run()


class _Verification:
    """One reading of a store; `known` are the keys that belong to it."""

    def __init__(
        self, storage: Storage, progress: Callable[[int, int], None] | None
    ) -> None:  # fmt: skip
        self._storage, self._progress = storage, progress
        self._report = VerifyReport(str(storage))
        self._known: set[str] = set()
        self._hashed: bool | None = None
        self._features: dict[str, dict[int, dict[str, Any]]] = {}
        self._units_there = 0

    def run(self) -> VerifyReport:
        """All checks, from the root to the last chunk."""
        self._root()
        parts = self._parts()
        self._keys = list(walk(self._storage))
        self._units_there = sum("/features/" in key and "/c." in key for key in self._keys)
        for part in parts:
            self._part(part)
        self._across(parts)
        self._strays()
        self._report.files, self._report.parts = len(self._known & set(self._keys)), len(parts)
        return self._report

    def _fault(self, kind: Kind, file: str, what: str, remedy: str) -> None:
        self._report.faults.append(Fault(kind, file, what, remedy))

    def _root(self) -> None:
        self._known.add("zarr.json")
        try:
            attributes = arrays.read_root(self._storage)
        except StoreError as error:
            damaged = isinstance(error, StoreCorruptError)
            if not damaged and not any(n.startswith("part-") for n in self._storage.folders()):
                raise
            if not damaged and "Update featurecache" in str(error):
                raise
            self._fault("damaged", "zarr.json", str(error), faults.REPAIR_INDEX)
            return
        digest = attributes["key_digest"]
        self._hashed = digest is not None
        if digest is not None and not _is_digest(digest):
            self._fault(
                "damaged", "zarr.json", f"key_digest {digest!r} is not 32 hexadecimal digits",
                faults.REPAIR_INDEX,
            )  # fmt: skip

    def _parts(self) -> list[int]:
        parts = arrays.parts_there(self._storage)
        for part in sorted(set(range(max(parts, default=-1))) - set(parts)):
            what = "is missing, and later parts are there"
            self._fault("damaged", part_name(part), what, faults.COPY)
        return parts

    def _part(self, part: int) -> None:
        folder = part_name(part)
        attributes = self._metadata(folder, self._read_file(f"{folder}/zarr.json"), ("n_series", "n_slices"))
        for group in ("features", "status"):
            self._metadata(f"{folder}/{group}", self._read_file(f"{folder}/{group}/zarr.json"))
        tables = {
            table: self._table(part, table, attributes.get(f"n_{table}")) for table in _TABLES
        }
        series, slices = tables["series"], tables["slices"]
        if series is not None and slices is not None:
            for column, what in table_findings(series, slices, self._hashed):
                self._fault("damaged", f"{folder}/{column}", what, faults.COPY)
        n_slices = attributes.get("n_slices", None if slices is None else len(slices))
        self._feature_sets(part, n_slices)
