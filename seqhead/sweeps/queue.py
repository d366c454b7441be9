"""Which candidate is tried next, by whom, and what became of each: the journal, read and written.

A candidate has a trial in Optuna's journal from the start, which waits. Whoever takes it writes
down its own sign of life first. A trial whose taker died is given up with the reason, and a copy of
it waits instead: the copy is written before, so that no candidate is lost, and names the trial that
it repeats, so that none is copied twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from featurecache.words import plural
from seqhead.sweeps.draws import draw, journalled, make_sampler, recall
from seqhead.sweeps.journal import open_journal
from seqhead.sweeps.locks import held, lives
from seqhead.sweeps.outcome import Outcome
from seqhead.sweeps.pruning import GivenUpError, falls_behind
from seqhead.sweeps.settings import SweepSettings
from seqhead.sweeps.space import Candidate, Space

MOST_DEATHS = 10
"""A candidate whose processes died so often is not tried again: it may need more memory than is."""

_STUDY = "sweep"
_SETTLED = ("complete", "given up", "failed")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a candidate.

    Parameters
    ----------
    number : int
        Of the candidate, from 0.
    state : str
        ``"waiting"``, ``"running"``, ``"complete"``, ``"given up"`` or ``"failed"``.
    candidate : Candidate or None
        What it is; None before it was drawn.
    outcome : dict
        `Outcome.document`; empty before it is settled.
    deaths : int
        How often a process that tried it died.
    """

    number: int
    state: str
    candidate: Candidate | None
    outcome: dict[str, Any]
    deaths: int = 0

    @property
    def settled(self) -> bool:
        """Whether it was tried to its end."""
        return self.state in _SETTLED


@dataclass(frozen=True, slots=True)
class Taken:
    """A candidate in work.

    Parameters
    ----------
    number : int
        Of the candidate.
    candidate : Candidate
        What it is.
    trial : optuna.Trial
        Its trial.
    losses : dict of int to float
        Validation loss of each epoch so far.
    """

    number: int
    candidate: Candidate
    trial: optuna.Trial
    losses: dict[int, float] = field(default_factory=dict)

    def report(self, epoch: int, loss: float, loss_name: str, *, prune: bool) -> None:
        """Note the loss of an epoch.

        Parameters
        ----------
        epoch : int
            From 1.
        loss : float
            Validation loss.
        loss_name : str
            Which loss it is.
        prune : bool
            Whether the candidate may be given up.

        Raises
        ------
        GivenUpError
            It falls behind those that finished.
        """
        if not self.losses:
            self.trial.set_user_attr("loss", loss_name)
        self.losses[epoch] = loss
        sign = _sign(self.trial.study)
        self.trial.report(sign * loss, epoch)
        if not prune:
            return
        finished = self.trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        curves = [
            {step: sign * value for step, value in trial.intermediate_values.items()}
            for trial in finished
            if trial.user_attrs.get("loss") == loss_name
        ]
        if falls_behind(self.losses, curves):
            raise GivenUpError(f"behind the median after {plural(epoch, 'epoch')}")


