"""A published system on cached features: fits that are missing, and its paper's row beside them.

::

    reproduce/sdlm-vgg16-gru/
        inputs.json           what this is a reproduction of; other inputs are refused
        paper/                the run by the paper's split and threshold
        patients/             where that split leaks: a run with patients kept together
        reproduction.json     the document of `seqhead reproduce --json`
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from seqhead.chosen_features import open_for_fit
from seqhead.cohort import Cohort
from seqhead.crossval import fit_as_split
from seqhead.evaluate import evaluate_run
from seqhead.evaluation import Evaluation
from seqhead.heads import make_head
from seqhead.operating_points import YOUDEN
from seqhead.options import FitOptions
from seqhead.paper_split import PAPER
from seqhead.reported import Ours, Reported, ours_beside, reported_numbers
from seqhead.reproduction_inputs import claim, inputs_of
from seqhead.run import Run
from seqhead.sources import Opened, Sources
from seqhead.splitting import Splitting
from seqhead.systems.describe import keras_count
from seqhead.systems.loading import load_system
from seqhead.systems.schema import System
from seqhead.train import Progress

PATIENTS = "patients"
"""The run with patients kept together; the other one is `PAPER`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a reproduction.

    Parameters
    ----------
    split : str
        ``"paper"``: the paper's split; ``"patients"``: patients kept together.
    run : Run
        The run.
    evaluation : Evaluation
        Its figures, at the paper's level and threshold.
    parameters : int or None
        Of its head, by the papers' count.
    new : bool
        Whether it was fitted now; else it was there.
    """

    split: str
    run: Run
    evaluation: Evaluation
    parameters: int | None
    new: bool


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A paper's row beside ours.

    Parameters
    ----------
    system : System
        What is reproduced.
    fitted : System
        What was fitted: the same, or the one whose slices a rule combines.
    outcomes : tuple of Outcome
        One, or two where the paper's split leaks.
    cohort : Cohort
        Series and labels.
    opened : Opened
        Features and labels.
    select : tuple of str or None
        The rules by which series were extracted; None: those of the system.
    """

    system: System
    fitted: System
    outcomes: tuple[Outcome, ...]
    cohort: Cohort
    opened: Opened
    select: tuple[str, ...] | None = None

    @property
    def exit_code(self) -> int:
        """3 if series had to be left out because none of their slices has features, else 0."""
        return 3 if self.cohort.left_out.empty_series else 0

    @property
    def rows(self) -> list[tuple[Reported, list[Ours]]]:
        """Each reported number, and what each run has beside it."""
        return [
            (
                number,
                [ours_beside(number, o.evaluation.model, o.parameters) for o in self.outcomes],
            )
            for number in reported_numbers(self.system)
        ]


def fitted_system(name: str) -> System:
    """Give the system that a reproduction fits.

    Parameters
    ----------
    name : str
        A system.

    Returns
    -------
    System
        The same; of a rule, the one whose slices it combines.

    Raises
    ------
    FitError
        There is no such system.
    """
    system = load_system(name)
    return system if system.slices is None else load_system(system.slices)


def reproduce(
    name: str,
    sources: Sources,
    options: FitOptions,
    folder: Path,
    *,
    project: Path | None = None,
    select: tuple[str, ...] | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Fit what is missing of a system by its paper's protocol, and judge it as the paper does.

    Parameters
    ----------
    name : str
        The system; its features are in the store.
    sources : Sources
        Store and labels.
    options : FitOptions
        Of the fit; its ``system`` is that of `fitted_system`.
    folder : Path
        Where the runs are, or will be.
    project : Path or None
        Folder that paths in ``config.toml`` are relative to; the working folder by default.
    select : tuple of str or None
        The rules by which series were extracted, to be said; None: those of the system.
    progress : callable or None
        Called after each epoch.

    Returns
    -------
    Reproduction

    Raises
    ------
    LabelError, SplitError, FitError, FeaturesError, StoreError
        As `seqhead.fit.fit`.
    RunError
        The folder was begun with other inputs.
    """
    system, fitted = load_system(name), fitted_system(name)
    opened = open_for_fit(sources, options)
    cohort = opened.cohort(options.level)
    claim(folder, inputs_of(options, sources, opened, cohort))
    outcomes = []
    for split, splitting in _splittings(system, fitted):
        out, new = folder / split, not (folder / split).exists()
        if new:
            fit_as_split(sources, options, splitting, out=out, project=project, progress=progress)
        outcomes.append(_judged(split, Run.open(out), system, new=new))
    return Reproduction(system, fitted, tuple(outcomes), cohort, opened, select)


def _splittings(system: System, fitted: System) -> Iterator[tuple[str, Splitting]]:
    """The paper's split; patients kept together where that one leaks, or a rule needs series."""
    if system.rule is None:
        yield PAPER, Splitting(protocol=PAPER)
    if system.rule is not None or fitted.split.protocol is not None:
        yield PATIENTS, Splitting(operating_point=_operating_point(fitted))


def _judged(split: str, run: Run, system: System, *, new: bool) -> Outcome:
    evaluation = evaluate_run(
        run, system.level, combine=system.rule, operating_point=_operating_point(system)
    )
    return Outcome(split, run, evaluation, _parameters(run, system), new)


def _operating_point(system: System) -> str:
    threshold = system.metrics.threshold
    return YOUDEN.name if threshold is None else f"{threshold:g}"


def _parameters(run: Run, system: System) -> int | None:
    """Of the head, by the papers' count; None where there is none, or the paper has a rule."""
    if run.config.head is None or system.rule is not None:
        return None
    with torch.device("meta"):  # counted, not allocated
        return keras_count(make_head(run.config.head))
