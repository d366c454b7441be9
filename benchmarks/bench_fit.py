"""Seconds an epoch of a head at CQ500 size: ours, the papers' way, a DataLoader, Keras, end to end.

    python benchmarks/bench_fit.py [--heads gru,lstm] [--repeats 3] [--keras PYTHON] [--json FILE]

835 series of 30 to 396 slices, 96,273 slices together, 512 random features in float16; the SDLM
head (batch normalisation, 1024, 512, 256, 9), batches of 32. Of each kind of head:

* ``ours``            `SequenceClassifier` as it comes: bf16 where the processor has it
* ``ours fp32``       the same in float32
* ``padded``          the papers' way in PyTorch as it comes: all padded to 396 slices, float32
* ``padded flushed``  the same with denormals flushed
* ``loader``, ``loader flushed``  a DataLoader's order, padded to the longest of a batch, float32
* ``keras``           Keras with a Masking layer, padded to 396, where there is one

Each is a process of its own and they alternate. Ours measures a whole epoch after one of warm-up,
in float32 of a quarter of the series; the others measure some batches after one of warm-up. What
is measured in part is scaled to an epoch by the slices that are computed, and the share is printed.
Before anything is timed, logits and gradients on the same weights are compared, and both ways learn
a finding on several seeds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import machine
from commands import run
from fit_data import SERIES, SLICES
from repeats import Figures, Table, alternate, medians, ratio, show_medians, show_ratios

_HERE = Path(__file__).parent
_PACKAGES = ("torch", "numpy", "scikit-learn", "keras", "tensorflow", "tensorflow-cpu")
_HEADS = ("gru", "lstm", "bigru", "attention", "svm")
_BARS = {  # of the GRU: what, least ratio
    ("padded", "ours"): 12.0,
    ("padded flushed", "ours"): 4.5,
    ("keras", "ours"): 10.0,
    ("padded flushed", "ours fp32"): 2.5,
}
_NATIVE = ("amx_bf16", "avx512_bf16")
_EXACT = 1e-5  # largest relative difference of logits and gradients in float32
_QUICK = [
    "--hidden", "16", "--batches", "1", "--share", "0.05", "--fp32-share", "0.05", "--repeats", "1",
    "--seeds", "2", "--series", "60", "--heads", "gru,attention,svm", "--image-size", "32",
]  # fmt: skip


def contenders(told: argparse.Namespace, head: str) -> dict[str, Any]:
    """Name -> what measures it once."""
    if head == "svm":
        return {"ours": partial(ours, told, head, "auto", told.share)}
    found: dict[str, Any] = {
        "ours": partial(ours, told, head, "auto", told.share),
        "ours fp32": partial(ours, told, head, "fp32", told.fp32_share),
        "padded": partial(plain, told, "padded", head, flush=False),
        "padded flushed": partial(plain, told, "padded", head, flush=True),
        "loader": partial(plain, told, "loader", head, flush=False),
        "loader flushed": partial(plain, told, "loader", head, flush=True),
    }
    if head == "gru" and told.keras:
        found["keras"] = partial(plain, told, "keras", head, flush=False)
    return found


def ours(told: argparse.Namespace, head: str, precision: str, share: float) -> Figures:
    """One epoch of ours, in a process of its own."""
    found = run([
        f"{_HERE}/fit_ours.py", "--head", head, "--precision", precision, "--share", str(share),
        "--hidden", str(told.hidden), "--batch-size", str(told.batch_size),
    ])  # fmt: skip
    return _figures(found)


def plain(told: argparse.Namespace, way: str, head: str, *, flush: bool) -> Figures:
    """Some batches of a plain script, in a process of its own."""
    command = [f"{_HERE}/plain_heads.py", way, "--head", head, "--hidden", str(told.hidden)]
    command += ["--batches", str(told.batches), *(["--flush"] if flush else [])]
    if way != "keras":
        return _figures(run(command))
    done = subprocess.run([told.keras, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{told.keras} {' '.join(command)} failed:\n{done.stderr}")
    return _figures(json.loads(done.stdout.splitlines()[-1]))


def _figures(found: dict[str, Any]) -> Figures:
    names = ("epoch_s", "slices_per_s", "share", "peak_mb")
    return {name: found[name] for name in names if name in found} | {
        "series_per_s": SERIES / found["epoch_s"]
    }


def ratios(table: Table) -> dict[str, float]:
    """How many times faster ours is than each of the others."""
    return {
        f"{other} / {mine}": ratio(table, other, mine, "epoch_s")
        for mine in ("ours", "ours fp32")
        for other in table
        if mine in table and not other.startswith("ours")
    }


def bars(head: str, found: dict[str, float]) -> dict[str, bool]:
    """Print which bars hold; those of bf16 are for processors that have it."""
    held = {}
    for (other, mine), least in _BARS.items():
        name = f"{other} / {mine}"
        if head == "gru" and name in found:
            held[f"{name} at least {least:g}"] = found[name] >= least
    for bar, holds in held.items():
        print(f"  {'HELD  ' if holds else 'MISSED'}  {bar}")
    return held


def accuracy(told: argparse.Namespace) -> dict[str, Any]:
    """Both ways on the same weights, and on something that can be learnt."""
    found = run([
        f"{_HERE}/fit_accuracy.py", "--seeds", str(told.seeds), "--series", str(told.series),
    ])  # fmt: skip
    if found["largest_difference"] > _EXACT:
        raise SystemExit(
            f"logits or gradients differ by {found['largest_difference']:.2g} of the largest from "
            "those of plain PyTorch: nothing is timed"
        )
    auc = found["auc"]
    mean = {way: statistics.mean(values) for way, values in auc.items()}
    spread = max(statistics.stdev(values) for values in auc.values())
    same = abs(mean["ours"] - mean["padded"]) <= spread
    print(f"logits and gradients on the same weights differ by {found['largest_difference']:.1g}")
    print(f"AUC over {told.seeds} seeds: padded float32 {mean['padded']:.4f}, ours "
          f"{mean['ours']:.4f}, deviation between seeds {spread:.4f}")  # fmt: skip
    print(f"  {'HELD  ' if same else 'MISSED'}  accuracy unchanged within seed noise\n")
    return found | {"mean_auc": mean, "seed_deviation": spread, "unchanged": same}


def end_to_end(told: argparse.Namespace, measured: dict[str, Any]) -> dict[str, Any]:
    """An epoch over pixels, estimated: a backbone's slices a second, times the slices."""
    native = any(flag in told.machine["flags"] for flag in _NATIVE)
    found: dict[str, Any] = {}
    print("== end to end, VGG16 forward and backward on a few batches, estimated")
    for precision in ["fp32", *(["bf16"] if native else [])]:
        rate = run([
            f"{_HERE}/train_backbone.py", "--precision", precision, "--batches", "1",
            "--size", str(told.image_size),
        ])["slices_per_s"]  # fmt: skip
        hours = SLICES / rate / 3600
        found[precision] = {"slices_per_s": rate, "epoch_h": hours}
        print(f"  {precision}: {rate:.1f} slices/s, an epoch of {SLICES:,} slices {hours:.2f} h")
    if "gru" in measured:
        epoch_s = medians(measured["gru"]["measured"])["ours"]["epoch_s"]
        times = min(one["epoch_h"] for one in found.values()) * 3600 / epoch_s
        found["times_ours"] = times
        print(f"  {times:,.0f} times an epoch of ours (GRU) on cached features")
    return found


