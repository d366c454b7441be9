"""Cached features and labels to a run folder."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from featurecache.store import FeatureSet
from seqhead.assignment import Assignment
from seqhead.baselines import PositionBaseline, series_features
from seqhead.build import make_estimator
from seqhead.calibration import Calibration
from seqhead.chosen_features import open_for_fit, system_notes
from seqhead.classifier import SequenceClassifier
from seqhead.cohort import Cohort
from seqhead.config import FeaturesConfig, RunConfig, SourcesConfig, SplitConfig, SvmConfig
from seqhead.errors import SplitError
from seqhead.evaluate import evaluate_predictions
from seqhead.judged import thresholds_of
from seqhead.leaks import Leak, measure_leak
from seqhead.metrics import label_metrics, macro_metrics
from seqhead.options import FitOptions
from seqhead.predictions import baseline_table, fold_table, prediction_table, series_table
from seqhead.run import Run
from seqhead.run_folder import RunDraft, run_folder
from seqhead.run_log import RunLog
from seqhead.scores import Scores, scores_from
from seqhead.sources import Opened, Sources
from seqhead.split_notes import notes_of
from seqhead.split_plan import plan_splits
from seqhead.splits import SPLITS, check_disjoint
from seqhead.splitting import Splitting
from seqhead.svm import PooledSVC
from seqhead.tensorboard import FOLDER, epoch_scalars
from seqhead.train import History, Progress

Estimator = SequenceClassifier | PooledSVC


@dataclass(frozen=True)
class FitReport:
    """What a fit did.

    Parameters
    ----------
    run : Run
        The run folder.
    cohort : Cohort
        What it learnt from.
    history : History
        Epochs; empty for an SVM.
    validation : dict
        ``patients`` (how many), ``labels`` and ``macro`` metrics of the validation patients.
    notes : list of str
        What a user should know of the data.
    leak : Leak or None
        What test and training share, by a protocol that does not keep patients together.
    """

    run: Run
    cohort: Cohort
    history: History
    validation: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    leak: Leak | None = None

    @property
    def exit_code(self) -> int:
        """3 if series had to be left out because none of their slices has features, else 0."""
        return 3 if self.cohort.left_out.empty_series else 0

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead fit --json``."""
        config, left_out, folds = self.run.config, self.cohort.left_out, self.run.folds
        return {
            "schema_version": 1,
            "run": self.run.path.as_posix(),
            "features": config.features.name,
            "level": config.level,
            "model": config.model,
            "labels": list(config.labels),
            "series": {s: folds["series"][folds["split"] == s].nunique() for s in SPLITS},
            "patients": {s: folds["group"][folds["split"] == s].nunique() for s in SPLITS},
            "precision": config.training.precision if config.training else None,
            "epochs": len(self.history.epochs),
            "best_epoch": self.history.best_epoch,
            "validation": self.validation,
            "left_out": left_out.document(),
            "leak": self.leak.document() if self.leak else None,
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True)
class Job:
    """What every split of a fit shares.

    Parameters
    ----------
    opened : Opened
        Features, key and labels.
    options : FitOptions
        What to fit.
    splitting : Splitting
        How thresholds are chosen.
    sources : SourcesConfig
        What a run remembers of the files.
    progress : callable or None
        Called after each epoch.
    """

    opened: Opened
    options: FitOptions
    splitting: Splitting
    sources: SourcesConfig
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """One head, fitted on one split.

    Parameters
    ----------
    draft : RunDraft
        Everything that goes into its run folder.
    history : History
        Epochs; empty for an SVM.
    validation : Scores
        What the head says of the validation rows.
    """

    draft: RunDraft
    history: History
    validation: Scores


def fit(
    sources: Sources,
    options: FitOptions,
    *,
    splitting: Splitting | None = None,
    out: Path | None = None,
    project: Path | None = None,
    progress: Progress | None = None,
) -> FitReport:
    """Fit a head on the training patients, stop on the validation patients, write a run.

    Test patients touch nothing but their rows of ``predictions.csv`` and ``metrics.json``.

    Parameters
    ----------
    sources : Sources
        Store and labels.
    options : FitOptions
        What to fit.
    splitting : Splitting or None
        How to split; None: 70 % of the patients to learn, 15 % to stop, 15 % to test.
    out : Path or None
        The run folder; ``runs/<features>-<model>-<n>`` in the project folder by default.
    project : Path or None
        Folder that paths in ``config.toml`` are relative to; the working folder by default.
    progress : callable or None
        Called after each epoch, see `seqhead.train.train`.

    Returns
    -------
    FitReport

    Raises
    ------
    LabelError, SplitError, FitError, RunError
        Labels, patients, options or `out` do not allow it.
    StoreError
        The store is incomplete, damaged, or of another key.
    """
    project, splitting, log = project or Path(), splitting or Splitting(), RunLog()
    with run_folder(out, project / "runs") as folder:
        with log.step("read"):
            opened = open_for_fit(sources, options)
            cohort = opened.cohort(options.level, options.memory)
        plan = plan_splits(cohort, splitting, options.seed, opened, project)
        if plan.crossed:
            raise SplitError("several folds are a cross-validation: use seqhead.crossval")
        board = folder.partial / FOLDER
        with epoch_scalars(board, progress, wanted=options.tensorboard) as told:
            job = Job(opened, options, splitting, sources.relative_to(project), told)
            fitted = fit_split(job, plan.cohort, plan.assignments[0], plan.config, log)
        run = folder.publish(fitted.draft, fitted.draft.config.stem)
    of_system = system_notes(opened.system, plan.config)
    notes = [*opened.labels.notes, *cohort.notes, *of_system, *plan.notes]
    notes += notes_of(plan.cohort, plan.assignments[0])
    protocol = plan.config.protocol
    leak = measure_leak(fitted.draft.folds, protocol) if protocol else None
    validation = validation_metrics(fitted.validation, fitted.draft.config)
    return FitReport(run, plan.cohort, fitted.history, validation, notes, leak)


