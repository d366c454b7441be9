"""Cached features and labels to a run folder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featurecache.store import FeatureSet
from seqhead.baselines import PositionBaseline, series_features
from seqhead.build import make_estimator
from seqhead.chosen_features import open_for_fit, system_notes
from seqhead.classifier import SequenceClassifier
from seqhead.cohort import Cohort
from seqhead.config import FeaturesConfig, RunConfig, SplitConfig, SvmConfig
from seqhead.evaluate import evaluate_predictions, thresholds_of
from seqhead.metrics import label_metrics, macro_metrics
from seqhead.options import FitOptions
from seqhead.predictions import baseline_table, fold_table, prediction_table, series_table
from seqhead.run import Run
from seqhead.run_folder import RunDraft, RunFolder, run_folder
from seqhead.scores import Scores, scores_from
from seqhead.sources import Sources
from seqhead.splits import SPLITS, check_disjoint, split_patients
from seqhead.svm import PooledSVC
from seqhead.train import History, Progress
from seqhead.words import plural

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
    """

    run: Run
    cohort: Cohort
    history: History
    validation: dict[str, Any]
    notes: list[str] = field(default_factory=list)

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
            "series": {s: int((folds["split"] == s).sum()) for s in SPLITS},
            "patients": {s: folds["group"][folds["split"] == s].nunique() for s in SPLITS},
            "epochs": len(self.history.epochs),
            "best_epoch": self.history.best_epoch,
            "validation": self.validation,
            "left_out": left_out.document(),
            "notes": self.notes,
        }


def fit(
    sources: Sources,
    options: FitOptions,
    *,
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
    project = project or Path()
    with run_folder(out, project / "runs") as folder:
        return _fit_into(folder, sources, options, project, progress)


def _fit_into(
    folder: RunFolder,
    sources: Sources,
    options: FitOptions,
    project: Path,
    progress: Progress | None,
) -> FitReport:
    opened = open_for_fit(sources, options)
    cohort = opened.cohort(options.level)
    model = make_estimator(options, cohort)
    split = split_patients(cohort.groups, cohort.series_y, seed=options.seed)
    folds = fold_table(cohort, split)
    check_disjoint(folds)
    history = _fit_model(model, cohort, split, progress)
    baselines = _fit_baselines(cohort, split)
    scored = model.predict_proba(cohort.X)
    predictions = prediction_table(cohort, split, scored, baselines[cohort.level])
    validation = scores_from(predictions[predictions["split"] == "validation"], cohort.names)
    config = RunConfig(
        level=cohort.level,
        labels=cohort.names,
        thresholds=thresholds_of(validation),
        features=describe_features(opened.features),
        second_features=describe_features(opened.second) if opened.second else None,
        system=opened.system,
        sources=sources.relative_to(project),
        split=SplitConfig(seed=options.seed),
        **_model_config(model),
    )
    metrics = evaluate_predictions(predictions, cohort.names, cohort.level).document()
    series = series_table(cohort, baselines["series"]) if cohort.level == "slice" else None
    draft = RunDraft(
        config, model.state(), baselines, folds, predictions, series, history.epochs, metrics
    )
    run = folder.publish(draft, config.stem)
    notes = [
        *opened.labels.notes,
        *cohort.notes,
        *system_notes(opened.system),
        *_notes(cohort, split),
    ]
    return FitReport(run, cohort, history, _validation_metrics(validation, config), notes)


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


def _fit_model(
    model: Estimator, cohort: Cohort, split: np.ndarray, progress: Progress | None
) -> History:
    training = cohort.take(split == "train")
    if isinstance(model, PooledSVC):
        model.fit(*training, groups=cohort.groups[split == "train"])
        return History()
    validation = cohort.take(split == "validation")
    model.fit(*training, validation=validation, progress=progress)
    return model.history_


def _fit_baselines(cohort: Cohort, split: np.ndarray) -> dict[str, PositionBaseline]:
    """The baseline of series, and at level slice that of slices too."""
    train = split == "train"
    of_series = series_features(cohort.series)[train]
    baselines = {"series": PositionBaseline.fit(of_series, cohort.series_y[train], cohort.names)}
    if cohort.level == "slice":
        table, owner = baseline_table(cohort)
        rows = train[owner]
        fitted = PositionBaseline.fit(table[rows], cohort.flat_y[rows], cohort.names)
        baselines["slice"] = fitted
    return baselines


def _model_config(model: Estimator) -> dict[str, Any]:
    if isinstance(model, PooledSVC):
        return {"svm": SvmConfig(**model.get_params())}
    return {"head": model.head_.config, "training": model.train_config()}


def _validation_metrics(scores: Scores, config: RunConfig) -> dict[str, Any]:
    labels = {
        name: label_metrics(scores.y[:, k], scores.probability[:, k], config.thresholds[k])
        for k, name in enumerate(config.labels)
    }
    patients = len(np.unique(scores.patients))
    return {"patients": patients, "labels": labels, "macro": macro_metrics(labels)}


def _notes(cohort: Cohort, split: np.ndarray) -> list[str]:
    """What the patients of a split, or a whole label, lack."""
    unlabelled = cohort.left_out.unlabelled_slices
    notes = [f"{plural(unlabelled, 'slice')} without a known label, not learnt from"] * (
        unlabelled > 0
    )
    spelt, patients = cohort.series["patient"].nunique(), len(np.unique(cohort.groups))
    if spelt > patients:
        notes.append(
            f"{spelt} PatientIDs count as {plural(patients, 'patient')}: studies or labels connect "
            "them"
        )
    known = ~np.isnan(cohort.series_y)
    notes += [
        f"no known {name} in any series"
        for k, name in enumerate(cohort.names)
        if not known[:, k].any()
    ]
    for name in SPLITS:
        part = cohort.series_y[split == name]
        for answer, word in ((1, "positive"), (0, "negative")):
            missing = [
                label
                for k, label in enumerate(cohort.names)
                if known[:, k].any() and not (part[:, k] == answer).any()
            ]
            if missing:
                notes.append(f"no {word} {name} series for {', '.join(missing)}")
    return notes
