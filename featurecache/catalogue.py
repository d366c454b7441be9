"""What the index has, as digests: a few bytes a series, whatever its number of slices."""

from array import array
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featurecache.identifiers import Identifiers
from featurecache.parts import digests
from featurecache.tables import series_source

if TYPE_CHECKING:
    from featurecache.index import Index

_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The usable stacks of an index, in its order.

    Parameters
    ----------
    numbers : ndarray (B,), int64
        For `Index.numbered_stack`.
    n_slices : ndarray (B,), int64
        How many slices.
    selected : ndarray (B,), bool
        False where a selection leaves the stack out.
    series, series_of, source : ndarray (B,), S16
        `digests` of its id in a store, of that of its SeriesInstanceUID, and of `series_source`.
    """

    numbers: np.ndarray
    n_slices: np.ndarray
    selected: np.ndarray
    series: np.ndarray
    series_of: np.ndarray
    source: np.ndarray


def read_catalogue(
    index: "Index", identifiers: Identifiers, left_out: Collection[str] = ()
) -> Catalogue:
    """Go through an index once.

    Parameters
    ----------
    index : Index
        What the scan found.
    identifiers : Identifiers
        Turns UIDs into store ids.
    left_out : collection of str
        Keys of stacks that are not selected.

    Returns
    -------
    Catalogue
    """
    numbers, n_slices, selected = array("q"), array("q"), array("b")
    ids: tuple[list[str], ...] = ([], [], [])
    blocks: list[list[np.ndarray]] = [[], [], []]

    def digest() -> None:
        for texts, done in zip(ids, blocks, strict=True):
            done.append(digests(texts))
            texts.clear()

    for number, stack in index.numbered_stacks():
        numbers.append(number)
        n_slices.append(len(stack.slices))
        selected.append(stack.key not in left_out)
        ids[0].append(identifiers.series(stack.key))
        ids[1].append(identifiers.series(stack.series_uid))
        ids[2].append(series_source(stack, identifiers))
        if len(ids[0]) == _AT_ONCE:
            digest()
    digest()
    return Catalogue(
        np.array(numbers, np.int64), np.array(n_slices, np.int64), np.array(selected, bool),
        *(np.concatenate(done) for done in blocks),
    )  # fmt: skip


def look_up(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Places of ids among others.

    Parameters
    ----------
    wanted : ndarray (n,), S16
        What is looked for.
    known : ndarray (m,), S16
        Where; each once.

    Returns
    -------
    ndarray (n,), int64
        Place in `known`, -1 where it is not there.
    """
    if not len(known):
        return np.full(len(wanted), -1)
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
    return np.where(known[places] == wanted, places, -1)
