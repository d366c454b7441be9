"""Candidates drawn by Optuna's samplers, and what its journal keeps of them."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from seqhead.sweeps.space import Candidate, Space
from seqhead.sweeps.values import Choice, Values


def make_sampler(kind: str, seed: int, number: int) -> BaseSampler:
    """Build the sampler of one candidate.

    Parameters
    ----------
    kind : str
        ``"tpe"`` or ``"random"``; a grid draws nothing.
    seed : int
        Of the sweep.
    number : int
        Of the candidate: each has a seed of its own, so that a sweep that was killed and resumed
        does not draw again what it drew before.

    Returns
    -------
    optuna.samplers.BaseSampler
    """
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if kind == "tpe":
        return TPESampler(seed=own, constant_liar=True)
    return RandomSampler(seed=own)


def draw(trial: optuna.Trial, space: Space) -> Candidate:
    """Let a trial choose its candidate, or say again what was fixed for it.

    Parameters
    ----------
    trial : optuna.Trial
        A trial.
    space : Space
        What is searched.

    Returns
    -------
    Candidate
    """

    def pick(name: str, values: Values) -> Any:
        if isinstance(values, Choice):
            said = [_encoded(value) for value in values.values]
            return values.values[said.index(trial.suggest_categorical(name, said))]
        if values.whole:
            step = 1 if values.step is None else int(values.step)
            return trial.suggest_int(
                name, int(values.low), int(values.high), step=step, log=values.log
            )
        return trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)

    return space.candidate(pick)


def recall(params: Mapping[str, Any], space: Space) -> Candidate | None:
    """Give the candidate of parameters in a journal.

    Parameters
    ----------
    params : mapping
        ``params`` of a trial.
    space : Space
        What is searched.

    Returns
    -------
    Candidate or None
        None where not everything was chosen yet.
    """

    def pick(name: str, values: Values) -> Any:
        if not isinstance(values, Choice):
            return params[name]
        return values.values[[_encoded(value) for value in values.values].index(params[name])]

    try:
        return space.candidate(pick)
    except KeyError:
        return None


def journalled(picked: Mapping[str, Any]) -> dict[str, Any]:
    """Give picks as a journal keeps them.

    Parameters
    ----------
    picked : mapping
        Of `Space.grid`.

    Returns
    -------
    dict
    """
    return {name: _encoded(value) for name, value in picked.items()}


def _encoded(value: Any) -> Any:
    """Lists as their text: Optuna keeps words, numbers and truth values."""
    return value if isinstance(value, str | int | float) else json.dumps(value)
