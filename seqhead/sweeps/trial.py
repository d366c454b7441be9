"""One candidate: fitted and scored on the inner folds."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seqhead.build import make_estimator
from seqhead.classifier import SequenceClassifier
from seqhead.cohort import Cohort
from seqhead.errors import FitError
from seqhead.fit import Estimator, fit_model
from seqhead.matrices import lengths_of
from seqhead.options import FitOptions
from seqhead.sweeps.inner import InnerFold
from seqhead.sweeps.outcome import Outcome
from seqhead.sweeps.score import score_of

Watch = Callable[[int, float, str], None]
"""Told after each epoch its number, the validation loss, and which loss that is; may raise."""


def run_trial(
    options: FitOptions,
    cohort: Cohort,
    inner: Sequence[InnerFold],
    metric: str,
    outcome: Outcome,
    watch: Watch | None = None,
) -> None:
    """Fit a candidate on each inner fold, and score what it says of the patients held out.

    Parameters
    ----------
    options : FitOptions
        The candidate.
    cohort : Cohort
        B series, none of a test patient.
    inner : sequence of InnerFold
        The folds; every series is scored once at most.
    metric : str
        See `seqhead.sweeps.score.score_of`.
    outcome : Outcome
        Filled as things become known, also if the trial is given up on the way.
    watch : callable or None
        Told of each epoch of the first fold: it may end the trial by raising.

    Raises
    ------
    FitError
        The candidate cannot be fitted, or no label has the metric.
    """
    started = time.monotonic()
    said: list[np.ndarray] = []
    try:
        for number, fold in enumerate(inner):
            model = make_estimator(options, cohort)
            watching = _progress(model, number, outcome, None if number else watch)
            history = fit_model(model, cohort, fold.assignment, watching)
            outcome.parameters = parameters_of(model)
            outcome.best_epochs += [history.best_epoch] * bool(history.epochs)
            said.append(_flat(model.predict_proba(cohort.take(fold.score)[0])))
    finally:
        outcome.seconds = time.monotonic() - started
    truth = [_flat_labels(cohort.take(fold.score)[1]) for fold in inner]
    patients = [_owners(cohort, fold.score) for fold in inner]
    outcome.score = score_of(
        metric, cohort.names, np.concatenate(truth).astype(np.float64),
        _columns(np.concatenate(said), len(cohort.names)), np.concatenate(patients),
    )  # fmt: skip
    if outcome.score.value is None:
        raise FitError(f"no label has {metric} on the inner folds: one class is missing")


def parameters_of(model: Estimator) -> int:
    """Count the learnt numbers of a fitted estimator.

    Parameters
    ----------
    model : SequenceClassifier or PooledSVC
        Fitted.

    Returns
    -------
    int
    """
    if isinstance(model, SequenceClassifier):
        return sum(part.numel() for part in model.head_.parameters())
    return int(model.coef_.size + model.intercept_.size)


def loss_name(model: Estimator) -> str:
    """Say which loss a model is stopped by: only equal ones can be compared.

    Parameters
    ----------
    model : SequenceClassifier or PooledSVC
        An estimator.

    Returns
    -------
    str
    """
    if not isinstance(model, SequenceClassifier):
        return ""
    config = model.train_config()
    weights = config.label_weights or "equal"
    gamma = config.focal_gamma if "focal" in (config.loss, config.branch_loss) else ""
    balanced = "balanced" if config.balance == "loss" else ""
    summed = "of three outputs" if model.zoom is not None else ""  # of branches and fusion
    return f"{config.loss} {config.branch_loss} {gamma} {weights} {balanced} {summed}"


def _progress(
    model: Estimator, fold: int, outcome: Outcome, watch: Watch | None
) -> Callable[[int, int, dict[str, float]], None]:
    name = loss_name(model)

    def progress(epoch: int, _: int, losses: dict[str, float]) -> None:
        outcome.epochs[fold:] = [epoch]
        if watch is not None:
            watch(epoch, losses["validation_loss"], name)

    return progress


def _flat(probability: Any) -> np.ndarray:
    return np.concatenate(probability) if isinstance(probability, list) else probability


def _flat_labels(y: np.ndarray | list[np.ndarray]) -> np.ndarray:
    return y if isinstance(y, np.ndarray) else np.concatenate(y)


def _columns(probability: np.ndarray, K: int) -> np.ndarray:
    """Of one label, scikit-learn has two columns."""
    return probability[:, 1:] if K == 1 else probability


def _owners(cohort: Cohort, rows: np.ndarray) -> np.ndarray:
    """Patient of each series, or of each slice, that is scored."""
    if cohort.level == "series":
        return cohort.groups[rows]
    return np.repeat(cohort.groups, np.where(rows, lengths_of(cohort.X), 0))
