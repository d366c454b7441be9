"""``--protocol paper``: how the paper of a system splits, and from which probability it calls."""

from typing import Any

from seqhead.errors import FitError
from seqhead.options import FitOptions, chosen_system
from seqhead.splitting import Splitting

PAPER = "paper"
"""What `Splitting.protocol` says where the system is to say."""


def as_the_paper(splitting: Splitting, options: FitOptions) -> Splitting:
    """Replace ``protocol="paper"`` by what the system's file says.

    Parameters
    ----------
    splitting : Splitting
        What was asked for.
    options : FitOptions
        What is fitted; names the system.

    Returns
    -------
    Splitting
        The same, unless the paper was asked for: then its protocol or its folds, and its threshold
        where no operating point was given.

    Raises
    ------
    FitError
        No system is named.
    """
    if splitting.protocol != PAPER:
        return splitting
    system = chosen_system(options)
    if system is None:
        raise FitError("--protocol paper goes with --system: name the system, or leave it out")
    update: dict[str, Any] = {"protocol": system.split.protocol, "folds": system.split.folds}
    threshold = system.metrics.threshold
    if threshold is not None and "operating_point" not in splitting.model_fields_set:
        update["operating_point"] = f"{threshold:g}"
    return splitting.model_copy(update=update)
