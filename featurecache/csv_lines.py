"""Bytes of a CSV file that people made with a spreadsheet -> header and rows with line numbers."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurecache.errors import CsvError

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


def read_text(path: Path, what: str) -> str:
    """Read a file as UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it is, for messages: "label file".

    Returns
    -------
    str

    Raises
    ------
    CsvError
        The file cannot be read or is not UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CsvError(f"cannot read the {what} {path.name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CsvError(
            f"the {what} {path.name} is not UTF-8 text (byte {error.start}). "
            "Save it again as 'CSV UTF-8'"
        ) from error
    if "\0" in text:
        raise CsvError(f"the {what} {path.name} holds binary data, expected a CSV")
    return text


def read_lines(path: Path, what: str) -> Lines:
    """Read a CSV file: BOM, CRLF, empty lines and a missing final newline are all fine.

    Parameters
    ----------
    path : Path
        The file; commas, semicolons or tabs between cells.
    what : str
        What it is, for messages.

    Returns
    -------
    Lines

    Raises
    ------
    CsvError
        The file is empty, a row has another number of cells than the header, or two columns
        share a name.
    """
    return parse_lines(read_text(path, what), path.name, what)


def parse_lines(text: str, source: str, what: str) -> Lines:
    """Split the text of a CSV file as `read_lines` does.

    Parameters
    ----------
    text : str
        The whole file.
    source, what : str
        File name and what it is, for messages.

    Returns
    -------
    Lines

    Raises
    ------
    CsvError
        As `read_lines`.
    """
    rows = _filled_rows(text, source)
    first = next(rows, None)
    if first is None:
        raise CsvError(f"the {what} {source} is empty: expected a header line")
    header = tuple(_without_blank_end(first[1], 0))
    doubles = sorted({name for name in header if header.count(name) > 1})
    if doubles:
        raise CsvError(f"{source}: two columns are named {doubles[0]!r}; rename or remove one")
    kept = []
    for number, raw in rows:
        cells = _without_blank_end(raw, len(header))
        if len(cells) > len(header) and len(raw) == len(first[1]):
            raise CsvError(f"{source}: column {len(cells)} has no name; name or remove it")
        if len(cells) != len(header):
            raise CsvError(
                f"{source} line {number}: {len(cells)} cells, but the header has {len(header)}"
            )
        kept.append((number, cells))
    return Lines(source, header, kept)


def _without_blank_end(cells: list[str], least: int) -> list[str]:
    """Spreadsheets write empty columns that were once touched."""
    filled = max((k + 1 for k, cell in enumerate(cells) if cell), default=0)
    return cells[: max(filled, least)]


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
        raise CsvError(f"{source} line {reader.line_num}: not valid CSV ({error})") from error


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
