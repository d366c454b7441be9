"""An `Archive` on disk in several layouts: the store, and what one would use instead."""

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from archive import IDS, Archive

from featurecache import FeatureStore, arrays
from featurecache.feature_array import FeatureArray
from featurecache.open_storage import open_storage

_NAME = "bench"
_UNIT_SLICES = 1024  # what a plan gives an archive of this size
_NO_ATTRIBUTES: dict[str, Any] = {
    name: {} for name in ("recipe", "fingerprint", "plan", "versions", "reason_codes")
}


class Layout(ABC):
    """A way to keep an `Archive`.

    Parameters
    ----------
    path : Path
        File or folder that is made.
    archive : Archive
        What is kept.
    """

    def __init__(self, path: Path, archive: Archive) -> None:
        self.path, self.archive = path, archive

    def remove(self) -> None:
        """Delete what was written."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)

    def n_files(self) -> int:
        """Files on disk."""
        if self.path.is_file():
            return 1
        return sum(path.is_file() for path in self.path.rglob("*"))

    def prepare(self) -> None:  # noqa: B027  most layouts have no tables
        """Write what lies beside the features."""

    @abstractmethod
    def write(self) -> None:
        """Write the features."""

    @abstractmethod
    def open(self) -> Any:
        """What `read` and `read_series` take."""

    @abstractmethod
    def read(self, opened: Any) -> np.ndarray:
        """All rows (N, D), in memory."""

    @abstractmethod
    def read_series(self, opened: Any, series: int) -> np.ndarray:
        """Rows of one series, in memory."""


class MemoryMap(Layout):
    """The bytes and nothing else: the limit."""

    def write(self) -> None:
        values = self.archive.values
        np.memmap(self.path, values.dtype, "w+", shape=values.shape)[:] = values

    def open(self) -> Any:
        return np.memmap(self.path, np.float16, "r", shape=self.archive.values.shape)

    def read(self, opened: Any) -> np.ndarray:
        return np.array(opened)

    def read_series(self, opened: Any, series: int) -> np.ndarray:
        return np.array(opened[self.archive.rows(series)])


class Store(Layout):
    """featurecache's store, written by its own functions and read by its public interface."""

    def __init__(self, path: Path, archive: Archive) -> None:
        super().__init__(path, archive)
        self._tables = archive.tables

    def prepare(self) -> None:
        storage = open_storage(self.path)
        arrays.create_store(storage, IDS.digest)
        arrays.create_part(storage, self._tables)
        n_rows, dim = self.archive.values.shape
        arrays.create_features(
            storage, 0, _NAME, n_slices=n_rows, dim=dim, dtype="float16",
            unit_slices=_UNIT_SLICES, attributes=_NO_ATTRIBUTES,
        )  # fmt: skip

    def write(self) -> None:
        array = FeatureArray(open_storage(self.path), 0, _NAME, writable=True)
        for unit in range(array.n_units):
            rows = array.rows(unit)
            values = self.archive.values[rows.start : rows.stop]
            array.write_unit(unit, values, np.full(len(rows), arrays.OK, np.uint8))

    def open(self) -> Any:
        return FeatureStore.open(self.path)[_NAME]

    def read(self, opened: Any) -> np.ndarray:
        return opened.to_numpy()

    def read_series(self, opened: Any, series: int) -> np.ndarray:
        return opened[self.archive.ids[series]]


class ThroughZarr(Store):
    """The store's array of features alone, read by zarr as by any program that knows no store."""

    pipeline = "zarr.core.codec_pipeline.BatchedCodecPipeline"

    def open(self) -> Any:
        with zarr.config.set({"codec_pipeline.path": self.pipeline}):
            return zarr.open_array(self.path / f"part-0000/features/{_NAME}", mode="r")

    def read(self, opened: Any) -> np.ndarray:
        return opened[:]

    def read_series(self, opened: Any, series: int) -> np.ndarray:
        return opened[self.archive.rows(series)]


class ThroughZarrs(ThroughZarr):
    """The same with the zarrs package."""

    pipeline = "zarrs.ZarrsCodecPipeline"


class ArrayPerSeries(Layout):
    """One Zarr array a series, uncompressed, in one group."""

    def write(self) -> None:
        group = zarr.create_group(self.path)
        for number, name in enumerate(self.archive.ids):
            values = self.archive.values[self.archive.rows(number)]
            group.create_array(name, data=values, compressors=None, filters=None)

    def open(self) -> Any:
        return zarr.open_group(self.path, mode="r")

    def read(self, opened: Any) -> np.ndarray:
        return np.concatenate([opened[name][:] for name in self.archive.ids])

    def read_series(self, opened: Any, series: int) -> np.ndarray:
        return opened[self.archive.ids[series]][:]


class NpyPerSeries(Layout):
    """One .npy file a series."""

    def write(self) -> None:
        self.path.mkdir()
        for number, name in enumerate(self.archive.ids):
            np.save(self.path / f"{name}.npy", self.archive.values[self.archive.rows(number)])

    def open(self) -> Any:
        return self.path

    def read(self, opened: Any) -> np.ndarray:
        return np.concatenate([np.load(opened / f"{name}.npy") for name in self.archive.ids])

    def read_series(self, opened: Any, series: int) -> np.ndarray:
        return np.load(opened / f"{self.archive.ids[series]}.npy")


class Hdf5(Layout):
    """One HDF5 file with a data set a series."""

    def write(self) -> None:
        import h5py

        with h5py.File(self.path, "w") as file:
            for number, name in enumerate(self.archive.ids):
                file.create_dataset(name, data=self.archive.values[self.archive.rows(number)])

    def open(self) -> Any:
        import h5py

        return h5py.File(self.path, "r")

    def read(self, opened: Any) -> np.ndarray:
        return np.concatenate([opened[name][:] for name in self.archive.ids])

    def read_series(self, opened: Any, series: int) -> np.ndarray:
        return opened[self.archive.ids[series]][:]