def measure(told: argparse.Namespace, head: str) -> dict[str, Any]:
    """Everything about one kind of head."""
    print(f"== {head}" + (" (one fit, pooled mean and largest)" if head == "svm" else ""))
    table = alternate(contenders(told, head), told.repeats)
    show_medians(table, told.repeats)
    found = ratios(table)
    show_ratios(found)
    return {"measured": table, "ratios": found, "bars": bars(head, found)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", default=",".join(_HEADS), help="comma-separated")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=32, help="of ours; others have 32")
    parser.add_argument("--batches", type=int, default=1, help="of the others, after a warm-up")
    parser.add_argument("--share", type=float, default=1.0, help="of the series, for ours")
    parser.add_argument("--fp32-share", type=float, default=0.25, help="for ours in float32")
    parser.add_argument(
        "--seeds", type=int, default=5, help="of the comparison of accuracy, 2 or more"
    )
    parser.add_argument("--series", type=int, default=400, help="of the comparison of accuracy")
    parser.add_argument("--image-size", type=int, default=224, help="end to end")
    parser.add_argument("--keras", metavar="PYTHON", help="an interpreter that has Keras")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write JSON."""
    parser = _parser()
    told = parser.parse_args(arguments)
    if told.quick:
        told = parser.parse_args(_QUICK, told)
    if told.seeds < 2:
        parser.error("--seeds: expected at least 2, whose deviation is compared")
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("OMP_NUM_THREADS", str(machine.cores()))
    told.machine = machine.describe(_PACKAGES)
    machine.show(told.machine)
    if not told.keras and machine.installed("keras"):
        told.keras = sys.executable
    if not told.keras:
        print("Keras is not installed: not measured; --keras names a Python that has it")
    print(f"threads {os.environ['OMP_NUM_THREADS']}, {SERIES} series, {SLICES:,} slices\n")
    document: dict[str, Any] = {"machine": told.machine, "accuracy": accuracy(told)}
    document["heads"] = {head: measure(told, head) for head in told.heads.split(",")}
    document["end_to_end"] = end_to_end(told, document["heads"])
    if told.json:
        told.json.write_text(json.dumps(document, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
