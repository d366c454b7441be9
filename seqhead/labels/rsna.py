"""The stage-2 CSV of the RSNA 2019 haemorrhage challenge: six lines a slice."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from seqhead.errors import LabelError
from seqhead.labels.file import LabelFile
from seqhead.labels.lines import parse_lines, read_text, require_columns

RSNA_LABELS = (
    "any",
    "epidural",
    "intraparenchymal",
    "intraventricular",
    "subarachnoid",
    "subdural",
)
"""The six findings of the challenge."""

_START_BYTES = 4096
_MARK = "\x1f"  # the unit separator: no label file has it
_LINE = re.compile(rf"[^,]*[^\s,]_({'|'.join(RSNA_LABELS)}),\s*[01]\s*")


def has_rsna_header(path: Path) -> bool:
    """Tell the challenge's labels from a table by their first line, ``ID,Label``.

    Parameters
    ----------
    path : Path
        A CSV file.

    Returns
    -------
    bool
        False also where the file cannot be read: its reader says why.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except OSError:
        return False
    lines = start.decode("utf-8-sig", errors="replace").split()
    return bool(lines) and lines[0].replace('"', "") == "ID,Label"


def read_rsna(path: Path) -> LabelFile:
    """Read the challenge's labels: ``ID_12cadc6af_epidural,0``, slice level.

    Parameters
    ----------
    path : Path
        The CSV with the columns ``ID`` and ``Label``; 4.5 million lines take a few seconds.

    Returns
    -------
    LabelFile
        Level slice, labels `RSNA_LABELS`. A line that is missing is an unknown label.

    Raises
    ------
    LabelError
        A line is not of this form, a finding is unknown, or two lines contradict each other.
    """
    text = _plain_text(path)
    above = len(text) - len(text.lstrip("\n"))
    text = text[above:]
    header = parse_lines(text.split("\n", 1)[0], path.name)
    require_columns(header, ["ID", "Label"], "rsna")
    if header.header != ("ID", "Label"):
        raise LabelError(f"{path.name}: expected the columns ID,Label and no others")
    cells = _cells(text, path)
    lines = cells.index.to_numpy() + above + 2
    row, values = _values(cells, lines, path)
    first = pd.Series(row).drop_duplicates().index.to_numpy()
    ids = pd.DataFrame({"slice": cells["ID"].cat.categories[row[first]]}, dtype=object)
    return LabelFile(path.name, "rsna", RSNA_LABELS, ids, lines[first], values[row[first]])


def _plain_text(path: Path) -> str:
    text = read_text(path).replace('"', "").replace("\r\n", "\n").replace("\r", "\n")
    if _MARK in text:
        raise LabelError(f"the label file {path.name} holds binary data, expected a CSV")
    return text


def _cells(text: str, path: Path) -> pd.DataFrame:
    """Columns ID (of the slice), finding (its number) and Label; indexed by line below the header.

    Everything is read as text, so that ``0012`` stays, and only then made categories.
    """
    for number, finding in enumerate(RSNA_LABELS):  # one pass in C each, not a split per line
        text = text.replace(f"_{finding},", f"{_MARK}{number}{_MARK}")
    columns = ["ID", "finding", "Label"]
    try:
        cells = pd.read_csv(
            io.StringIO(text), sep=_MARK, skiprows=1, names=[*columns, "more"], dtype=str,
            index_col=False, keep_default_na=False, skip_blank_lines=False,
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise _wrong_line(path) from error
    if (cells["more"].to_numpy() != "").any():
        raise _wrong_line(path)
    cells = cells[columns].apply(lambda column: column.str.strip())
    cells = cells[(cells != "").any(axis=1)]
    if not len(cells):
        raise LabelError(f"{path.name}: a header, but no rows")
    return cells.astype("category")


def _values(cells: pd.DataFrame, lines: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Row of each line, and the (R, 6) labels."""
    finding = _codes(cells["finding"], [str(k) for k in range(len(RSNA_LABELS))])
    label = _codes(cells["Label"], ["0", "1"])
    if (finding < 0).any() or (label < 0).any() or (cells["ID"] == "").any():
        raise _wrong_line(path)
    row = cells["ID"].cat.codes.to_numpy()
    values = np.full((row.max() + 1, len(RSNA_LABELS)), np.nan, dtype=np.float32)
    values[row, finding] = label
    conflicts = np.flatnonzero(values[row, finding] != label)
    if len(conflicts):
        k = conflicts[0]
        raise LabelError(
            f"{path.name}: {cells['ID'].iloc[k]}_{RSNA_LABELS[finding[k]]} is labelled both 0 and "
            f"1, see line {lines[k]} ({len(conflicts)} such conflict(s)). Remove the wrong lines"
        )
    return row, values


def _codes(column: pd.Series, expected: list[str]) -> np.ndarray:
    """Place of each cell in `expected`, -1 for anything else."""
    place = {text: number for number, text in enumerate(expected)}
    of_category = [place.get(str(text), -1) for text in column.cat.categories]
    codes = column.cat.codes.to_numpy()
    return np.append(np.array(of_category, dtype=np.int8), np.int8(-1))[codes]


def _wrong_line(path: Path) -> LabelError:
    """Only a wrong file pays for looking at each line."""
    lines = _plain_text(path).split("\n")
    header = next(number for number, line in enumerate(lines) if line.strip())
    wrong = [
        number
        for number, line in enumerate(lines)
        if number > header and line.strip() and not _LINE.fullmatch(line)
    ]
    shown = f" line {wrong[0] + 1}: got {lines[wrong[0]].strip()!r};" if wrong else ":"
    return LabelError(
        f"{path.name}{shown} expected lines like 'ID_12cadc6af_epidural,0' whose finding is one of "
        f"{', '.join(RSNA_LABELS)} ({len(wrong)} such line(s))"
    )
