"""What an extraction is told: what makes each feature set, and what makes this run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featurecache.errors import UsageError
from featurecache.framing import Framing, parse_framing


@dataclass(frozen=True, slots=True)
class FeatureOptions:
    """What makes one feature set: all of it ends in the store, as its recipe or its plan.

    Parameters
    ----------
    backbone : str
        A torchvision classification model, ``timm:NAME``, or a registered name.
    weights : str
        ``imagenet``, ``imagenet:NAME``, ``random:SEED`` or a file.
    name : str, optional
        Name of the feature set; by default the backbone's.
    windows : str
        See `parse_windows`.
    size : int
        Images become ``size`` x ``size`` pixels.
    fit : {"squash", "pad", "crop"}
        How an image that is not square does: aspect ratio not kept, air added, or sides cut.
    spacing_mm, fov_mm : float, optional
        Before that, the central field of view is resampled to this pixel spacing; see
        `parse_framing`.
    zoom : int, optional
        Then enlarged to ``zoom`` x ``zoom``.
    pool : {"avg", "max", "none"}
        Pooling over the image.
    layer : str, optional
        Layer to take; by default the last map before the network's own pooling.
    precision : {"auto", "fp32", "bf16", "fp16"}
        What the backbone computes in. ``auto`` takes bf16 where the device has it natively and
        a first batch proves it.
    max_relative_error : float
        Above it ``precision="auto"`` takes float32.
    dtype : {"float16", "float32"}
        What the store holds.
    batch_size : int, optional
        Slices of a batch; by default 16 on CPU, and on CUDA what is fastest within memory.
    compile : {"auto", "on", "off"}
        Use of torch.compile; ``auto`` measures where the slices at hand may be worth it.
    strict : bool
        Readers leave out series in which any slice failed.
    view_number, view_seed : int, optional
        An augmented view instead of the images as they are, see `featurecache.views`.
    """

    backbone: str
    weights: str = "imagenet"
    name: str | None = None
    windows: str = "brain"
    size: int = 224
    fit: str = "squash"
    spacing_mm: float | None = None
    fov_mm: float | None = None
    zoom: int | None = None
    pool: str = "avg"
    layer: str | None = None
    precision: str = "auto"
    max_relative_error: float = 0.02
    dtype: str = "float16"
    batch_size: int | None = None
    compile: str = "auto"
    strict: bool = False
    view_number: int | None = None
    view_seed: int | None = None

    @property
    def feature_name(self) -> str:
        """Name of the feature set."""
        return self.name or self.backbone.replace(":", "-")

    @property
    def framing(self) -> Framing:
        """How a slice comes to fill the input."""
        return parse_framing(self.size, self.fit, self.spacing_mm, self.fov_mm)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several jobs that share the units of a store.

    Parameters
    ----------
    number : int
        Which, from 1.
    of : int
        How many there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``I/N``.

        Raises
        ------
        UsageError
            It is something else, or I is not between 1 and N.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"--shard {text}: expected I/N with I from 1 to N, e.g. 3/8")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What makes a run: where and how the work is done. None of it changes a feature set.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; several, separated by commas, get a
        process each.
    workers : int, optional
        Processes that decode, for each device.
    unit_slices : int, optional
        Rows of a unit of feature sets that are new; rounded up to a multiple of the batch.
    shard : Shard, optional
        Compute only this share of the units.
    plan_only : bool
        Make the plan and stop.
    retry_failed : bool
        Compute rows again that failed for a passing reason.
    accept_missing : bool
        Commit rows whose series is no longer in the index as failed. By default their units
        wait, since a disk may just be away.
    durable : bool
        Do not count a unit as written before the disk has it.
    engine : {"local", "ray"}
        This machine, or a Ray cluster.
    ray_address : str, optional
        The cluster, ``auto`` for the one that this machine is part of; by default one is started
        on this machine for the run.
    ray_actors : int, optional
        Processes of the cluster that compute; by default one for each GPU, or for each machine.
    """

    device: str = "auto"
    workers: int | None = None
    unit_slices: int | None = None
    shard: Shard | None = None
    plan_only: bool = False
    retry_failed: bool = False
    accept_missing: bool = False
    durable: bool = False
    engine: str = "local"
    ray_address: str | None = None
    ray_actors: int | None = None


