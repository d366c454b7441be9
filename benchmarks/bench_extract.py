"""Slices per second from DICOM files to features: featurecache, the bare network, plain scripts.

    python benchmarks/bench_extract.py [--backbones vgg16,resnet50] [--slices 512] [--json FILE]

Of each network, with random weights so that nothing is downloaded:

* ``bare``        its forward pass alone, at the precision, batch and compilation of ours: the limit
* ``ours``        ``featurecache extract``, from files to committed features; its start (imports,
  network, proof, compilation) is in ``whole_s`` only
* ``script``      a loop with pydicom and torchvision: float32, a batch and a .npy for each series
* ``loader``      the same with a torch DataLoader
* ``tuned``       the same in bfloat16 and channels_last, where ours is in bfloat16
* ``openvino``    the forward pass alone in OpenVINO, where it is installed

Each is a process of its own and they alternate (A B C, A B C, ...); all wait without spinning,
which a loaded machine does not forgive. Features are compared before anything is timed. Then, with
a network that costs next to nothing: how ours goes with the number of slices and of workers.
"""

import argparse
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import machine
from commands import extract, forward, plain
from compare_features import verify
from extract_scaling import over_slices, over_workers
from phantom_files import write_slices
from repeats import Figures, Table, alternate, ratio, show_medians, show_ratios

BACKBONES = "vgg16,resnet50,densenet121,timm:legacy_xception"
_PACKAGES = ("torch", "torchvision", "timm", "openvino", "pydicom", "numpy")
_SIZES = {"timm:legacy_xception": 256}
_BARS = {"vgg16": {"bare": 0.90, "script": 8.0}}
_QUICK = [
    "--backbones", "squeezenet1_1", "--size", "64", "--slices", "40", "--script-slices", "20",
    "--patients", "1", "--repeats", "1", "--seconds", "0.2", "--compile", "off", "--scale", "40",
    "--workers", "",
]  # fmt: skip


def contenders(told: argparse.Namespace, backbone: str, tree: Path, used: dict[str, Any]) -> dict:
    """Name -> what measures it once."""
    size = told.size or _SIZES.get(backbone, 224)
    at = {"size": size, "device": told.device}
    bare = at | {"precision": used["precision"], "compiled": used["compiled"]}
    bare |= {"batch_size": used["batch_size"], "seconds": told.seconds}
    script = partial(plain, tree, backbone, slices=told.script_slices, **at)
    cores = machine.cores()
    found: dict[str, Any] = {
        "bare": partial(forward, "torch", backbone, **bare),
        "ours": partial(timed_extract, told, backbone, tree, size),
        "script": script,
        "loader": partial(script, loader=cores),
    }
    if used["precision"] == "bf16":
        found["tuned"] = partial(script, loader=cores, tuned=True)
    if machine.installed("openvino") and told.device == "cpu":
        found["openvino"] = partial(forward, "openvino", backbone, **bare)
    return found


def timed_extract(told: argparse.Namespace, backbone: str, tree: Path, size: int) -> Figures:
    """Ours, once, into a store that is then deleted."""
    with tempfile.TemporaryDirectory(dir=tree.parent) as folder:
        report = extract(tree, Path(folder), backbone, _options(told, size))
    return {"slices_per_s": report["slices_per_s"], "whole_s": report["whole_s"]}


def _options(told: argparse.Namespace, size: int) -> dict[str, Any]:
    return {
        "size": size, "precision": told.precision, "compile": told.compile, "device": told.device,
        "batch-size": told.batch_size,
    }  # fmt: skip


def ratios(table: Table) -> dict[str, float]:
    """Ours over each of the others."""
    return {
        f"ours / {other}": ratio(table, "ours", other, "slices_per_s")
        for other in table
        if other != "ours"
    }


def measure(told: argparse.Namespace, backbone: str, tree: Path) -> dict[str, Any]:
    """Everything about one network."""
    print(f"== {backbone}")
    size = told.size or _SIZES.get(backbone, 224)
    used = verify(tree, backbone, _options(told, size), told.script_slices)
    table = alternate(contenders(told, backbone, tree, used), told.repeats)
    show_medians(table, told.repeats)
    found = ratios(table)
    show_ratios(found)
    held = {
        f"ours / {other} at least {least:g}": found[f"ours / {other}"] >= least
        for other, least in _BARS.get(backbone, {}).items()
    }
    for bar, holds in held.items():
        print(f"  {'held ' if holds else 'MISSED'}  {bar}")
    return {"used": used, "size": size, "measured": table, "ratios": found, "bars": held}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", default=BACKBONES, help="comma-separated")
    parser.add_argument("--slices", type=int, default=768, help="slices that ours extracts")
    parser.add_argument("--patients", type=int, default=8, help="phantoms that they come of")
    parser.add_argument("--script-slices", type=int, default=100, help="that the scripts embed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="that a bare network runs")
    parser.add_argument("--size", type=int, help="pixels a side; by default 224, Xception 256")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32", "fp16"])
    parser.add_argument("--compile", default="on", choices=["on", "off"])
    parser.add_argument("--batch-size", type=int, help="by default that of the plan")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scale", default="1000,4000", help="numbers of slices; 100000 takes long")
    parser.add_argument("--workers", default="1,2,4", help="numbers of worker processes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write JSON."""
    parser = _parser()
    told = parser.parse_args(arguments)
    if told.quick:
        told = parser.parse_args(_QUICK, told)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    described = machine.describe(_PACKAGES)
    machine.show(described)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_slices = write_slices(folder / "files", told.slices, patients=told.patients)
        tree = folder / "files/dicom"
        print(f"{n_slices} phantom slices of 512 x 512 pixels, {told.repeats} repetitions\n")
        document: dict[str, Any] = {"machine": described, "slices": n_slices}
        document["backbones"] = {
            backbone: measure(told, backbone, tree) for backbone in told.backbones.split(",")
        }
        if told.workers:
            document["workers"] = over_workers(tree, _numbers(told.workers), told.repeats)
        if told.scale:
            scale = over_slices(folder, _numbers(told.scale), told.patients)
            document["scale"] = scale
    if told.json:
        told.json.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    main()
