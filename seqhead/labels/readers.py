"""What human readers said of scans: one LabelFile for each reader."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from seqhead.errors import LabelError
from seqhead.labels.cq500 import cq500_name, cq500_spellings
from seqhead.labels.file import ID_COLUMNS, LabelFile, merge_duplicates, most_specific
from seqhead.labels.lines import Lines, read_lines
from seqhead.labels.table import label_value

_COLUMN = re.compile(r"([^:]+):(.+)")


def read_readers(path: Path) -> dict[str, LabelFile]:
    """Read a table of reads.

    Scans are named as in a label table (``PatientID``, ``StudyInstanceUID`` or
    ``SeriesInstanceUID``) or, in CQ500's ``reads.csv``, by ``name``. Readers are columns
    ``READER:LABEL``, such as ``R1:ICH``, or rows with a column ``Reader`` and one for each label.

    Parameters
    ----------
    path : Path
        A CSV file.

    Returns
    -------
    dict of str to LabelFile
        Reader -> reads: 1, 0, or NaN for no answer.

    Raises
    ------
    LabelError
        No column names scans or readers, or a read is neither 0, 1 nor blank; the message names
        the line.
    """
    lines = read_lines(path)
    if not lines.rows:
        raise LabelError(f"{lines.source}: a header, but no rows")
    ids, of_cq500 = _ids(lines)
    by_row = next((column for column in lines.header if column.lower() == "reader"), None)
    if by_row is not None:
        return _from_rows(lines, ids, by_row, of_cq500)
    columns: dict[str, dict[str, str]] = {}
    for column in lines.header:
        match = _COLUMN.fullmatch(column)
        if match:
            columns.setdefault(match[1].strip(), {})[match[2].strip()] = column
    if not columns:
        raise LabelError(
            f"{lines.source}: no reads. Expected columns like 'R1:ICH', or a column 'Reader'"
        )
    rows = np.arange(len(lines.rows))
    return {
        reader: _file(lines, ids, rows, of_label, of_cq500) for reader, of_label in columns.items()
    }


def _ids(lines: Lines) -> tuple[pd.DataFrame, bool]:
    """Identifiers of the scans, and whether they are CQ500's."""
    found = {level: word for level, word in ID_COLUMNS.items() if word in lines.header}
    found.pop("slice", None)
    if found:
        columns = {level: lines.column(word) for level, word in found.items()}
        return pd.DataFrame(columns, dtype=object), False
    if "name" not in lines.header:
        raise LabelError(
            f"{lines.source}: no column says which scan a row is of. Expected PatientID, "
            "StudyInstanceUID, SeriesInstanceUID, or CQ500's name"
        )
    names = lines.column("name")
    for number, name in zip(lines.numbers, names, strict=True):
        cq500_spellings(name, f"{lines.source} line {number}")
    return pd.DataFrame({"patient": [cq500_name(name) for name in names]}, dtype=object), True


def _from_rows(
    lines: Lines, ids: pd.DataFrame, by_row: str, of_cq500: bool
) -> dict[str, LabelFile]:
    readers = np.array(lines.column(by_row), dtype=object)
    blank = np.flatnonzero(readers == "")
    if len(blank):
        raise LabelError(f"{lines.source} line {lines.numbers[blank[0]]}: {by_row} is blank")
    known = {*ID_COLUMNS.values(), by_row, "name"}
    of_label = {name: name for name in lines.header if name not in known}
    return {
        str(reader): _file(lines, ids, np.flatnonzero(readers == reader), of_label, of_cq500)
        for reader in dict.fromkeys(readers)
    }


def _file(
    lines: Lines, ids: pd.DataFrame, rows: np.ndarray, of_label: dict[str, str], of_cq500: bool
) -> LabelFile:
    """Reads of one reader."""
    numbers = np.array(lines.numbers, np.int64)[rows]
    cells = {name: lines.column(column) for name, column in of_label.items()}
    values = np.array(
        [[label_value(cells[name][row], column, lines.numbers[row], lines.source)
          for name, column in of_label.items()] for row in rows],
        dtype=np.float32,
    ).reshape(len(rows), len(of_label))  # fmt: skip
    mine = ids.iloc[rows].reset_index(drop=True)
    key = most_specific(list(mine.columns))
    if (mine[key] == "").any():
        line = numbers[(mine[key] == "").to_numpy()][0]
        raise LabelError(f"{lines.source} line {line}: {ID_COLUMNS[key]} is blank")
    merged = merge_duplicates(mine, numbers, values, tuple(of_label), lines.source)
    spelt = {"patient_spellings": cq500_spellings, "patient_name": cq500_name} if of_cq500 else {}
    return LabelFile(lines.source, "reads", tuple(of_label), *merged, **spelt)  # type: ignore[arg-type]
