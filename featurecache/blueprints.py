"""Every file of a new part or array, as bytes: equal input gives equal files."""

from collections.abc import Mapping
from typing import Any

from featurecache.nodes import Draft

FORMAT_VERSION = 1
"""Raised when an older featurecache could misread a newer store."""

CHUNK_ROWS = 1024
"""Rows of a chunk in a shard of a packed store: what a reader decodes at once."""


def root_files(key_digest: str | None) -> dict[str, bytes]:
    """Every file of a store without parts.

    Parameters
    ----------
    key_digest : str or None
        Digest of the key that its ids are hashed with; None where ids are kept.

    Returns
    -------
    dict
        Key -> bytes.
    """
    attributes = {"format": "featurecache", "format_version": FORMAT_VERSION}
    return {"zarr.json": group_metadata({**attributes, "key_digest": key_digest})}


def group_metadata(attributes: Mapping[str, Any]) -> bytes:
    """The ``zarr.json`` of a group.

    Parameters
    ----------
    attributes : mapping
        JSON values.

    Returns
    -------
    bytes
    """
    draft = Draft()
    draft.group("", attributes)
    return draft.files()["zarr.json"]


def features_files(
    n_slices: int, dim: int, dtype: str, unit_slices: int, attributes: Mapping[str, Any],
    inner_slices: int | None = None,
) -> dict[str, bytes]:  # fmt: skip
    """Every file of a feature array without units.

    Parameters
    ----------
    n_slices, dim, dtype, unit_slices, attributes, inner_slices
        As in `create_features`.

    Returns
    -------
    dict
        Key in the array -> bytes.
    """
    draft = Draft()
    draft.array(
        "", shape=(n_slices, dim), chunks=(inner_slices or unit_slices, dim), dtype=dtype,
        fill_value=float("nan"), attributes=attributes,
        shards=(unit_slices, dim) if inner_slices else None,
    )  # fmt: skip
    return draft.files()


def status_files(n_slices: int, unit_slices: int) -> dict[str, bytes]:
    """Every file of a status array without units.

    Parameters
    ----------
    n_slices, unit_slices
        As in `create_features`.

    Returns
    -------
    dict
        Key in the array -> bytes.
    """
    draft = Draft()
    draft.array("", shape=(n_slices,), chunks=(unit_slices,), dtype="uint8", fill_value=0)
    return draft.files()
