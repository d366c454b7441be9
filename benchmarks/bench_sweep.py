"""Trials per minute of a sweep beside plain fits one after the other; killed five times on the way.

    python benchmarks/bench_sweep.py [--kills 5] [--fits 5] [--jobs N] [--json FILE]

A cache of the size of CQ500 (835 series of 30 to 396 slices, 96,273 rows of 512 float16) whose
features show nine findings. Fifty candidates, ten each of GRU, LSTM, BiGRU, attention and SVM, of
128 to 1,024 units, batches of 128 as in the papers, 23 epochs at most, one inner split, pruning.
The sweep's process group is killed with SIGKILL so often, at points spread over it, and started
again; in the end exactly fifty trials are done, each once, or the benchmark fails.

Beside it, one candidate of each kind is fitted by `seqhead fit --rnn ... --hidden ...` with the
defaults of everything else, one after the other. Their mean is what a trial costs without a sweep.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import machine
from planted import write_planted
from repeats import show_ratios

_PACKAGES = ("numpy", "torch", "scikit-learn", "optuna")
_MINUTES, _TIMES = 30.0, 2.0
_SIZES = (128, 256, 512, 768, 1024)
_RATES = (1e-3, 3e-4)
QUICK = ["--series", "60", "--rows", "1200", "--longest", "60", "--dim", "16", "--kills", "1",
         "--fits", "1", "--epochs", "2", "--divide", "64"]  # fmt: skip


def search_file(epochs: int, divide: int) -> str:
    """Fifty candidates, ten of each kind; sizes divided for a quick run."""
    sizes = [size // divide for size in _SIZES]
    rnn = f"hidden = {sizes}\nlearning-rate = {list(_RATES)}\n"
    return (
        f"epochs = {epochs}\nbatch-size = 128\n"
        f'[model.gru]\nrnn = "gru"\n{rnn}'
        f'[model.lstm]\nrnn = "lstm"\n{rnn}'
        f'[model.bigru]\nrnn = "gru"\nbidirectional = true\n{rnn}'
        f'[model.attention]\nrnn = "none"\npool = "attention"\nhead.input_dense = {sizes}\n'
        f"learning-rate = {list(_RATES)}\n"
        '[model.svm]\nhead = "svm"\nsvm-input = ["pooled", "padded"]\n'
        "svm.C = [0.001, 0.01, 0.1, 1.0, 10.0]\n"
    )


def plain_fits(divide: int) -> dict[str, list[str]]:
    """Options of one fit of each kind, of the middle size, everything else as it is by default."""
    hidden = ["--hidden", str(_SIZES[2] // divide)]
    return {
        "gru": ["--rnn", "gru", *hidden],
        "lstm": ["--rnn", "lstm", *hidden],
        "bigru": ["--rnn", "gru", "--bidirectional", *hidden],
        "attention": ["--rnn", "none", "--pool", "attention",
                      "--set", f"head.input_dense={_SIZES[2] // divide}"],
        "svm": ["--head", "svm"],
    }  # fmt: skip


def start(command: list[str], folder: Path, log: Any) -> subprocess.Popen[str]:
    """`seqhead ...` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "seqhead", *command], cwd=folder, text=True, stderr=log,
        stdout=subprocess.PIPE, start_new_session=True, env=os.environ,
    )  # fmt: skip


def finished(journal: Path) -> int:
    """Trials that are done, counted in the journal as it grows."""
    states = (1, 2)  # complete and pruned, as Optuna writes them
    if not journal.exists():
        return 0
    lines = journal.read_bytes().split(b"\n")[:-1]
    return sum(json.loads(line).get("state") in states and "trial_id" in json.loads(line)
               for line in lines)  # fmt: skip