def feature_sets(
    backbone: str, weights: str = "imagenet", name: str | None = None, *, views: int = 0,
    view_seed: int = 0, **common: Any,
) -> tuple[FeatureOptions, ...]:  # fmt: skip
    """One or several feature sets from lists separated by commas.

    Parameters
    ----------
    backbone : str
        E.g. ``vgg16,resnet50``.
    weights : str
        One for all, or one for each.
    name : str, optional
        One for each.
    views : int
        How many augmented views of each are feature sets too, called ``NAME.view1`` and so on.
    view_seed : int
        Of the draws.
    **common
        What they share: the other fields of `FeatureOptions`.

    Returns
    -------
    tuple of FeatureOptions

    Raises
    ------
    UsageError
        A list has another length, or two feature sets would have one name.
    """
    backbones = backbone.split(",")
    n_sets = len(backbones)
    all_weights = [weights] if n_sets == 1 or Path(weights).is_file() else weights.split(",")
    if len(all_weights) == 1:
        all_weights *= n_sets
    names = [name] if name is None or n_sets == 1 else name.split(",")
    if name is None:
        names *= n_sets
    for option, given in (("weights", all_weights), ("name", names)):
        if len(given) != n_sets:
            raise UsageError(f"--{option}: {len(given)} given for {n_sets} backbones {backbone}")
    sets = tuple(
        FeatureOptions(one, weights=own, name=called, **common)
        for one, own, called in zip(backbones, all_weights, names, strict=True)
    )
    return with_views(sets, views, view_seed)


def with_views(
    sets: Sequence[FeatureOptions], views: int, seed: int = 0
) -> tuple[FeatureOptions, ...]:
    """Feature sets, and augmented views of each.

    Parameters
    ----------
    sets : sequence of FeatureOptions
        The images as they are.
    views : int
        How many views of each.
    seed : int
        Of the draws.

    Returns
    -------
    tuple of FeatureOptions
        Those given come first; view K of NAME is called ``NAME.viewK``.
    """
    augmented = tuple(
        replace(one, name=f"{one.feature_name}.view{number}", view_number=number, view_seed=seed)
        for one in sets
        for number in range(1, views + 1)
    )
    return (*sets, *augmented)


def check_options(features: Sequence[FeatureOptions], run: RunOptions) -> None:
    """Refuse what no later step would refuse in words.

    Parameters
    ----------
    features : sequence of FeatureOptions
        What was asked for.
    run : RunOptions
        How.

    Raises
    ------
    UsageError
        A choice is unknown, a number is not positive, or two feature sets have one name.
    """
    if not features:
        raise UsageError("no feature set is asked for: name a --backbone")
    _check_positive(run, ("workers", "unit_slices", "ray_actors"))
    _check_engine(run)
    for one in features:
        _check_features(one)
    names = [one.feature_name for one in features]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two feature sets are called {name!r}: give each a --name of its own")


def _check_engine(run: RunOptions) -> None:
    if run.engine not in ("local", "ray"):
        raise UsageError(f"--engine {run.engine}: expected local or ray")
    if run.engine == "local":
        for option in ("ray_address", "ray_actors"):
            if getattr(run, option) is not None:
                raise UsageError(f"--{option.replace('_', '-')} is for --engine ray: add that")
        return
    if run.shard is not None:
        raise UsageError(
            "--shard and --engine ray both divide the units: leave out one of them (on Slurm, "
            "--shard needs no Ray)"
        )
    if run.device not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--device {run.device} with --engine ray: expected auto, cpu or cuda. Ray gives each "
            "process its GPU; --ray-actors says how many there are"
        )
    if (run.ray_address or "").startswith("ray://"):
        raise UsageError(
            f"--ray-address {run.ray_address}: run the command on a machine of the cluster, with "
            "auto or HOST:PORT; it needs the store and the index as the others do"
        )


def _check_features(options: FeatureOptions) -> None:
    choices = {
        "precision": ("auto", "fp32", "bf16", "fp16"),
        "dtype": ("float16", "float32"),
        "compile": ("auto", "on", "off"),
    }
    for option, allowed in choices.items():
        if getattr(options, option) not in allowed:
            raise UsageError(
                f"--{option} {getattr(options, option)}: expected one of {', '.join(allowed)}"
            )
    _check_positive(options, ("size", "zoom", "batch_size"))
    parse_framing(options.size, options.fit, options.spacing_mm, options.fov_mm)


def _check_positive(options: FeatureOptions | RunOptions, names: Sequence[str]) -> None:
    for option in names:
        value = getattr(options, option)
        if value is not None and value < 1:
            raise UsageError(f"--{option.replace('_', '-')} {value}: expected a positive number")
