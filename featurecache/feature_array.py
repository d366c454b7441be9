"""One feature set in one part: its units, their commits, and what was read back."""

from typing import Any

import numpy as np

from featurecache.arrays import OK, UNWRITTEN, part_name
from featurecache.chunks import chunk_numbers, file_rows, read_rows
from featurecache.errors import StoreCorruptError, StoreError
from featurecache.metadata import read_metadata
from featurecache.nodes import encode_rows, open_array
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
        The metadata are not what was written.
    """

    def __init__(self, storage: Storage, part: int, name: str, *, writable: bool = False) -> None:
        self.storage, self.part, self.name, self.writable = storage, part, name, writable
        self.where = f"{part_name(part)}/features/{name}"
        self._status_where = f"{part_name(part)}/status/{name}"
        self._metadata = {
            where: read_metadata(storage, where) for where in (self.where, self._status_where)
        }
        self._features, self._status = (
            open_array(storage.zarr_store(), where) for where in (self.where, self._status_where)
        )
        self.attributes: dict[str, Any] = dict(self._features.attrs)
        self.shape: tuple[int, int] = (self._features.shape[0], self._features.shape[1])
        self.dtype = np.dtype(self._features.dtype)
        self.unit_slices: int = file_rows(self._features)

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
                f"{self.storage}: {self._status_where} lacks the chunk of unit {unit}. Delete "
                f"{self.storage}/{self.where}/c.{unit}.0 and run the same `featurecache extract` "
                "again: it computes that unit"
            )
        return done

    def write_unit(self, unit: int, values: np.ndarray, status: np.ndarray) -> None:
        """Commit one unit: status first, features last.

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
        """
        stored = self._stored(unit, values, status)
        if (status == UNWRITTEN).any():
            raise StoreError(f"{self.where}, unit {unit}: a row has no status; this is a bug")
        rows = self.rows(unit)
        self._write(self._status_where, rows, status.astype(np.uint8))
        self._write(self.where, rows, stored)

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
        """Replace some rows of a committed unit; what was there stays until it is replaced.

        Features are written first here: a kill in between leaves rows that are still called
        failed, never rows called ok without features.

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
        """
        rows = self.rows(unit)
        keep = ~wanted
        old_status = read_rows(
            self._status, self.storage, self._status_where, rows.start, rows.stop
        )
        old_values = self.read(rows.start, rows.stop)
        values = np.where(keep[:, None], old_values, values)
        status = np.where(keep, old_status, status).astype(np.uint8)
        self._write(self.where, rows, self._stored(unit, values, status))
        self._write(self._status_where, rows, status)

    def _write(self, where: str, rows: range, values: np.ndarray) -> None:
        if not self.writable:
            raise StoreError(f"{where} was opened to be read; this is a bug")
        for key, chunk in encode_rows(self._metadata[where], rows.start, values).items():
            self.storage.write(f"{where}/{key}", chunk)

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
        return read_rows(self._status, self.storage, self._status_where, start, stop)

    def reason(self, code: int) -> str:
        """Words for a status code of 2 and up."""
        return str(self.attributes["reason_codes"].get(str(code), f"unknown reason {code}"))
