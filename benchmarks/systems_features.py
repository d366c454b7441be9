"""A phantom, and SqueezeNet's features of it in every recipe that a published system wants."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import FeatureOptions, RunOptions
from featurecache.phantom import write_phantom
from featurecache.scan import scan
from seqhead.sources import Sources
from seqhead.systems import load_system, system_names
from seqhead.systems.recipes import extract_options, other_name
from seqhead.systems.schema import FeatureSpec, System

BACKBONE = "squeezenet1_1"
_KEEP_IDS = Identifiers(None)


def fitted_systems(names: Iterable[str]) -> list[System]:
    """Of some systems those that are fitted on features; and those whose slices rules combine."""
    chosen = [load_system(name) for name in names]
    needed = {one.slices or one.name for one in chosen}
    return [one for one in map(load_system, system_names()) if one.name in needed]


def squeezed(spec: FeatureSpec, weights: str, scale: float) -> FeatureOptions:
    """What a system wants, of another network.

    Parameters
    ----------
    spec : FeatureSpec
        Windows, size, zoom and pooling stay.
    weights : str
        Of SqueezeNet.
    scale : float
        Factor of the image sizes; 1 but in a trial.

    Returns
    -------
    FeatureOptions
    """
    size, zoom = round(spec.size * scale), spec.zoom and round(spec.zoom * scale)
    windows = spec.windows.count(",") + 1
    name = f"windows{windows}-{size}{f'-zoom{zoom}' if zoom else ''}-{spec.pool}"
    named = replace(
        extract_options(spec), backbone=BACKBONE, weights=weights, layer=None, name=name,
        size=size, zoom=zoom,
    )  # fmt: skip
    return replace(named, name=other_name(named, weights))


def prepare(
    folder: Path, systems: Iterable[System], *, patients: int, seed: int, weights: str,
    pixels: int, scale: float,
) -> dict[str, Sources]:  # fmt: skip
    """Phantom, index and store, as far as they are not there.

    Parameters
    ----------
    folder : Path
        Where they lie.
    systems : iterable of System
        Those that read them.
    patients, seed, pixels : int
        Of the phantom: one thick series of each patient, of so many pixels a side.
    weights, scale
        As for `squeezed`.

    Returns
    -------
    dict of str to Sources
        Level -> the store with the labels of that level.
    """
    phantom, index = folder / "phantom", folder / "featurecache.sqlite"
    write_phantom(phantom, patients, seed, series="thick", size=pixels)
    scan(phantom / "dicom", index)
    sets = {
        options.feature_name: options
        for system in systems
        for options in (squeezed(spec, weights, scale) for spec in system.features)
    }
    store = folder / "cache.zarr"
    extract(index, store, list(sets.values()), RunOptions(), _KEEP_IDS)
    return {
        "series": Sources(store, phantom / "labels.csv"),
        "slice": Sources(store, phantom / "slices.csv"),
    }
