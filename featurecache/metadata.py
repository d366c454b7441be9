"""Array metadata (``zarr.json``) with a digest: chunks carry a checksum, metadata need one too."""

import hashlib
import json
from typing import Any

from featurecache.errors import StoreCorruptError
from featurecache.storage import Storage

_DIGEST = "metadata_digest"


def sealed(metadata: bytes) -> bytes:
    """Add the digest of a node's metadata to its attributes.

    Parameters
    ----------
    metadata : bytes
        A ``zarr.json`` as zarr writes it.

    Returns
    -------
    bytes
    """
    document = json.loads(metadata)
    document["attributes"][_DIGEST] = _digest(document)
    return json.dumps(document, indent=2).encode()


def _digest(document: dict[str, Any]) -> str:
    attributes = {k: v for k, v in document["attributes"].items() if k != _DIGEST}
    canonical = json.dumps(
        {**document, "attributes": attributes}, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def read_metadata(storage: Storage, node: str) -> dict[str, Any]:
    """A node's metadata, compared with the digest in them.

    Parameters
    ----------
    storage : Storage
        Where the store lies.
    node : str
        An array or a group, e.g. ``part-0000/features/vgg16``; empty for the root.

    Returns
    -------
    dict
        The content of ``zarr.json``.

    Raises
    ------
    StoreCorruptError
        The file is missing, damaged, or was changed since it was written.
    """
    key = f"{node}/zarr.json".lstrip("/")
    try:
        content = storage.read(key)
    except FileNotFoundError as error:
        raise StoreCorruptError(f"{storage}/{key} is missing") from error
    return checked_metadata(content, f"{storage}/{key}")


def checked_metadata(content: bytes, name: str) -> dict[str, Any]:
    """Metadata that were read, compared with the digest in them.

    Parameters
    ----------
    content : bytes
        Of a ``zarr.json``.
    name : str
        What it is called in a message.

    Returns
    -------
    dict
        The same, parsed.

    Raises
    ------
    StoreCorruptError
        They are damaged, or were changed since they were written.
    """
    try:
        document: dict[str, Any] = json.loads(content)
        intact = document["attributes"][_DIGEST] == _digest(document)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(f"{name} is damaged: {error!r}") from error
    if not intact:
        raise StoreCorruptError(f"{name} is not what was written: its digest differs")
    return document
