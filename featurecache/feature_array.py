"""One feature set in one part: its units, their commits, and what was read back."""

from typing import Any, NoReturn

import numpy as np

from featurecache.arrays import OK, UNWRITTEN, part_name
from featurecache.chunks import chunk_numbers, file_rows, read_rows, remedy
from featurecache.errors import StoreCorruptError, StoreError, StoreLockedError
from featurecache.metadata import read_metadata
from featurecache.nodes import decode_rows, encode_rows, open_array
from featurecache.plain_array import PlainArray, is_plain
from featurecache.storage import Storage


class FeatureArray:
    """The feature and status arrays of one feature set in one part.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    part : int
        Number of the part.
    name : str
        Name of the feature set.
    writable : bool
        Open for `write_unit` and `update_unit`.

    Attributes
    ----------
    shape : tuple of int
        (N, D).
    dtype : numpy.dtype
        float16 or float32.
    unit_slices : int
        Rows of a unit.
    attributes : dict
        What `create_features` was given.

    Raises
    ------
    StoreCorruptError
        The metadata are not what was written, or those of the two arrays do not fit.
    """

    def __init__(self, storage: Storage, part: int, name: str, *, writable: bool = False) -> None:
        self.storage, self.part, self.name, self.writable = storage, part, name, writable
        self.where = f"{part_name(part)}/features/{name}"
        self._status_where = f"{part_name(part)}/status/{name}"
        both = (self.where, self._status_where)
        self._metadata = {where: read_metadata(storage, where) for where in both}
        self._features, self._status = (self._open(where) for where in both)
        self._seen: np.ndarray | None = None
        self.attributes: dict[str, Any] = dict(self._metadata[self.where]["attributes"])
        self.shape: tuple[int, int] = (self._features.shape[0], self._features.shape[1])
        self.dtype = np.dtype(self._features.dtype)
        self.unit_slices: int = file_rows(self._features)
        if (self._status.shape, self._status.chunks) != (self.shape[:1], (self.unit_slices,)):
            raise StoreCorruptError(
                f"{storage}: {self._status_where} has {self._status.shape} rows in chunks of "
                f"{self._status.chunks}, {self.where} {self.shape[:1]} in {(self.unit_slices,)}"
            )

    def _open(self, where: str) -> Any:
        folder, metadata = self.storage.folder, self._metadata[where]
        if folder is not None and is_plain(metadata):
            return PlainArray(folder / where, metadata)
        return open_array(self.storage.zarr_store(), where)

    @property
    def n_units(self) -> int:
        """Units that the plan has."""
        return -(-self.shape[0] // self.unit_slices)

    def rows(self, unit: int) -> range:
        """Rows of a unit."""
        start = unit * self.unit_slices
        return range(start, min(start + self.unit_slices, self.shape[0]))

    def units_done(self) -> set[int]:
        """Units whose feature chunk exists, which is to say: that are committed.

        Raises
        ------
        StoreCorruptError
            A committed unit has no status chunk.
        """
        done = chunk_numbers(self.storage.files(self.where))
        without = done - chunk_numbers(self.storage.files(self._status_where))
        if without:
            unit = min(without)
            raise StoreCorruptError(
                f"{self.storage}: {self._status_where} lacks the chunk of unit {unit}. "
                f"{remedy(self.storage, self.where, unit)}"
            )
        return done

    def interrupted_rows(self, status: np.ndarray, done: set[int]) -> np.ndarray:
        """Rows of committed units that a run was trying again when it was stopped.

        Parameters
        ----------
        status : ndarray (N,) uint8
            From `read_status`.
        done : set of int
            From `units_done`.

        Returns
        -------
        ndarray (N,), bool
        """
        committed = np.isin(np.arange(self.n_units), sorted(done))
        return np.repeat(committed, self.unit_slices)[: len(status)] & (status == UNWRITTEN)

    def write_unit(self, unit: int, values: np.ndarray, status: np.ndarray) -> None:
        """Commit one unit: status first, features last.

        Where rivals may be at work, one of those that compute a unit commits it, and the others
        leave it at that.

        Parameters
        ----------
        unit : int
            Number of the unit.
        values : ndarray (n, D)
            Features; rows whose status is not ok are stored as NaN.
        status : ndarray (n,) uint8
            1 for rows that succeeded, a reason code otherwise.

        Raises
        ------
        StoreError
            A row that is ok has a non-finite feature, or a status is missing.
        StoreLockedError
            A rival has begun the unit, with slices that could not be read here.
        """
        if (status == UNWRITTEN).any():
            raise StoreError(f"{self.where}, unit {unit}: a row has no status; this is a bug")
        stored = self._stored(unit, values, status)
        if not self.storage.shared:
            self.storage.write(*self._chunk(self._status_where, unit, status))
            self.storage.write(*self._chunk(self.where, unit, stored))
            return
        agreed = self._agreed_status(unit, status)
        if agreed is not None:
            stored = np.where((agreed == OK)[:, None], stored, np.nan).astype(self.dtype)
            self.storage.create(*self._chunk(self.where, unit, stored))

    def _agreed_status(self, unit: int, status: np.ndarray) -> np.ndarray | None:
        """The status that counts: ours or, where a rival has begun, its own; None: it is done.

        The feature chunk of either fits it, whichever comes first: what the rival's status calls
        failed is stored as failed, and what it calls ok must have been read here too.
        """
        key, chunk = self._chunk(self._status_where, unit, status)
        if self.storage.create(key, chunk):
            return status
        if self.storage.exists(f"{self.where}/c.{unit}.0"):
            return None
        theirs, _ = self._unit_status(unit)
        lacking = np.flatnonzero((theirs == OK) & (status != OK))
        if lacking.size:
            row, reason = int(lacking[0]), self.reason(int(status[lacking[0]]))
            raise StoreLockedError(
                f"{self.storage}: another run has begun unit {unit} of {self.where}, and has read "
                f"row {self.rows(unit)[row]}, which failed here ({reason}). Wait for it and run "
                "the same `featurecache extract` again. If no other run is active, delete "
                f"{self.storage}/{key} first"
            )
        return theirs

    def _stored(self, unit: int, values: np.ndarray, status: np.ndarray) -> np.ndarray:
        """What is written for a unit: NaN where a slice failed, and nothing else not finite."""
        rows = self.rows(unit)
        with np.errstate(over="ignore"):
            stored = np.where((status == OK)[:, None], values, np.nan).astype(self.dtype)
        bad = np.flatnonzero((status == OK) & ~np.isfinite(stored).all(axis=1))
        if bad.size:
            raise StoreError(
                f"{self.where}, row {rows[int(bad[0])]}: the backbone gave a value that "
                f"{self.dtype} cannot hold ({bad.size} rows). Nothing of this unit was written. "
                "Use --dtype float32 (and --precision fp32 if it persists) under another --name"
            )
        return stored

    def update_unit(
        self, unit: int, values: np.ndarray, status: np.ndarray, wanted: np.ndarray
    ) -> None:
        """Replace some rows of a committed unit; the others stay as they are.

        Their status must still be what `read_status` gave last, when they were chosen. It is taken
        away first and comes back last: a kill in between leaves rows that are neither ok nor
        failed, which readers refuse and the next run tries again.

        Parameters
        ----------
        unit : int
            Number of the unit.
        values, status
            As in `write_unit`.
        wanted : ndarray (n,) bool
            Rows to replace.

        Raises
        ------
        StoreError
            As in `write_unit`.
        StoreLockedError
            A rival has changed the unit meanwhile.
        """
        if not wanted.any():
            return
        rows, (old, had) = self.rows(unit), self._unit_status(unit)
        if self._seen is not None and (old != self._seen[rows.start : rows.stop])[wanted].any():
            self._refuse_rival(unit)
        there, written = self._decoded(self.where, f"c.{unit}.0", unit)
        values = np.where(wanted[:, None], values, there)
        begun, new = (np.where(wanted, changed, old) for changed in (UNWRITTEN, status))
        stored = self._stored(unit, values, new)
        key, chunk = self._chunk(self._status_where, unit, begun)
        if not self.storage.replace(key, chunk, had):
            self._refuse_rival(unit)
        had = chunk
        if not self.storage.replace(*self._chunk(self.where, unit, stored), written):
            self._refuse_rival(unit)
        if not self.storage.replace(*self._chunk(self._status_where, unit, new), had):
            # A rival that failed again ended meanwhile; the features are ours, its status is not.
            self._seen = None
            self.update_unit(unit, values, new, wanted)

    def _refuse_rival(self, unit: int) -> NoReturn:
        raise StoreLockedError(
            f"{self.storage}: another run is trying unit {unit} of {self.where} again, too. Wait "
            "for it and run the same command again"
        )

    def _chunk(self, where: str, unit: int, values: np.ndarray) -> tuple[str, bytes]:
        """Key and bytes of a unit's chunk in one of the two arrays."""
        if not self.writable:
            raise StoreError(f"{self.where} was opened to be read; this is a bug")
        dtype = self.dtype if where == self.where else np.dtype(np.uint8)
        metadata, rows = self._metadata[where], self.rows(unit)
        [(key, chunk)] = encode_rows(metadata, rows.start, values.astype(dtype)).items()
        return f"{where}/{key}", chunk

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Features of rows `start` to `stop`, with failed rows as NaN.

        Returns
        -------
        ndarray (n, D)

        Raises
        ------
        StoreCorruptError
            A chunk does not match its checksum.
        """
        return read_rows(self._features, self.storage, self.where, start, stop)

    def read_status(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Status of rows `start` to `stop`: uint8 (n,), 0 where a unit is not written.

        Raises
        ------
        StoreCorruptError
            A chunk does not match its checksum.
        """
        self._seen = read_rows(self._status, self.storage, self._status_where, 0, None)
        return self._seen

    def unit_status(self, unit: int) -> np.ndarray:
        """Status of a unit's rows (n,), uint8.

        Raises
        ------
        StoreCorruptError
            The chunk is missing or damaged.
        """
        return self._unit_status(unit)[0]

    def _unit_status(self, unit: int) -> tuple[np.ndarray, bytes]:
        """Status of a unit's rows, and the chunk that they were read from."""
        return self._decoded(self._status_where, f"c.{unit}", unit)

    def _decoded(self, where: str, name: str, unit: int) -> tuple[np.ndarray, bytes]:
        """A unit's chunk in one of the two arrays: its rows, and its bytes."""
        rows, key, metadata = self.rows(unit), f"{where}/{name}", self._metadata[where]
        try:
            chunk = self.storage.read(key)
            return decode_rows(metadata, rows.start, rows.stop, chunk), chunk
        except (FileNotFoundError, ValueError) as error:
            raise StoreCorruptError(
                f"{self.storage}/{key} is missing or damaged ({error}). "
                f"{remedy(self.storage, self.where, unit)}"
            ) from error

    def check_gaps(self, values: np.ndarray, status: np.ndarray, start: int = 0) -> None:
        """Compare what was read with its status: the rows that are NaN must be those not ok.

        A row is written as finite numbers or as NaN, so its first value tells.

        Parameters
        ----------
        values : ndarray (n, D)
            From `read`.
        status : ndarray (n,) uint8
            Of the same rows.
        start : int
            Number of the first row.

        Raises
        ------
        StoreCorruptError
            A row is called ok and has no features, or is called failed and has some.
        """
        wrong = np.flatnonzero(np.isnan(values[:, 0]) == (status == OK))
        if wrong.size:
            row = start + int(wrong[0])
            called = "ok" if status[wrong[0]] == OK else "failed"
            have = "no features" if called == "ok" else "features"
            raise StoreCorruptError(
                f"{self.storage}: {self._status_where} calls row {row} {called}, but it has {have} "
                f"in {self.where}. {remedy(self.storage, self.where, row // self.unit_slices)}"
            )

    def reason(self, code: int) -> str:
        """Words for a status code of 2 and up."""
        return str(self.attributes["reason_codes"].get(str(code), f"unknown reason {code}"))
