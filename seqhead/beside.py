"""A second feature set, laid beside the first, slice by slice."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from featurecache.store import FeatureSet
from featurecache.words import plural
from seqhead.cohort import Cohort
from seqhead.errors import FitError
from seqhead.matrices import take_series
from seqhead.stored import lay_beside


def beside_cohort(cohort: Cohort, second: FeatureSet) -> Cohort:
    """Give a cohort a second feature set.

    Parameters
    ----------
    cohort : Cohort
        B series.
    second : FeatureSet
        Another set of the same store.

    Returns
    -------
    Cohort
        With D + D2 columns; what the second set lacks is left out, counted and listed.

    Raises
    ------
    FitError
        No series has features of both sets, or the second set's are not finite.
    """
    X, kept = lay_beside(cohort.X, cohort.slices, second)
    has_rows = np.array([bool(found.any()) for found in kept])
    if not has_rows.any():
        raise FitError(f"no series has features in both {cohort.features} and {second.name}")
    X = take_series(X, np.flatnonzero(has_rows))
    if not all(np.isfinite(matrix).all() for matrix in X):
        raise FitError(f"features of {second.name} are not finite. Run `featurecache verify`")
    y = cohort.y
    if isinstance(y, list):
        y = [rows[found] for rows, found in zip(y, kept, strict=True)]
        y = [rows for rows, has in zip(y, has_rows, strict=True) if has]
    else:
        y = y[has_rows]
    partial = np.array([not found.all() for found in kept]) & has_rows
    names = cohort.series.index
    left_out = replace(
        cohort.left_out,
        empty_series=[*cohort.left_out.empty_series, *names[~has_rows]],
        partial_series=sorted({*cohort.left_out.partial_series, *names[partial]}
                              - set(names[~has_rows])),
    )  # fmt: skip
    return replace(
        cohort, X=X, y=y,
        series=cohort.series[has_rows], series_y=cohort.series_y[has_rows],
        slices=cohort.slices[np.concatenate(kept)].reset_index(drop=True),
        left_out=left_out, second=second.dim, notes=(*cohort.notes, *_notes(kept, second.name)),
    )  # fmt: skip


def _notes(kept: Sequence[np.ndarray], second: str) -> list[str]:
    missing = sum(int((~found).sum()) for found in kept)
    if not missing:
        return []
    return [f"{plural(missing, 'slice')} without features in {second}, left out of both sets"]
