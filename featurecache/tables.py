"""The series and slices tables of a part: which rows of the flat arrays are what."""

from collections.abc import Sequence
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


COLUMNS = {"series": SERIES_COLUMNS, "slices": SLICES_COLUMNS}
"""Table -> its columns and their types."""


@dataclass(frozen=True, slots=True)
class PartTables:
    """What a part holds, apart from features.

    Parameters
    ----------
    series : DataFrame
        Columns `SERIES_COLUMNS`.
    slices : DataFrame
        Columns `SLICES_COLUMNS`, N rows.
    """

    series: pd.DataFrame
    slices: pd.DataFrame


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


def part_tables(stacks: "Sequence[Stack]", identifiers: Identifiers) -> PartTables:
    """Lay series out as consecutive rows of one flat array.

    Parameters
    ----------
    stacks : sequence of Stack
        Usable series with their slices in order.
    identifiers : Identifiers
        Turns UIDs into store ids.

    Returns
    -------
    PartTables
    """
    series_rows: list[dict[str, object]] = []
    slice_rows: list[dict[str, object]] = []
    for number, stack in enumerate(stacks):
        series_rows.append(_series_row(stack, identifiers, first_row=len(slice_rows)))
        slice_rows.extend(
            _slice_row(slice_, identifiers, number, position)
            for position, slice_ in enumerate(stack.slices)
        )
    return PartTables(
        _typed(pd.DataFrame(series_rows, columns=list(SERIES_COLUMNS)), SERIES_COLUMNS),
        _typed(pd.DataFrame(slice_rows, columns=list(SLICES_COLUMNS)), SLICES_COLUMNS),
    )


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


def as_text(values: np.ndarray) -> np.ndarray:
    """A column as it was read, with text as Python strings.

    Parameters
    ----------
    values : ndarray
        From an array of the store.

    Returns
    -------
    ndarray
    """
    return values.astype(object).astype(str) if values.dtype.kind == "T" else values


def _typed(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    numeric = {name: np.dtype(kind) for name, kind in columns.items() if kind != "str"}
    return table.astype(numeric)
