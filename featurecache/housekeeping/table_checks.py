"""Whether the tables of a part fit together: what checksums of single files cannot tell."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from featurecache.identifiers import is_digest
from featurecache.words import plural

_IDS = {"series": ("series", "series_of", "study", "patient"), "slices": ("slice",)}


def table_findings(
    series: pd.DataFrame, slices: pd.DataFrame, hashed: bool | None
) -> Iterator[tuple[str, str]]:
    """What does not fit in the tables of a part.

    Parameters
    ----------
    series, slices : DataFrame
        Columns `SERIES_COLUMNS` and `SLICES_COLUMNS`, as they were read.
    hashed : bool or None
        Whether ids are keyed hashes; None where the root cannot be read.

    Yields
    ------
    column : str
        E.g. ``series/first_row``.
    what : str
        What was expected and what came.
    """
    yield from _forms("series", series, hashed)
    yield from _forms("slices", slices, hashed)
    repeated = series["series"][series["series"].duplicated()]
    if len(repeated):
        yield "series/series", f"{len(repeated)} series twice, e.g. {repeated.iloc[0]}"
    n_slices = series["n_slices"].to_numpy()
    if (n_slices < 1).any():
        yield "series/n_slices", f"{int((n_slices < 1).sum())} series without a slice"
        return
    first = np.cumsum(n_slices) - n_slices
    wrong = np.flatnonzero(series["first_row"].to_numpy() != first)
    if len(wrong):
        row = int(wrong[0])
        came = int(series["first_row"].iloc[row])
        yield "series/first_row", f"series {row} begins at row {came}, expected {int(first[row])}"
    if n_slices.sum() != len(slices):
        yield (
            "series/n_slices",
            f"they add up to {plural(int(n_slices.sum()), 'slice')}, and slices/ has {len(slices)}",
        )
        return
    yield from _places(slices, n_slices, first)


def _places(
    slices: pd.DataFrame, n_slices: np.ndarray, first: np.ndarray
) -> Iterator[tuple[str, str]]:  # fmt: skip
    owner = np.repeat(np.arange(len(n_slices)), n_slices)
    expected = {"series": owner, "position": np.arange(len(slices)) - first[owner]}
    for column, values in expected.items():
        wrong = np.flatnonzero(slices[column].to_numpy() != values)
        if len(wrong):
            row = int(wrong[0])
            came = int(slices[column].iloc[row])
            yield f"slices/{column}", f"row {row} has {came}, expected {int(values[row])}"
    repeated = pd.DataFrame({"series": owner, "slice": slices["slice"].to_numpy()}).duplicated()
    if repeated.any():
        yield "slices/slice", f"{int(repeated.sum())} slices appear twice in their series"


def _forms(table: str, rows: pd.DataFrame, hashed: bool | None) -> Iterator[tuple[str, str]]:
    """Ids that are keyed hashes have 32 hexadecimal digits; digests of sources always do."""
    for column in (*(_IDS[table] if hashed else ()), "source"):
        wrong = [value for value in rows[column] if not is_digest(value)]
        if wrong:
            yield f"{table}/{column}", f"{len(wrong)} of {len(rows)} are not 32 hexadecimal digits"
