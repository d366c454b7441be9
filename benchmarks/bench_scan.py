"""Seconds from a folder of DICOM files to probabilities, one scan at a time.

    python benchmarks/bench_scan.py [--systems sdlm,drct2] [--slices 28] [--json FILE]

Of each system, with random weights and a head that was not fitted, over a phantom scan of 512 x 512
pixels in the page cache:

* ``warm``   `seqhead.Predictor`, whose networks, heads and reader processes are loaded: from the
  folder to the table, everything in between included (headers, checks, order, pixels, networks)
* ``floor``  what the arithmetic takes: the FLOPs of the slices that the heads look at, over the
  rate that the same networks reach alone on ready batches, measured in the same repetition
* ``cold``   ``seqhead predict`` as a process of its own, from its start to its end, not compiled

Before anything is timed, the probabilities are compared with those that extraction into a store and
prediction on it give. The systems alternate (A B C, A B C, ...).
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
import numpy as np
from commands import run
from phantom_files import write_scan
from repeats import Figures, Table, alternate, medians

SYSTEMS = "sdlm,drct1,drct2,xception-gru"
PAPERS = {
    "drct2": "0.82 s: DrCT2, RTX 2070, 28 slices at 224 and 16 at 512",
    "sdlm": "0.5 s: CNN-LSTM (another network), Titan X",
}
_PACKAGES = ("torch", "torchvision", "timm", "pydicom", "numpy")
_STEPS = ("scan", "read", "decode", "transform", "embed", "head", "wall")
_TOLERANCE = 0.05  # of what the features do to a probability: bf16, another batch, compiled
_QUICK = [
    "--systems", "sdlm,drct2", "--backbone", "squeezenet1_1", "--size", "48", "--zoom", "64",
    "--slices", "18", "--patients", "1", "--repeats", "1", "--compile", "off",
]  # fmt: skip


class Warm:
    """A predictor that is ready, and the floor of its arithmetic."""

    def __init__(self, told: argparse.Namespace, fitted: Any, scan: Path) -> None:
        from seqhead import Predictor

        started = perf_counter()
        self.predictor = Predictor(
            fitted, device=told.device, batch_size=told.batch_size,
            compiled=told.compile == "on", workers=told.workers,
        )  # fmt: skip
        self.load_s = perf_counter() - started
        self.scan = scan
        self.first = self.predictor.predict(scan)
        self.gflop = [_gflop(network) for network in self.predictor.networks]

    def figures(self) -> Figures:
        """One repetition: seconds by step, and of the bare networks for the same slices."""
        found = self.predictor.predict(self.scan)
        counts = list(found.embedded.values())
        rates = [one.embedder.bare_slices_per_s() for one in self.predictor.networks]
        floor_s = sum(n / rate for n, rate in zip(counts, rates, strict=True))
        gflop = sum(n * each for n, each in zip(counts, self.gflop, strict=True))
        return {
            **{f"{step}_s": found.seconds[step] for step in _STEPS},
            "floor_s": floor_s, "gflop": gflop, "bare_gflop_per_s": gflop / floor_s,
        }  # fmt: skip


def _gflop(network: Any) -> float:
    """Arithmetic of one slice through a network, in 10^9 additions and multiplications."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from featurecache.networks import options_of
    from featurecache.runner import open_backbone

    recipe = network.recipe
    side = recipe.zoom or recipe.size
    module = open_backbone(options_of(recipe.document())).module.to("meta")
    with FlopCounterMode(display=False) as counter:
        module(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() / 1e9


def verify(told: argparse.Namespace, fitted: Any, options: list[Any], warm: Warm) -> float:
    """Largest difference between one step and two, as a part of what the features do at all.

    A head that was not fitted says nearly the same of any scan, so that probabilities alone would
    prove little: the difference is divided by that from features which are zero.
    """
    from featurecache.extract import extract
    from featurecache.identifiers import Identifiers
    from featurecache.options import RunOptions
    from featurecache.scan import scan
    from featurecache.store import FeatureStore
    from seqhead.members import Member
    from seqhead.predict import predict_store

    with tempfile.TemporaryDirectory() as name:
        index, store = Path(name) / "index.sqlite", Path(name) / "cache.zarr"
        scan(warm.scan, index)
        extract(index, store, options, RunOptions(device=told.device), Identifiers(None))
        opened = FeatureStore.open(store)
        two = predict_store(fitted, opened, device=told.device).table
        n_slices = int(opened[fitted.config.features.name].series["n_ok"].iloc[0])
    labels, width = list(fitted.config.labels), fitted.config.head.inputs
    blank = np.zeros((n_slices, width), np.float32)
    of_blank = Member.load(fitted, told.device).probabilities([blank])
    effect = np.abs(two[labels].to_numpy() - of_blank).max()
    off = np.abs(two[labels].to_numpy() - warm.first.table[labels].to_numpy()).max()
    if effect == 0 or not off <= _TOLERANCE * effect:
        raise SystemExit(
            f"one step is {off:.3g} off what extraction and prediction give, where all features "
            f"together change a probability by {effect:.3g}"
        )
    return float(off / effect)


def cold(told: argparse.Namespace, fitted: Any, scan: Path) -> Figures:
    """The command, from its start to its end."""
    command = ["-m", "seqhead", "predict", str(fitted.path), str(scan), "--json"]
    found = run([*command, "--device", told.device])
    return {"cold_s": found["whole_s"], "peak_mb": found["peak_mb"]}


def show(table: Table, described: dict[str, dict[str, Any]]) -> None:
    """Print the medians, one system a line, and what the papers say."""
    print("\nmedians, seconds a scan; read and decode are summed over reader processes")
    columns = ("wall_s", "floor_s", *(f"{step}_s" for step in _STEPS[:-1]), "gflop")
    print(f"  {'':16s}" + "".join(f"{name.removesuffix('_s'):>11s}" for name in columns)
          + f"{'floor/wall':>12s}{'cold':>9s}{'load':>9s}")  # fmt: skip
    for name, found in medians(table).items():
        cells = "".join(f"{found[column]:11.3f}" for column in columns)
        share, of = found["floor_s"] / found["wall_s"], described[name]
        print(f"  {name:16s}{cells}{share:12.2f}{of['cold']['cold_s']:9.2f}{of['load_s']:9.2f}")
    for name, said in PAPERS.items():
        print(f"  paper, beside {name}: {said}")


def measure(told: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything about all systems."""
    from untrained_run import best_precision, feature_options, write_untrained

    from featurecache.devices import resolve_device

    scan, warm, described = folder / "scan", {}, {}
    n_slices = write_scan(scan, told.slices, patients=told.patients)
    precision = best_precision(resolve_device(told.device)) if told.precision == "auto" else None
    print(f"a scan of {n_slices} slices, {precision or told.precision}, compile {told.compile}\n")
    for name in told.systems.split(","):
        options = feature_options(
            name, precision or told.precision, backbone=told.backbone, size=told.size,
            zoom=told.zoom,
        )  # fmt: skip
        fitted = write_untrained(folder / name, name, options)
        warm[name] = Warm(told, fitted, scan)
        off = verify(told, fitted, options, warm[name])
        described[name] = {
            "load_s": warm[name].load_s, "first_s": warm[name].first.seconds["wall"],
            "difference": off, "embedded": warm[name].first.embedded,
            "cold": cold(told, fitted, scan),
        }  # fmt: skip
        print(f"{name}: one step is {off:.1e} of the effect off two; embedded "
              f"{warm[name].first.embedded}; cold {described[name]['cold']['cold_s']:.2f} s",
              flush=True)  # fmt: skip
    table = alternate({name: one.figures for name, one in warm.items()}, told.repeats)
    for one in warm.values():
        one.predictor.close()
    show(table, described)
    return {"slices": n_slices, "systems": described, "measured": table, "papers": PAPERS}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", default=SYSTEMS, help="comma-separated")
    parser.add_argument("--slices", type=int, default=28, help="of the scan, 32 at most")
    parser.add_argument("--patients", type=int, default=8, help="phantoms to choose it from")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32", "fp16"])
    parser.add_argument("--compile", default="on", choices=["on", "off"])
    parser.add_argument("--batch-size", type=int, help="by default 16 on CPU, 32 on CUDA")
    parser.add_argument("--workers", type=int, help="reader processes; by default one a core")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backbone", help="instead of the systems' own")
    parser.add_argument("--size", type=int, help="likewise")
    parser.add_argument("--zoom", type=int, help="likewise, of enlarged slices")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write JSON."""
    parser = _parser()
    told = parser.parse_args(arguments)
    if told.quick:
        told = parser.parse_args(_QUICK, told)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported
    described = machine.describe(_PACKAGES)
    machine.show(described)
    with tempfile.TemporaryDirectory() as name:
        document = {"machine": described, **measure(told, Path(name))}
    if told.json:
        told.json.write_text(json.dumps(document, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