class Queue:
    """The candidates of a sweep.

    Parameters
    ----------
    journal : Path
        The journal.
    signs : Path
        Folder of signs of life.
    settings : SweepSettings
        What the sweep is told.
    """

    def __init__(self, journal: Path, signs: Path, settings: SweepSettings) -> None:
        self._lock = journal.with_name("trials.lock")
        self._signs = signs
        self._settings = settings
        self.space: Space = settings.space
        self._storage = open_journal(journal)

    def fill(self) -> None:
        """Make every candidate wait that does not yet; safe to be repeated."""
        with held(self._lock):
            if all(one.study_name != _STUDY for one in self._storage.get_all_studies()):
                up = self._settings.maximise
                direction = StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE
                self._storage.create_new_study([direction], _STUDY)
            study = self._study()
            there = {_number(trial) for trial in study.get_trials(deepcopy=False)}
            for number, picked in enumerate(self._planned()):
                if number not in there:
                    study.enqueue_trial(journalled(picked), user_attrs={"candidate": number})

    def take(self, me: str) -> Taken | None:
        """Take the next candidate.

        Parameters
        ----------
        me : str
            Sign of life of the taker.

        Returns
        -------
        Taken or None
            None while nothing waits: others may still be at work, and may die.
        """
        with held(self._lock):
            self._requeue_orphans()
            waiting = self._trials(TrialState.WAITING)
            if not waiting:
                return None
            chosen = min(waiting, key=_number)
            trial_id = self._id(chosen)
            self._storage.set_trial_user_attr(trial_id, "taken_by", me)
            self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            number = _number(chosen)
            sampler = make_sampler(self._settings.sampler, self._settings.seed, number)
            trial = optuna.Trial(self._study(sampler), trial_id)
            return Taken(number, draw(trial, self.space), trial)

    def settle(self, taken: Taken, outcome: Outcome, *, given_up: bool = False) -> None:
        """Write down what became of a candidate.

        Parameters
        ----------
        taken : Taken
            The candidate.
        outcome : Outcome
            What became of it.
        given_up : bool
            Whether it was given up.
        """
        taken.trial.set_user_attr("outcome", outcome.document())
        study = self._study()
        if given_up or outcome.score is None:  # samplers take it for a bad one
            study.tell(taken.trial, state=TrialState.PRUNED)
        else:
            study.tell(taken.trial, outcome.score.value)

    def settled(self) -> int:
        """Count the candidates that were tried to their end: each has one such trial."""
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        return len(self._study().get_trials(deepcopy=False, states=ended))

    def entries(self) -> list[Entry]:
        """Give what is known of every candidate, in their order."""
        latest: dict[int, FrozenTrial] = {}
        tries: dict[int, int] = {}
        for trial in self._study().get_trials(deepcopy=False):
            latest[_number(trial)] = trial  # copies come later
            tries[_number(trial)] = tries.get(_number(trial), 0) + 1
        return [self._entry(number, latest[number], tries[number] - 1) for number in sorted(latest)]

    def _entry(self, number: int, trial: FrozenTrial, deaths: int) -> Entry:
        outcome = trial.user_attrs.get("outcome", {})
        state = {
            TrialState.COMPLETE: "complete",
            TrialState.PRUNED: "failed" if outcome.get("error") else "given up",
            TrialState.RUNNING: "running",
        }.get(trial.state, "waiting")  # FAIL: the process died, and a copy is being written
        known = recall({**_fixed(trial), **trial.params}, self.space)
        return Entry(number, state, known, outcome, deaths)

    def _planned(self) -> Iterator[dict[str, Any]]:
        if self._settings.sampler != "grid":
            return ({} for _ in range(self._settings.trials))
        return iter(shuffled(list(self.space.grid()), self._settings.seed))

    def _requeue_orphans(self) -> None:
        """Whose taker died, or was killed while taking it, waits again."""
        trials = self._trials(None)
        for trial in trials:
            taker = trial.user_attrs.get("taken_by")
            if trial.state != TrialState.RUNNING or (taker and lives(self._signs, taker)):
                continue
            number = _number(trial)
            tries = sum(_number(other) == number for other in trials)
            copied = any(other.user_attrs.get("repeats") == trial.number for other in trials)
            if tries > MOST_DEATHS and not copied:
                why = f"its process died {tries} times, perhaps for want of memory"
                self._end(trial, TrialState.PRUNED, outcome=Outcome(error=why).document())
                continue
            if not copied:
                params = {**_fixed(trial), **trial.params}
                attributes = {"candidate": number, "repeats": trial.number}
                self._study().enqueue_trial(params, user_attrs=attributes)
            self._end(trial, TrialState.FAIL, interrupted="its process ended")

    def _end(self, trial: FrozenTrial, state: TrialState, **why: Any) -> None:
        """End a trial that is not ours, with the reason."""
        for name, value in why.items():
            self._storage.set_trial_user_attr(self._id(trial), name, value)
        self._storage.set_trial_state_values(self._id(trial), state)

    def _study(self, sampler: Any = None) -> optuna.Study:
        """A study without a cache: others write too."""
        return optuna.load_study(study_name=_STUDY, storage=self._storage, sampler=sampler)

    def _trials(self, state: TrialState | None) -> list[FrozenTrial]:
        states = None if state is None else (state,)
        return self._study().get_trials(deepcopy=False, states=states)

    def _id(self, trial: FrozenTrial) -> int:
        study_id = self._storage.get_study_id_from_name(_STUDY)
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)


def shuffled(grid: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Put a grid into an order in which all kinds of candidates come early.

    Parameters
    ----------
    grid : sequence of dict
        Of `Space.grid`.
    seed : int
        Of the sweep.

    Returns
    -------
    list of dict
    """
    return [grid[k] for k in np.random.default_rng(seed).permutation(len(grid))]


def _sign(study: optuna.Study) -> int:
    """What losses are multiplied with, so that samplers take them for what the metric is."""
    return -1 if study.direction == StudyDirection.MAXIMIZE else 1


def _number(trial: FrozenTrial) -> int:
    return int(trial.user_attrs["candidate"])


def _fixed(trial: FrozenTrial) -> dict[str, Any]:
    return dict(trial.system_attrs.get("fixed_params", {}))
