"""The plain format: DICOM keywords as id columns, every other column a label."""

import re
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from seqhead.errors import LabelError
from seqhead.labels.file import (
    ID_COLUMNS,
    RESERVED_NAMES,
    LabelFile,
    merge_duplicates,
    most_specific,
)
from seqhead.labels.lines import Lines, read_lines

_VALUES = {"false": 0.0, "true": 1.0, "": np.nan, "na": np.nan, "n/a": np.nan, "nan": np.nan}
_NUMBER = re.compile(r"[01](\.0*)?")


def read_table(path: Path) -> LabelFile:
    """Read a table of labels.

    Any of the columns ``PatientID``, ``StudyInstanceUID``, ``SeriesInstanceUID`` and
    ``SOPInstanceUID`` say what a row labels (the most specific one there is; the others are
    checked against the store). They are text: leading zeros stay. Every other column is a
    label: 0 (or 0.0, FALSE), 1 (or 1.0, TRUE), or unknown (blank, NA or NaN).

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
    _check_near_misses(lines)
    ids = _ids(lines)
    names = tuple(name for name in lines.header if name not in ID_COLUMNS.values())
    _check_names(names, lines)
    values = np.array(
        [[label_value(cells[lines.header.index(name)], name, number, lines.source)
          for name in names] for number, cells in lines.rows],
        dtype=np.float32,
    ).reshape(len(lines.rows), len(names))  # fmt: skip
    merged = merge_duplicates(ids, np.array(lines.numbers, np.int64), values, names, lines.source)
    return LabelFile(lines.source, "table", names, *merged)


def _ids(lines: Lines) -> pd.DataFrame:
    found = {level: word for level, word in ID_COLUMNS.items() if word in lines.header}
    if not found:
        raise LabelError(
            f"{lines.source}: no column says what a row labels. Expected one or more of "
            f"{', '.join(ID_COLUMNS.values())}, got {', '.join(lines.header[:8])}"
            f"{_nearest_id(lines.header)}. "
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


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


_PLAIN_IDS = {_plain(word): word for word in ID_COLUMNS.values()}


def _nearest_id(header: tuple[str, ...]) -> str:
    for name in header:
        close = get_close_matches(_plain(name), _PLAIN_IDS, n=1, cutoff=0.75)
        if close:
            return f"; did you mean {_PLAIN_IDS[close[0]]!r} by {name!r}?"
    return ""


def _check_near_misses(lines: Lines) -> None:
    """``Patient ID`` beside ``SeriesInstanceUID`` is no label."""
    for name in lines.header:
        word = _PLAIN_IDS.get(_plain(name), name)
        if word != name:
            raise LabelError(
                f"{lines.source}: did you mean {word!r} by {name!r}? Rename the column"
            )


def _check_names(names: tuple[str, ...], lines: Lines) -> None:
    if not names:
        raise LabelError(f"{lines.source}: no label column beside {', '.join(lines.header)}")
    if "" in names:
        raise LabelError(
            f"{lines.source}: column {lines.header.index('') + 1} has no name; name or remove it"
        )
    reserved = [name for name in names if name in RESERVED_NAMES]
    if reserved:
        raise LabelError(
            f"{lines.source}: a label cannot be named {reserved[0]!r}: tables of results have a "
            "column of that name. Rename it, or remove the column if it is not a label"
        )
    if not lines.rows:
        raise LabelError(f"{lines.source}: a header, but no rows")


def label_value(cell: str, name: str, number: int, source: str) -> float:
    """Read one cell of a label column.

    Parameters
    ----------
    cell : str
        What stands there.
    name : str
        Of the column, for the message.
    number : int
        Of the line, for the message.
    source : str
        Of the file, for the message.

    Returns
    -------
    float
        1, 0, or NaN for unknown.

    Raises
    ------
    LabelError
        Anything else.
    """
    if _NUMBER.fullmatch(cell):
        return float(cell)
    value = _VALUES.get(cell.lower())
    if value is None:
        raise LabelError(
            f"{source} line {number}: {name} is {cell!r}; a label is 0, 1 or blank (unknown)."
            f" Remove the column {name!r} if it is not a label"
        )
    return value
