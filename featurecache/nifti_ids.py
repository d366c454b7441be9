"""Whose scan a NIfTI file is: the user's table of identifiers, joined with the files of a tree."""

import hashlib
import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from featurecache.csv_lines import Lines, read_lines
from featurecache.errors import UsageError

PATH, PATIENT, STUDY, SERIES = "path", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"
_LISTED = 5


class NiftiIds(NamedTuple):
    """Identifiers of one NIfTI file; "" stands for the one that its path gives.

    Parameters
    ----------
    patient_id, study_uid, series_uid : str
        As in the table.
    """

    patient_id: str
    study_uid: str = ""
    series_uid: str = ""


class Row(NamedTuple):
    """A row of the table: its line in the file, the path as written, and the identifiers."""

    line: int
    path: str
    ids: NiftiIds


@dataclass(frozen=True, slots=True)
class NiftiTable:
    """A table of identifiers.

    Parameters
    ----------
    source : str
        File name, for messages.
    rows : tuple of Row
        Paths are relative to the scanned folder, or file names.
    """

    source: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class FileIds:
    """A table joined with the files of a tree.

    Parameters
    ----------
    by_path : mapping of str to NiftiIds
        Path below the scanned folder -> identifiers.
    without_file : tuple of str
        Paths of the rows that name no NIfTI file, as they are written.
    """

    by_path: Mapping[str, NiftiIds]
    without_file: tuple[str, ...]

    @property
    def digest(self) -> str:
        """32 hex digits that change with the identifiers of any file."""
        text = json.dumps(sorted(self.by_path.items()))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_nifti_table(path: Path) -> NiftiTable:
    """Read a table of identifiers.

    Columns ``path`` and ``PatientID``, where wanted ``StudyInstanceUID`` and
    ``SeriesInstanceUID``; others are ignored. Identifiers are text: leading zeros stay.

    Parameters
    ----------
    path : Path
        A CSV file, with or without BOM, with any line ends.

    Returns
    -------
    NiftiTable

    Raises
    ------
    UsageError
        The file cannot be read, a column is missing or nearly named, or a cell is blank or holds
        control characters; the message names column or line.
    """
    lines = read_lines(path, "table of NIfTI files")
    _check_columns(lines)
    if not lines.rows:
        raise UsageError(f"{lines.source}: a header, but no rows")
    return NiftiTable(lines.source, tuple(_row(lines, *row) for row in lines.rows))


def _check_columns(lines: Lines) -> None:
    known = {_plain(name): name for name in (PATH, PATIENT, STUDY, SERIES)}
    for name in lines.header:
        word = known.get(_plain(name), name)
        if word != name and word not in lines.header:
            raise UsageError(f"{lines.source}: did you mean {word!r} by {name!r}? Rename it")
    for name in (PATH, PATIENT):
        if name not in lines.header:
            raise UsageError(
                f"{lines.source}: the column {name!r} is missing (columns found: "
                f"{', '.join(lines.header[:8])}). Expected {PATH} and {PATIENT}, where wanted "
                f"{STUDY} and {SERIES}"
            )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _row(lines: Lines, number: int, cells: list[str]) -> Row:
    named = dict(zip(lines.header, cells, strict=True))
    for name in (PATH, PATIENT):
        if not named[name]:
            raise UsageError(f"{lines.source} line {number}: {name} is blank")
    path, *ids = (named.get(name, "") for name in (PATH, PATIENT, STUDY, SERIES))
    if not all(text.isprintable() for text in ids):
        raise UsageError(
            f"{lines.source} line {number}: an identifier has a line break or a control character"
        )
    return Row(number, posixpath.normpath(path), NiftiIds(*ids))


def join_files(table: NiftiTable, paths: Collection[str]) -> FileIds:
    """Find the file of each row.

    A row names a file by its path below the scanned folder; where there is no such file, by its
    name, if one file only has it.

    Parameters
    ----------
    table : NiftiTable
        Of `read_nifti_table`.
    paths : collection of str
        Every NIfTI file below the scanned folder, relative to it.

    Returns
    -------
    FileIds

    Raises
    ------
    UsageError
        A name is that of several files, a file is listed twice with different identifiers, two
        files share a SeriesInstanceUID, or a study has two patients; the lines are named.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for name in sorted(paths):
        by_name[posixpath.basename(name)].append(name)
    known = set(paths)
    found: dict[str, Row] = {}
    without_file: list[str] = []
    for row in table.rows:
        path: str | None = row.path if row.path in known else _named(table, row, by_name)
        if path is None:
            without_file.append(row.path)
            continue
        first = found.setdefault(path, row)
        if first.ids != row.ids:
            raise UsageError(
                f"{table.source}: {path} has other identifiers in line {first.line} than in line "
                f"{row.line}. Remove the wrong row"
            )
    _check_unique(table.source, found.values())
    return FileIds({path: row.ids for path, row in found.items()}, tuple(without_file))


def _named(table: NiftiTable, row: Row, by_name: Mapping[str, list[str]]) -> str | None:
    """Return the one file that has the name of a row; None where there is none."""
    files = by_name.get(row.path, [])
    if len(files) > 1:
        more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
        raise UsageError(
            f"{table.source} line {row.line}: {row.path} is the name of {len(files)} files "
            f"({', '.join(files[:_LISTED])}{more}). Write the path below the scanned folder"
        )
    return files[0] if files else None


def _check_unique(source: str, rows: Iterable[Row]) -> None:
    """One file is one series, and a study is one patient's."""
    series: dict[str, Row] = {}
    studies: dict[str, Row] = {}
    for row in rows:
        other = series.setdefault(row.ids.series_uid, row)
        if row.ids.series_uid and other is not row:
            raise UsageError(
                f"{source}: lines {other.line} and {row.line} give two files the {SERIES} "
                f"{row.ids.series_uid}, but each NIfTI file is a series of its own"
            )
        other = studies.setdefault(row.ids.study_uid, row)
        if row.ids.study_uid and other.ids.patient_id != row.ids.patient_id:
            raise UsageError(
                f"{source}: lines {other.line} and {row.line} give the {STUDY} "
                f"{row.ids.study_uid} to two patients"
            )
