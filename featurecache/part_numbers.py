"""Which parts a store has: their folders, their order, and which of them later ones replace."""

import re

from featurecache.errors import StoreCorruptError
from featurecache.metadata import read_metadata
from featurecache.storage import Storage

_PART = re.compile(r"part-(\d{4})")


def part_name(part: int) -> str:
    """Folder of a part.

    Parameters
    ----------
    part : int
        Number of the part.

    Returns
    -------
    str
        E.g. ``part-0003``.
    """
    return f"part-{part:04d}"


def list_parts(storage: Storage) -> list[int]:
    """Numbers of a store's parts, in order.

    Parameters
    ----------
    storage : Storage
        Where the store lies.

    Returns
    -------
    list of int

    Raises
    ------
    StoreCorruptError
        A part is missing between others, or before them where none says that it replaces it; or
        one lacks its metadata.
    """
    parts = parts_there(storage)
    lost = lost_parts(storage, parts)
    if lost:
        raise StoreCorruptError(f"{storage}: parts {parts} are not consecutive; missing: {lost}")
    if parts and storage.shared and _is_begun(storage, part_name(parts[-1])):
        parts.pop()
    return parts


def parts_there(storage: Storage) -> list[int]:
    """Numbers of the parts that are there, whether or not others are missing.

    Parameters
    ----------
    storage : Storage
        Where the store lies.

    Returns
    -------
    list of int
        Sorted.
    """
    matches = (_PART.fullmatch(name) for name in storage.folders())
    return sorted(int(match.group(1)) for match in matches if match)


def lost_parts(storage: Storage, parts: list[int]) -> list[int]:
    """Numbers of parts that are not there, and that no other part replaces.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    parts : list of int
        From `parts_there`.

    Returns
    -------
    list of int

    Raises
    ------
    StoreCorruptError
        The metadata of a part are damaged, so that it cannot be told.
    """
    lost = sorted(set(range(max(parts, default=-1))) - set(parts))
    if not lost or lost[-1] >= parts[0]:
        return lost
    return [] if _replaces_below(storage, parts) >= parts[0] else lost


def replaced_parts(storage: Storage, parts: list[int]) -> list[int]:
    """Numbers of parts that are there, although a later one has their rows.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    parts : list of int
        From `parts_there`.

    Returns
    -------
    list of int

    Raises
    ------
    StoreCorruptError
        The metadata of a part are damaged, so that it cannot be told.
    """
    below = _replaces_below(storage, parts)
    return [part for part in parts if part < below]


def _replaces_below(storage: Storage, parts: list[int]) -> int:
    attributes = (read_metadata(storage, part_name(part))["attributes"] for part in parts)
    return max((one.get("replaces_parts_below", 0) for one in attributes), default=0)


def _is_begun(storage: Storage, part: str) -> bool:
    """Whether the tables of a part are still being written: features come after its metadata."""
    return not storage.exists(f"{part}/zarr.json") and not storage.folders(f"{part}/features")
