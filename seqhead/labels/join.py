"""Label files joined with the series and slices of a store."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache.identifiers import Identifiers
from seqhead.errors import LabelError
from seqhead.labels.file import ID_COLUMNS, LabelFile

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
    unknown_series : list of str
        Ids of series in the store that the file has, with every label unknown.
    notes : tuple of str
        What was decided on the way, to be shown.
    """

    names: tuple[str, ...]
    level: str
    values: np.ndarray
    user_ids: pd.DataFrame
    unmatched_labels: list[str]
    unmatched_series: list[str]
    unknown_series: list[str]
    notes: tuple[str, ...]


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
        Nothing matches, or a slice's SeriesInstanceUID contradicts the store.
    """
    row = label_rows(labels, identifiers, series, slices)
    if (row < 0).all():
        raise LabelError(_nothing_matches(labels, len(series)))
    owner = series.loc[slices["series"]] if labels.level == "slice" else series
    notes = _compare_other_ids(labels, identifiers, owner, row)
    values = np.vstack([labels.values, np.full((1, len(labels.names)), np.nan, np.float32)])[row]
    used = np.zeros(len(labels.ids), dtype=bool)
    used[row[row >= 0]] = True
    matched = series.index.isin(owner.index[row >= 0])
    known = series.index.isin(owner.index[~np.isnan(values).all(axis=1)])
    return Joined(
        names=labels.names,
        level=labels.level,
        values=values,
        user_ids=_user_ids(labels, row),
        unmatched_labels=labels.ids[labels.level][~used].tolist(),
        unmatched_series=series.index[~matched].tolist(),
        unknown_series=series.index[matched & ~known].tolist(),
        notes=notes,
    )


def label_rows(
    labels: LabelFile, identifiers: Identifiers, series: pd.DataFrame, slices: pd.DataFrame
) -> np.ndarray:
    """Which row of a label file speaks of each series or slice.

    Parameters
    ----------
    labels, identifiers, series, slices
        As for `join_labels`.

    Returns
    -------
    int array (B,), or (N,) at level slice
        -1 where none does. A stack ``UID#2`` has the row of that name, else that of ``UID``.
    """
    row_of = _rows_by_store_id(labels, identifiers)
    if labels.level == "slice":
        found = slices["slice"].map(row_of)
    elif labels.level == "patient" and identifiers.key is None:
        found = series["patient"].map(labels.patient_name).map(row_of)
    else:
        found = series[_SERIES_COLUMN[labels.level]].map(row_of)
    if labels.level == "series":
        exact = pd.Series(series.index.map(row_of), index=series.index)
        found = exact.fillna(found)
    return found.fillna(-1).to_numpy(dtype=np.int64)


def _rows_by_store_id(labels: LabelFile, identifiers: Identifiers) -> dict[str, int]:
    to_store = _mapping(identifiers)[labels.level]
    values = labels.ids[labels.level].tolist()
    if labels.level != "patient" or identifiers.key is None:
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


def _compare_other_ids(
    labels: LabelFile, identifiers: Identifiers, owner: pd.DataFrame, row: np.ndarray
) -> tuple[str, ...]:
    """Say where the file has another patient or study of a series than the store.

    Scans are often re-anonymised: both are then kept together. A slice of another series cannot
    be merged so.
    """
    notes = []
    for level in labels.ids.columns.drop(labels.level):
        cells = labels.ids[level].to_numpy(dtype=object)
        hashed = _hashed(cells, _mapping(identifiers)[level])
        places = np.flatnonzero((row >= 0) & (np.append(cells, "")[row] != ""))
        said = hashed[row[places]]
        agrees = said == owner[_SERIES_COLUMN[level]].to_numpy()[places]
        if level == "series":
            agrees |= said == owner.index.to_numpy()[places]
        wrong = np.unique(row[places[~agrees]])
        if not len(wrong):
            continue
        where = f"{labels.source} line {labels.lines[wrong[0]]}: {ID_COLUMNS[level]} is "
        what = f"{ID_COLUMNS[labels.level]} {labels.ids[labels.level].iloc[wrong[0]]}"
        if level == "series":
            raise LabelError(
                f"{where}{cells[wrong[0]]!r}, but in the store {what} belongs to another one "
                f"({len(wrong)} such row(s)). Correct that column"
            )
        notes.append(
            f"{where}{cells[wrong[0]]!r}, another one than in the store for {what} ({len(wrong)} "
            f"such row(s)). The split keeps together what either of them puts together"
        )
    return tuple(notes)


def _hashed(cells: np.ndarray, to_store: Callable[[str], str]) -> np.ndarray:
    codes, unique = pd.factorize(cells)
    return np.array([to_store(cell) for cell in unique], dtype=object)[codes]


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
        f"{labels.source} matches nothing in the store. Check that the labels belong to these "
        "scans, --labels-format (table, cq500 or rsna), and that --key is the key the store was "
        f"made with: none of its {len(labels.ids)} {ID_COLUMNS[labels.level]} values ({shown}, "
        f"...) is among the {n_series} series"
    )
