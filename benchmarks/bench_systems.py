"""Every published system that works on cached features, beside the baseline that sees no pixel.

    python benchmarks/bench_systems.py [--weights FILE] [--patients 240] [--folds 5] [--json FILE]

Synthetic patients, whose haemorrhages (ICH) are to be found. The systems keep their composition,
loss, sampling and windows; what is free is the same for all of them:

* features of SqueezeNet in the system's recipe instead of its own network's (--any-recipe)
* recurrent layers of at most --hidden units
* a schedule for few patients: batches of 16 series, Adam at 0.001, at most --epochs epochs, stopped
  after 10 without a better validation loss. The papers' own schedules make two updates an epoch
  of so few series

Systems that differ in their own network alone, as SDLM's four, are one fit here. Every patient is
tested once, by a model that never saw it. Intervals: 2,000 resamples of patients.
What is in FOLDER already is not done again.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import machine
from systems_features import fitted_systems, prepare, squeezed

from featurecache.weights import WeightsSource
from seqhead.crossval import fit_as_split
from seqhead.evaluate import evaluate_run
from seqhead.options import parse_fit_options
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splitting import Splitting
from seqhead.systems import load_system, system_names
from seqhead.systems.describe import sized
from seqhead.systems.loading import changed_system, parse_settings
from seqhead.systems.schema import System
from seqhead.text import interval, number, table

LABEL = "ICH"
QUICK = ["--patients", "12", "--pixels", "128", "--image-scale", "0.3", "--folds", "2",
         "--hidden", "8", "--epochs", "2"]  # fmt: skip
_PACKAGES = ("torch", "numpy", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Row:
    """One system.

    Parameters
    ----------
    system : str
        Its name.
    level : str
        What was judged.
    n, positives : int
        Rows tested.
    auc, auc_ci, baseline, baseline_ci, difference, difference_ci
        Of `LABEL`.
    macro : float or None
        Mean AUC of all labels that are defined.
    changed : tuple of str
        Settings that are not the system's.
    """

    system: str
    level: str
    n: int
    positives: int
    auc: float
    auc_ci: list[float] | None
    baseline: float
    baseline_ci: list[float] | None
    difference: float
    difference_ci: list[float] | None
    macro: float | None
    changed: tuple[str, ...]

    @property
    def ahead(self) -> str:
        """Who has the higher AUC; certain where the interval of the difference leaves out 0."""
        who = "system" if self.difference > 0 else "baseline"
        certain = self.difference_ci is not None and not (
            self.difference_ci[0] <= 0 <= self.difference_ci[1]
        )
        return who if certain else f"{who}?"

    def cells(self) -> list[str]:
        """Of the printed table."""
        return [
            self.system, self.level, f"{self.positives} of {self.n}",
            f"{number(self.auc)}{interval(self.auc_ci)}",
            f"{number(self.baseline)}{interval(self.baseline_ci)}",
            f"{self.difference:+.3f}{interval(self.difference_ci, '+.3f')}",
            self.ahead, number(self.macro),
        ]  # fmt: skip


HEADER = ["system", "level", "ICH", "AUC", "baseline AUC", "difference", "ahead", "macro AUC"]


def settings(system: System, hidden: int, epochs: int) -> tuple[str, ...]:
    """The schedule, and smaller recurrent layers."""
    if system.head is None or system.training is None:
        return ()
    found = [f"head.hidden={min(hidden, system.head.hidden)}", "training.batch_size=16",
             "training.learning_rate=0.001", f"training.epochs={epochs}", "training.patience=10",
             "training.keep=best"]  # fmt: skip
    if system.head.zoom is not None:
        found.append(f"head.zoom.branch.hidden={min(hidden, system.head.zoom.branch.hidden)}")
    return tuple(found)


def fitted(system: System, sources: Sources, out: Path, told: argparse.Namespace) -> Run:
    """Fit a system on every fold, unless that was done before."""
    if not out.exists():
        sets = [squeezed(spec, told.weights, told.image_scale) for spec in system.features]
        options: dict[str, Any] = {"system": system.name, "features": sets[0].feature_name}
        if len(sets) > 1:
            options["second_features"] = sets[1].feature_name
        if system.kind == "sequence":
            options |= {"settings": settings(system, told.hidden, told.epochs)}
            options |= {"device": told.device}
        chosen = parse_fit_options(any_recipe=True, **options)
        fit_as_split(sources, chosen, Splitting(folds=told.folds), out=out, project=out.parent)
    return Run.open(out)


def what_counts(system: System, told: argparse.Namespace) -> str:
    """All that makes a fit: systems that differ in their own network alone are one fit here."""
    sets = [squeezed(spec, told.weights, told.image_scale).feature_name for spec in system.features]
    changed = changed_system(system, parse_settings(settings(system, told.hidden, told.epochs)))
    head = changed.head and sized(changed.head, 1, 1)
    return repr((sets, system.level, head, changed.training, changed.svm))


def judged(system: System, run: Run) -> Row:
    """Set a run beside the baseline; that of a rule is one of slices."""
    found = evaluate_run(run, system.level, combine=system.rule)
    ours, base = found.model["labels"][LABEL], found.baseline["labels"][LABEL]
    return Row(
        system.name, system.level, ours["n"], ours["positives"], ours["auc"], ours["auc_ci"],
        base["auc"], base["auc_ci"], base["auc_difference"], base["auc_difference_ci"],
        found.model["macro"]["auc"], run.config.system.changed if run.config.system else (),
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Fit, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="kept, and used again; else a temporary one")
    parser.add_argument("--weights", default="random:0", help="of SqueezeNet: a file, random:SEED")
    parser.add_argument("--patients", type=int, default=240)
    parser.add_argument("--seed", type=int, default=7, help="of the phantom")
    parser.add_argument("--pixels", type=int, default=512, help="of the phantom")
    parser.add_argument("--image-scale", type=float, default=1.0, help="of the images' sizes")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=256, help="units of a recurrent layer")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="+", choices=system_names(), default=system_names())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    told = parser.parse_args(arguments)
    if told.quick:
        told = parser.parse_args(QUICK, told)
    described = machine.describe(_PACKAGES)
    machine.show(described)
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(told.folder or Path(temporary), told)
    show(found)
    if told.json:
        names = ("patients", "seed", "folds", "hidden", "epochs")
        document = {"machine": described, **{name: getattr(told, name) for name in names}}
        document |= {"weights": WeightsSource.parse(told.weights).label, "label": LABEL}
        document["rows"] = [asdict(row) for row in found]
        told.json.write_text(json.dumps(document, indent=2), encoding="utf-8")


def measure(folder: Path, told: argparse.Namespace) -> list[Row]:
    """Fit and judge every system, and the rules on the slices of the system that they name."""
    systems = fitted_systems(told.only)
    data = folder / f"phantom-{told.patients}-{told.seed}-{told.pixels}"
    sources = prepare(
        data, systems, patients=told.patients, seed=told.seed, weights=told.weights,
        pixels=told.pixels, scale=told.image_scale,
    )  # fmt: skip
    tag = WeightsSource.parse(told.weights).label.replace(":", "-")
    kept = data / f"runs-{tag}-{told.folds}-{told.hidden}-{told.epochs}-{told.image_scale:g}"
    runs: dict[str, Run] = {}
    first: dict[str, str] = {}
    for system in systems:
        same = first.setdefault(what_counts(system, told), system.name)
        runs[system.name] = fitted(system, sources[system.level], kept / same, told)
        print(f"fitted {system.name}", flush=True)
    chosen = [one for one in map(load_system, system_names()) if one.name in told.only]
    return [judged(one, runs[one.slices or one.name]) for one in chosen]


def show(found: list[Row]) -> None:
    """Print the table, whoever wins."""
    behind = [row.system for row in found if row.difference <= 0]
    print()
    print("\n".join(table(HEADER, [row.cells() for row in found])))
    print(f"\nAUC of {LABEL}; ?: the interval of the difference contains 0")
    print(f"{len(found) - len(behind)} of {len(found)} are above the baseline"
          + (f"; not {', '.join(behind)}" if behind else ""))  # fmt: skip


if __name__ == "__main__":
    main()
