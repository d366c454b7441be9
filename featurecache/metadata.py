"""Array metadata (``zarr.json``) with a digest: chunks carry a checksum, metadata need one too."""

import hashlib
import json
from pathlib import Path
from typing import Any

from featurecache.errors import StoreCorruptError

_DIGEST = "metadata_digest"


def seal(node: Path) -> None:
    """Add the digest of a node's metadata to its attributes; done before the final rename.

    Parameters
    ----------
    node : Path
        Folder of an array or a group.
    """
    document = json.loads((node / "zarr.json").read_bytes())
    document["attributes"][_DIGEST] = _digest(document)
    (node / "zarr.json").write_bytes(json.dumps(document, indent=2).encode())


def _digest(document: dict[str, Any]) -> str:
    attributes = {k: v for k, v in document["attributes"].items() if k != _DIGEST}
    canonical = json.dumps(
        {**document, "attributes": attributes}, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def read_metadata(node: Path) -> dict[str, Any]:
    """A node's metadata, compared with the digest in them.

    Parameters
    ----------
    node : Path
        Folder of an array or a group.

    Returns
    -------
    dict
        The content of ``zarr.json``.

    Raises
    ------
    StoreCorruptError
        The file is missing, damaged, or was changed since it was written.
    """
    try:
        document: dict[str, Any] = json.loads((node / "zarr.json").read_bytes())
        intact = document["attributes"][_DIGEST] == _digest(document)
    except FileNotFoundError as error:
        raise StoreCorruptError(f"{node}/zarr.json is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(f"{node}/zarr.json is damaged: {error!r}") from error
    if not intact:
        raise StoreCorruptError(f"{node}/zarr.json is not what was written: its digest differs")
    return document
