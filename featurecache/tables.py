"""The series and slices tables of a part: which rows of the flat arrays are what."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from featurecache.identifiers import Identifiers

if TYPE_CHECKING:
    from featurecache.geometry import Slice, Stack

SERIES_COLUMNS: dict[str, str] = {
    "series": "str",
    "series_of": "str",
    "study": "str",
    "patient": "str",
    "source": "str",
    "first_row": "int64",
    "n_slices": "int64",
    "z_extent_mm": "float64",
    "median_gap_mm": "float64",
    "thickness_mm": "float64",
    "fov_mm": "float64",
    "tilt_deg": "float64",
    "row_spacing_mm": "float64",
    "column_spacing_mm": "float64",
}
"""Columns of ``series/`` and their types; one row a series, in the order of its rows."""

SLICES_COLUMNS: dict[str, str] = {
    "slice": "str",
    "source": "str",
    "series": "int64",
    "position": "int64",
    "z_mm": "float64",
    "gap_mm": "float64",
}
"""Columns of ``slices/`` and their types; one row a slice. ``series`` is a row of ``series/``."""


TABLE_ROWS = 16_384
"""Rows of a table's chunk in the store; so many are in memory when a part is made."""


@dataclass(frozen=True, slots=True)
class TableBlock:
    """Consecutive rows of one table.

    Parameters
    ----------
    table : {"series", "slices"}
        Which one.
    first_row : int
        The first row; a multiple of `TABLE_ROWS`.
    rows : DataFrame
        Columns `SERIES_COLUMNS` or `SLICES_COLUMNS`; `TABLE_ROWS` rows but for the last block.
    """

    table: str
    first_row: int
    rows: pd.DataFrame


@dataclass(frozen=True, slots=True)
class PartTables:
    """What a part holds, apart from features.

    Parameters
    ----------
    n_series, n_slices : int
        Rows of its two tables; N is the second.
    blocks : iterable of TableBlock
        The rows, produced while they are written: a part may be larger than memory.
    """

    n_series: int
    n_slices: int
    blocks: Iterable[TableBlock]

    @classmethod
    def of(cls, series: pd.DataFrame, slices: pd.DataFrame) -> "PartTables":
        """Tables that are in memory."""
        blocks = [TableBlock("series", 0, series), TableBlock("slices", 0, slices)]
        return cls(len(series), len(slices), blocks)


def series_source(stack: "Stack", identifiers: Identifiers) -> str:
    """Digest of a series: changes when any of its files does, or what is made of them.

    Parameters
    ----------
    stack : Stack
        The series with its slices in order.
    identifiers : Identifiers
        Its key goes in, so that nobody can test whether a file they hold is in the store.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    # The two verdicts change Hounsfield units while no file changes.
    verdicts = f"wrapped {stack.wrapped}, assume HU {stack.assume_hu}"
    return identifiers.source("\n".join([verdicts, *(slice_.source for slice_ in stack.slices)]))


def part_tables(
    stacks: "Iterable[Stack]", identifiers: Identifiers, *, n_series: int, n_slices: int
) -> PartTables:
    """Lay series out as consecutive rows of one flat array.

    Parameters
    ----------
    stacks : iterable of Stack
        Usable series with their slices in order; taken one at a time.
    identifiers : Identifiers
        Turns UIDs into store ids.
    n_series, n_slices : int
        How many series will come, and slices of all of them.

    Returns
    -------
    PartTables
    """
    return PartTables(n_series, n_slices, _blocks(stacks, identifiers))


def _blocks(stacks: "Iterable[Stack]", identifiers: Identifiers) -> Iterator[TableBlock]:
    series, slices = _Gathered("series", SERIES_COLUMNS), _Gathered("slices", SLICES_COLUMNS)
    for number, stack in enumerate(stacks):
        yield from series.add([_series_row(stack, identifiers, first_row=slices.count)])
        yield from slices.add(
            _slice_row(slice_, identifiers, number, position)
            for position, slice_ in enumerate(stack.slices)
        )
    yield from series.rest()
    yield from slices.rest()


class _Gathered:
    """Rows of one table, gathered until they fill a chunk."""

    def __init__(self, table: str, columns: dict[str, str]) -> None:
        self._table, self._columns = table, columns
        self._rows: list[tuple[object, ...]] = []
        self._first_row = 0

    @property
    def count(self) -> int:
        """Rows so far."""
        return self._first_row + len(self._rows)

    def add(self, rows: Iterable[dict[str, object]]) -> Iterator[TableBlock]:
        """Add rows; yields the chunk that they complete."""
        for row in rows:
            self._rows.append(tuple(row[name] for name in self._columns))
            if len(self._rows) == TABLE_ROWS:
                yield from self.rest()

    def rest(self) -> Iterator[TableBlock]:
        """Yield what no chunk has yet, if there is any."""
        if self._rows:
            frame = pd.DataFrame.from_records(self._rows, columns=list(self._columns))
            yield TableBlock(self._table, self._first_row, _typed(frame, self._columns))
            self._first_row += len(self._rows)
            self._rows = []


def _series_row(stack: "Stack", identifiers: Identifiers, first_row: int) -> dict[str, object]:
    return {
        "series": identifiers.series(stack.key),
        "series_of": identifiers.series(stack.series_uid),
        "study": identifiers.study(stack.study_uid),
        "patient": identifiers.patient(stack.patient_id),
        "source": series_source(stack, identifiers),
        "first_row": first_row,
        "n_slices": len(stack.slices),
        **{name: getattr(stack, name) for name, kind in SERIES_COLUMNS.items() if "float" in kind},
    }


def _slice_row(
    slice_: "Slice", identifiers: Identifiers, number: int, position: int
) -> dict[str, object]:
    return {
        "slice": identifiers.slice(slice_.sop_uid, slice_.frame),
        "source": identifiers.source(slice_.source),
        "series": number,
        "position": position,
        "z_mm": slice_.z_mm,
        "gap_mm": slice_.gap_mm,
    }


def _typed(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    numeric = {name: np.dtype(kind) for name, kind in columns.items() if kind != "str"}
    return table.astype(numeric)
