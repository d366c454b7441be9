"""One feature set in every part: complete, or as far as it has come."""

from collections.abc import Sequence

import numpy as np

from featurecache import arrays
from featurecache.arrays import OK, UNWRITTEN
from featurecache.errors import StoreCorruptError, StoreError, StoreIncompleteError
from featurecache.feature_array import FeatureArray
from featurecache.part_numbers import part_name
from featurecache.storage import Storage

_STRICT = "another slice of the series failed (--strict)"
_NOT_YET = "not extracted yet"


class PartWithout:
    """Stands for the features of a part that has none yet.

    Parameters
    ----------
    part : int
        Number of the part.
    n_slices : int
        N, its rows.
    """

    def __init__(self, part: int, n_slices: int) -> None:
        self.part, self.n_slices = part, n_slices


def complete_arrays(storage: Storage, parts: Sequence[int], name: str) -> list[FeatureArray]:
    """The arrays of a feature set, one a part, every unit committed.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    parts : sequence of int
        Numbers of the parts.
    name : str
        Name of the feature set.

    Returns
    -------
    list of FeatureArray

    Raises
    ------
    StoreIncompleteError
        A part lacks the feature set, or a unit is missing.
    """
    return [_complete_array(storage, part, name) for part in parts]


def unfinished_arrays(
    storage: Storage, parts: Sequence[int], name: str
) -> "list[FeatureArray | PartWithout]":
    """The arrays of a feature set as far as they are there, one a part.

    Parameters
    ----------
    storage, parts, name
        As in `complete_arrays`.

    Returns
    -------
    list of FeatureArray or PartWithout
    """
    return [
        FeatureArray(storage, part, name) if name in arrays.list_features(storage, part)
        else PartWithout(part, len(arrays.read_table(storage, part, "slices")))
        for part in parts
    ]  # fmt: skip


def committed_status(array: "FeatureArray | PartWithout") -> np.ndarray:
    """Status of every row, 0 where its unit is not committed.

    Parameters
    ----------
    array : FeatureArray or PartWithout
        Of one part.

    Returns
    -------
    ndarray (N,) uint8
    """
    if isinstance(array, PartWithout):
        return np.zeros(array.n_slices, np.uint8)
    status = array.read_status()
    for unit in set(range(array.n_units)) - array.units_done():
        rows = array.rows(unit)
        status[rows.start : rows.stop] = UNWRITTEN
    return status


def whole_status(array: FeatureArray) -> np.ndarray:
    """Status of every row, none of which may be missing.

    Parameters
    ----------
    array : FeatureArray
        Of one part, every unit committed.

    Returns
    -------
    ndarray (N,) uint8

    Raises
    ------
    StoreIncompleteError
        Rows were being tried again when a run was stopped.
    """
    status = array.read_status()
    if (status == UNWRITTEN).any():
        raise StoreIncompleteError(
            f"{array.storage}: failed rows of {array.where} were being tried again when a run was "
            "stopped. Run the same `featurecache extract` again; it finishes them"
        )
    return status


def read_checked(array: FeatureArray, status: np.ndarray, start: int = 0) -> np.ndarray:
    """Rows of a feature set, compared with their status.

    Parameters
    ----------
    array : FeatureArray
        Of one part.
    status : ndarray (n,) uint8
        Of as many rows; 0 where a unit is not committed.
    start : int
        Number of the first row.

    Returns
    -------
    ndarray (n, D)
        NaN where a slice failed.

    Raises
    ------
    StoreCorruptError
        A row is called ok and has no features, or is called failed and has some.
    StoreError
        The part went away since the store was opened.
    """
    values = array.read(start, start + len(status))
    written = status != UNWRITTEN  # all, unless the feature set is unfinished
    shown = values if written.all() else np.where(written[:, None], values, np.nan)
    try:
        array.check_gaps(shown, status, start)
    except StoreCorruptError:
        if array.storage.exists(f"{array.where}/zarr.json"):
            raise
        raise StoreError(
            f"{array.storage}: {array.where} is gone since the store was opened (`featurecache gc` "
            "replaces parts): open it again"
        ) from None
    return values


def reason_of(array: "FeatureArray | PartWithout", code: int) -> str:
    """Why a row is not returned, in words.

    Parameters
    ----------
    array : FeatureArray or PartWithout
        Of its part.
    code : int
        Its status.

    Returns
    -------
    str
    """
    if isinstance(array, PartWithout) or code == UNWRITTEN:
        return _NOT_YET
    return array.reason(code) if code > OK else _STRICT


def _complete_array(storage: Storage, part: int, name: str) -> FeatureArray:
    if name not in arrays.list_features(storage, part):
        raise StoreIncompleteError(
            f"{storage}: {part_name(part)} has no features {name!r} yet: its series came after "
            f"they were extracted. Run `featurecache extract` for {name} again"
        )
    array = FeatureArray(storage, part, name)
    done = array.units_done()
    if len(done) < array.n_units:
        raise StoreIncompleteError(
            f"{storage}: {array.where} has {len(done)} of {array.n_units} units. "
            "Run the same `featurecache extract` again; it continues where it stopped"
        )
    return array
