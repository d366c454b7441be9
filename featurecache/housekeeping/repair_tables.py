"""Table columns of a part written again from the index that the part was made of."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from featurecache.arrays import read_table
from featurecache.columns import TABLES, columns_of, part_draft
from featurecache.housekeeping.repair_metadata import CannotRepairError
from featurecache.identifiers import Identifiers
from featurecache.part_numbers import part_name
from featurecache.storage import Storage
from featurecache.tables import part_tables, series_source

if TYPE_CHECKING:
    from featurecache.index import Index
    from featurecache.stacks import Stack


def chunks_again(
    storage: Storage, part: int, damaged: Collection[str], index: "Index", identifiers: Identifiers
) -> dict[str, bytes]:
    """The chunks of damaged table columns, as they were first written.

    The series of the part are found in the index by a column that is intact. What the index gives
    for every other intact column must be what is in the store, byte for byte.

    Parameters
    ----------
    storage : Storage
        Where the store lies; metadata are intact.
    part : int
        Number of the part.
    damaged : collection of str
        Columns, e.g. ``series/study``.
    index : Index
        Of the scan that the part was made of, or a later one.
    identifiers : Identifiers
        The key of the store.

    Returns
    -------
    dict
        Key in the store -> bytes.

    Raises
    ------
    CannotRepairError
        The index does not have the series of the part, or not as they were.
    """
    stacks = _stacks(storage, part, damaged, index, identifiers)
    n_slices = sum(len(stack.slices) for stack in stacks)
    tables = part_tables(stacks, identifiers, n_series=len(stacks), n_slices=n_slices)
    files = part_draft(storage, tables).files()
    folder = part_name(part)
    found: dict[str, bytes] = {}
    for table in TABLES:
        for column in columns_of(table):
            name = f"{table}/{column}"
            again = {k: v for k, v in files.items() if k.startswith(f"{name}/c.")}
            if name in damaged:
                found |= {f"{folder}/{key}": content for key, content in again.items()}
            elif any(storage.read(f"{folder}/{key}") != content for key, content in again.items()):
                raise CannotRepairError(
                    f"{folder}: the index has other values of {name} than the store; it changed "
                    "since this part was made"
                )
    return found


def _stacks(
    storage: Storage, part: int, damaged: Collection[str], index: "Index", identifiers: Identifiers
) -> "list[Stack]":
    """The series of a part in its order, from the index."""
    names = {
        "series": lambda stack: identifiers.series(stack.key),
        "source": lambda stack: series_source(stack, identifiers),
    }
    for column, name in names.items():
        if f"series/{column}" not in damaged:
            wanted = read_table(storage, part, "series", [column])[column].tolist()
            known = set(wanted)
            there = {name(stack): stack for stack in index.stacks() if name(stack) in known}
            missing = [one for one in wanted if one not in there]
            if missing:
                raise CannotRepairError(
                    f"{part_name(part)}: {len(missing)} of its {len(wanted)} series are not in "
                    f"the index {index.path} as they were"
                )
            return [there[one] for one in wanted]
    raise CannotRepairError(
        f"{part_name(part)}: series/series and series/source are both damaged, so that nothing "
        "says which series it has"
    )
