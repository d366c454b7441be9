"""The options of `featurecache extract`: the fields of `FeatureOptions` and `RunOptions`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from featurecache.framing import FITS

F = TypeVar("F", bound=Callable[..., Any])

_NETWORK = (
    click.option(
        "--system",
        help="Instead of --backbone: the features and the series of a published system; "
        "`seqhead systems` lists them.",
    ),
    click.option(
        "--backbone",
        help="A torchvision classifier (vgg16, resnet50, squeezenet1_1, ...), timm:NAME or a "
        "registered name. Several, separated by commas, share the decoding.",
    ),
    click.option(
        "--weights",
        default="imagenet",
        show_default=True,
        help="imagenet, imagenet:NAME, random:SEED, or a .safetensors or .pth file; one for all "
        "backbones, or one for each.",
    ),
    click.option(
        "--name",
        show_default="the backbone",
        help="Name of the feature set; one for each backbone.",
    ),
    click.option("--layer", show_default="the last before the classifier", help="Layer to take."),
    click.option(
        "--pool",
        type=click.Choice(["avg", "max", "none"]),
        default="avg",
        show_default=True,
        help="Pooling over the image (that over slices is --pool of seqhead fit).",
    ),
)

_IMAGE = (
    click.option(
        "--windows",
        default="brain",
        show_default=True,
        help="One window or three: brain, subdural, bone, stroke, ... or LEVEL/WIDTH in HU.",
    ),
    click.option(
        "--size",
        type=click.IntRange(min=1),
        default=224,
        show_default=True,
        help="Slices become this many pixels a side.",
    ),
    click.option(
        "--fit",
        type=click.Choice(FITS),
        default="squash",
        show_default=True,
        help="What happens to a slice that is not square: squashed, air added, or sides cut.",
    ),
    click.option(
        "--spacing",
        "spacing_mm",
        type=click.FloatRange(min=0, min_open=True),
        metavar="MM",
        show_default="whatever the scan has",
        help="Resample slices in their plane to this pixel spacing; without --fov, to --size "
        "pixels of it.",
    ),
    click.option(
        "--fov",
        "fov_mm",
        type=click.FloatRange(min=0, min_open=True),
        metavar="MM",
        show_default="the whole slice",
        help="Field of view around the centre of the image; air where the slice ends before it.",
    ),
)

_ZOOM = (
    click.option(
        "--zoom", type=click.IntRange(min=1), help="Then enlarged to this many pixels a side."
    ),
)

_VIEWS = (
    click.option(
        "--views",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Also so many augmented views of every series (rotated, mirrored or shifted), as "
        "feature sets NAME.view1, NAME.view2, ...",
    ),
    click.option(
        "--view-seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Seed of the views.",
    ),
)

_NUMBERS = (
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        default="auto",
        show_default=True,
        help="Arithmetic; auto takes bf16 where the processor has it, after checking its error.",
    ),
    click.option(
        "--max-relative-error",
        type=click.FloatRange(min=0, min_open=True),
        default=0.02,
        show_default=True,
        help="Above it, --precision auto takes fp32.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float16", "float32"]),
        default="float16",
        show_default=True,
        help="Type of the features in the store.",
    ),
)

_MACHINE = (
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="auto, cpu, cuda (every GPU), cuda:N or mps; several, separated by commas, get a "
        "process each.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        show_default="16 on CPU; on CUDA what is fastest within memory",
        help="Slices per batch.",
    ),
    click.option(
        "--compile",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        show_default=True,
        help="Compile the network (needs a C++ compiler); auto tries it from 2,000 slices on, "
        "and keeps it where it saves time.",
    ),
)

_WORK = (
    click.option(
        "--unit-slices",
        type=click.IntRange(min=1),
        show_default="1,024, fewer for small archives",
        help="Slices per unit of work, rounded up to a multiple of the batch.",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Compute only this share of the units, I from 1 to N; shards run side by side.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Who computes: this machine, or a Ray cluster (ray extra).",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        show_default="a cluster of this machine alone, for this run",
        help="Of a private cluster: HOST:PORT, or auto on one of its machines.",
    ),
    click.option(
        "--ray-actors",
        type=click.IntRange(min=1),
        show_default="one for each GPU, or for each machine",
        help="Processes of the cluster that compute.",
    ),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Write nothing; say what there is to do, and how long it would take.",
    ),
    click.option("--plan-only", is_flag=True, help="Make the plan of the work and stop."),
    click.option(
        "--retry-failed", is_flag=True, help="Try again what failed for a passing reason."
    ),
    click.option("--strict", is_flag=True, help="A failed slice fails its whole series."),
    click.option(
        "--accept-missing",
        is_flag=True,
        help="Take series that left the index for lost, instead of waiting for them.",
    ),
    click.option(
        "--durable",
        is_flag=True,
        help="Count a unit as written only when the disk has it: slower, survives a power cut.",
    ),
)

_SCAN = (
    click.option(
        "--assume-hu",
        is_flag=True,
        help="Take values as HU already: without a rescale, or in NIfTI files that do not look "
        "like HU.",
    ),
    click.option(
        "--min-slices",
        type=click.IntRange(min=1),
        default=2,
        show_default=True,
        help="Series of fewer slices are skipped.",
    ),
)


def extract_options(function: F) -> F:
    """Add the options that become feature sets and `RunOptions`, but `--workers`."""
    return _apply(function, _NETWORK + _IMAGE + _ZOOM + _VIEWS + _NUMBERS + _MACHINE + _WORK)


def image_options(function: F) -> F:
    """Add ``--windows``, ``--size``, ``--fit``, ``--spacing`` and ``--fov``."""
    return _apply(function, _IMAGE)


def scan_options(function: F) -> F:
    """Add ``--assume-hu`` and ``--min-slices`` of `featurecache.scan.scan`."""
    return _apply(function, _SCAN)


def _apply(function: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        function = option(function)
    return function
