"""Splits and folds that are given as a file: of another run, or a canonical one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from featurecache.identifiers import Identifiers
from seqhead.cohort import Cohort
from seqhead.errors import LabelError, LeakError, SplitError
from seqhead.labels.file import ID_COLUMNS, LabelFile
from seqhead.labels.join import label_rows
from seqhead.labels.lines import Lines, read_lines
from seqhead.splits import SPLITS

_SPELLINGS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
_USER_COLUMNS = {"series": "user_series", "patient": "user_patient"}
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class SplitFile:
    """Who is on which side, as a file says it.

    Parameters
    ----------
    source : str
        File name.
    sha256 : str
        Digest of its bytes.
    lines : Lines
        Its rows.
    split : array of str (R,) or None
        A name of `SPLITS` in each row.
    fold, repeat : int array (R,) or None
        Fold and repeat of each row, from 1.
    """

    source: str
    sha256: str
    lines: Lines
    split: np.ndarray | None
    fold: np.ndarray | None
    repeat: np.ndarray

    @property
    def folds(self) -> int | None:
        """How many folds there are; None for a single split."""
        return None if self.fold is None else int(self.fold.max())


@dataclass(frozen=True, slots=True)
class GivenSplit:
    """What a split file says of a cohort.

    Parameters
    ----------
    rows : list of int arrays (B,)
        For each (repeat, fold) that the file has rows of: the row of each series, -1 where none.
    named : bool array (B,)
        Whether the file names a series at all.
    unmatched : int
        Rows of the file that no series of the cohort has.
    """

    rows: dict[tuple[int, int], np.ndarray]
    named: np.ndarray
    unmatched: int


def read_split_file(path: Path) -> SplitFile:
    """Read a split: ``folds.csv`` of a run, or a table of one's own.

    Any of the columns ``SeriesInstanceUID``, ``StudyInstanceUID``, ``PatientID`` (or ``series``,
    ``study``, ``patient`` with ids of the store) say whom a row is about. ``split`` (train,
    validation, test) makes one split, ``fold`` the folds of a cross-validation; both together, with
    ``repeat``, say it all, as ``folds.csv`` does.

    Parameters
    ----------
    path : Path
        A CSV file.

    Returns
    -------
    SplitFile

    Raises
    ------
    SplitError
        No such columns, or another value; the message names the line.
    """
    try:
        lines = read_lines(path)
    except LabelError as error:
        raise SplitError(str(error)) from error
    if not lines.rows:
        raise SplitError(f"{lines.source}: a header, but no rows")
    if {"split", "fold"}.isdisjoint(lines.header):
        raise SplitError(
            f"{lines.source}: expected a column 'split' (train, validation, test) or 'fold'. Got "
            f"{', '.join(lines.header[:8])}"
        )
    if not _levels(lines):
        slices = " Slices cannot be split by a file." * ("SOPInstanceUID" in lines.header)
        raise SplitError(
            f"{lines.source}: no column says whom a row is about. Expected PatientID, "
            f"StudyInstanceUID or SeriesInstanceUID, or a run's folds.csv.{slices}"
        )
    fold = _numbers(lines, "fold") if "fold" in lines.header else None
    repeat = _numbers(lines, "repeat") if "repeat" in lines.header else None
    return SplitFile(
        lines.source,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        lines,
        _sides(lines) if "split" in lines.header else None,
        fold,
        np.ones(len(lines.rows), dtype=np.int64) if repeat is None else repeat,
    )


def match_split(
    given: SplitFile, cohort: Cohort, identifiers: Identifiers, labels: LabelFile
) -> GivenSplit:
    """Find the rows of every series, and refuse one patient on two sides.

    Parameters
    ----------
    given : SplitFile
        The file.
    cohort : Cohort
        B series.
    identifiers : Identifiers
        The key of the store.
    labels : LabelFile
        Knows how patients are spelt.

    Returns
    -------
    GivenSplit

    Raises
    ------
    SplitError
        Nothing matches.
    LeakError
        One patient, or one series, is on two sides; the message names the rows.
    """
    ids, place_of_row = _matched(given, cohort, identifiers, labels)
    rows: dict[tuple[int, int], np.ndarray] = {}
    fold = np.ones_like(given.repeat) if given.split is None or given.fold is None else given.fold
    for number in sorted(set(zip(given.repeat.tolist(), fold.tolist(), strict=True))):
        these = np.flatnonzero((given.repeat == number[0]) & (fold == number[1]))
        row_of = _row_of_each(given, place_of_row, these, number)
        rows[number] = np.where(ids >= 0, row_of[ids], -1)
        _refuse_leaks(given, cohort, rows[number])
    named = np.all([found >= 0 for found in rows.values()], axis=0)
    if not named.any():
        raise SplitError(
            f"{given.source} names no series, study or patient of this store. Split files go by "
            "the user's identifiers, or by the ids of a store with the same key"
        )
    used = np.unique(np.concatenate([found[found >= 0] for found in rows.values()]))
    return GivenSplit(rows, named, int((~np.isin(place_of_row, place_of_row[used])).sum()))


def _levels(lines: Lines) -> list[tuple[str, str]]:
    """Level and column of everything that says whom a row is about, the most specific first."""
    found = []
    for level in ("series", "study", "patient"):
        columns = (ID_COLUMNS[level], level, _USER_COLUMNS.get(level, ""))
        found += [(level, column) for column in columns if column in lines.header]
    return found


def _sides(lines: Lines) -> np.ndarray:
    sides = []
    for number, cell in zip(lines.numbers, lines.column("split"), strict=True):
        side = _SPELLINGS.get(cell.lower())
        if side is None:
            raise SplitError(
                f"{lines.source} line {number}: split is {cell!r}; expected {', '.join(SPLITS)}"
            )
        sides.append(side)
    return np.array(sides, dtype=object)


def _numbers(lines: Lines, column: str) -> np.ndarray:
    """Folds from 1 on, whatever they are counted from in the file."""
    numbers = []
    for number, cell in zip(lines.numbers, lines.column(column), strict=True):
        if not cell.isdecimal():
            raise SplitError(f"{lines.source} line {number}: {column} is {cell!r}, not a number")
        numbers.append(int(cell))
    unique, code = np.unique(numbers, return_inverse=True)
    if column == "fold" and len(unique) < 2:
        raise SplitError(f"{lines.source}: there is one fold only ({unique[0]})")
    return code.astype(np.int64) + 1


def _matched(
    given: SplitFile, cohort: Cohort, identifiers: Identifiers, labels: LabelFile
) -> tuple[np.ndarray, np.ndarray]:
    """By the first column that matches: place of each series (B,), and of each row (R,)."""
    for level, column in _levels(given.lines):
        cells = np.array(given.lines.column(column), dtype=object)
        place_of_row, unique = pd.factorize(cells)
        unique = np.asarray(unique, dtype=object)
        found = _places(level, column, unique, cohort, identifiers, labels).copy()
        found[(found >= 0) & (unique[found] == "")] = -1
        if (found >= 0).any():
            return found, place_of_row
    return np.full(len(cohort.X), -1), np.zeros(len(given.repeat), dtype=np.int64)


def _places(
    level: str,
    column: str,
    unique: np.ndarray,
    cohort: Cohort,
    identifiers: Identifiers,
    labels: LabelFile,
) -> np.ndarray:
    """Which of the ids in a column each series has, -1 for none."""
    series = cohort.series
    if column == level:  # ids of a store
        of_store = series.index if level == "series" else pd.Index(series[level])
        return pd.Index(unique).get_indexer(of_store)
    if column in _USER_COLUMNS.values():
        by_user = pd.Index(unique).get_indexer(pd.Index(series[column]))
        if (by_user >= 0).any():
            return np.asarray(by_user)
    file = LabelFile(
        f"column {column}", "table", ("side",), pd.DataFrame({level: unique}, dtype=object),
        np.zeros(len(unique), np.int64), np.zeros((len(unique), 1), np.float32),
        patient_spellings=labels.patient_spellings, patient_name=labels.patient_name,
    )  # fmt: skip
    return label_rows(file, identifiers, series, cohort.slices)


def _row_of_each(
    given: SplitFile, place_of_row: np.ndarray, these: np.ndarray, number: tuple[int, int]
) -> np.ndarray:
    """Row of each id within one split; an id may stand in several rows that agree."""
    row_of = np.full(int(place_of_row.max()) + 1, -1, dtype=np.int64)
    row_of[place_of_row[these[::-1]]] = these[::-1]
    side = _side(given)
    first = row_of[place_of_row[these]]
    wrong = these[side[these] != side[first]]
    if len(wrong):
        earlier = row_of[place_of_row[wrong[0]]]
        raise LeakError(
            f"{given.source}: {_where(given, earlier)} and {_where(given, wrong[0])} name one "
            f"and the same ({len(wrong)} such row(s)). Every score would be too good; remove the "
            "wrong rows"
        )
    return row_of


def _refuse_leaks(given: SplitFile, cohort: Cohort, row: np.ndarray) -> None:
    """One patient, whatever its spellings, on two sides."""
    there = np.flatnonzero(row >= 0)
    sides = pd.DataFrame({"group": cohort.groups[there], "side": _side(given)[row[there]]})
    count = sides.groupby("group")["side"].nunique()
    leaking = count.index[count > 1]
    if not len(leaking):
        return
    mine = there[(sides["group"] == leaking[0]).to_numpy()]
    shown = ", ".join(
        f"{_where(given, row[place])} (series {_user_series(cohort, place)})"
        for place in mine[:_SHOWN]
    )
    who = cohort.series["user_patient"].iloc[mine[0]] or leaking[0]
    raise LeakError(
        f"{given.source}: patient {who} is on two sides: {shown}"
        f"{', ...' if len(mine) > _SHOWN else ''} ({len(leaking)} such patient(s)). Every score "
        "would be too good; put a patient's series on one side"
    )


def _side(given: SplitFile) -> np.ndarray:
    if given.split is not None:
        return given.split
    return given.repeat if given.fold is None else given.fold


def _where(given: SplitFile, row: int) -> str:
    fold = "" if given.fold is None else f"fold {given.fold[row]}"
    what = fold if given.split is None else given.split[row]
    return f"line {given.lines.numbers[row]} ({what})"


def _user_series(cohort: Cohort, place: int) -> str:
    return str(cohort.series["user_series"].iloc[place] or cohort.series.index[place])
