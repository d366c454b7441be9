"""Options and a cohort to the splits that are fitted."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from featurecache.words import plural
from seqhead.assignment import Assignment, whole_series
from seqhead.cohort import Cohort
from seqhead.config import MAX_SEED, SplitConfig
from seqhead.errors import SplitError
from seqhead.protocols import PROTOCOLS, split_by_protocol
from seqhead.same_scans import joined_groups, refuse_same_scans, same_scans
from seqhead.sources import Opened
from seqhead.split_file import GivenSplit, SplitFile, match_split, read_split_file
from seqhead.splits import SPLITS, fold_patients, inner_validation, split_patients
from seqhead.splitting import Splitting

INNER_FRACTION = 0.15
"""Share of the patients outside a fold that its model is stopped, and its thresholds chosen, on."""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """What is fitted on what.

    Parameters
    ----------
    cohort : Cohort
        The series in use: a split file may name fewer than there are.
    assignments : tuple of Assignment
        One split, or one for each fold of each repeat.
    config : SplitConfig
        What a run remembers of it.
    notes : tuple of str
        What was decided on the way.
    """

    cohort: Cohort
    assignments: tuple[Assignment, ...]
    config: SplitConfig
    notes: tuple[str, ...] = ()

    @property
    def crossed(self) -> bool:
        """Whether this is a cross-validation."""
        return self.config.folds is not None

    def config_of(self, assignment: Assignment) -> SplitConfig:
        """What the run of one split remembers.

        Parameters
        ----------
        assignment : Assignment
            One of `assignments`.

        Returns
        -------
        SplitConfig
        """
        if not self.crossed:
            return self.config
        return self.config.model_copy(update={"repeat": assignment.repeat, "fold": assignment.fold})


def plan_splits(
    cohort: Cohort, splitting: Splitting, seed: int, opened: Opened, project: Path
) -> SplitPlan:
    """Split a cohort as asked; patients stay together unless a protocol says otherwise.

    Parameters
    ----------
    cohort : Cohort
        B series.
    splitting : Splitting
        How.
    seed : int
        Of every draw.
    opened : Opened
        Key and labels, for the identifiers of a split file.
    project : Path
        Folder that the path of a split file is remembered relative to.

    Returns
    -------
    SplitPlan

    Raises
    ------
    SplitError
        There are too few patients, or a split file is wrong.
    LeakError
        One patient is on two sides of a split file, or one scan has two patients.
    """
    if splitting.protocol is not None:
        return _by_protocol(cohort, splitting.protocol, seed)
    notes: list[str] = []
    if splitting.duplicate_scans == "together":
        groups, pairs = joined_groups(cohort)
        if pairs:
            notes.append(
                f"{plural(pairs, 'pair')} of series are one scan under two patients, who count as "
                "one (--duplicate-scans together)"
            )
            cohort = replace(cohort, series=cohort.series.assign(group=groups))
    else:
        refuse_same_scans(cohort)
    if splitting.file is not None:
        return _by_file(cohort, splitting.file, seed, opened, project, notes)
    if splitting.folds is None:
        names = split_patients(cohort.groups, cohort.series_y, seed=seed)
        return SplitPlan(cohort, (whole_series(names),), SplitConfig(seed=seed), tuple(notes))
    made = []
    for repeat in range(1, splitting.repeats + 1):
        drawn = seed_of_repeat(seed, repeat)
        fold = fold_patients(cohort.groups, cohort.series_y, folds=splitting.folds, seed=drawn)
        made += _folds_of(cohort, fold, splitting.folds, repeat, drawn)
    config = SplitConfig(seed=seed, folds=splitting.folds, repeats=splitting.repeats)
    return SplitPlan(cohort, tuple(made), config, tuple(notes))


def seed_of_repeat(seed: int, repeat: int) -> int:
    """Seed of the folds, weights and order of one repeat.

    Parameters
    ----------
    seed : int
        What the user gave.
    repeat : int
        From 1; the first has the seed itself.

    Returns
    -------
    int
    """
    return (seed + 1000 * (repeat - 1)) % (MAX_SEED + 1)


def _by_protocol(cohort: Cohort, name: str, seed: int) -> SplitPlan:
    assignment = split_by_protocol(cohort, name, seed)
    notes = [f"protocol {name}: {PROTOCOLS[name].says}"]
    pairs = same_scans(cohort.X, cohort.groups)
    if pairs:
        notes.append(f"{plural(len(pairs), 'pair')} of series are one scan under two patients")
    return SplitPlan(cohort, (assignment,), SplitConfig(seed=seed, protocol=name), tuple(notes))


def _by_file(
    cohort: Cohort, path: Path, seed: int, opened: Opened, project: Path, notes: list[str]
) -> SplitPlan:
    given = read_split_file(path)
    found = match_split(given, cohort, opened.identifiers, opened.labels)
    if found.unmatched:
        notes.append(f"{plural(found.unmatched, 'row')} of {given.source} match no labelled series")
    if not found.named.all():
        left_out = cohort.series.index[~found.named].tolist()
        notes.append(f"{len(left_out)} labelled series are not in {given.source} and are left out")
        cohort = replace(
            cohort.only(found.named),
            left_out=replace(cohort.left_out, unsplit_series=left_out),
        )
    rows = {number: row[found.named] for number, row in found.rows.items()}
    config = SplitConfig(
        seed=seed,
        file=Path(os.path.relpath(path, project)).as_posix(),
        file_sha256=given.sha256,
        folds=given.folds,
        repeats=None if given.folds is None else len(set(given.repeat.tolist())),
    )
    if given.split is None:
        _check_folds(given, rows)
        assignments = _given_folds(cohort, given, rows, seed)
    else:
        assignments = [
            _with_validation(cohort, given.split[row], number, seed, notes)
            for number, row in rows.items()
        ]
    _check_sides(assignments, given, found)
    return SplitPlan(cohort, tuple(assignments), config, tuple(notes))


def _given_folds(
    cohort: Cohort, given: SplitFile, rows: dict[tuple[int, int], np.ndarray], seed: int
) -> list[Assignment]:
    made = []
    for repeat, row in ((number[0], row) for number, row in rows.items()):
        if given.fold is not None and given.folds is not None:
            drawn = seed_of_repeat(seed, repeat)
            made += _folds_of(cohort, given.fold[row], given.folds, repeat, drawn)
    return made


def _folds_of(
    cohort: Cohort, fold: np.ndarray, folds: int, repeat: int, seed: int
) -> list[Assignment]:
    """Each fold tested once; of the others some patients stop the fit and choose thresholds."""
    made = []
    for number in range(1, folds + 1):
        names = np.where(fold == number, SPLITS[2], SPLITS[0]).astype(object)
        made.append(whole_series(_hold_out(cohort, names, seed), repeat=repeat, fold=number))
    return made


def _hold_out(cohort: Cohort, names: np.ndarray, seed: int) -> np.ndarray:
    """Take validation patients from the training patients."""
    learning = np.flatnonzero(names == SPLITS[0])
    held = inner_validation(
        cohort.groups[learning], cohort.series_y[learning], fraction=INNER_FRACTION, seed=seed
    )
    names = names.copy()
    names[learning[held]] = SPLITS[1]
    return names


def _with_validation(
    cohort: Cohort, names: np.ndarray, number: tuple[int, int], seed: int, notes: list[str]
) -> Assignment:
    if SPLITS[1] not in names and SPLITS[0] in names:
        names = _hold_out(cohort, names, seed)
        notes.append(
            f"the split file names no validation patients: {INNER_FRACTION:.0%} of the training "
            "patients were taken to stop on"
        )
    return whole_series(names, repeat=number[0], fold=number[1])


def _check_folds(given: SplitFile, rows: dict[tuple[int, int], np.ndarray]) -> None:
    for (repeat, _), row in rows.items():
        there = set() if given.fold is None else set(given.fold[row].tolist())
        empty = set(range(1, (given.folds or 0) + 1)) - there
        if empty:
            raise SplitError(
                f"{given.source} names no labelled series of this store for fold "
                f"{min(empty)} of {given.folds} (counted in their order; repeat {repeat})"
            )


def _check_sides(assignments: list[Assignment], given: SplitFile, found: GivenSplit) -> None:
    for one in assignments:
        empty = [name for name in SPLITS if name not in one.names]
        if empty:
            raise SplitError(
                f"{given.source} leaves no {empty[0]} series among the {int(found.named.sum())} "
                "labelled series that it names"
            )
