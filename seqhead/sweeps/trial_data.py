"""What trials see: the series of every patient but the test patients, and the inner folds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seqhead.cohort import Cohort, LeftOut
from seqhead.errors import FitError
from seqhead.sweeps.candidates import features_of
from seqhead.sweeps.inner import InnerFold
from seqhead.sweeps.space import Candidate

_NOTHING = LeftOut([], [], [], [])


@dataclass(frozen=True, slots=True)
class TrialData:
    """What trials see.

    Parameters
    ----------
    cohorts : tuple of Cohort
        The same B series in each feature set that candidates read.
    reads : mapping of str to int
        `features_key` of a candidate -> place of its cohort.
    inner : tuple of InnerFold
        What is learnt from, stopped on and scored.
    """

    cohorts: tuple[Cohort, ...]
    reads: Mapping[str, int]
    inner: tuple[InnerFold, ...]

    def of(self, candidate: Candidate) -> Cohort:
        """The features that a candidate reads, with labels and patients."""
        return self.cohorts[self.reads[features_key(candidate)]]


def features_key(candidate: Candidate) -> str:
    """What a candidate says of the features that it reads, as one word.

    Parameters
    ----------
    candidate : Candidate
        The candidate.

    Returns
    -------
    str
    """
    return json.dumps(features_of(candidate), sort_keys=True)


def same_series(cohorts: Sequence[Cohort]) -> tuple[list[Cohort], int]:
    """Keep the series that all feature sets have.

    Parameters
    ----------
    cohorts : sequence of Cohort
        The labelled series of each feature set.

    Returns
    -------
    list of Cohort
        In one order.
    int
        How many series were left out.

    Raises
    ------
    FitError
        No series is in all of them, or their orders differ.
    """
    common = set.intersection(*(set(cohort.series.index) for cohort in cohorts))
    if not common:
        raise FitError("no series has features in every set that is searched")
    kept = [cohort.only(cohort.series.index.isin(common)) for cohort in cohorts]
    if any(not cohort.series.index.equals(kept[0].series.index) for cohort in kept):
        raise FitError("feature sets list their series in different orders: sweep them apart")
    every = set.union(*(set(cohort.series.index) for cohort in cohorts))
    return kept, len(every) - len(common)


def bare_cohort(
    *,
    features: str,
    names: Sequence[str],
    level: str,
    groups: Sequence[str],
    X: Sequence[np.ndarray],
    y: np.ndarray | list[np.ndarray],
    series_y: np.ndarray,
    second: int,
) -> Cohort:
    """A cohort with nothing but what a fit reads.

    Parameters
    ----------
    features, names, level, X, y, series_y, second
        As of `Cohort`.
    groups : sequence of str (B,)
        Patient of each series.

    Returns
    -------
    Cohort
    """
    return Cohort(
        features=features, names=tuple(names), level=level,  # type: ignore[arg-type]
        series=pd.DataFrame({"group": np.asarray(groups, dtype=object)}), slices=pd.DataFrame(),
        X=X, y=y, series_y=series_y, left_out=_NOTHING, notes=(), second=second,
    )  # fmt: skip
