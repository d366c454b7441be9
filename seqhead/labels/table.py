"""The plain format: DICOM keywords as id columns, every other column a label."""

from pathlib import Path

import numpy as np
import pandas as pd

from seqhead.errors import LabelError
from seqhead.labels.file import ID_COLUMNS, LabelFile, merge_duplicates, most_specific
from seqhead.labels.lines import Lines, read_lines

_VALUES = {
    "0": 0.0,
    "1": 1.0,
    "0.0": 0.0,
    "1.0": 1.0,
    "": np.nan,
    "na": np.nan,
    "nan": np.nan,
}


def read_table(path: Path) -> LabelFile:
    """Read a table of labels.

    Any of the columns ``PatientID``, ``StudyInstanceUID``, ``SeriesInstanceUID`` and
    ``SOPInstanceUID`` say what a row labels (the most specific one there is; the others are
    checked against the store). They are text: leading zeros stay. Every other column is a
    label: 0 (or 0.0), 1 (or 1.0), or unknown (blank, NA or NaN).

    Parameters
    ----------
    path : Path
        A CSV file.

    Returns
    -------
    LabelFile

    Raises
    ------
    LabelError
        No id column, no label column, another value, or rows that contradict each other; the
        message names the line.
    """
    lines = read_lines(path)
    ids = _ids(lines)
    names = tuple(name for name in lines.header if name not in ID_COLUMNS.values())
    _check_names(names, lines)
    values = np.array(
        [[_value(cells[lines.header.index(name)], name, number, lines) for name in names]
         for number, cells in lines.rows],
        dtype=np.float32,
    ).reshape(len(lines.rows), len(names))  # fmt: skip
    merged = merge_duplicates(ids, np.array(lines.numbers, np.int64), values, names, lines.source)
    return LabelFile(lines.source, "table", names, *merged)


def _ids(lines: Lines) -> pd.DataFrame:
    found = {level: word for level, word in ID_COLUMNS.items() if word in lines.header}
    if not found:
        raise LabelError(
            f"{lines.source}: no column says what a row labels. Expected one or more of "
            f"{', '.join(ID_COLUMNS.values())}, got {', '.join(lines.header[:8])}. "
            "Another format is chosen with --labels-format cq500|rsna"
        )
    ids = pd.DataFrame({level: lines.column(word) for level, word in found.items()}, dtype=object)
    key = most_specific(list(found))
    blank = np.flatnonzero(ids[key].to_numpy() == "")
    if len(blank):
        raise LabelError(
            f"{lines.source} line {lines.numbers[blank[0]]}: {ID_COLUMNS[key]} is blank"
        )
    return ids


def _check_names(names: tuple[str, ...], lines: Lines) -> None:
    if not names:
        raise LabelError(f"{lines.source}: no label column beside {', '.join(lines.header)}")
    if "" in names:
        raise LabelError(
            f"{lines.source}: column {lines.header.index('') + 1} has no name; name or remove it"
        )
    if not lines.rows:
        raise LabelError(f"{lines.source}: a header, but no rows")


def _value(cell: str, name: str, number: int, lines: Lines) -> float:
    value = _VALUES.get(cell.lower())
    if value is None:
        raise LabelError(
            f"{lines.source} line {number}: {name} is {cell!r}; a label is 0, 1 or blank (unknown)."
            f" Remove the column {name!r} if it is not a label"
        )
    return value
