"""Splits of published papers that do not keep patients together: to compare, not to trust."""

from dataclasses import dataclass

import numpy as np

from seqhead.assignment import Assignment, whole_series
from seqhead.cohort import Cohort
from seqhead.errors import SplitError
from seqhead.splits import SPLITS

_SDLM_COUNTS = (835, 180, 179)
_HELD_OUT = 0.10


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a paper did.

    Parameters
    ----------
    name : str
        As `--protocol` takes it.
    unit : str
        What is drawn at random, ``"series"`` or ``"slice"``.
    says : str
        One sentence on it.
    """

    name: str
    unit: str
    says: str


PROTOCOLS = {
    "sdlm": Protocol(
        "sdlm",
        "series",
        "835 series to learn, 180 to stop, 179 to test, drawn at random (other numbers of series "
        "in these proportions); series of one patient fall on several sides",
    ),
    "xception-rnn": Protocol(
        "xception-rnn",
        "slice",
        "10 % of the slices to test, 10 % of the others to stop, drawn at random; slices of one "
        "series fall on several sides",
    ),
}
"""Protocols by name. The papers say no more of them than that; where they are silent (how series
were drawn, what fitting stopped on) the simplest reading was taken."""


def split_by_protocol(cohort: Cohort, name: str, seed: int) -> Assignment:
    """Split as a paper did.

    Parameters
    ----------
    cohort : Cohort
        B series, N slices.
    name : str
        A key of `PROTOCOLS`.
    seed : int
        Of the draw.

    Returns
    -------
    Assignment

    Raises
    ------
    SplitError
        The protocol is unknown, needs another level, or there is too little to split.
    """
    if name not in PROTOCOLS:
        raise SplitError(f"--protocol must be one of {', '.join(PROTOCOLS)}. Got {name!r}")
    if PROTOCOLS[name].unit == "slice":
        if cohort.level != "slice":
            raise SplitError(f"--protocol {name} splits slices: use it with --level slice")
        n = len(cohort.owner)
        test = round(_HELD_OUT * n)
        return Assignment(_drawn(n, round(_HELD_OUT * (n - test)), test, seed), of_slices=True)
    n, total = len(cohort.X), sum(_SDLM_COUNTS)
    validation, test = (round(n * count / total) for count in _SDLM_COUNTS[1:])
    return whole_series(_drawn(n, validation, test, seed))


def _drawn(n: int, validation: int, test: int, seed: int) -> np.ndarray:
    """Names for n things, drawn without looking at patients or labels."""
    if min(validation, test, n - validation - test) < 1:
        raise SplitError(f"{n} are too few to be split into training, validation and test")
    names = np.full(n, SPLITS[0], dtype=object)
    order = np.random.default_rng(seed).permutation(n)
    names[order[:test]] = SPLITS[2]
    names[order[test : test + validation]] = SPLITS[1]
    return names
