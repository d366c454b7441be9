"""Reading a store: feature sets as mappings from a series to its (n, D) matrix."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featurecache import arrays
from featurecache.arrays import OK, UNWRITTEN, part_name
from featurecache.errors import StoreIncompleteError, StoreMismatchError, UsageError
from featurecache.feature_array import FeatureArray
from featurecache.open_storage import open_storage
from featurecache.parts import current_rows, series_tables
from featurecache.storage import Storage

_NOT_SHARED = ("first_row", "source")
_STRICT = "another slice of the series failed (--strict)"


class FeatureStore(Mapping[str, "FeatureSet"]):
    """A store, read-only.

    A mapping from the name of a feature set to `FeatureSet`.

    Attributes
    ----------
    storage : Storage
        Where it lies; ``str()`` of it is the folder or URL.

    Examples
    --------
    >>> store = FeatureStore.open("cache.zarr")            # doctest: +SKIP
    >>> matrix = store["vgg16"][series_id]                 # (n, 512)  # doctest: +SKIP
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._root = arrays.read_root(storage)
        self._parts = arrays.list_parts(storage)

    @classmethod
    def open(cls, where: str | Path | Storage) -> "FeatureStore":
        """Open a store.

        Parameters
        ----------
        where : str, Path or Storage
            Folder of the store.

        Returns
        -------
        FeatureStore

        Raises
        ------
        StoreError
            There is no store there, or it cannot be read.
        """
        return cls(open_storage(where))

    @property
    def path(self) -> Path | str:
        """The store as users know it: its folder, or a URL."""
        return self.storage.folder or str(self.storage)

    @property
    def key_digest(self) -> str | None:
        """Digest of the key that the ids are hashed with; None where ids are kept."""
        return self._root["key_digest"]

    @property
    def keep_ids(self) -> bool:
        """Whether ids are the user's own (``--keep-ids``) rather than keyed hashes."""
        return self.key_digest is None

    @property
    def part_count(self) -> int:
        """Parts in the store: one, and one for every time that files came later."""
        return len(self._parts)

    @cached_property
    def names(self) -> list[str]:
        """Names of the feature sets, sorted."""
        return sorted({n for part in self._parts for n in arrays.list_features(self.storage, part)})

    @cached_property
    def series_parts(self) -> list[pd.DataFrame]:
        """The ``series`` table of every part, see `series_tables`."""
        return series_tables(self.storage)

    def __getitem__(self, name: str) -> "FeatureSet":
        if name not in self.names:
            known = ", ".join(self.names) or "none yet"
            raise UsageError(f"{self.storage} has no feature set {name!r}; it has: {known}")
        return FeatureSet(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __repr__(self) -> str:
        return f"<FeatureStore {self.storage.name}: {', '.join(self.names) or 'empty'}>"


class FeatureSet(Mapping[str, np.ndarray]):
    """One backbone's features of every series: a mapping from series id to (n, D) rows.

    Only rows whose slice succeeded are returned; `failed` lists the others. Series without any
    row are in `series` with ``n_ok`` 0, and not in the mapping.

    Attributes
    ----------
    recipe : dict
        Everything that changes a feature's value.
    fingerprint : dict
        ``identity`` and ``numerics``, hexadecimal digests of the recipe's two parts.
    dim : int
        D.
    dtype : numpy.dtype
        float16 or float32.

    Raises
    ------
    StoreIncompleteError
        An extraction was interrupted; running it again finishes it.
    StoreMismatchError
        Two parts hold features of different recipes.
    StoreCorruptError
        Bytes on disk are not what was written.
    """

    def __init__(self, store: FeatureStore, name: str) -> None:
        self.name = name
        self._store = store
        self._arrays = [_complete_array(store, part, name) for part in range(store.part_count)]
        self._status = [_whole_status(array) for array in self._arrays]
        first = self._arrays[0].attributes
        self.recipe: dict[str, Any] = first["recipe"]
        self.fingerprint: dict[str, str] = first["fingerprint"]
        self.dim: int = self._arrays[0].shape[1]
        self.dtype = self._arrays[0].dtype
        self._strict = bool(first["plan"].get("strict", False))
        for array in self._arrays[1:]:
            if array.attributes["fingerprint"] != self.fingerprint:
                raise StoreMismatchError(
                    f"{store.storage}: {array.where} was made with another recipe than part-0000"
                )

    @cached_property
    def series(self) -> pd.DataFrame:
        """One line per series, indexed by series id.

        Returns
        -------
        DataFrame
            ``series_of`` (id of the SeriesInstanceUID, equal for the stacks of a split series),
            ``study``, ``patient`` (ids), ``n_slices``, ``n_ok``, and ``z_extent_mm``,
            ``median_gap_mm``, ``thickness_mm``, ``fov_mm``, ``tilt_deg``, ``row_spacing_mm``,
            ``column_spacing_mm`` (NaN where unknown).
        """
        tables = []
        for number, table in enumerate(self._store.series_parts):
            cumulative = np.concatenate([[0], np.cumsum(self._ok[number])])
            first = table["first_row"].to_numpy()
            n_ok = cumulative[first + table["n_slices"].to_numpy()] - cumulative[first]
            tables.append(table.assign(n_ok=n_ok, _part=number)[table["row_current"]])
        joined = pd.concat(tables).set_index("series")
        return joined.drop(columns=["row_current", "_part", *_NOT_SHARED])

    @cached_property
    def slices(self) -> pd.DataFrame:
        """One line per returned row, in the order of `to_numpy`.

        Returns
        -------
        DataFrame
            ``series``, ``slice`` (ids), ``z_mm``, ``gap_mm``, ``position`` (place among the
            planned slices of the series, from 0).
        """
        return self._slice_lines(ok=True)

    @cached_property
    def failed(self) -> pd.DataFrame:
        """One line per slice that has no features.

        Returns
        -------
        DataFrame
            As `slices`, and ``reason``.
        """
        return self._slice_lines(ok=False)

    def to_numpy(self) -> np.ndarray:
        """Every row that succeeded, in the order of `slices`.

        Returns
        -------
        ndarray (N, D)
        """
        blocks = []
        for number, array in enumerate(self._arrays):
            values, keep = array.read(), self._current_rows[number] & self._ok[number]
            array.check_gaps(values, self._status[number])
            blocks.append(values if keep.all() else values[keep])
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def __getitem__(self, series: str) -> np.ndarray:
        if series not in self._places:
            raise KeyError(series)
        number, first, n_slices = self._places[series]
        rows, array = slice(first, first + n_slices), self._arrays[number]
        values = array.read(rows.start, rows.stop)
        array.check_gaps(values, self._status[number][rows], first)
        return values[self._ok[number][rows]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, series: object) -> bool:
        return series in self._places

    def __repr__(self) -> str:
        return f"<FeatureSet {self.name}: {len(self)} series, D = {self.dim}, {self.dtype}>"

    @cached_property
    def _ok(self) -> list[np.ndarray]:
        ok = [status == OK for status in self._status]
        if not self._strict:
            return ok
        tables = self._store.series_parts
        return [
            row_ok & _whole_series(row_ok, table) for row_ok, table in zip(ok, tables, strict=True)
        ]

    @cached_property
    def _current_rows(self) -> list[np.ndarray]:
        if self._store.part_count == 1:  # no later part has any of its series: tables can wait
            return [np.ones(self._arrays[0].shape[0], bool)]
        return [current_rows(table) for table in self._store.series_parts]

    @cached_property
    def _places(self) -> dict[str, tuple[int, int, int]]:
        """Series with at least one row -> (part, first row, planned slices)."""
        usable = set(self.series.index[self.series["n_ok"] > 0])
        return {
            series: (number, int(first), int(n_slices))
            for number, table in enumerate(self._store.series_parts)
            for series, first, n_slices, current in zip(
                *(table[name] for name in ("series", "first_row", "n_slices", "row_current")),
                strict=True,
            )
            if current and series in usable
        }

    def _slice_lines(self, *, ok: bool) -> pd.DataFrame:
        tables = []
        for number, array in enumerate(self._arrays):
            table = arrays.read_table(self._store.storage, number, "slices").drop(columns="source")
            ids = self._store.series_parts[number]["series"].to_numpy()
            table["series"] = ids[table["series"].to_numpy()]
            if not ok:
                table["reason"] = [
                    array.reason(code) if code > OK else _STRICT for code in self._status[number]
                ]
            tables.append(table[self._current_rows[number] & (self._ok[number] == ok)])
        return pd.concat(tables, ignore_index=True)


def _whole_series(row_ok: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Rows whose whole series is ok."""
    whole = np.logical_and.reduceat(row_ok, table["first_row"].to_numpy())
    return np.repeat(whole, table["n_slices"].to_numpy())


def _complete_array(store: FeatureStore, part: int, name: str) -> FeatureArray:
    if name not in arrays.list_features(store.storage, part):
        raise StoreIncompleteError(
            f"{store.path}: {part_name(part)} has no features {name!r} yet: its series came after "
            f"they were extracted. Run `featurecache extract` for {name} again"
        )
    array = FeatureArray(store.storage, part, name)
    done = array.units_done()
    if len(done) < array.n_units:
        raise StoreIncompleteError(
            f"{store.storage}: {array.where} has {len(done)} of {array.n_units} units. "
            "Run the same `featurecache extract` again; it continues where it stopped"
        )
    return array


def _whole_status(array: FeatureArray) -> np.ndarray:
    status = array.read_status()
    if (status == UNWRITTEN).any():
        raise StoreIncompleteError(
            f"{array.storage}: failed rows of {array.where} were being tried again when a run was "
            "stopped. Run the same `featurecache extract` again; it finishes them"
        )
    return status


def describe(where: str | Path | Storage) -> dict[str, Any]:
    """What a store holds: the document of ``featurecache info --json``.

    Parameters
    ----------
    where : str, Path or Storage
        Folder of the store.

    Returns
    -------
    dict
        ``schema_version``, ``parts``, ``series``, ``slices`` (current ones) and ``features``.

    Raises
    ------
    StoreError
        There is no store there, or it cannot be read.
    """
    store = FeatureStore.open(where)
    current = [table[table["row_current"]] for table in store.series_parts]
    return {
        "schema_version": 1,
        "parts": store.part_count,
        "series": sum(len(table) for table in current),
        "slices": int(sum(table["n_slices"].sum() for table in current)),
        "identifiers": "kept" if store.keep_ids else "hashed",
        "features": {name: _describe_features(store, name) for name in store.names},
    }


def _describe_features(store: FeatureStore, name: str) -> dict[str, Any]:
    parts = [p for p in range(store.part_count) if name in arrays.list_features(store.storage, p)]
    opened = [FeatureArray(store.storage, part, name) for part in parts]
    done = [array.units_done() for array in opened]
    status = [array.read_status() for array in opened]
    interrupted = any(
        array.interrupted_rows(codes, units).any()
        for array, codes, units in zip(opened, status, done, strict=True)
    )
    units, units_done = sum(a.n_units for a in opened), sum(len(numbers) for numbers in done)
    first = opened[0]
    return {
        "shape": [sum(a.shape[0] for a in opened), first.shape[1]],
        "dtype": str(first.dtype),
        "complete": units_done == units and len(parts) == store.part_count and not interrupted,
        "units": units,
        "units_done": units_done,
        "failed_rows": sum(
            int(((codes > OK) & current_rows(store.series_parts[part])).sum())
            for part, codes in zip(parts, status, strict=True)
        ),
        "fingerprint": first.attributes["fingerprint"],
        "recipe": first.attributes["recipe"],
        "precision": first.attributes["plan"].get("precision"),
    }
