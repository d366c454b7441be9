"""What a label file of any format ends as."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from seqhead.errors import LabelError

ID_COLUMNS = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "slice": "SOPInstanceUID",
}
"""Levels from the least to the most specific, and the DICOM keyword that names each."""

RESERVED_NAMES = frozenset({"patient", "study", "series", "slice", "position", "split", "group"})
"""Columns of the tables that are written; no label may have such a name."""


def _alone(value: str) -> tuple[str, ...]:
    return (value,)


def _itself(value: str) -> str:
    return value


@dataclass(frozen=True, slots=True)
class LabelFile:
    """Labels of R patients, studies, series or slices.

    Parameters
    ----------
    source : str
        File name.
    label_format : str
        ``"table"``, ``"cq500"`` or ``"rsna"``.
    names : tuple of str
        Names of the K labels.
    ids : DataFrame
        R rows; columns a subset of `ID_COLUMNS`' keys, the user's identifiers as text. The
        most specific one is unique.
    lines : int64 array (R,)
        Line of the file that a row came from.
    values : float32 array (R, K)
        1 present, 0 absent, NaN unknown.
    notes : tuple of str
        What the reader decided, to be shown.
    patient_spellings : callable
        From an identifier in the file to the PatientIDs it may have in DICOM.
    patient_name : callable
        From a PatientID in DICOM to the identifier it has in the file; used where a store keeps
        identifiers, and so can be read.
    """

    source: str
    label_format: str
    names: tuple[str, ...]
    ids: pd.DataFrame
    lines: np.ndarray
    values: np.ndarray
    notes: tuple[str, ...] = ()
    patient_spellings: Callable[[str], tuple[str, ...]] = field(default=_alone)
    patient_name: Callable[[str], str] = field(default=_itself)

    @property
    def level(self) -> str:
        """What a row labels: ``"patient"``, ``"study"``, ``"series"`` or ``"slice"``."""
        return most_specific(self.ids.columns)


def most_specific(levels: Sequence[str] | pd.Index) -> str:
    """Name the most specific of some levels.

    Parameters
    ----------
    levels : sequence of str
        Some of `ID_COLUMNS`' keys.

    Returns
    -------
    str
    """
    return next(level for level in reversed(ID_COLUMNS) if level in levels)


def merge_duplicates(
    ids: pd.DataFrame, lines: np.ndarray, values: np.ndarray, names: Sequence[str], source: str
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Make one row of the rows that label the same thing.

    Rows that agree are merged, and a known value fills an unknown one.

    Parameters
    ----------
    ids, lines, values
        As in `LabelFile`, before duplicates are merged.
    names : sequence of str
        Names of the K labels, for messages.
    source : str
        File name, for messages.

    Returns
    -------
    ids, lines, values
        One row for each different id, in the order of their first rows.

    Raises
    ------
    LabelError
        Two rows say different things of one patient, study, series or slice.
    """
    level = most_specific(ids.columns)
    codes, unique = pd.factorize(ids[level])
    if len(unique) == len(ids):
        return ids, lines, values
    _check_conflicts(codes, lines, values, names, f"{source}: {ID_COLUMNS[level]}", unique)
    merged = np.full((len(unique), values.shape[1]), np.nan, dtype=np.float32)
    known_row, known_column = np.nonzero(~np.isnan(values))
    merged[codes[known_row], known_column] = values[known_row, known_column]
    first = np.sort(np.unique(codes, return_index=True)[1])
    _check_ids_agree(ids, codes, first, lines, source)
    return ids.iloc[first].reset_index(drop=True), lines[first], merged


def _check_conflicts(
    codes: np.ndarray,
    lines: np.ndarray,
    values: np.ndarray,
    names: Sequence[str],
    what: str,
    unique: pd.Index,
) -> None:
    for column, name in enumerate(names):
        value = values[:, column]
        says = {answer: np.flatnonzero(value == answer) for answer in (0.0, 1.0)}
        both = np.intersect1d(codes[says[0.0]], codes[says[1.0]])
        if len(both):
            rows = [lines[places[codes[places] == both[0]][0]] for places in says.values()]
            raise LabelError(
                f"{what} {unique[both[0]]} is labelled {name} = 0 in line {rows[0]} and 1 in line "
                f"{rows[1]} ({len(both)} such conflict(s) for {name}). Remove the wrong rows"
            )


def _check_ids_agree(
    ids: pd.DataFrame, codes: np.ndarray, first: np.ndarray, lines: np.ndarray, source: str
) -> None:
    """Rows of one series must name the same patient and study."""
    for column in ids.columns:
        cells = ids[column].to_numpy()
        wrong = np.flatnonzero(cells != cells[first][codes])
        if len(wrong):
            row, earlier = wrong[0], first[codes[wrong[0]]]
            raise LabelError(
                f"{source} line {lines[row]}: {ID_COLUMNS[column]} is {cells[row]!r}, but line "
                f"{lines[earlier]} has {cells[earlier]!r} for the same "
                f"{ID_COLUMNS[most_specific(ids.columns)]}"
            )
