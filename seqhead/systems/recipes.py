"""The features that a system wants, and whether a feature set is of that recipe."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featurecache.framing import parse_framing
from featurecache.options import FeatureOptions
from featurecache.recipe import parse_windows
from seqhead.errors import FitError
from seqhead.systems.loading import load_system
from seqhead.systems.schema import FeatureSpec, System

_OPTIONS = ("weights", "windows", "size", "fit", "spacing_mm", "fov_mm", "zoom", "pool", "layer")
_SPELLED = {"spacing_mm": "--spacing", "fov_mm": "--fov"}
_FOLLOWS = (
    "weights_source", "mean", "std", "precision", "dtype", "hu_range", "values_version",
)  # fmt: skip
_NEVER_DEFAULT = ("weights", "windows", "size", "pool")  # said even where they are the default


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a system wants of ``featurecache extract``.

    Parameters
    ----------
    sets : tuple of FeatureOptions
        One for each feature set, all of them with a name.
    select : tuple of str
        Which series are used, as ``--select`` takes it.
    """

    sets: tuple[FeatureOptions, ...]
    select: tuple[str, ...]


def extraction(name: str, weights: str | None = None) -> Extraction:
    """Say what ``featurecache extract --system NAME`` extracts.

    Parameters
    ----------
    name : str
        A system.
    weights : str or None
        Other weights than the system's; the feature sets then have names of their own.

    Returns
    -------
    Extraction

    Raises
    ------
    FitError
        There is no such system, or it reads no features.
    """
    system = load_system(name)
    if not system.features:
        raise FitError(
            f"{system.name} is a rule over predictions of slices: it reads no features of its own"
        )
    unique = {spec.name: extract_options(spec) for spec in system.features}
    sets = tuple(unique.values())
    if weights is not None:
        sets = tuple(replace(one, weights=weights, name=other_name(one, weights)) for one in sets)
    return Extraction(sets, system.select)


def other_name(options: FeatureOptions, weights: str) -> str:
    """Name a feature set of other weights than a system's.

    Parameters
    ----------
    options : FeatureOptions
        As the system has it.
    weights : str
        What ``--weights`` says.

    Returns
    -------
    str
        For example ``"sdlm-vgg16-random-0"``.
    """
    tag = Path(weights).stem if Path(weights).suffix else weights
    return f"{options.feature_name}-{re.sub(r'[^A-Za-z0-9]+', '-', tag).strip('-')}"[:64]


def extract_options(spec: FeatureSpec) -> FeatureOptions:
    """Options of one extraction.

    Parameters
    ----------
    spec : FeatureSpec
        What a system wants.

    Returns
    -------
    FeatureOptions
    """
    given = {name: getattr(spec, name) for name in _OPTIONS}
    return FeatureOptions(backbone=spec.backbone, name=spec.name, **given)


def extract_command(spec: FeatureSpec) -> str:
    """Spell the command that extracts what a system wants.

    Parameters
    ----------
    spec : FeatureSpec
        What it wants.

    Returns
    -------
    str
        A line of shell.
    """
    words = ["featurecache", "extract", "--backbone", spec.backbone]
    for name in _OPTIONS:
        value = getattr(spec, name)
        if name in _NEVER_DEFAULT or value != FeatureSpec.model_fields[name].default:
            words += [_SPELLED.get(name, f"--{name}"), str(value)]
    return shlex.join([*words, "--name", spec.name])


def recipe_differences(spec: FeatureSpec, recipe: Mapping[str, Any]) -> list[str]:
    """Fields in which a recipe is not what a system wants.

    Numerics (precision, storage type) do not count. Weights are compared by their name, since
    their digest is known only to who has them.

    Parameters
    ----------
    spec : FeatureSpec
        What it wants.
    recipe : mapping
        `Recipe.document` of a feature set.

    Returns
    -------
    list of str
        E.g. ``"size is 224, not 256"``; empty where the recipe is the one wanted.
    """
    framing = parse_framing(spec.size, spec.fit, spec.spacing_mm, spec.fov_mm)
    wanted = {
        "backbone": spec.backbone,
        "weights": _weights(spec.weights),
        "layer": spec.node,
        "pool": spec.pool,
        "windows": [list(window) for window in parse_windows(spec.windows)],
        "size": spec.size,
        "zoom": spec.zoom,
        "resize": framing.words,
        "spacing_mm": framing.spacing_mm,
        "fov_mm": framing.fov_mm,
    }
    source = str(recipe.get("weights_source", recipe.get("weights")))
    have = {**recipe, "weights": _weights(source)}
    others = {name: None for name in recipe if name not in wanted and name not in _FOLLOWS}
    return [
        f"{name} is {have.get(name)}, not {value}"
        for name, value in {**wanted, **others}.items()
        if have.get(name) != value
    ]


def wanted_of(system: System) -> tuple[FeatureSpec, FeatureSpec | None]:
    """Give the feature set of a system, and the one that is laid beside it.

    Parameters
    ----------
    system : System
        A system that reads features.

    Returns
    -------
    first : FeatureSpec
    second : FeatureSpec or None
    """
    return system.features[0], system.features[1] if len(system.features) > 1 else None


def _weights(source: str) -> str:
    return "imagenet" if source == "imagenet:IMAGENET1K_V1" else source
