"""Series that a store lacks, or has in another version -> the rows of a new part."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from featurecache import arrays
from featurecache.catalogue import Catalogue, look_up
from featurecache.errors import StoreMismatchError, UsageError
from featurecache.identifiers import Identifiers
from featurecache.parts import PartSeries, part_series
from featurecache.storage import Storage
from featurecache.tables import part_tables

if TYPE_CHECKING:
    from featurecache.index import Index
    from featurecache.stacks import Stack


def new_stacks(parts: list[PartSeries], catalogue: Catalogue) -> np.ndarray:
    """Usable series of the index that a store lacks, or has in another version.

    All stacks of a SeriesInstanceUID come together when any of them is new or changed. Those that
    are left out do not come, unless the store has them already as they are: a part supersedes
    earlier rows of the whole SeriesInstanceUID, and a narrower selection takes nothing away.

    Parameters
    ----------
    parts : list of PartSeries
        What the store has.
    catalogue : Catalogue
        What the index has.

    Returns
    -------
    ndarray (B,), bool
        Which stacks of the catalogue make up the new part.
    """
    have, have_of, have_source = (
        np.concatenate([getattr(part, name)[part.counts] for part in parts] or [np.zeros(0, "S16")])
        for name in ("series", "series_of", "source")
    )
    places = look_up(catalogue.series, have)
    kept = places >= 0
    kept[kept] = have_source[places[kept]] == catalogue.source[kept]
    gone = np.ones(len(have), bool)
    gone[places[kept]] = False
    unlike = np.concatenate([have_of[gone], catalogue.series_of[catalogue.selected & ~kept]])
    again = catalogue.series_of[catalogue.selected & np.isin(catalogue.series_of, unlike)]
    new: np.ndarray = np.isin(catalogue.series_of, again) & (catalogue.selected | kept)
    return new


def add_part(
    store: Storage, index: "Index", identifiers: Identifiers, catalogue: Catalogue
) -> int | None:
    """Write the tables of a part for series that are new or changed.

    Parameters
    ----------
    store : Storage
        Where the store lies.
    index : Index
        What the scan found.
    identifiers : Identifiers
        Turns UIDs into store ids.
    catalogue : Catalogue
        Of this index.

    Returns
    -------
    int or None
        Number of the new part; None when there is nothing new.

    Raises
    ------
    UsageError
        The index changed since its catalogue was made.
    StoreMismatchError
        A rival has begun a part with other series.
    """
    while True:
        parts = part_series(store)
        new = new_stacks(parts, catalogue)
        if not new.any():
            return None
        tables = part_tables(
            _stacks(index, catalogue.numbers[new]), identifiers,
            n_series=int(new.sum()), n_slices=int(catalogue.n_slices[new].sum()),
        )  # fmt: skip
        try:
            return arrays.create_part(store, tables, len(parts))
        except StoreMismatchError:
            if len(arrays.list_parts(store)) == len(parts):
                raise  # else a rival was faster: what is new now?


def _stacks(index: "Index", numbers: np.ndarray) -> "Iterator[Stack]":
    for number in numbers.tolist():
        stack = index.numbered_stack(number)
        if stack is None:
            raise UsageError(f"{index.path} changed during this run: run the same command again")
        yield stack
