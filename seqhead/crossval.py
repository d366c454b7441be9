"""Cross-validation: a run for each fold, and what they say of the patients they never saw."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqhead.assignment import Assignment
from seqhead.chosen_features import open_for_fit, system_notes
from seqhead.cohort import Cohort
from seqhead.config import RunConfig
from seqhead.evaluate import evaluate_predictions
from seqhead.fit import FitReport, Job, fit, fit_split
from seqhead.options import FitOptions
from seqhead.paper_split import as_the_paper
from seqhead.run import Run, member_name
from seqhead.run_folder import RunDraft, RunFolder, run_folder
from seqhead.run_log import RunLog
from seqhead.sources import Sources
from seqhead.split_file import read_split_file
from seqhead.split_notes import notes_of
from seqhead.split_plan import SplitPlan, plan_splits, seed_of_repeat
from seqhead.splitting import Splitting
from seqhead.tensorboard import FOLDER, epoch_scalars
from seqhead.train import Progress


@dataclass(frozen=True)
class CrossValidationReport:
    """What a cross-validation did.

    Parameters
    ----------
    run : Run
        The run folder.
    cohort : Cohort
        What it learnt from.
    members : list of dict
        ``repeat``, ``fold``, ``patients`` (how many learn, stop and test), ``epochs`` and
        ``best_epoch`` of each model.
    notes : list of str
        What a user should know of the data.
    """

    run: Run
    cohort: Cohort
    members: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """3 if series had to be left out because none of their slices has features, else 0."""
        return 3 if self.cohort.left_out.empty_series else 0

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead fit --folds K --json``."""
        config = self.run.config
        return {
            "schema_version": 1,
            "run": self.run.path.as_posix(),
            "features": config.features.name,
            "level": config.level,
            "model": config.model,
            "labels": list(config.labels),
            "folds": config.split.folds,
            "repeats": config.split.repeats,
            "series": len(self.cohort.X),
            "patients": len(np.unique(self.cohort.groups.astype(str))),
            "members": self.members,
            "left_out": self.cohort.left_out.document(),
            "notes": self.notes,
        }


@dataclass(slots=True)
class _Pool:
    """What the folds leave for the folder above them."""

    folds: list[pd.DataFrame] = field(default_factory=list)
    predictions: list[pd.DataFrame] = field(default_factory=list)
    series: list[pd.DataFrame] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    configs: list[RunConfig] = field(default_factory=list)
    members: list[dict[str, Any]] = field(default_factory=list)

    def add(self, split: Assignment, draft: RunDraft, best_epoch: int) -> None:
        """Keep what is pooled: of the training rows only that they are training rows."""
        number = {"repeat": split.repeat, "fold": split.fold}

        def numbered(table: pd.DataFrame) -> pd.DataFrame:
            return pd.concat([pd.DataFrame(number, index=table.index), table], axis=1)

        self.folds.append(numbered(draft.folds))
        self.predictions.append(numbered(draft.predictions[draft.predictions["split"] != "train"]))
        if draft.series is not None:
            self.series.append(numbered(draft.series))
        self.history += [{**number, **epoch} for epoch in draft.history]
        self.configs.append(draft.config)
        patients = draft.folds.groupby("split")["group"].nunique()
        self.members.append(
            {**number, "patients": {str(k): int(v) for k, v in patients.items()},
             "epochs": len(draft.history), "best_epoch": best_epoch}
        )  # fmt: skip


def fit_as_split(
    sources: Sources,
    options: FitOptions,
    splitting: Splitting,
    *,
    out: Path | None = None,
    project: Path | None = None,
    progress: Progress | None = None,
) -> FitReport | CrossValidationReport:
    """Fit once or once for each fold, as the options, the split file or a paper ask for.

    Parameters
    ----------
    sources, options, splitting, out, project, progress
        As for `seqhead.fit.fit`.

    Returns
    -------
    FitReport or CrossValidationReport

    Raises
    ------
    LabelError, SplitError, FitError, RunError, StoreError
        As `seqhead.fit.fit`.
    """
    splitting = as_the_paper(splitting, options)
    crossed = splitting.folds is not None
    if splitting.file is not None:
        crossed = read_split_file(splitting.file).folds is not None
    make = cross_validate if crossed else fit
    return make(sources, options, splitting=splitting, out=out, project=project, progress=progress)


def cross_validate(
    sources: Sources,
    options: FitOptions,
    *,
    splitting: Splitting,
    out: Path | None = None,
    project: Path | None = None,
    progress: Progress | None = None,
) -> CrossValidationReport:
    """Fit a head for each fold, stop it on patients of the other folds, test it on the fold.

    Every model is a run of its own in the run folder. What they say of the patients they never
    saw is pooled.

    Parameters
    ----------
    sources, options, splitting, out, project, progress
        As for `seqhead.fit.fit`; the run folder is ``runs/<features>-<model>-<K>-fold-<n>`` by
        default.

    Returns
    -------
    CrossValidationReport

    Raises
    ------
    LabelError, SplitError, FitError, RunError
        Labels, patients, options or `out` do not allow it.
    StoreError
        The store is incomplete, damaged, or of another key.
    """
    project, log = project or Path(), RunLog()
    with run_folder(out, project / "runs") as folder:
        with log.step("read"):
            opened = open_for_fit(sources, options)
            cohort = opened.cohort(options.level, options.memory)
        plan = plan_splits(cohort, splitting, options.seed, opened, project)
        job = Job(opened, options, splitting, sources.relative_to(project), progress)
        pool = _Pool()
        for split in plan.assignments:
            _fit_member(job, plan, split, folder, pool)
        with log.step("evaluate"):
            draft = _pooled(plan, pool, splitting)
        stem = f"{draft.config.stem}-{plan.config.folds}-fold"
        run = folder.publish(replace(draft, log=log.text()), stem)
    of_system = system_notes(opened.system, plan.config)
    notes = [*opened.labels.notes, *cohort.notes, *of_system, *plan.notes]
    notes += notes_of(plan.cohort)
    return CrossValidationReport(run, plan.cohort, pool.members, notes)


def _fit_member(
    job: Job, plan: SplitPlan, split: Assignment, folder: RunFolder, pool: _Pool
) -> None:
    """Fit one fold and write its run."""
    seed = seed_of_repeat(job.options.seed, split.repeat)
    options = job.options.model_copy(update={"seed": seed})
    name = member_name(split.repeat, split.fold, plan.config.repeats)
    board = folder.partial / FOLDER / name
    with epoch_scalars(board, job.progress, wanted=options.tensorboard) as told:
        mine = Job(job.opened, options, job.splitting, job.sources, told)
        fitted = fit_split(mine, plan.cohort, split, plan.config_of(split), RunLog())
    folder.add_member(name, fitted.draft)
    pool.add(split, fitted.draft, fitted.history.best_epoch)


def _pooled(plan: SplitPlan, pool: _Pool, splitting: Splitting) -> RunDraft:
    """The folder above the folds."""
    thresholds = np.mean([config.thresholds for config in pool.configs], axis=0)
    first = pool.configs[0]
    config = first.model_copy(
        update={"thresholds": tuple(thresholds.tolist()), "split": plan.config}
    )
    predictions = pd.concat(pool.predictions, ignore_index=True)
    found = evaluate_predictions(predictions, first.labels, first.level, rule=splitting.rule)
    return RunDraft(
        config, None, {}, pd.concat(pool.folds, ignore_index=True), predictions,
        pd.concat(pool.series, ignore_index=True) if pool.series else None,
        pool.history, found.document(),
    )  # fmt: skip
