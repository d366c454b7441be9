"""Metadata of a store written again from what else is there."""

from typing import Any

from featurecache.blueprints import (
    CHUNK_ROWS,
    features_files,
    group_metadata,
    status_files,
)
from featurecache.chunks import file_rows
from featurecache.columns import (
    TABLES,
    column_metadata,
)
from featurecache.errors import StoreCorruptError
from featurecache.metadata import read_metadata
from featurecache.nodes import memory_store, open_array
from featurecache.part_numbers import part_name, parts_there
from featurecache.storage import Storage


class CannotRepairError(StoreCorruptError):
    """Nothing that is there says what a file held; the message says what is missing."""


def metadata_again(storage: Storage, key: str) -> bytes:
    """The content of a ``zarr.json``, from its neighbours.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    key : str
        E.g. ``part-0000/series/study/zarr.json``; not that of the root, which needs the key.

    Returns
    -------
    bytes

    Raises
    ------
    CannotRepairError
        What is needed is damaged too.
    """
    folder, *where = key.split("/")[:-1]
    part = int(folder.removeprefix("part-"))
    if not where:
        return _part_metadata(storage, part)
    if len(where) == 1:
        return group_metadata({})
    group, name = where
    if group in TABLES:
        return column_metadata(group, name, _n_rows(storage, part, group))
    if group == "status":
        return _status_metadata(storage, part, name)
    return _features_metadata(storage, part, name)


def _part_metadata(storage: Storage, part: int) -> bytes:
    counts = {f"n_{table}": _length(storage, part, table) for table in TABLES}
    first = min(parts_there(storage))
    # A first part that is not number 0 is one that `gc` wrote in place of those before it.
    replaces = {"replaces_parts_below": part} if part == first > 0 else {}
    return group_metadata({**counts, **replaces})


def _n_rows(storage: Storage, part: int, table: str) -> int:
    try:
        return int(read_metadata(storage, part_name(part))["attributes"][f"n_{table}"])
    except StoreCorruptError:
        return _length(storage, part, table)


def _length(storage: Storage, part: int, table: str) -> int:
    """Rows of a table, which all arrays must agree on that have as many and can be read."""
    folder = part_name(part)
    groups = [table, *(["features", "status"] if table == "slices" else [])]
    nodes = [f"{folder}/{group}/{name}" for group in groups
             for name in storage.folders(f"{folder}/{group}")]  # fmt: skip
    documents = (_sound(storage, node) for node in nodes)
    lengths = {int(document["shape"][0]) for document in documents if document is not None}
    if len(lengths) != 1:
        raise CannotRepairError(
            f"{folder}/{table}: nothing that can be read says how many rows there were"
        )
    return lengths.pop()


def _status_metadata(storage: Storage, part: int, name: str) -> bytes:
    document = _sound(storage, f"{part_name(part)}/features/{name}")
    if document is None:
        raise CannotRepairError(f"{part_name(part)}/features/{name}/zarr.json is damaged too")
    return status_files(document["shape"][0], _file_rows(document))["zarr.json"]


def _features_metadata(storage: Storage, part: int, name: str) -> bytes:
    """Recipe and plan from another part, shape and units from the status array."""
    status = _sound(storage, f"{part_name(part)}/status/{name}")
    if status is None:
        raise CannotRepairError(f"{part_name(part)}/status/{name}/zarr.json is damaged too")
    others = (other for other in parts_there(storage) if other != part)
    for like in (_sound(storage, f"{part_name(other)}/features/{name}") for other in others):
        if like is not None:
            return _like(storage, f"{part_name(part)}/features/{name}", like, status)
    raise CannotRepairError(
        f"the recipe of {name!r} stood in this file, and no other part has these features"
    )


def _like(storage: Storage, where: str, like: dict[str, Any], status: dict[str, Any]) -> bytes:
    """Metadata like those of another part, with which the chunks of this one can be read."""
    attributes = {k: v for k, v in like["attributes"].items() if k != "metadata_digest"}
    chunks = [file for file in storage.files(where) if file.startswith("c.")]
    for inner_slices in (None, CHUNK_ROWS):
        content = features_files(
            status["shape"][0], like["shape"][1], like["data_type"], _file_rows(status), attributes,
            inner_slices,
        )["zarr.json"]  # fmt: skip
        if not chunks or any(_reads(content, storage.read(f"{where}/{c}"), c) for c in chunks):
            return content
    raise CannotRepairError("the chunks are not of the width that these features have elsewhere")


def _reads(metadata: bytes, chunk: bytes, name: str) -> bool:
    array = open_array(memory_store({"zarr.json": metadata, name: chunk}), "")
    first = int(name.split(".")[1]) * file_rows(array)
    try:
        array[first : first + file_rows(array)]
    except Exception:  # each codec has its own; this chunk may be damaged as well
        return False
    return True


def _file_rows(document: dict[str, Any]) -> int:
    """Rows of a file: of a chunk, or of a shard."""
    return int(document["chunk_grid"]["configuration"]["chunk_shape"][0])


def _sound(storage: Storage, node: str) -> dict[str, Any] | None:
    try:
        return read_metadata(storage, node)
    except StoreCorruptError:
        return None
