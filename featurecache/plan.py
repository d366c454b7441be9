"""The plan of an extraction: which rows there are, and how every batch of them is computed."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurecache import arrays
from featurecache.errors import StoreMismatchError
from featurecache.feature_array import FeatureArray
from featurecache.identifiers import Identifiers
from featurecache.reasons import SLICE_REASONS
from featurecache.recipe import Recipe, differences
from featurecache.tables import part_tables, series_source

if TYPE_CHECKING:
    from featurecache.geometry import Stack
    from featurecache.index import Index

_log = logging.getLogger(__name__)

_UNIT_SLICES, _MIN_UNITS = 1024, 16
_VERSIONS = ("torch", "torchvision", "timm", "pydicom", "numpy")


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes equal input give equal bits: stored beside the features, used on resume.

    Parameters
    ----------
    device : {"cpu", "cuda", "mps"}
        Kind of device.
    batch_size : int
        B, the same for every batch of a unit.
    threads : int
        Threads of torch on the CPU.
    compiled : bool
        Whether torch.compile was used.
    strict : bool
        Whether a series with a failed slice is left out by readers.
    precision : mapping
        ``used``, ``relative_error`` and ``between_slices`` (see `precision_errors`; None where
        nothing was compared), ``note``.
    """

    device: str
    batch_size: int
    threads: int
    compiled: bool
    strict: bool
    precision: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {**asdict(self), "precision": dict(self.precision)}

    @classmethod
    def read(cls, attributes: Mapping[str, Any]) -> "Plan":
        """The plan in a feature array's attributes."""
        return cls(**attributes["plan"])


def unit_slices(n_slices: int, batch_size: int) -> int:
    """Rows of a unit: 1,024, fewer where that gives under 16 units, a multiple of the batch.

    Parameters
    ----------
    n_slices : int
        N, rows of the part.
    batch_size : int
        B.

    Returns
    -------
    int
    """
    wanted = min(_UNIT_SLICES, n_slices // _MIN_UNITS)
    return max(wanted // batch_size, 1) * batch_size


def new_stacks(store: Path, index: "Index", identifiers: Identifiers) -> "list[Stack]":
    """Usable series of the index that the store lacks, or has in another version.

    Parameters
    ----------
    store : Path
        Folder of the store.
    index : Index
        What the scan found.
    identifiers : Identifiers
        Turns UIDs into store ids.

    Returns
    -------
    list of Stack
    """
    have: dict[str, str] = {}
    for part in arrays.list_parts(store):
        table = arrays.read_table(store, part, "series")
        have.update(zip(table["series"], table["source"], strict=True))
    return [
        stack
        for stack in index.stacks()
        if have.get(identifiers.series(stack.key))
        != series_source(slice_.source for slice_ in stack.slices)
    ]


def add_part(store: Path, index: "Index", identifiers: Identifiers) -> int | None:
    """Write the tables of a part for series that are new or changed.

    Parameters
    ----------
    store, index, identifiers
        As in `new_stacks`.

    Returns
    -------
    int or None
        Number of the new part; None when there is nothing new.
    """
    stacks = new_stacks(store, index, identifiers)
    return arrays.create_part(store, part_tables(stacks, identifiers)) if stacks else None


def check_recipe(store: Path, name: str, recipe: Recipe) -> None:
    """Refuse to mix features of different recipes under one name.

    Parameters
    ----------
    store : Path
        Folder of the store.
    name : str
        Name of the feature set.
    recipe : Recipe
        What was asked for.

    Raises
    ------
    StoreMismatchError
        The store has features of another recipe under this name; the fields are named.
    """
    have = existing_attributes(store, name)
    if have is None:
        return
    differing = differences(have["recipe"], recipe.document())
    if differing:
        raise StoreMismatchError(
            f"{store} holds features {name!r} of another recipe: {'; '.join(differing)}. "
            "Choose another --name for these, or ask for the same recipe"
        )


def existing_attributes(store: Path, name: str) -> dict[str, Any] | None:
    """Attributes of a feature set where any part has it.

    Parameters
    ----------
    store : Path
        Folder of the store.
    name : str
        Name of the feature set.

    Returns
    -------
    dict or None
    """
    for part in arrays.list_parts(store):
        if name in arrays.list_features(store, part):
            return FeatureArray(store, part, name).attributes
    return None


def add_features(
    store: Path, name: str, recipe: Recipe, plan: Plan, *, dim: int, unit: int | None
) -> None:
    """Create the feature arrays of every part that lacks them.

    Parameters
    ----------
    store : Path
        Folder of the store.
    name : str
        Name of the feature set.
    recipe : Recipe
        What changes the values.
    plan : Plan
        What changes the last bits.
    dim : int
        D.
    unit : int or None
        Rows of a unit; None for `unit_slices`.
    """
    attributes = {
        "recipe": recipe.document(),
        "fingerprint": recipe.fingerprint(),
        "plan": plan.document(),
        "versions": {package: version(package) for package in _VERSIONS},
        "reason_codes": {str(code): reason for code, reason in SLICE_REASONS.items()},
    }
    for part in arrays.list_parts(store):
        if name in arrays.list_features(store, part):
            continue
        n_slices = len(arrays.read_table(store, part, "slices"))
        arrays.create_features(
            store, part, name, n_slices=n_slices, dim=dim, dtype=recipe.dtype,
            unit_slices=unit or unit_slices(n_slices, plan.batch_size), attributes=attributes,
        )  # fmt: skip


def check_plan(store: Path, name: str, device: str) -> Plan | None:
    """The plan that an earlier run made, if this machine can follow it.

    Parameters
    ----------
    store : Path
        Folder of the store.
    name : str
        Name of the feature set.
    device : str
        Kind of device that this run would use.

    Returns
    -------
    Plan or None
        None when no part has features of this name.

    Raises
    ------
    StoreMismatchError
        The plan was made for another kind of device.
    """
    attributes = existing_attributes(store, name)
    if attributes is None:
        return None
    plan = Plan.read(attributes)
    if plan.device != device:
        raise StoreMismatchError(
            f"{store}: features {name!r} were begun on {plan.device}, and this run would use "
            f"{device}, which gives other last bits. Use --device {plan.device}, or another --name"
        )
    for package, was in attributes["versions"].items():
        if version(package) != was:
            _log.warning("%s was %s when %r was begun, now %s: values may differ in their "
                         "last bits", package, was, name, version(package))  # fmt: skip
    return plan
