"""Two or more runs on the same test rows: who is better, and is it chance?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from seqhead.errors import RunError
from seqhead.evaluate import evaluate_run
from seqhead.judged import Judged
from seqhead.measures import Measured, measure
from seqhead.paired import correct, pair_of
from seqhead.run import Run
from seqhead.run_rows import Entry, RunRows, refuse_other_rows
from seqhead.scores import EVALUATION_LEVELS
from seqhead.stats import PatientBootstrap


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs on the same test rows.

    Parameters
    ----------
    entries : tuple of Entry
        The runs.
    labels : tuple of str
        Labels that all of them have.
    level : str
        What a row is.
    figures : dict of str to dict
        Run -> ``labels``, ``macro`` and ``micro`` of the common labels.
    pairs : list of dict
        For each two runs: ``one``, ``other``, ``labels``, ``macro``, ``folds``.
    notes : tuple of str
        What is to be said beside the figures.
    """

    entries: tuple[Entry, ...]
    labels: tuple[str, ...]
    level: str
    figures: dict[str, dict[str, Any]]
    pairs: list[dict[str, Any]]
    notes: tuple[str, ...]

    @property
    def first(self) -> dict[str, Any]:
        """Figures of the first run."""
        return self.figures[self.entries[0].name]

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead compare --json``."""
        first = self.entries[0].evaluation
        return {
            "schema_version": 1,
            "level": self.level,
            "n": first.n,
            "patients": first.patients,
            "series": first.series,
            "operating_point": first.judged.rule,
            "runs": [
                {"name": one.name, **self.figures[one.name], "warnings": one.evaluation.warnings}
                for one in self.entries
            ],
            "pairs": self.pairs,
            "notes": list(self.notes),
        }  # fmt: skip


def compare_runs(
    runs: Sequence[Run],
    level: str | None = None,
    *,
    operating_point: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare runs that were tested on the same rows.

    Parameters
    ----------
    runs : sequence of Run
        One run gives its figures only.
    level : str or None
        ``"slice"``, ``"series"``, ``"patient"``, or None: the coarsest that a run was fitted at.
    operating_point : str or None
        Rule for the thresholds of all; None: each run's own.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Comparison

    Raises
    ------
    RunError
        The runs have no label in common, or their test rows or labels differ; the message names
        the difference.
    FitError
        A run is coarser than the level.
    """
    level = level or max((run.config.level for run in runs), key=EVALUATION_LEVELS.index)
    names = _names(runs)
    entries = tuple(
        Entry(name, run, evaluate_run(run, level, seed=seed, operating_point=operating_point))
        for name, run in zip(names, runs, strict=True)
    )
    labels = _common_labels(entries)
    tables = [RunRows.of(entry, labels) for entry in entries]
    for other in tables[1:]:
        refuse_other_rows(tables[0], other, level)
    bootstrap = _SharedBootstrap(entries[0].evaluation.judged, seed)
    measured = [bootstrap.measure(table, labels) for table in tables]
    pairs = [
        pair_of(tables[i], tables[k], measured[i], measured[k], bootstrap.of(tables[i]))
        for i, k in combinations(range(len(tables)), 2)
    ]
    correct(pairs)
    figures = {name: found.document for name, found in zip(names, measured, strict=True)}
    return Comparison(
        entries, labels, level, figures, pairs, tuple(_notes(entries, labels, tables))
    )


class _SharedBootstrap:
    """The same resamples of the same patients for every run, those of the first's evaluation."""

    def __init__(self, judged: Judged, seed: int) -> None:
        self._patients = pd.Index(pd.unique(judged.test.patients))
        self._draws = PatientBootstrap.of(judged.test.patients, seed=seed).draws

    def of(self, rows: RunRows) -> PatientBootstrap:
        return PatientBootstrap(
            np.asarray(self._patients.get_indexer(rows.judged.test.patients)), self._draws
        )

    def measure(self, rows: RunRows, labels: Sequence[str]) -> Measured:
        return measure(
            labels, rows.y, rows.score, rows.cut, rows.judged.test.patients, self.of(rows),
            repeats=rows.judged.repeats,
        )  # fmt: skip


def _names(runs: Sequence[Run]) -> list[str]:
    short = [run.path.name for run in runs]
    return short if len(set(short)) == len(short) else [run.path.as_posix() for run in runs]


def _common_labels(entries: Sequence[Entry]) -> tuple[str, ...]:
    common = [
        name
        for name in entries[0].run.config.labels
        if all(name in entry.run.config.labels for entry in entries)
    ]
    if not common:
        said = "; ".join(f"{e.name}: {', '.join(e.run.config.labels)}" for e in entries)
        raise RunError(f"the runs have no label in common ({said})")
    return tuple(common)


def _notes(entries: Sequence[Entry], labels: Sequence[str], tables: Sequence[RunRows]) -> list[str]:
    notes = []
    for entry in entries:
        left = [name for name in entry.run.config.labels if name not in labels]
        if left:
            notes.append(f"{entry.name} also has {', '.join(left)}, which is not compared")
        if entry.evaluation.leak:
            notes.append(f"{entry.name}: {entry.evaluation.leak.sentence}")
    rules = {entry.name: entry.evaluation.judged.rule for entry in entries}
    if len(set(rules.values())) > 1:
        said = ", ".join(f"{name}: {rule}" for name, rule in rules.items())
        notes.append(f"thresholds follow different rules ({said}); --operating-point sets one")
    if len(tables) > 1 and not all(rows.independent for rows in tables):
        notes.append(
            "patients have several rows: DeLong and bootstrap go by patients; McNemar, which "
            "cannot, needs --level patient"
        )
    return notes
