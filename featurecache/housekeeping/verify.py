"""Read every byte of a store and say what is not as it was written."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featurecache import arrays
from featurecache.chunks import file_rows
from featurecache.columns import (
    GROUPS,
    TABLES,
    as_text,
    columns_of,
)
from featurecache.errors import StoreCorruptError, StoreError
from featurecache.housekeeping.faults import (
    COPY,
    DISK,
    EXTRACT,
    GC,
    REPAIR,
    STRANGER,
    Fault,
    Kind,
    VerifyReport,
)
from featurecache.housekeeping.feature_checks import FeatureChecks
from featurecache.housekeeping.table_checks import table_findings
from featurecache.identifiers import is_digest
from featurecache.metadata import checked_metadata
from featurecache.nodes import memory_store, open_array
from featurecache.open_storage import open_storage
from featurecache.part_numbers import lost_parts, part_name, parts_there, replaced_parts
from featurecache.storage import Storage, walk


def verify(
    store: str | Path | Storage, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check a store: every file is there, and is what was written; every number fits the others.

    Nothing is written, and no lock is taken: while an extraction runs, units that it has not
    committed yet are reported as missing.

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
    return _Verification(open_storage(store), progress).run()


class _Verification:
    """One reading of a store; `_known` are the keys that belong to it."""

    def __init__(self, storage: Storage, progress: Callable[[int, int], None] | None) -> None:
        self._storage, self._progress = storage, progress
        self._report = VerifyReport(str(storage))
        self._known: set[str] = set()
        self._unreadable: set[str] = set()
        self._hashed: bool | None = None
        self._fingerprints: dict[str, dict[int, Any]] = {}

    def run(self) -> VerifyReport:
        """All checks, from the root to the last chunk."""
        self._root()
        parts = parts_there(self._storage)
        self._numbers(parts)
        self._keys = set(walk(self._storage))
        self._there = sum("/features/" in key and "/c." in key for key in self._keys)
        for part in parts:
            self._part(part)
        self._across(parts)
        self._strays()
        self._report.files, self._report.parts = len(self._known & self._keys), len(parts)
        return self._report

    def _fault(self, kind: Kind, file: str, what: str, remedy: str) -> None:
        self._report.faults.append(Fault(kind, file, what, remedy))

    def _root(self) -> None:
        self._known.add("zarr.json")
        try:
            digest = arrays.read_root(self._storage)["key_digest"]
        except StoreError as error:
            # A newer format passes its own digest, so only what is damaged can be a store of ours.
            if not isinstance(error, StoreCorruptError) and not self._damaged_root():
                raise
            self._fault("damaged", "zarr.json", "is missing or damaged", REPAIR)
            return
        self._hashed = digest is not None
        if digest is not None and not is_digest(digest):
            what = f"key_digest {digest!r} is not 32 hexadecimal digits"
            self._fault("damaged", "zarr.json", what, COPY)

    def _damaged_root(self) -> bool:
        """Whether there are parts, and a root that cannot be read."""
        if not parts_there(self._storage):
            return False
        try:
            checked_metadata(self._storage.read("zarr.json"), "zarr.json")
        except (StoreCorruptError, FileNotFoundError):
            return True
        return False

    def _numbers(self, parts: list[int]) -> None:
        try:
            lost = lost_parts(self._storage, parts)
            replaced = replaced_parts(self._storage, parts)
        except StoreCorruptError:
            return  # reported with the metadata of that part
        for part in lost:
            self._fault("damaged", part_name(part), "is missing, and later parts are there", COPY)
        for part in replaced:
            what = "a later part replaces it: `featurecache gc` was killed here"
            self._fault("stray", part_name(part), what, GC)

    def _part(self, part: int) -> None:
        folder = part_name(part)
        attributes = self._attributes(folder)
        for group in GROUPS:
            self._attributes(f"{folder}/{group}")
        tables = {name: self._table(folder, name, attributes.get(f"n_{name}")) for name in TABLES}
        series, slices = tables["series"], tables["slices"]
        if series is not None and slices is not None:
            for column, what in table_findings(series, slices, self._hashed):
                self._fault("damaged", f"{folder}/{column}", what, COPY)
        n_slices = attributes.get("n_slices", None if slices is None else len(slices))
        self._feature_sets(part, n_slices)

    def _read(self, node: str, names: Iterable[str]) -> dict[str, bytes]:
        """Files of a node that are there and can be read, by name."""
        files = {}
        for name in names:
            key = f"{node}/{name}"
            if key in self._keys:
                try:
                    files[name] = self._storage.read(key)
                except OSError as error:
                    if self._storage.shared:
                        raise
                    self._fault("damaged", key, f"cannot be read ({error.strerror})", DISK)
                    self._unreadable.add(key)
        return files

    def _missing(self, key: str) -> None:
        if key not in self._unreadable:
            self._fault("damaged", key, "is missing", REPAIR)

    def _attributes(self, node: str) -> dict[str, Any]:
        """Attributes of a group; empty where they cannot be read."""
        document = self._metadata(node, self._read(node, ["zarr.json"]))
        return {} if document is None else dict(document["attributes"])

    def _metadata(self, node: str, files: Mapping[str, bytes]) -> dict[str, Any] | None:
        key = f"{node}/zarr.json"
        self._known.add(key)
        if "zarr.json" not in files:
            self._missing(key)
            return None
        try:
            return checked_metadata(files["zarr.json"], "")
        except StoreCorruptError as error:
            self._fault("damaged", key, str(error).strip(), REPAIR)
            return None

    def _table(self, folder: str, table: str, n_rows: int | None) -> pd.DataFrame | None:
        """The table, or None where any column cannot be read."""
        columns: dict[str, np.ndarray] = {}
        for column in columns_of(table):
            values = self._column(f"{folder}/{table}/{column}", n_rows)
            if values is not None:
                columns[column] = as_text(values)
                n_rows = len(values) if n_rows is None else n_rows
        return pd.DataFrame(columns) if len(columns) == len(columns_of(table)) else None

    def _column(self, where: str, n_rows: int | None) -> np.ndarray | None:
        files = self._read(where, self._storage.files(where))
        sound = self._metadata(where, files) is not None
        if not sound:
            self._known.update(f"{where}/{key}" for key in files if key.startswith("c."))
            return None
        array = open_array(memory_store(files), "")
        rows, pieces = file_rows(array), []
        for chunk, start in enumerate(range(0, array.shape[0], rows)):
            key = f"{where}/c.{chunk}"
            self._known.add(key)
            if f"c.{chunk}" not in files:
                self._missing(key)
                continue
            try:
                pieces.append(np.asarray(array[start : start + rows]))
            except Exception as error:  # each codec has its own
                self._fault("damaged", key, f"cannot be read ({error})", REPAIR)
        if n_rows is not None and array.shape[0] != n_rows:
            what = f"it has {array.shape[0]} rows, expected {n_rows}"
            self._fault("damaged", f"{where}/zarr.json", what, COPY)
            return None
        if sum(map(len, pieces)) < array.shape[0]:
            return None
        return np.concatenate(pieces) if pieces else np.asarray(array[:])

    def _feature_sets(self, part: int, n_slices: int | None) -> None:
        folder = part_name(part)
        names, statuses = (
            {
                key.split("/")[2]
                for key in self._keys
                if key.startswith(f"{folder}/{group}/") and key.count("/") == 3
            }
            for group in ("features", "status")
        )
        for name in sorted(names):
            checks = FeatureChecks(self._storage, part, name)
            self._report.faults += checks.faults(n_slices, self._advance)
            if checks.attributes is None:
                checks.known |= checks.own(self._keys)
            else:
                fingerprint = checks.attributes.get("fingerprint")
                self._fingerprints.setdefault(name, {})[part] = fingerprint
            self._known |= checks.known
        for name in sorted(statuses - names):
            self._status_alone(f"{folder}/status/{name}", f"{folder}/features/{name}")

    def _status_alone(self, status: str, features: str) -> None:
        """A run that is killed leaves an empty status array; one with chunks had features."""
        keys = {key for key in self._keys if key.startswith(f"{status}/")}
        self._known |= keys
        if any("/c." in key for key in keys):
            self._fault("damaged", features, f"is missing, and {status} has chunks", COPY)
        else:
            self._fault("stray", status, "has no features: a run was killed here", GC)

    def _advance(self) -> None:
        self._report.units += 1
        if self._progress is not None:
            self._progress(self._report.units, self._there)

    def _across(self, parts: list[int]) -> None:
        """Feature sets that some parts lack, or have by another recipe."""
        for name, by_part in self._fingerprints.items():
            first = by_part[min(by_part)]
            for part in parts:
                where = f"{part_name(part)}/features/{name}"
                if part in by_part and by_part[part] != first:
                    what = f"made by another recipe than {part_name(min(by_part))}"
                    self._fault("damaged", f"{where}/zarr.json", what, COPY)
                if part not in by_part and f"{where}/zarr.json" not in self._known:
                    self._fault("unfinished", where, "this part has no such features yet", EXTRACT)

    def _strays(self) -> None:
        for key in sorted(self._keys - self._known):
            debris = key.endswith((".partial", ".partial/"))
            what = "a killed run left it, or a running one is writing it" if debris else (
                "it does not belong to the store"
            )  # fmt: skip
            self._fault("stray", key, what, GC if debris else STRANGER)
