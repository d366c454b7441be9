"""Training series that are held out to stop on: whole patients, where they are known."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from seqhead.matrices import take_series
from seqhead.splits import inner_validation


def held_out(
    y: np.ndarray | Sequence[np.ndarray],
    groups: Sequence[Any] | None,
    *,
    fraction: float,
    seed: int,
) -> np.ndarray:
    """Choose the series that a fit stops on; called by `fit`, whose caller is warned.

    Parameters
    ----------
    y : array (B, K), or sequence of B arrays (n, K)
        Labels; NaN is unknown.
    groups : sequence (B,) or None
        Patient of each series; None: each is its own, with a warning.
    fraction : float
        Share of the patients.
    seed : int
        Of the draw.

    Returns
    -------
    bool array (B,)
    """
    if groups is None:
        warnings.warn(
            "fit without groups: early stopping cannot keep a patient's series together. "
            "Pass groups=patients (in cross-validation with metadata routing), or "
            "validation_fraction=0",
            stacklevel=3,
        )
        groups = list(range(len(y)))
    of_series = y if isinstance(y, np.ndarray) else [np.nan_to_num(s).max(axis=0) for s in y]
    return inner_validation(
        np.asarray(groups, dtype=object), np.asarray(of_series), fraction=fraction, seed=seed
    )


def part_of(
    X: Sequence[np.ndarray], y: np.ndarray | Sequence[np.ndarray], rows: np.ndarray
) -> tuple[Sequence[np.ndarray], Any]:
    """Some series with their labels.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        Features.
    y : array (B, K), or sequence of B arrays (n, K)
        Labels.
    rows : bool array (B,)
        Which series.

    Returns
    -------
    X, y
        In memory or not as they were.
    """
    places = np.flatnonzero(rows)
    labels = y[places] if isinstance(y, np.ndarray) else [y[k] for k in places.tolist()]
    return take_series(X, places), labels
