"""The plan of an extraction: which rows there are, and how every batch of them is computed."""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from featurecache import arrays
from featurecache.errors import StoreMismatchError
from featurecache.feature_array import FeatureArray
from featurecache.identifiers import Identifiers
from featurecache.options import ExtractOptions
from featurecache.parts import series_tables
from featurecache.reasons import SLICE_REASONS
from featurecache.recipe import Recipe, differences
from featurecache.storage import Storage
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
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in attributes["plan"].items() if name in known})


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


def new_stacks(
    store: Storage, index: "Index", identifiers: Identifiers, left_out: Collection[str] = ()
) -> "list[Stack]":
    """Usable series of the index that the store lacks, or has in another version.

    All stacks of a SeriesInstanceUID come together when any of them is new or changed. Those that
    are left out do not come, unless the store has them already as they are: a part supersedes
    earlier rows of the whole SeriesInstanceUID, and a narrower selection takes nothing away.

    Parameters
    ----------
    store : Storage
        Where the store lies.
    index : Index
        What the scan found.
    identifiers : Identifiers
        Turns UIDs into store ids.
    left_out : collection of str
        Keys of stacks that are not selected.

    Returns
    -------
    list of Stack
    """
    have: dict[str, dict[str, str]] = defaultdict(dict)
    for table in series_tables(store).values():
        for row in table[table["row_current"]][["series_of", "series", "source"]].to_numpy():
            have[row[0]][row[1]] = row[2]
    stacks = list(index.stacks())

    def series_of(stack: "Stack") -> str:
        return identifiers.series(stack.series_uid)

    there: dict[str, dict[str, str]] = defaultdict(dict)
    wanted: dict[str, set[str]] = defaultdict(set)
    for stack in stacks:
        series = identifiers.series(stack.key)
        there[series_of(stack)][series] = series_source(stack, identifiers)
        if stack.key not in left_out:
            wanted[series_of(stack)].add(series)
    kept = {of: have[of].items() & there[of].items() for of in wanted}
    new = {
        of for of, series in wanted.items()
        if len(kept[of]) < len(have[of]) or series - dict(kept[of]).keys()
    }  # fmt: skip
    return [
        stack for stack in stacks
        if (of := series_of(stack)) in new
        and (identifiers.series(stack.key) in wanted[of] | dict(kept[of]).keys())
    ]  # fmt: skip


def add_part(
    store: Storage, index: "Index", identifiers: Identifiers, left_out: Collection[str] = ()
) -> int | None:
    """Write the tables of a part for series that are new or changed.

    Parameters
    ----------
    store, index, identifiers, left_out
        As in `new_stacks`.

    Returns
    -------
    int or None
        Number of the new part; None when there is nothing new.

    Raises
    ------
    StoreMismatchError
        A rival has begun a part with other series.
    """
    while True:
        part = len(arrays.list_parts(store))
        stacks = new_stacks(store, index, identifiers, left_out)
        if not stacks:
            return None
        try:
            return arrays.create_part(store, part_tables(stacks, identifiers), part)
        except StoreMismatchError:
            if len(arrays.list_parts(store)) == part:  # else a rival was faster: what is new now?
                raise


def check_recipe(store: Storage, name: str, recipe: Recipe) -> None:
    """Refuse to mix features of different recipes under one name.

    Parameters
    ----------
    store : Storage
        Where the store lies.
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


def existing_attributes(store: Storage, name: str) -> dict[str, Any] | None:
    """Attributes of a feature set where any part has it.

    Parameters
    ----------
    store : Storage
        Where the store lies.
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
    store: Storage, name: str, recipe: Recipe, plan: Plan, *, dim: int, unit: int | None
) -> bool:
    """Create the feature arrays of every part that lacks them.

    Of rivals that do so at the same time, the first has planned for all.

    Parameters
    ----------
    store : Storage
        Where the store lies.
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

    Returns
    -------
    bool
        Whether all that was lacking has been created so; False where a rival came first, whose
        recipe and plan are to be checked as those of an earlier run.
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
        there = arrays.create_features(
            store, part, name, n_slices=n_slices, dim=dim, dtype=recipe.dtype,
            unit_slices=unit or unit_slices(n_slices, plan.batch_size), attributes=attributes,
        )  # fmt: skip
        if Plan.read(there) != plan or differences(there["recipe"], recipe.document()):
            return False
    return True


def check_requests(plan: Plan, options: ExtractOptions) -> None:
    """Compare what is asked for with what an earlier run has planned.

    Parameters
    ----------
    plan : Plan
        Of the features that are there.
    options : ExtractOptions
        What this run was told.

    Raises
    ------
    StoreMismatchError
        ``--strict`` is asked for, and the features were begun without it.
    """
    if options.strict and not plan.strict:
        raise StoreMismatchError(
            f"features {options.feature_name!r} were begun without --strict: leave it out, or "
            "choose another --name"
        )
    if options.batch_size not in (None, plan.batch_size):
        _log.warning("--batch-size %s is ignored: these features were planned with %s",
                     options.batch_size, plan.batch_size)  # fmt: skip


def check_plan(store: Storage, name: str, device: str) -> Plan | None:
    """The plan that an earlier run made, if this machine can follow it.

    Parameters
    ----------
    store : Storage
        Where the store lies.
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
