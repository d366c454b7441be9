"""How many patients, series and slices show what: the papers' data tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from seqhead.labels.join import Joined


@dataclass(frozen=True, slots=True)
class LabelStatistics:
    """Counts of one label file (and one of slice labels) on a store.

    Parameters
    ----------
    totals : dict
        ``patients``, ``series``, ``slices`` in the store.
    counts : dict
        Label name -> ``patients``/``series``/``slices`` -> ``positives``, ``negatives``,
        ``unknown``; a level that the files say nothing of is None.
    joined : tuple of Joined
        What was joined, for the unmatched.
    """

    totals: dict[str, int]
    counts: dict[str, dict[str, dict[str, int] | None]]
    joined: tuple[Joined, ...]

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead labels --json``."""
        return {
            "schema_version": 1,
            **self.totals,
            "labels": self.counts,
            "files": [
                {
                    "level": joined.level,
                    "unmatched_labels": joined.unmatched_labels,
                    "unmatched_series": joined.unmatched_series,
                    "unknown_series": joined.unknown_series,
                }
                for joined in self.joined
            ],
        }


def label_statistics(
    joined: Joined, slice_joined: Joined | None, series: pd.DataFrame, slices: pd.DataFrame
) -> LabelStatistics:
    """Count labels per patient, series and slice.

    A patient or a series has what any of its series or slices has; it lacks a finding where
    all of them are known to lack it.

    Parameters
    ----------
    joined : Joined
        The label file.
    slice_joined : Joined or None
        A further file of slice labels.
    series, slices : DataFrame
        ``FeatureSet.series`` with ``group`` (see `seqhead.groups`), and ``FeatureSet.slices``.

    Returns
    -------
    LabelStatistics
    """
    of_slices = joined if joined.level == "slice" else slice_joined
    owner = slices["series"].to_numpy()
    levels: dict[str, dict[str, np.ndarray]] = {"patients": {}, "series": {}, "slices": {}}
    if of_slices is not None:
        for k, name in enumerate(of_slices.names):
            value = of_slices.values[:, k]
            levels["slices"][name] = value
            levels["series"][name] = any_of(value, owner, series.index.to_numpy())
    if joined.level != "slice":
        levels["series"].update(zip(joined.names, joined.values.T, strict=True))
    patient = series["group"].to_numpy()
    for name, value in levels["series"].items():
        levels["patients"][name] = any_of(value, patient, pd.unique(patient))
    names = list(dict.fromkeys([*joined.names, *levels["series"]]))
    return LabelStatistics(
        totals={
            "patients": int(series["group"].nunique()),
            "series": len(series),
            "slices": len(slices),
        },
        counts={
            name: {level: _count(table.get(name)) for level, table in levels.items()}
            for name in names
        },
        joined=(joined,) if slice_joined is None else (joined, slice_joined),
    )


def any_of(values: np.ndarray, owner: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Label of a whole from the labels of its parts.

    Parameters
    ----------
    values : float array (N,) or (N, K)
        1, 0 or NaN (unknown) of each part.
    owner : array (N,)
        Which whole a part belongs to.
    owners : array (B,)
        The wholes, in the order wanted.

    Returns
    -------
    float32 array (B,) or (B, K)
        1 where any part is 1, 0 where all parts are 0, NaN otherwise and where there is no part.
    """
    table = pd.DataFrame(values.reshape(len(values), -1))
    known_largest = table.groupby(owner).max().reindex(owners)
    largest = known_largest.to_numpy(np.float32, copy=True)
    unknown = table.isna().groupby(owner).any().reindex(owners, fill_value=True)
    largest[unknown.to_numpy(bool) & ~(largest == 1)] = np.nan
    return largest[:, 0] if values.ndim == 1 else largest


def _count(values: np.ndarray | None) -> dict[str, int] | None:
    if values is None:
        return None
    return {
        "positives": int((values == 1).sum()),
        "negatives": int((values == 0).sum()),
        "unknown": int(np.isnan(values).sum()),
    }
