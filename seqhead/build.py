"""Options of a fit, or its system, to the estimator that is fitted."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from seqhead.classifier import SequenceClassifier
from seqhead.cohort import Cohort
from seqhead.config import SvmConfig
from seqhead.errors import FitError
from seqhead.head_config import HeadConfig
from seqhead.matrices import width_of
from seqhead.options import FitOptions, chosen_system, given_settings, parse_label_weights
from seqhead.svm import PooledSVC
from seqhead.systems.loading import first_problem
from seqhead.train_config import TrainConfig

Config = TypeVar("Config", bound=BaseModel)


def make_estimator(options: FitOptions, cohort: Cohort) -> SequenceClassifier | PooledSVC:
    """Estimator of some options.

    Parameters
    ----------
    options : FitOptions
        What to fit.
    cohort : Cohort
        What it will learn from: its level, its labels, and how many of its columns are of a
        second feature set.

    Returns
    -------
    SequenceClassifier or PooledSVC

    Raises
    ------
    FitError
        The options do not go with each other or with the cohort.
    """
    system, settings = chosen_system(options), given_settings(options)
    if system is None:
        if options.head == "svm":
            svm = _checked(SvmConfig, _svm_settings(settings.get("svm", {}), cohort))
            return _svm(svm, options)
        head = _checked(HeadConfig, _head_settings(settings.get("head", {}), options, cohort))
        training = _checked(TrainConfig, settings.get("training", {}))
        return _sequence(head, training, {}, options, cohort)
    if cohort.level != system.level:
        raise FitError(
            f"{system.name} works at level {system.level}, and the labels are taken at level "
            f"{cohort.level}: use --level {system.level}"
        )
    if system.svm is not None:
        return _svm(system.svm, options)
    if system.head is None or system.training is None:
        raise FitError(f"{system.name} is a rule over predictions of slices: nothing is fitted")
    return _sequence(system.head, system.training, system.label_weights, options, cohort)


def _sequence(
    head: HeadConfig,
    training: TrainConfig,
    by_name: dict[str, float],
    options: FitOptions,
    cohort: Cohort,
) -> SequenceClassifier:
    of_head = head.model_dump(exclude={"features", "labels"})
    if head.zoom is not None:
        of_head["zoom"]["features"] = _second(cohort)
    elif head.replace is not None:
        _second(cohort)
    elif cohort.second:
        raise FitError(
            "a second feature set is given, and the head has no use for it: leave "
            "--second-features out"
        )
    of_training = training.model_dump(exclude={"seed"})
    of_training["label_weights"] = _label_weights(by_name, training, options, cohort)
    return SequenceClassifier(
        **of_head, **of_training, random_state=options.seed, device=options.device
    )


def _svm(config: SvmConfig, options: FitOptions) -> PooledSVC:
    return PooledSVC(**config.model_dump(exclude={"random_state"}), random_state=options.seed)


def _svm_settings(given: dict[str, Any], cohort: Cohort) -> dict[str, Any]:
    """Slices have an SVM of their own, series have two."""
    if cohort.level == "series":
        return given
    if "input" in given:
        raise FitError(
            f"--svm-input {given['input']} makes one row of a series: leave it out at --level slice"
        )
    return {**given, "input": "slices"}


def _head_settings(given: dict[str, Any], options: FitOptions, cohort: Cohort) -> dict[str, Any]:
    pool = given.get("pool")
    if cohort.level == "slice" and pool not in (None, "none"):
        raise FitError(f"--pool {pool} makes one output of a series: leave it out at --level slice")
    if cohort.level == "series" and pool == "none":
        raise FitError("--set head.pool=none gives an output at each slice: use --level slice")
    zoom = given.get("zoom")
    if isinstance(zoom, dict):
        given = {**given, "zoom": {**zoom, "features": _second(cohort)}}
    default = "none" if cohort.level == "slice" else "max"
    sizes = {"features": width_of(cohort.X) - cohort.second, "labels": len(cohort.names)}
    return {"hidden": options.hidden, "pool": default, **given, **sizes}


def _second(cohort: Cohort) -> int:
    if not cohort.second:
        raise FitError("this head reads two feature sets: name the other with --second-features")
    return cohort.second


def _label_weights(
    by_name: dict[str, float], training: TrainConfig, options: FitOptions, cohort: Cohort
) -> tuple[float, ...]:
    """Weights in the order of the labels; a system's are for those of its labels that there are."""
    given = parse_label_weights(options.label_weights)
    unknown = [name for name in given if name not in cohort.names]
    if unknown:
        raise FitError(
            f"--label-weight {unknown[0]}: there is no such label. Labels: "
            f"{', '.join(cohort.names)}"
        )
    weights = {**by_name, **given}
    if not weights:
        return training.label_weights
    if training.label_weights:
        raise FitError("--label-weight and training.label_weights say the same: give one of them")
    return tuple(weights.get(name, 1.0) for name in cohort.names)


def _checked(kind: type[Config], fields: dict[str, Any]) -> Config:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise FitError(f"--set: {first_problem(error)}") from None
