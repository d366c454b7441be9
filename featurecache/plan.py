"""The plan of a feature set: how every batch of it is computed, and what earlier runs planned."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any

import torch

from featurecache import arrays
from featurecache.backbones import Backbone
from featurecache.cuda import make_embedder
from featurecache.embed import Embedder, can_compile
from featurecache.errors import StoreMismatchError
from featurecache.feature_array import FeatureArray
from featurecache.options import FeatureOptions
from featurecache.reasons import SLICE_REASONS
from featurecache.recipe import Recipe, differences, parse_windows
from featurecache.storage import Storage

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
    compile : str
        Why it is compiled, or not. Measured times are not part of a store: equal work gives equal
        bytes.
    """

    device: str
    batch_size: int
    threads: int
    compiled: bool
    strict: bool
    precision: Mapping[str, Any]
    compile: str = ""

    def document(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {**asdict(self), "precision": dict(self.precision)}

    @classmethod
    def read(cls, attributes: Mapping[str, Any]) -> "Plan":
        """The plan in a feature array's attributes."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in attributes["plan"].items() if name in known})


def unit_slices(n_slices: int, batch_sizes: Sequence[int], asked: int | None = None) -> int:
    """Rows of a unit: 1,024, fewer where that gives under 16 units, a multiple of all batches.

    Parameters
    ----------
    n_slices : int
        N, rows of the part.
    batch_sizes : sequence of int
        B of each feature set whose units shall cover the same rows.
    asked : int, optional
        What a user asked for instead; it is rounded up.

    Returns
    -------
    int
    """
    batch = math.lcm(*batch_sizes)
    if asked is not None:
        return -(-asked // batch) * batch
    return max(min(_UNIT_SLICES, n_slices // _MIN_UNITS) // batch, 1) * batch


def make_recipe(options: FeatureOptions, backbone: Backbone, precision: str) -> Recipe:
    """Everything that changes a feature's value.

    Parameters
    ----------
    options : FeatureOptions
        What makes the feature set.
    backbone : Backbone
        Its network.
    precision : {"fp32", "bf16", "fp16"}
        What it computes in.

    Returns
    -------
    Recipe
    """
    framing = options.framing
    return Recipe(
        backbone=backbone.name, weights=backbone.weights,
        weights_source=backbone.weights_source, layer=backbone.layer, pool=options.pool,
        windows=parse_windows(options.windows), size=options.size, zoom=options.zoom,
        mean=backbone.mean, std=backbone.std, precision=precision, dtype=options.dtype,
        resize=framing.words, spacing_mm=framing.spacing_mm, fov_mm=framing.fov_mm,
        view_number=options.view_number, view_seed=options.view_seed,
    )  # fmt: skip


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
    store: Storage, part: int, name: str, recipe: Recipe, plan: Plan, *, dim: int, unit: int
) -> bool:
    """Create the feature arrays of a part.

    Of rivals that do so at the same time, the first has planned for all.

    Parameters
    ----------
    store : Storage
        Where the store lies.
    part : int
        Number of the part; it has no features of this name yet.
    name : str
        Name of the feature set.
    recipe : Recipe
        What changes the values.
    plan : Plan
        What changes the last bits.
    dim : int
        D.
    unit : int
        Rows of a unit.

    Returns
    -------
    bool
        Whether they are planned so; False where a rival came first, whose recipe and plan are to
        be checked as those of an earlier run.
    """
    attributes = {
        "recipe": recipe.document(),
        "fingerprint": recipe.fingerprint(),
        "plan": plan.document(),
        "versions": {package: version(package) for package in _VERSIONS},
        "reason_codes": {str(code): reason for code, reason in SLICE_REASONS.items()},
    }
    there = arrays.create_features(
        store, part, name, n_slices=arrays.count_slices(store, part), dim=dim, dtype=recipe.dtype,
        unit_slices=unit, attributes=attributes,
    )  # fmt: skip
    return Plan.read(there) == plan and not differences(there["recipe"], recipe.document())


@dataclass(frozen=True, slots=True)
class Planned:
    """A feature set that can be computed: how it was asked for, its network and its plan.

    Parameters
    ----------
    options : FeatureOptions
        What makes it.
    backbone : Backbone
        Its network.
    plan : Plan
        How every batch is computed.
    """

    options: FeatureOptions
    backbone: Backbone
    plan: Plan

    @property
    def recipe(self) -> Recipe:
        """Everything that changes a feature's value."""
        return make_recipe(self.options, self.backbone, self.plan.precision["used"])

    def embedder(self, device: torch.device) -> Embedder:
        """The network on a device, as planned."""
        plan = self.plan
        return make_embedder(
            self.backbone, self.recipe, device, plan.batch_size, compiled=plan.compiled,
            threads=plan.threads,
        )  # fmt: skip


def earlier_plan(
    store: Storage, options: FeatureOptions, backbone: Backbone, device: torch.device
) -> Planned | None:
    """A feature set as an earlier run planned it, if this run may continue it.

    Parameters
    ----------
    store : Storage
        Where the store lies.
    options : FeatureOptions
        What is asked for now.
    backbone : Backbone
        Its network.
    device : torch.device
        What this run would use.

    Returns
    -------
    Planned or None
        None when no part has features of this name.

    Raises
    ------
    StoreMismatchError
        The features are of another recipe, which is told by field, or this machine cannot compute
        them to the same bits.
    """
    attributes = existing_attributes(store, options.feature_name)
    if attributes is None:
        return None
    planned = Planned(options, backbone, Plan.read(attributes))
    _check_recipe(store, planned, attributes["recipe"])
    _check_machine(store, planned, device)
    _check_requests(planned)
    for package, was in attributes["versions"].items():
        if version(package) != was:
            _log.warning(
                "%s was %s when %r was begun, now %s: values may differ in their last bits",
                package, was, options.feature_name, version(package),
            )  # fmt: skip
    return planned


def _check_recipe(store: Storage, planned: Planned, have: Mapping[str, Any]) -> None:
    """Refuse to mix features of different recipes under one name."""
    options, used = planned.options, str(planned.plan.precision["used"])
    wanted = used if options.precision == "auto" else options.precision
    differing = differences(have, make_recipe(options, planned.backbone, wanted).document())
    if differing:
        raise StoreMismatchError(
            f"{store} holds features {options.feature_name!r} of another recipe: "
            f"{'; '.join(differing)}. Choose another --name for these, or ask for the same recipe"
        )


def _check_machine(store: Storage, planned: Planned, device: torch.device) -> None:
    """Refuse to continue where the last bits would differ."""
    name, plan = planned.options.feature_name, planned.plan
    if plan.device != device.type:
        raise StoreMismatchError(
            f"{store}: features {name!r} were begun on {plan.device}, and this run would use "
            f"{device.type}, which gives other last bits. Use --device {plan.device}, or another "
            "--name"
        )
    if plan.compiled and not can_compile(device):
        raise StoreMismatchError(
            f"{store}: features {name!r} were begun with a compiled network, which gives other "
            "last bits, and this machine has no compiler (`featurecache doctor`). Install one, or "
            "use another --name"
        )


def _check_requests(planned: Planned) -> None:
    """Refuse, or say, that what is asked for is not what was planned."""
    options, plan = planned.options, planned.plan
    if options.strict and not plan.strict:
        raise StoreMismatchError(
            f"features {options.feature_name!r} were begun without --strict: leave it out, or "
            "choose another --name"
        )
    if options.batch_size not in (None, plan.batch_size):
        _log.warning("--batch-size %s is ignored: %s was planned with %s",
                     options.batch_size, options.feature_name, plan.batch_size)  # fmt: skip
    if options.compile not in ("auto", "on" if plan.compiled else "off"):
        planned_as = "compiled" if plan.compiled else "uncompiled"
        _log.warning("--compile %s is ignored: %s was planned %s",
                     options.compile, options.feature_name, planned_as)  # fmt: skip