def run_sweep(folder: Path, command: list[str], kills: int, log: Any) -> dict[str, Any]:
    """Sweep, killed and started again; gives its document, seconds, and when it was killed."""
    journal = folder / "sweep" / "journal.log"
    at = [50 * (number + 1) // (kills + 1) for number in range(kills)]
    started, killed, done = monotonic(), [], []
    process = start(command, folder, log)
    for goal in at:
        while process.poll() is None and finished(journal) < goal:
            sleep(0.05)
        done.append(finished(journal))
        killed.append(round(monotonic() - started, 1))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        process = start(command, folder, log)
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the sweep ended with {process.returncode}")
    return {"document": json.loads(printed), "seconds": monotonic() - started,
            "killed_s": killed, "done_when_killed": done}  # fmt: skip


def verify(document: dict[str, Any], journal: Path) -> None:
    """Stop unless exactly fifty trials are done, ten of each kind, each once."""
    board = document["leaderboard"]
    kinds = Counter(one["model"] for one in board)
    if set(kinds.values()) != {10} or len(kinds) != 5:
        raise SystemExit(f"not ten of each kind: {kinds}")
    if {one["state"] for one in board} - {"complete", "given up"}:
        raise SystemExit("not every trial is done")
    values = {json.dumps(one["values"], sort_keys=True) for one in board}
    if len(values) != 50 or finished(journal) != 50:
        raise SystemExit(f"{len(values)} candidates, {finished(journal)} done, not 50")


def fit_seconds(folder: Path, options: dict[str, list[str]], log: Any) -> dict[str, float]:
    """Wall time of plain fits, one after the other."""
    found = {}
    for name, words in options.items():
        started = monotonic()
        command = ["fit", "cache.zarr", "--labels", "labels.csv", *words, "--json"]
        process = start(command, folder, log)
        printed, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"fit of {name} ended with {process.returncode}")
        found[name] = monotonic() - started
        print(f"  fit {name:12s} {found[name]:8.1f} s, {json.loads(printed)['epochs']} epochs",
              flush=True)  # fmt: skip
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=835)
    parser.add_argument("--rows", type=int, default=96_273)
    parser.add_argument("--longest", type=int, default=396)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--strength", type=float, default=1.0, help="of the findings")
    parser.add_argument("--epochs", type=int, default=23)
    parser.add_argument("--divide", type=int, default=1, help="sizes of heads by this")
    parser.add_argument("--jobs", type=int, help="processes of the sweep; default: its own")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--fits", type=int, default=5, help="kinds of plain fits, 0 for none")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    told = parser.parse_args(arguments)
    if told.quick:
        told = parser.parse_args(QUICK, told)
    described = machine.describe(_PACKAGES)
    machine.show(described)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_planted(folder, series=told.series, rows=told.rows, longest=told.longest,
                      dim=told.dim, strength=told.strength)  # fmt: skip
        (folder / "search.toml").write_text(search_file(told.epochs, told.divide))
        command = ["sweep", "cache.zarr", "--labels", "labels.csv", "--search", "search.toml",
                   "--sampler", "grid", "--pruning", "--out", "sweep", "--json"]  # fmt: skip
        command += ["--jobs", str(told.jobs)] if told.jobs else []
        with (folder / "log.txt").open("w") as log:
            swept = run_sweep(folder, command, told.kills, log)
            verify(swept["document"], folder / "sweep" / "journal.log")
            print(f"sweep of 50 trials, killed {told.kills} times: {swept['seconds'] / 60:.1f} min")
            chosen = dict(list(plain_fits(told.divide).items())[: told.fits])
            fits = fit_seconds(folder, chosen, log)
    show(swept, fits, told, described)


def show(
    swept: dict[str, Any], fits: dict[str, float], told: argparse.Namespace, described: Any
) -> None:
    """Print what was found, and write it."""
    document = swept["document"]
    by_kind: dict[str, list[float]] = {}
    for one in document["leaderboard"]:
        by_kind.setdefault(one["model"], []).append(one["seconds"])
    print(f"  killed after {swept['killed_s']} s, with {swept['done_when_killed']} trials done")
    print(f"  {document['trials']}, best inner AUC {document['winner']['inner']['score']:.3f}, "
          f"test {document['winner']['test']['score']:.3f}")  # fmt: skip
    for kind, seconds in by_kind.items():
        print(f"  trial {kind:12s} median {statistics.median(seconds):8.1f} s, "
              f"longest {max(seconds):8.1f} s")  # fmt: skip
    per_minute = 50 / (swept["seconds"] / 60)
    held = {f"50 trials under {_MINUTES:g} minutes": swept["seconds"] < _MINUTES * 60}
    ratios = {}
    if fits:
        plain = 60 / statistics.mean(fits.values())
        ratios["trials per minute, sweep / plain fits"] = per_minute / plain
        held[f"at least {_TIMES:g} times the trials per minute"] = per_minute / plain >= _TIMES
        print(f"\ntrials per minute: sweep {per_minute:.2f}, plain fits {plain:.2f}")
        show_ratios(ratios)
    for bar, holds in held.items():
        print(f"  {'held ' if holds else 'MISSED'}  {bar}")
    if told.json:
        found = {"machine": described, "sweep": swept, "fits_s": fits, "ratios": ratios}
        told.json.write_text(json.dumps(found | {"bars": held}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
