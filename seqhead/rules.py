"""Rules that make the score of a series from those of its slices."""

import re
from collections.abc import Callable

import numpy as np

from seqhead.errors import FitError

RULES = ("max", "p95", "any", "K-consecutive")
"""What ``--combine`` takes; K is a number."""

_CONSECUTIVE = re.compile(r"([1-9][0-9]{0,3})-consecutive")

Rule = Callable[[np.ndarray], np.ndarray]
"""Scores of a series' slices, in order, (n, K) -> score of the series (K,)."""


def parse_rule(text: str) -> Rule:
    """Make a rule of its name.

    ``"max"`` takes the largest slice; so does ``"any"``, since a series that has what any slice
    has at a threshold is one whose largest slice reaches it. ``"p95"`` takes the 95th percentile.
    ``"K-consecutive"`` takes the highest threshold at which K slices in a row are positive; a
    series of fewer slices never is, and scores 0. The neighbours of a slice that failed, which has
    no score, count as consecutive.

    Parameters
    ----------
    text : str
        One of `RULES`, for example ``"3-consecutive"``.

    Returns
    -------
    callable
        (n, K) -> (K,).

    Raises
    ------
    FitError
        There is no such rule.

    References
    ----------
    CNN-LSTM, section 4.1 (max, p95); DrCT2, section VI.A.5 (any); RADnet, section 2.3 (three or
    more consecutive slices).
    """
    if text in ("max", "any"):
        return lambda scores: scores.max(axis=0)
    if text == "p95":
        return lambda scores: np.percentile(scores, 95, axis=0)
    match = _CONSECUTIVE.fullmatch(text)
    if match is None:
        raise FitError(
            f"{text!r} is no rule from slices to a series: expected one of {', '.join(RULES)} "
            "(for example 3-consecutive)"
        )
    return lambda scores: _consecutive(scores, int(match[1]))


def combine(rule: str, scores: np.ndarray, owners: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Apply a rule to every series.

    Parameters
    ----------
    rule : str
        See `parse_rule`.
    scores : float array (N, K)
        Of slices.
    owners : array (N,)
        Series of each slice; those of a series stand in slice order.
    order : array (B,)
        The series wanted.

    Returns
    -------
    float array (B, K)

    Raises
    ------
    FitError
        There is no such rule.
    """
    import pandas as pd

    of_series = parse_rule(rule)
    places = pd.Series(owners).groupby(owners, sort=False).indices
    combined = [of_series(scores[places[series]]) for series in order]
    return np.stack(combined) if combined else np.empty((0, scores.shape[1]))


def _consecutive(scores: np.ndarray, k: int) -> np.ndarray:
    if len(scores) < k:
        return np.zeros(scores.shape[1], dtype=scores.dtype)
    runs = np.lib.stride_tricks.sliding_window_view(scores, k, axis=0)  # (n - k + 1, K, k)
    return runs.min(axis=-1).max(axis=0)
