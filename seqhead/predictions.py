"""The tables of a run: which series is in which split, and what was said of each."""

from typing import Any

import numpy as np
import pandas as pd

from seqhead.assignment import Assignment
from seqhead.baselines import SERIES_FEATURES, PositionBaseline, series_features, slice_features
from seqhead.cohort import Cohort
from seqhead.digests import series_digests

KIND_COLUMNS = SERIES_FEATURES
"""Columns of ``folds.csv`` that say what kind of scan a series is; subgroups go by them."""


def fold_table(cohort: Cohort, split: Assignment) -> pd.DataFrame:
    """``folds.csv``: the split of every series, and what kind of scan it is.

    Parameters
    ----------
    cohort : Cohort
        B series.
    split : Assignment
        Their splits.

    Returns
    -------
    DataFrame
        ``series``, ``series_of``, ``patient``, ``study`` (store ids), ``group`` (see
        `seqhead.groups`), ``user_series``, ``user_patient``, ``split``, ``rows``: how many rows of
        ``predictions.csv`` are of the series (a line for each split where slices are split),
        ``features_digest``, and `KIND_COLUMNS`.
    """
    owner = cohort.owner if cohort.level == "slice" else np.arange(len(cohort.X))
    counts = pd.DataFrame({"series": owner, "split": split.of_rows(owner)}).value_counts(
        ["series", "split"], sort=False
    )
    lines = counts.rename("rows").reset_index().sort_values("series", kind="stable")
    place = lines["series"].to_numpy()
    series = cohort.series.assign(features_digest=series_digests(cohort.X)).iloc[place]
    ids = _series_ids(cohort).iloc[place].reset_index(drop=True)
    known = series[["series_of", "study", "features_digest", *KIND_COLUMNS]].reset_index(drop=True)
    return pd.concat([ids, known.iloc[:, :2], lines[["split", "rows"]].reset_index(drop=True),
                      known.iloc[:, 2:]], axis=1)  # fmt: skip


def series_table(cohort: Cohort, baseline: PositionBaseline) -> pd.DataFrame:
    """``series.csv`` of a slice run: what its coarser levels are judged on.

    Parameters
    ----------
    cohort : Cohort
        B series of K labels.
    baseline : PositionBaseline
        The baseline of series.

    Returns
    -------
    DataFrame
        ``series``, and ``y:NAME`` (of all planned slices) and ``baseline:NAME`` for each label.
    """
    values = {
        "y": cohort.series_y,
        "baseline": baseline.predict_proba(series_features(cohort.series)),
    }
    ids = pd.DataFrame({"series": cohort.series.index.to_numpy()})
    return pd.concat([ids, _columns(values, cohort.names)], axis=1)


def baseline_table(cohort: Cohort) -> tuple[pd.DataFrame, np.ndarray]:
    """What the baseline knows of each labelled thing.

    Parameters
    ----------
    cohort : Cohort
        B series, N slices.

    Returns
    -------
    table : DataFrame (B or N, F)
        Features of the baseline.
    owner : int array (B or N,)
        Number of the series that a row belongs to.
    """
    if cohort.level == "series":
        return series_features(cohort.series), np.arange(len(cohort.X))
    return slice_features(cohort.slices, cohort.series), cohort.owner


def prediction_table(
    cohort: Cohort, split: Assignment, probability: Any, baseline: PositionBaseline
) -> pd.DataFrame:
    """``predictions.csv``: labels, probabilities and baseline of every series or slice.

    Parameters
    ----------
    cohort : Cohort
        B series of K labels.
    split : Assignment
        Their splits.
    probability : array, or list of B arrays at level slice
        ``predict_proba`` of the fitted estimator on ``cohort.X``.
    baseline : PositionBaseline
        The fitted baseline.

    Returns
    -------
    DataFrame
        ``split``, ids, and ``y:NAME``, ``p:NAME``, ``baseline:NAME`` for each label.
    """
    table, owner = baseline_table(cohort)
    ids = _series_ids(cohort).iloc[owner].reset_index(drop=True).assign(split=split.of_rows(owner))
    if cohort.level == "slice":
        rows = cohort.slices
        ids = ids.assign(slice=rows["slice"], user_slice=rows["user_slice"],
                         position=rows["position"])  # fmt: skip
        probability = np.concatenate(probability)
    K = len(cohort.names)
    values = {
        "y": cohort.flat_y,
        "p": probability[:, 1:] if K == 1 else probability,
        "baseline": baseline.predict_proba(table),
    }
    return pd.concat([ids, _columns(values, cohort.names)], axis=1)


def _columns(values: dict[str, np.ndarray], names: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            f"{kind}:{name}": array[:, k].astype(np.float64)  # so that it reads back exactly
            for kind, array in values.items()
            for k, name in enumerate(names)
        }
    )


def _series_ids(cohort: Cohort) -> pd.DataFrame:
    series = cohort.series
    return pd.DataFrame(
        {
            "series": series.index.to_numpy(),
            "patient": series["patient"].to_numpy(),
            "group": series["group"].to_numpy(),
            "user_series": series["user_series"].to_numpy(),
            "user_patient": series["user_patient"].to_numpy(),
        }
    )
