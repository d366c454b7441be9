"""Whether one feature set of one part is what was written, unit by unit."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from featurecache.arrays import OK, UNWRITTEN
from featurecache.chunks import chunk_numbers
from featurecache.errors import StoreCorruptError, StoreError
from featurecache.feature_array import FeatureArray
from featurecache.housekeeping.faults import COPY, DISK, EXTRACT, GC, REPAIR, Fault
from featurecache.metadata import read_metadata
from featurecache.part_numbers import part_name
from featurecache.recipe import fingerprint_of
from featurecache.storage import Storage
from featurecache.words import plural

_NEEDED = ("recipe", "fingerprint", "plan", "reason_codes")


class FeatureChecks:
    """The checks of one feature set in one part.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    part : int
        Number of the part.
    name : str
        Name of the feature set.

    Attributes
    ----------
    known : set of str
        Keys that belong to the feature set, after `faults` was used up.
    units : int
        Units that were read.
    attributes : dict or None
        Of the feature array; None where they cannot be read.
    """

    def __init__(self, storage: Storage, part: int, name: str) -> None:
        self._storage = storage
        self._part, self._name = part, name
        self._where = f"{part_name(part)}/features/{name}"
        self._status_where = f"{part_name(part)}/status/{name}"
        self.known: set[str] = set()
        self.units = 0
        self.attributes: dict[str, Any] | None = None

    def faults(self, n_slices: int | None, advance: Callable[[], None]) -> Iterator[Fault]:
        """Read everything, metadata first.

        Parameters
        ----------
        n_slices : int or None
            Rows that the part has; None where that is not known.
        advance : callable
            Called after each unit.

        Yields
        ------
        Fault
        """
        damaged = []
        for where in (self._where, self._status_where):
            self.known.add(f"{where}/zarr.json")
            try:
                read_metadata(self._storage, where)
            except StoreCorruptError as error:
                what = _without(error, f"{self._storage}/{where}/zarr.json")
                damaged.append(Fault("damaged", f"{where}/zarr.json", what, REPAIR))
        if damaged:
            yield from damaged
            return
        found = list(self._shape_faults(n_slices))
        yield from found
        if not found:
            array = FeatureArray(self._storage, self._part, self._name)
            self.attributes = array.attributes
            for what in _attribute_findings(array.attributes, str(array.dtype)):
                yield Fault("damaged", f"{self._where}/zarr.json", what, COPY)
            yield from self._unit_faults(array, advance)

    def own(self, keys: set[str]) -> set[str]:
        """Those of some keys that look like chunks of the feature set.

        Parameters
        ----------
        keys : set of str
            Keys of the store.

        Returns
        -------
        set of str
            What belongs to the feature set if its metadata cannot say.
        """
        folders = (f"{self._where}/c.", f"{self._status_where}/c.")
        return {key for key in keys if key.startswith(folders)}

    def _shape_faults(self, n_slices: int | None) -> Iterator[Fault]:
        """Whether both arrays have the rows of the part, in the same units."""
        features, status = (
            (document["shape"][0], document["chunk_grid"]["configuration"]["chunk_shape"][0])
            for document in map(self._read_metadata, (self._where, self._status_where))
        )
        if n_slices is not None and features[0] != n_slices:
            what = f"it has {features[0]} rows, and the part has {n_slices} slices"
            yield Fault("damaged", f"{self._where}/zarr.json", what, COPY)
        elif status != features:
            what = f"rows and rows of a unit are {status}, those of the features {features}"
            yield Fault("damaged", f"{self._status_where}/zarr.json", what, REPAIR)

    def _read_metadata(self, where: str) -> dict[str, Any]:
        return read_metadata(self._storage, where)

    def _unit_faults(self, array: FeatureArray, advance: Callable[[], None]) -> Iterator[Fault]:
        done = chunk_numbers(self._storage.files(self._where))
        statuses = chunk_numbers(self._storage.files(self._status_where))
        missing = sorted(set(range(array.n_units)) - done)
        if missing:
            some = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
            what = f"{len(missing)} of {array.n_units} units are missing ({some})"
            yield Fault("unfinished", self._where, what, EXTRACT)
        for unit in sorted(statuses & set(missing)):
            file = f"{self._status_where}/c.{unit}"
            self.known.add(file)
            yield Fault("stray", file, "its unit was not committed: a run was killed here", GC)
        for unit in sorted(done & set(range(array.n_units))):
            files = f"{self._where}/c.{unit}.0", f"{self._status_where}/c.{unit}"
            self.known.update(files)
            if unit in statuses:
                yield from self._one_unit(array, unit, *files)
            else:
                yield Fault("damaged", files[1], "is missing, and its features are there", REPAIR)
            self.units += 1
            advance()

    def _one_unit(
        self, array: FeatureArray, unit: int, features: str, status: str
    ) -> Iterator[Fault]:  # fmt: skip
        rows = array.rows(unit)
        read: dict[str, np.ndarray] = {}
        readers: dict[str, Callable[[], np.ndarray]] = {
            status: lambda: array.unit_status(unit),
            features: lambda: array.read(rows.start, rows.stop),
        }
        for file, reader in readers.items():
            try:
                read[file] = reader()
            except StoreCorruptError as error:
                yield Fault("damaged", file, _why(error), REPAIR)
            except (StoreError, OSError) as error:
                if self._storage.shared:  # a server that does not answer says nothing about a file
                    raise
                yield Fault("damaged", file, f"cannot be read ({error})", DISK)
        if len(read) == 2:
            codes = array.attributes.get("reason_codes", {})
            yield from _row_faults(read[features], read[status], codes, features, status)


def _row_faults(
    values: np.ndarray, status: np.ndarray, codes: Mapping[str, str], features: str, file: str
) -> Iterator[Fault]:  # fmt: skip
    """Whether the rows of a unit are NaN exactly where status says that they failed."""
    unwritten = int((status == UNWRITTEN).sum())
    if unwritten:
        what = f"{unwritten} failed rows were being tried again when a run was stopped"
        yield Fault("unfinished", file, what, EXTRACT)
    unknown = sorted(set(status[status > OK].tolist()) - {int(code) for code in codes})
    if unknown:
        what = f"codes {unknown} have no reason in the attributes of the features"
        yield Fault("damaged", file, what, REPAIR)
    bad = int((~np.isfinite(values[status == OK])).any(axis=1).sum())
    if bad:
        yield Fault(
            "damaged", features, f"NaN or infinity in {plural(bad, 'row')} called ok", REPAIR
        )
    left = int((~np.isnan(values[status > OK])).any(axis=1).sum())
    if left:
        yield Fault("damaged", features, f"values in {plural(left, 'row')} called failed", REPAIR)


def _attribute_findings(attributes: Mapping[str, Any], dtype: str) -> Iterator[str]:
    missing = [name for name in _NEEDED if name not in attributes]
    if missing:
        yield f"the attributes lack {', '.join(missing)}"
        return
    recipe, fingerprint = attributes["recipe"], attributes["fingerprint"]
    if fingerprint_of(recipe) != fingerprint:
        yield "the fingerprint is not that of the recipe"
    if recipe.get("dtype", dtype) != dtype:
        yield f"the recipe says {recipe['dtype']}, and the array is {dtype}"


def _why(error: StoreCorruptError) -> str:
    """What the decoder said, without file and remedy, which a fault has anyway."""
    cause = error.__cause__
    return f"cannot be read ({cause})" if cause is not None else str(error)


def _without(error: StoreCorruptError, file: str) -> str:
    return str(error).removeprefix(file).strip()
