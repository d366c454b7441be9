"""The rows of a store that count, as those of one part."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from featurecache import arrays
from featurecache.errors import StoreCorruptError, StoreMismatchError
from featurecache.feature_array import FeatureArray
from featurecache.feature_parts import complete_arrays
from featurecache.parts import current_rows, series_tables
from featurecache.storage import Storage
from featurecache.tables import PartTables


class Merged:
    """Every part of a store laid end to end, without superseded series.

    Parameters
    ----------
    storage : Storage
        Where the store lies.

    Attributes
    ----------
    names : list of str
        Feature sets, sorted.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._series = series_tables(storage)
        self.names = sorted(
            {n for part in self._series for n in arrays.list_features(storage, part)}
        )

    @property
    def superseded_rows(self) -> int:
        """Rows that no reader returns, since a later part has their series."""
        return sum(int((~current_rows(table)).sum()) for table in self._series.values())

    def row_bytes(self, name: str) -> int:
        """Bytes of one row of a feature set.

        Parameters
        ----------
        name : str
            Name of the feature set.

        Returns
        -------
        int
        """
        first = complete_arrays(self._storage, list(self._series)[:1], name)[0]
        return first.shape[1] * first.dtype.itemsize

    def tables(self) -> PartTables:
        """The tables of the one part.

        Returns
        -------
        PartTables
        """
        series, slices, n_series = [], [], 0
        for part, table in self._series.items():
            current = table["row_current"].to_numpy(bool)
            number = n_series + np.cumsum(current) - 1
            rows = arrays.read_table(self._storage, part, "slices")[current_rows(table)]
            slices.append(rows.assign(series=number[rows["series"].to_numpy()]))
            series.append(table[current].drop(columns="row_current"))
            n_series += int(current.sum())
        joined = pd.concat(series, ignore_index=True)
        n_slices = joined["n_slices"].to_numpy()
        joined["first_row"] = np.cumsum(n_slices) - n_slices
        return PartTables.of(joined, pd.concat(slices, ignore_index=True))

    def copy(
        self, name: str, target: Storage, part: int, unit_slices: int | None = None,
        inner_slices: int | None = None,
    ) -> Iterator[int]:  # fmt: skip
        """Write the rows of one feature set into a part of another place, unit by unit.

        Every unit is read back before the next.

        Parameters
        ----------
        name : str
            Name of the feature set.
        target : Storage
            Where that part lies, with the tables of `tables`.
        part : int
            Its number.
        unit_slices : int, optional
            Rows of a file; by default the most that a part has.
        inner_slices : int, optional
            Rows of a chunk, where a file is a shard of several.

        Yields
        ------
        int
            Rows of the unit that was written.

        Raises
        ------
        StoreIncompleteError
            The feature set is unfinished.
        StoreMismatchError
            Parts have it by different recipes.
        StoreCorruptError
            A chunk does not match its checksum, or was not read back as written.
        """
        sources = complete_arrays(self._storage, list(self._series), name)
        unit = unit_slices or max(array.unit_slices for array in sources)
        n_slices = sum(int(current_rows(table).sum()) for table in self._series.values())
        arrays.create_features(
            target, part, name, n_slices=n_slices, dim=sources[0].shape[1],
            dtype=str(sources[0].dtype), unit_slices=unit, attributes=_attributes(sources),
            inner_slices=inner_slices,
        )  # fmt: skip
        array = FeatureArray(target, part, name, writable=True)
        for number, (values, status) in enumerate(self._blocks(sources, unit)):
            array.write_unit(number, values, status)
            _read_back(array, number, values, status)
            yield len(status)

    def _blocks(
        self, sources: list[FeatureArray], n_rows: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows that count, in blocks of `n_rows`; the last one is what remains."""
        pending: list[tuple[np.ndarray, np.ndarray]] = []
        waiting = 0
        for values, status in self._units(sources):
            while waiting + len(status) >= n_rows:
                take = n_rows - waiting
                pending.append((values[:take], status[:take]))
                yield _joined(pending)
                pending, waiting, values, status = [], 0, values[take:], status[take:]
            pending.append((values, status))
            waiting += len(status)
        if waiting:
            yield _joined(pending)

    def _units(self, sources: list[FeatureArray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for array in sources:
            current = current_rows(self._series[array.part])
            for unit in range(array.n_units):
                rows = array.rows(unit)
                keep = current[rows.start : rows.stop]
                if keep.any():
                    yield (
                        array.read(rows.start, rows.stop)[keep],
                        array.unit_status(unit)[keep],
                    )


def _joined(blocks: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    values, status = zip(*blocks, strict=True)
    return np.concatenate(values), np.concatenate(status)


def _attributes(sources: list[FeatureArray]) -> dict[str, Any]:
    """Attributes of the first part, with the reason codes of all."""
    attributes = dict(sources[0].attributes)
    codes: dict[str, str] = {}
    for array in sources:
        if array.attributes["fingerprint"] != attributes["fingerprint"]:
            raise StoreMismatchError(
                f"{array.storage}: {array.where} was made with another recipe than "
                f"{sources[0].where}"
            )
        codes |= array.attributes["reason_codes"]
    attributes.pop("metadata_digest", None)
    return {**attributes, "reason_codes": codes}


def _read_back(array: FeatureArray, unit: int, values: np.ndarray, status: np.ndarray) -> None:
    rows = array.rows(unit)
    same = np.array_equal(array.read(rows.start, rows.stop), values, equal_nan=True)
    if not same or not np.array_equal(array.unit_status(unit), status):
        raise StoreCorruptError(
            f"{array.storage}: unit {unit} of {array.where} was not read back as it was written; "
            "nothing was changed. Check the disk"
        )
