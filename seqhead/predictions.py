"""The tables of a run: which series is in which split, and what was said of each."""

from typing import Any

import numpy as np
import pandas as pd

from seqhead.baselines import PositionBaseline, series_features, slice_features
from seqhead.cohort import Cohort


def fold_table(cohort: Cohort, split: np.ndarray) -> pd.DataFrame:
    """``folds.csv``: the split of every series.

    Parameters
    ----------
    cohort : Cohort
        B series.
    split : array of str (B,)
        Their splits.

    Returns
    -------
    DataFrame
        ``series``, ``patient``, ``study`` (store ids), ``group`` (see `seqhead.groups`),
        ``user_series``, ``user_patient``, ``split``, and ``rows``: how many rows of
        ``predictions.csv`` are of the series.
    """
    rows = [len(matrix) if cohort.level == "slice" else 1 for matrix in cohort.X]
    study = cohort.series["study"].to_numpy()
    return _series_ids(cohort).assign(study=study, split=split, rows=rows)


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
    owner = np.repeat(np.arange(len(cohort.X)), [len(matrix) for matrix in cohort.X])
    return slice_features(cohort.slices, cohort.series), owner


def prediction_table(
    cohort: Cohort, split: np.ndarray, probability: Any, baseline: PositionBaseline
) -> pd.DataFrame:
    """``predictions.csv``: labels, probabilities and baseline of every series or slice.

    Parameters
    ----------
    cohort : Cohort
        B series of K labels.
    split : array of str (B,)
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
    ids = _series_ids(cohort).assign(split=split).iloc[owner].reset_index(drop=True)
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
