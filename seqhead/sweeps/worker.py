"""Candidates are taken, tried and settled, until none is left."""

import time
from collections.abc import Callable

import numpy as np
import torch

from seqhead.errors import FitError
from seqhead.sweeps.candidates import fit_options
from seqhead.sweeps.folder import SweepFolder
from seqhead.sweeps.locks import sign_of_life
from seqhead.sweeps.outcome import Outcome
from seqhead.sweeps.pruning import GivenUpError
from seqhead.sweeps.queue import Queue, Taken
from seqhead.sweeps.settings import SweepSettings
from seqhead.sweeps.trial import run_trial
from seqhead.sweeps.trial_data import TrialData

_WAIT_S = 1.0  # until it is known whether those at work live


def work(
    folder: SweepFolder,
    settings: SweepSettings,
    data: TrialData,
    *,
    device: str = "auto",
    settled: Callable[[], object] | None = None,
) -> None:
    """Try candidates until every one is settled, by this process or another.

    Parameters
    ----------
    folder : SweepFolder
        The sweep.
    settings : SweepSettings
        What it is told.
    data : TrialData
        What trials see.
    device : str
        Where heads are trained.
    settled : callable or None
        Called after each candidate, and while there is nothing to do but wait.
    """
    queue = Queue(folder.journal, folder.signs, settings)
    with sign_of_life(folder.signs) as me:
        while True:
            taken = queue.take(me)
            if taken is not None:
                _try(taken, queue, folder, settings, data, device)
            elif queue.settled() == settings.trials:
                return
            else:
                time.sleep(_WAIT_S)
            if settled is not None:
                settled()


def _try(
    taken: Taken,
    queue: Queue,
    folder: SweepFolder,
    settings: SweepSettings,
    data: TrialData,
    device: str,
) -> None:
    def watch(epoch: int, loss: float, loss_name: str) -> None:
        taken.report(epoch, loss, loss_name, prune=settings.pruning)

    outcome, given_up = Outcome(), False
    try:
        options = fit_options(
            taken.candidate, level=settings.level, seed=settings.seed, device=device
        )
        cohort = data.of(taken.candidate)
        run_trial(options, cohort, data.inner, settings.metric, outcome, watch)
    except GivenUpError:
        given_up = True
    except (FitError, np.linalg.LinAlgError) as error:
        outcome.error = str(error)
    except (MemoryError, RuntimeError) as error:
        if not _wants_memory(error):
            raise
        outcome.error = f"not enough memory: {error}"
    if outcome.score is not None:
        folder.keep_resamples(taken.number, outcome.score.resampled)
    queue.settle(taken, outcome, given_up=given_up)


def _wants_memory(error: Exception) -> bool:
    """Whether memory ran out, which torch says in several ways."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "out of memory"))
