"""Bytes of a CSV file to a header and rows with line numbers."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from seqhead.errors import LabelError

_SEPARATOR_LINE = re.compile(r"\s*sep=(.)\s*", re.IGNORECASE)  # what Excel writes and reads


@dataclass(frozen=True, slots=True)
class Lines:
    """A CSV file as text.

    Parameters
    ----------
    source : str
        File name, for messages.
    header : tuple of str
        Column names, stripped of spaces and line breaks.
    rows : list of (int, list of str)
        Line number in the file and the stripped cells, as many as the header has.
    """

    source: str
    header: tuple[str, ...]
    rows: list[tuple[int, list[str]]]

    def column(self, name: str) -> list[str]:
        """Cells of one column, top to bottom."""
        place = self.header.index(name)
        return [cells[place] for _, cells in self.rows]

    @property
    def numbers(self) -> list[int]:
        """Line numbers of the rows."""
        return [number for number, _ in self.rows]


def read_text(path: Path) -> str:
    """Read a label file as UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str

    Raises
    ------
    LabelError
        The file cannot be read or is not UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LabelError(f"cannot read the label file {path.name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(
            f"the label file {path.name} is not UTF-8 text (byte {error.start}). "
            "Save it again as 'CSV UTF-8'"
        ) from error
    if "\0" in text:
        raise LabelError(f"the label file {path.name} holds binary data, expected a CSV")
    return text


def read_lines(path: Path) -> Lines:
    """Read a CSV file: BOM, CRLF, empty lines and a missing final newline are all fine.

    Parameters
    ----------
    path : Path
        The file; commas, semicolons or tabs between cells.

    Returns
    -------
    Lines

    Raises
    ------
    LabelError
        The file is empty, a row has another number of cells than the header, or two columns
        share a name.
    """
    return parse_lines(read_text(path), path.name)


def parse_lines(text: str, source: str) -> Lines:
    """Split the text of a CSV file as `read_lines` does.

    Parameters
    ----------
    text : str
        The whole file.
    source : str
        File name, for messages.

    Returns
    -------
    Lines

    Raises
    ------
    LabelError
        As `read_lines`.
    """
    rows = _filled_rows(text, source)
    first = next(rows, None)
    if first is None:
        raise LabelError(f"the label file {source} is empty: expected a header line")
    header = tuple(_without_blank_end(first[1], 0))
    doubles = sorted({name for name in header if header.count(name) > 1})
    if doubles:
        raise LabelError(f"{source}: two columns are named {doubles[0]!r}; rename or remove one")
    kept = []
    for number, raw in rows:
        cells = _without_blank_end(raw, len(header))
        if len(cells) > len(header) and len(raw) == len(first[1]):
            raise LabelError(f"{source}: column {len(cells)} has no name; name or remove it")
        if len(cells) != len(header):
            raise LabelError(
                f"{source} line {number}: {len(cells)} cells, but the header has {len(header)}"
            )
        kept.append((number, cells))
    return Lines(source, header, kept)


def _without_blank_end(cells: list[str], least: int) -> list[str]:
    """Spreadsheets write empty columns that were once touched."""
    filled = max((k + 1 for k, cell in enumerate(cells) if cell), default=0)
    return cells[: max(filled, least)]


def require_columns(lines: Lines, wanted: list[str], label_format: str) -> None:
    """Check that columns exist.

    Parameters
    ----------
    lines : Lines
        The file.
    wanted : list of str
        Column names.
    label_format : str
        Name of the format, for the message.

    Raises
    ------
    LabelError
        A column is missing; the message has the nearest name there is.
    """
    missing = [name for name in wanted if name not in lines.header]
    if not missing:
        return
    close = get_close_matches(missing[0], lines.header, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise LabelError(
        f"{lines.source}: the format {label_format} needs the column {missing[0]!r}{hint} "
        f"(columns found: {', '.join(lines.header[:8])}). "
        "Another format is chosen with --labels-format table|cq500|rsna"
    )


def _filled_rows(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    delimiter, preface = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    before = 0
    try:
        if preface:
            before = _skip_preface(reader)
        for raw in reader:
            cells = [cell.strip() for cell in raw]
            if any(cells):
                yield before + 1, cells
            before = reader.line_num
    except csv.Error as error:
        raise LabelError(f"{source} line {reader.line_num}: not valid CSV ({error})") from error


def _skip_preface(reader: Any) -> int:
    while not any(next(reader)):
        pass
    return int(reader.line_num)


def _delimiter(text: str) -> tuple[str, bool]:
    """Mark between cells, and whether a line says so before the header.

    Spreadsheets of some countries write semicolons or tabs under the name CSV.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    said = _SEPARATOR_LINE.fullmatch(first)
    if said:
        return said[1], True
    counts = {mark: first.count(mark) for mark in ",;\t"}
    return ("," if counts[","] else max(counts, key=lambda mark: counts[mark])), False
