"""Candidates as options of a fit, as words, and as a command line."""

import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from seqhead.errors import FitError
from seqhead.options import FitOptions, parse_fit_options
from seqhead.sweeps.space import FEATURES, Candidate, Space
from seqhead.systems.loading import load_system

if TYPE_CHECKING:
    from seqhead.cohort import Level
    from seqhead.sweeps.settings import SweepSettings

_IN_NAME = ("system", "head", "rnn", "bidirectional")
_SPELLINGS = {"label_weights": "label-weight"}


def fit_options(
    candidate: Candidate, *, level: "Level | None", seed: int, device: str = "auto",
    memory: float | None = None,
) -> FitOptions:  # fmt: skip
    """Options of the fit that a candidate is.

    Parameters
    ----------
    candidate : Candidate
        The candidate.
    level : str or None
        ``"series"`` or ``"slice"``; None: not known yet.
    seed : int
        Of weights, order and folds.
    device : str
        Where heads are trained; an SVM is fitted on the CPU.
    memory : float or None
        Memory that features may take, in 10^9 bytes, where the fit reads them itself.

    Returns
    -------
    FitOptions

    Raises
    ------
    FitError
        Its values are out of range, or do not go together.
    """
    given = {name: value for name, value in candidate.values.items() if "." not in name}
    settings = [f"{n}={json.dumps(v)}" for n, v in candidate.values.items() if "." in n]
    if isinstance(given.get("label_weights"), list):
        given["label_weights"] = tuple(given["label_weights"])
    on = {} if _is_svm(candidate) else {"device": device}
    return parse_fit_options(
        **given, settings=tuple(settings), level=level, seed=seed, memory=memory, **on
    )


def features_of(candidate: Candidate) -> dict[str, Any]:
    """What a candidate says of the feature sets that it reads.

    Parameters
    ----------
    candidate : Candidate
        The candidate.

    Returns
    -------
    dict
        Its fields among `seqhead.sweeps.space.FEATURES`.
    """
    return {name: candidate.values[name] for name in FEATURES if name in candidate.values}


def model_name(candidate: Candidate) -> str:
    """Short name of the kind of model.

    Parameters
    ----------
    candidate : Candidate
        The candidate.

    Returns
    -------
    str
        What the search file calls it, else for example ``"bigru"``, ``"svm"`` or a system's name.
    """
    values = candidate.values
    if candidate.model:
        return candidate.model
    if values.get("system") is not None:
        return str(values["system"])
    if values.get("head") == "svm":
        return "svm"
    rnn = values.get("rnn", "gru")
    return f"{'bi' if values.get('bidirectional') else ''}{rnn}" if rnn != "none" else "no rnn"


def varied_text(candidate: Candidate, space: Space) -> str:
    """What of a candidate could have been otherwise, in words; its name says the rest.

    Parameters
    ----------
    candidate : Candidate
        The candidate.
    space : Space
        Where it is from.

    Returns
    -------
    str
        For example ``"hidden 256, learning-rate 0.001"``.
    """
    fields = {**space.shared, **space.models.get(candidate.model, {})}
    said = () if candidate.model else _IN_NAME
    shown = [
        f"{name.replace('_', '-')} {value_text(value)}"
        for name, value in candidate.values.items()
        if not fields[name].fixed and name not in said
    ]
    return ", ".join(shown)


def value_text(value: Any) -> str:
    """Give a value of a field to read.

    Parameters
    ----------
    value : Any
        A value.

    Returns
    -------
    str
        Numbers to four digits.
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def fit_command(candidate: Candidate, settings: "SweepSettings", *, split: str) -> str:
    """Line of shell that fits a candidate as the winner of a sweep is fitted.

    Parameters
    ----------
    candidate : Candidate
        The candidate.
    settings : SweepSettings
        Of the sweep.
    split : str
        Path of the sweep's split.

    Returns
    -------
    str
        For the project folder, where the store and the labels are.
    """
    files = settings.sources
    words = ["seqhead", "fit", files.store, "--labels", files.labels]
    if files.labels_format != "table":
        words += ["--labels-format", files.labels_format]
    if files.slice_labels is not None:
        words += ["--slice-labels", files.slice_labels]
    for name, value in candidate.values.items():
        words += _option(name, value, of_system=candidate.values.get("system") is not None)
    words += ["--level", settings.level, "--seed", str(settings.seed), "--split", split]
    if settings.duplicate_scans != "refuse":
        words += ["--duplicate-scans", settings.duplicate_scans]
    if settings.operating_point != "youden":
        words += ["--operating-point", settings.operating_point]
    return shlex.join(words)


def _option(name: str, value: Any, *, of_system: bool) -> list[str]:
    """A field and its value as words of a command line."""
    option = f"--{_SPELLINGS.get(name, name.replace('_', '-'))}"
    if "." in name:
        return ["--set", f"{name}={json.dumps(value)}"]
    if value is False and of_system:
        return ["--set", f"head.{name}=false"]
    if isinstance(value, bool):
        return [option] * value
    if isinstance(value, list):
        return [word for one in value for word in (option, str(one))]
    return [option, str(value)]


def check_candidates(space: Space, check: Callable[[Candidate], None]) -> None:
    """Find out before any trial whether each value of a space is possible.

    Parameters
    ----------
    space : Space
        What is searched.
    check : callable
        Takes a candidate; raises `FitError` where it cannot be fitted.

    Raises
    ------
    FitError
        Of `check`, with the candidate.
    """
    for candidate in space.examples():
        try:
            check(candidate)
        except FitError as error:
            said = varied_text(candidate, space)
            name = model_name(candidate)
            raise FitError(f"search, {name}{f' with {said}' if said else ''}: {error}") from None


def _is_svm(candidate: Candidate) -> bool:
    system = candidate.values.get("system")
    if system is not None:
        return load_system(system).kind == "svm"
    return candidate.values.get("head") == "svm"
