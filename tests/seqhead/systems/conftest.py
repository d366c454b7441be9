"""Stores with features of a system's recipe, as narrow as a test wants them."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from featurecache.recipe import Recipe, parse_windows
from seqhead.systems import load_system

WIDTH = 8


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems on a shared machine: threads that wait for each other cost tenfold."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe_of(spec, **changes):
    """Document of the recipe that a system wants, with some fields changed."""
    fields = {
        "backbone": spec.backbone, "weights": "digest", "weights_source": spec.weights,
        "layer": spec.node, "pool": spec.pool, "windows": parse_windows(spec.windows),
        "size": spec.size, "zoom": spec.zoom, "mean": (0.5,) * 3, "std": (0.5,) * 3,
        "precision": "fp32", "dtype": "float32",
    }  # fmt: skip
    return Recipe(**{**fields, **changes}).document()


@pytest.fixture
def recipe():
    """Function that gives the document of the recipe that a system wants."""
    return recipe_of


@pytest.fixture
def cohort_of(tmp_path, make_store, add_features):
    """Function that writes a store and labels for a system: ragged series, some of one slice."""

    def make(name, *, patients=16, width=WIDTH, failed=None, change=None):
        system = load_system(name)
        rng = np.random.default_rng(0)
        lengths = {f"1.2.{k}": int(n) for k, n in enumerate(rng.integers(1, 45, size=patients))}
        lengths["1.2.0"], lengths["1.2.1"] = 1, 80
        shapes = {spec.name: spec for spec in system.features}
        where = tmp_path / "cache.zarr"
        for number, (feature_set, spec) in enumerate(shapes.items()):
            matrices = {s: draw(s, feature_set, n, width) for s, n in lengths.items()}
            document = recipe_of(spec, **(change or {}))
            if number == 0:
                make_store(where, matrices, name=feature_set, recipe=document)
            else:
                add_features(where, matrices, feature_set, recipe=document, failed=failed)
        labels, slices = tmp_path / "labels.csv", tmp_path / "slices.csv"
        names = system.labels[:3]
        header = ",".join(names)
        of_series = [f"{s},{row(s, names)}" for s in lengths]
        sops = [f"{s}.{k}" for s, n in lengths.items() for k in range(n)]
        of_slices = [f"{sop},{row(sop, names)}" for sop in sops]
        labels.write_text("\n".join([f"SeriesInstanceUID,{header}", *of_series]))
        slices.write_text("\n".join([f"SOPInstanceUID,{header}", *of_slices]))
        return SimpleNamespace(
            folder=tmp_path, store=where, system=system, lengths=lengths, names=names,
            labels=slices if system.level == "slice" else labels, slices=slices,
        )  # fmt: skip

    return make


def draw(series, feature_set, n, width):
    """Features that depend on the names only."""
    seed = int(hashlib.sha256(f"{series} {feature_set}".encode()).hexdigest()[:8], 16)
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def row(thing, names):
    """Labels that depend on the names only; one in ten is unknown."""
    numbers = [int(hashlib.sha256(f"{thing} {n}".encode()).hexdigest()[:4], 16) for n in names]
    return ",".join("" if k % 10 == 0 else str(k % 2) for k in numbers)
