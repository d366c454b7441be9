"""What a reproduction does otherwise than its paper."""

from dataclasses import dataclass

import numpy as np

from featurecache.words import plural
from seqhead.config import SystemUse
from seqhead.paper_split import PAPER
from seqhead.reproduce import Outcome, Reproduction
from seqhead.splits import SPLITS
from seqhead.systems.recipes import recipe_differences

SPLIT_WORDS = {PAPER: "split as the paper", "patients": "patients together"}
"""What runs are called in a table."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not, or may not be, as in the paper.

    Parameters
    ----------
    about : str
        What it is.
    paper : str
        How it is in the paper.
    here : str
        How it is here.
    """

    about: str
    paper: str
    here: str


def differences(reproduction: Reproduction) -> list[Difference]:
    """List what differs from the paper; its silences are `System.choices`.

    Parameters
    ----------
    reproduction : Reproduction
        Runs and data.

    Returns
    -------
    list of Difference
    """
    system, found = reproduction.system, [*_weights(reproduction), _data(reproduction)]
    here = reproduction.cohort.names
    if set(here) != set(system.labels):
        found.append(Difference("labels", ", ".join(system.labels), ", ".join(here)))
    wanted, used = reproduction.fitted.select, reproduction.select
    if used is not None and used != wanted:
        found.append(Difference("series", "; ".join(wanted), "; ".join(used)))
    found += [_split(reproduction, outcome) for outcome in reproduction.outcomes]
    if system.metrics.threshold is None:
        rule = "the largest sensitivity + specificity on validation patients (Youden)"
        found.append(Difference("threshold", "not given", rule))
    use = reproduction.opened.system or SystemUse(name=system.name)
    if use.changed:
        found.append(Difference("settings", f"those of {use.name}", ", ".join(use.changed)))
    return found


def _weights(reproduction: Reproduction) -> list[Difference]:
    """Recipes of the feature sets; weights that are not the system's are the usual difference."""
    sets = (reproduction.opened.features, reproduction.opened.second)
    found: dict[str, Difference] = {}
    for spec, features in zip(reproduction.fitted.features, sets, strict=False):
        if features is None or not recipe_differences(spec, features.recipe):
            continue
        used = str(features.recipe.get("weights_source"))
        said = ", untrained: figures say nothing of the paper's" if used[:7] == "random:" else ""
        others = [one for one in recipe_differences(spec, features.recipe)
                  if not one.startswith("weights ")]  # fmt: skip
        here = "; ".join([f"{used}{said}", *others])
        found[spec.name] = Difference(f"weights of {spec.backbone}", spec.weights, here)
    return list(found.values())


def _data(reproduction: Reproduction) -> Difference:
    system, cohort = reproduction.system, reproduction.cohort
    patients = len(np.unique(cohort.groups.astype(str)))
    here = (
        f"{len(cohort.X)} series of {plural(patients, 'patient')} "
        f"({plural(len(cohort.slices), 'slice')}), labels of {reproduction.opened.labels.source}"
    )
    return Difference("data", f"{system.dataset}: {system.amount}", here)


def _split(reproduction: Reproduction, outcome: Outcome) -> Difference:
    config, folds = outcome.run.config.split, outcome.run.folds
    if config.folds is not None:
        here = f"{config.folds} folds of patients; figures are pooled over the folds"
    elif config.protocol == "xception-rnn":
        sides = outcome.run.predictions["split"].value_counts()
        here = _counted({side: int(sides.get(side, 0)) for side in SPLITS}, "slices")
    else:
        series = folds.groupby("split")["series"].nunique()
        here = _counted({side: int(series.get(side, 0)) for side in SPLITS}, "series")
    leak = outcome.evaluation.leak
    if leak is not None:
        here += (
            f"; LEAKS: {leak.patients_also_in_training} of {leak.test_patients} test patients are "
            "in training too"
        )
    elif config.folds is None:
        here += "; no patient is on two sides"
    about = f"split ({SPLIT_WORDS[outcome.split]})"
    return Difference(about, reproduction.system.split.paper, here)


def _counted(sides: dict[str, int], noun: str) -> str:
    words = {"train": "to learn", "validation": "to stop", "test": "to test"}
    counts = [f"{count:,} {words[side]}" for side, count in sides.items()]
    return f"{', '.join(counts)} ({noun})"
