"""When a candidate is given up: the median rule, on validation losses."""

import statistics
from collections.abc import Iterable, Mapping

WARM_UP_EPOCHS = 4
"""No candidate is given up before this epoch."""

LEAST_FINISHED = 5
"""So many candidates must have finished before any is given up."""

Curve = Mapping[int, float]
"""Epoch -> validation loss."""


class GivenUpError(Exception):
    """A candidate fell behind; its trial ends."""


def falls_behind(curve: Curve, finished: Iterable[Curve]) -> bool:
    """Tell whether the best loss of a candidate is worse than the median of the others'.

    Parameters
    ----------
    curve : mapping of int to float
        Losses of the candidate, epoch by epoch.
    finished : iterable of such mappings
        Of candidates that were trained to their end with the same loss.

    Returns
    -------
    bool

    References
    ----------
    Golovin et al. 2017, Google Vizier, section 3.2.2 (median stopping), with the best loss so far
    instead of the mean.
    """
    epoch = max(curve, default=0)
    if epoch < WARM_UP_EPOCHS:
        return False
    bests = [min(v for e, v in other.items() if e <= epoch) for other in finished if other]
    if len(bests) < LEAST_FINISHED:
        return False
    return min(curve.values()) > statistics.median(bests)