def fit_split(
    job: Job, cohort: Cohort, split: Assignment, split_config: SplitConfig, log: RunLog
) -> Fitted:
    """Fit one head and the baseline on one split, and judge them.

    Parameters
    ----------
    job : Job
        What to fit.
    cohort : Cohort
        Series.
    split : Assignment
        Which of them learn, stop and test.
    split_config : SplitConfig
        What the run remembers of the split.
    log : RunLog
        Where times go.

    Returns
    -------
    Fitted

    Raises
    ------
    LeakError
        A patient is in two splits.
    FitError
        Nothing can be learnt from these labels.
    """
    model = make_estimator(job.options, cohort)
    folds = fold_table(cohort, split)
    if split_config.protocol is None:
        check_disjoint(folds)
    with log.step("fit"):
        history = fit_model(model, cohort, split, job.progress)
    baselines = _fit_baselines(cohort, split)
    with log.step("predict"):
        scored = model.predict_proba(cohort.X)
    predictions = prediction_table(cohort, split, scored, baselines[cohort.level])
    validation = scores_from(predictions[predictions["split"] == "validation"], cohort.names)
    config = RunConfig(
        level=cohort.level,
        labels=cohort.names,
        thresholds=thresholds_of(validation, rule=job.splitting.rule),
        operating_point=job.splitting.rule.name,
        features=describe_features(job.opened.features),
        second_features=describe_features(job.opened.second) if job.opened.second else None,
        views=tuple(view.config for view in job.opened.views),
        system=job.opened.system,
        sources=job.sources,
        split=split_config,
        **_model_config(model),
    )
    with log.step("evaluate"):
        found = evaluate_predictions(
            predictions, cohort.names, cohort.level, rule=job.splitting.rule
        )
    if split_config.protocol is not None:
        found = replace(found, leak=measure_leak(folds, split_config.protocol))
    draft = RunDraft(
        config, model.state(), baselines, folds, predictions,
        series_table(cohort, baselines["series"]) if cohort.level == "slice" else None,
        history.epochs, found.document(),
        Calibration.fit(cohort.names, validation.y, validation.probability), log.text(),
    )  # fmt: skip
    return Fitted(draft, history, validation)


def describe_features(features: FeatureSet) -> FeaturesConfig:
    """What a run remembers of a feature set.

    Parameters
    ----------
    features : FeatureSet
        The set.

    Returns
    -------
    FeaturesConfig
    """
    return FeaturesConfig(
        name=features.name,
        dim=features.dim,
        dtype=str(features.dtype),
        fingerprint=features.fingerprint,
        recipe=features.recipe,
    )


def fit_model(
    model: Estimator, cohort: Cohort, split: Assignment, progress: Progress | None = None
) -> History:
    """Fit an estimator on the training side of a split, stop it on the validation side.

    Parameters
    ----------
    model : SequenceClassifier or PooledSVC
        Fitted in place.
    cohort : Cohort
        Series.
    split : Assignment
        Which of them learn and stop.
    progress : callable or None
        Called after each epoch, see `seqhead.train.train`.

    Returns
    -------
    History
        Epochs; empty for an SVM.

    Raises
    ------
    FitError
        Nothing can be learnt from these labels.
    """
    training = split.take(cohort, "train")
    if isinstance(model, PooledSVC):
        model.fit(*training, groups=cohort.groups[split.series_on(cohort, "train")])
        return History()
    validation = split.take(cohort, "validation")
    views = [split.take(replace(cohort, X=view), "train")[0] for view in cohort.views]
    model.fit(*training, validation=validation, views=views, progress=progress)
    return model.history_


def _fit_baselines(cohort: Cohort, split: Assignment) -> dict[str, PositionBaseline]:
    """The baseline of series, and at level slice that of slices too."""
    train = split.series_on(cohort, "train")
    of_series = series_features(cohort.series)[train]
    baselines = {"series": PositionBaseline.fit(of_series, cohort.series_y[train], cohort.names)}
    if cohort.level == "slice":
        table, owner = baseline_table(cohort)
        rows = split.of_rows(owner) == "train"
        fitted = PositionBaseline.fit(table[rows], cohort.flat_y[rows], cohort.names)
        baselines["slice"] = fitted
    return baselines


def _model_config(model: Estimator) -> dict[str, Any]:
    if isinstance(model, PooledSVC):
        return {"svm": SvmConfig(**model.get_params())}
    return {"head": model.head_.config, "training": model.training_}


def validation_metrics(scores: Scores, config: RunConfig) -> dict[str, Any]:
    """Figures of the validation patients, which are a little too good: fitting stopped on them.

    Parameters
    ----------
    scores : Scores
        What the head says of them.
    config : RunConfig
        Labels and thresholds.

    Returns
    -------
    dict
        ``patients``, ``labels`` and ``macro``.
    """
    labels = {
        name: label_metrics(scores.y[:, k], scores.probability[:, k], config.thresholds[k])
        for k, name in enumerate(config.labels)
    }
    patients = len(np.unique(scores.patients))
    return {"patients": patients, "labels": labels, "macro": macro_metrics(labels)}
