"""Kinds of scans that are judged apart: thin or thick, tilted, large field of view, kernel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from seqhead.errors import FitError
from seqhead.judged import Judged
from seqhead.measures import measure
from seqhead.stats import PatientBootstrap

_EDGES: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "thickness": ("thickness_mm", "mm", (2.0, 4.0)),
    "fov": ("fov_mm", "mm", (220.0, 260.0)),
    "tilt": ("tilt_deg", "deg", (1.0, 15.0)),
    "gap": ("median_gap_mm", "mm", (2.0, 4.0)),
    "slices": ("n_slices", "slices", (40.0, 100.0)),
}
RUN_SUBGROUPS = tuple(_EDGES)
"""Subgroups that a run folder knows itself."""

INDEX_SUBGROUPS = ("kernel", "manufacturer")
"""Subgroups that only the index of the files knows: free text, which no store or run holds."""

_MOST_KINDS = 12
_LAST = ("mixed", "unknown")
_SHOWN = ("n", "positives", "patients", "positive_patients", "threshold", "auc", "auc_ci",
          "recall", "recall_ci", "recall_wilson", "specificity", "specificity_ci",
          "specificity_wilson", "precision", "f1", "average_precision")  # fmt: skip


def kinds_of_series(series: pd.DataFrame, by: str) -> pd.Series:
    """What kind of scan each series is.

    Parameters
    ----------
    series : DataFrame
        Indexed by series id, with the columns of the store, and ``kernel`` or ``manufacturer``
        where those are asked for.
    by : str
        One of `RUN_SUBGROUPS` or `INDEX_SUBGROUPS`.

    Returns
    -------
    Series of ordered categories
        For example ``"up to 2 mm"``, in the order of `series`; ``"unknown"`` where it is not.

    Raises
    ------
    FitError
        `by` is unknown, or `series` lacks its column.
    """
    if by in INDEX_SUBGROUPS:
        return _texts(series, by)
    if by not in _EDGES:
        known = ", ".join((*RUN_SUBGROUPS, *INDEX_SUBGROUPS))
        raise FitError(f"--by must be one of {known}. Got {by!r}")
    column, unit, edges = _EDGES[by]
    if column not in series:
        raise FitError(
            f"folds.csv of this run lacks {column}: it is of an earlier version. Fit again"
        )
    values = series[column].astype(np.float64).abs()
    low, high = (f"{edge:g}" for edge in edges)
    words = [f"up to {low} {unit}", f"{low} to {high} {unit}", f"over {high} {unit}"]
    kinds = np.array(words, dtype=object)[np.searchsorted(edges, values.fillna(0.0))]
    kinds[values.isna()] = "unknown"
    return _ordered(kinds, words, series.index)


def _texts(series: pd.DataFrame, by: str) -> pd.Series:
    if by not in series:
        raise FitError(f"--by {by} needs the index of the files: name it with --index FILE")
    text = series[by].fillna("").astype(str).str.strip().to_numpy(dtype=object)
    text[text == ""] = "unknown"
    common = pd.Series(text[text != "unknown"]).value_counts().index[:_MOST_KINDS].tolist()
    text[~np.isin(text, [*common, "unknown"])] = "other"
    return _ordered(text, [*common, "other"], series.index)


def _ordered(kinds: np.ndarray, order: Sequence[str], index: pd.Index) -> pd.Series:
    categories = [*dict.fromkeys([*order, *_LAST])]
    return pd.Series(pd.Categorical(kinds, categories, ordered=True), index=index)


def judge_subgroups(
    judged: Judged, kinds: pd.Series, owners: pd.DataFrame, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Metrics of each kind of scan, with the thresholds of all.

    A patient with scans of several kinds is ``"mixed"``.

    Parameters
    ----------
    judged : Judged
        Test rows.
    kinds : Series of ordered categories
        Kind of each series, by id.
    owners : DataFrame
        ``id`` (of a row of `judged`) and ``series``: which series are a row's.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of dict
        ``kind``, ``n``, ``patients``, ``labels`` (name -> figures) and ``macro``.
    """
    of_series = kinds.astype(object).reindex(owners["series"]).to_numpy()
    of_row = pd.Series(of_series).groupby(owners["id"].to_numpy())
    kind = of_row.agg(lambda found: found.iloc[0] if found.nunique() == 1 else "mixed")
    row_kind = kind.reindex(judged.test.ids).fillna("unknown").to_numpy(dtype=object)
    return [
        {"kind": name, **_figures(judged.take(row_kind == name), seed)}
        for name in kinds.cat.categories
        if name in set(row_kind)
    ]


def _figures(judged: Judged, seed: int) -> dict[str, Any]:
    test = judged.test
    bootstrap = PatientBootstrap.of(test.patients, seed=seed)
    found = measure(
        test.names, test.y, test.probability, judged.thresholds[judged.rule], test.patients,
        bootstrap, repeats=judged.repeats,
    ).document  # fmt: skip
    labels: dict[str, dict[str, Any]] = found["labels"]
    return {
        "n": len(test) // judged.repeats,
        "patients": len(np.unique(test.patients.astype(str))),
        "labels": {name: {key: one[key] for key in _SHOWN} for name, one in labels.items()},
        "macro": {key: found["macro"][key] for key in ("auc", "auc_ci", "covers", "labels")},
    }


def owners_of(ids: Sequence[str] | np.ndarray, series: Sequence[str] | np.ndarray) -> pd.DataFrame:
    """Pairs of a row and a series that belongs to it.

    Parameters
    ----------
    ids, series : sequences of str (m,)
        Row and series.

    Returns
    -------
    DataFrame
        ``id`` and ``series``, each pair once.
    """
    return pd.DataFrame({"id": ids, "series": series}).drop_duplicates()
