"""Label files joined with the series and slices of a store."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache.identifiers import Identifiers
from seqhead.errors import LabelError
from seqhead.labels.file import ID_COLUMNS, LabelFile, most_specific

_SERIES_COLUMN = {"patient": "patient", "study": "study", "series": "series_of"}


@dataclass(frozen=True, slots=True)
class Joined:
    """What a label file says of a store.

    Parameters
    ----------
    names : tuple of str
        Names of the K labels.
    level : str
        What the file's rows label: ``"patient"``, ``"study"``, ``"series"`` or ``"slice"``.
    values : float32 array (B, K) or (N, K)
        Targets of the store's series or, at level slice, of its rows; NaN is unknown.
    user_ids : DataFrame
        B or N rows; the user's own identifiers where the file has them, ``""`` elsewhere.
    unmatched_labels : list of str
        Identifiers in the file that no series or slice of the store has.
    unmatched_series : list of str
        Ids of series in the store of which the file says nothing.
    """

    names: tuple[str, ...]
    level: str
    values: np.ndarray
    user_ids: pd.DataFrame
    unmatched_labels: list[str]
    unmatched_series: list[str]


def join_labels(
    labels: LabelFile,
    identifiers: Identifiers,
    series: pd.DataFrame,
    slices: pd.DataFrame,
) -> Joined:
    """Find the label row of every series or slice.

    Labels of a patient or a study are inherited by each of its series. Identifiers are hashed
    with the store's key before they are compared.

    Parameters
    ----------
    labels : LabelFile
        R label rows.
    identifiers : Identifiers
        The key of the store.
    series : DataFrame
        ``FeatureSet.series``, B rows.
    slices : DataFrame
        ``FeatureSet.slices``, N rows.

    Returns
    -------
    Joined

    Raises
    ------
    LabelError
        Nothing matches, or a row's further id columns contradict the store.
    """
    level = labels.level
    held = slices["slice"] if level == "slice" else series[_SERIES_COLUMN[level]]
    row_of = _rows_by_store_id(labels, identifiers)
    row = held.map(row_of).fillna(-1).to_numpy(dtype=np.int64)
    if (row < 0).all():
        raise LabelError(_nothing_matches(labels, len(series)))
    owner = series.loc[slices["series"]] if level == "slice" else series
    _check_other_ids(labels, identifiers, owner, row)
    used = np.zeros(len(labels.ids), dtype=bool)
    used[row[row >= 0]] = True
    known = slices["series"][row >= 0].unique() if level == "slice" else series.index[row >= 0]
    return Joined(
        names=labels.names,
        level=level,
        values=np.vstack([labels.values, np.full((1, len(labels.names)), np.nan, np.float32)])[row],
        user_ids=_user_ids(labels, row),
        unmatched_labels=labels.ids[level][~used].tolist(),
        unmatched_series=series.index[~series.index.isin(known)].tolist(),
    )


def _rows_by_store_id(labels: LabelFile, identifiers: Identifiers) -> dict[str, int]:
    to_store = _mapping(identifiers)[labels.level]
    values = labels.ids[labels.level].tolist()
    if labels.level != "patient":
        return {to_store(value): row for row, value in enumerate(values)}
    return {
        to_store(spelling): row
        for row, value in enumerate(values)
        for spelling in labels.patient_spellings(value)
    }


def _mapping(identifiers: Identifiers) -> dict[str, Callable[[str], str]]:
    return {
        "patient": identifiers.patient,
        "study": identifiers.study,
        "series": identifiers.series,
        "slice": identifiers.slice,
    }


def _check_other_ids(
    labels: LabelFile, identifiers: Identifiers, owner: pd.DataFrame, row: np.ndarray
) -> None:
    """A row that names a series and a patient must name the patient that the store has."""
    others = [level for level in labels.ids.columns if level != most_specific(labels.ids.columns)]
    for level in others:
        cells = labels.ids[level].to_numpy()
        hashed = np.array([_mapping(identifiers)[level](cell) if cell else "" for cell in cells])
        places = np.flatnonzero(row >= 0)
        said, held = hashed[row[places]], owner[_SERIES_COLUMN[level]].to_numpy()[places]
        wrong = places[(said != "") & (said != held)]
        if len(wrong):
            first = row[wrong[0]]
            raise LabelError(
                f"{labels.source} line {labels.lines[first]}: {ID_COLUMNS[level]} is "
                f"{cells[first]!r}, but in the store {ID_COLUMNS[labels.level]} "
                f"{labels.ids[labels.level].iloc[first]} belongs to another one "
                f"({len(np.unique(row[wrong]))} such row(s)). Correct or remove that column"
            )


def _user_ids(labels: LabelFile, row: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            level: np.append(labels.ids[level].to_numpy(dtype=object), "")[row]
            for level in labels.ids.columns
        }
    )


def _nothing_matches(labels: LabelFile, n_series: int) -> str:
    shown = ", ".join(labels.ids[labels.level].iloc[:3])
    return (
        f"{labels.source}: none of its {len(labels.ids)} {ID_COLUMNS[labels.level]} values "
        f"({shown}, ...) is in the store, which has {n_series} series. Check that the labels "
        "belong to these scans, --labels-format (table, cq500 or rsna), and that --key is the key "
        "the store was made with"
    )
