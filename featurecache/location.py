"""Where a store lies, as users write it: a folder, or ``s3://BUCKET/PREFIX``."""

import re
from pathlib import Path

from featurecache.errors import UsageError

Location = str | Path
"""A folder (`Path`), or the URL of an object store (`str`)."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_SHAPE = "expected s3://BUCKET/PREFIX, e.g. s3://lab/head-ct/cache.zarr"


def parse_location(text: str | Path) -> Location:
    """Tell a URL from a path.

    Parameters
    ----------
    text : str or Path
        What a user wrote.

    Returns
    -------
    str or Path
        ``s3://BUCKET/PREFIX`` without a slash at its end, or a path.

    Raises
    ------
    UsageError
        A URL of another kind, or one that names no bucket, holds a password, a query or ``..``.
    """
    scheme = _SCHEME.match(str(text))
    if scheme is None:
        return Path(text)
    if scheme.group(1).lower() != "s3":
        raise UsageError(f"{scheme.group(1)}:// is no place for a store; {_SHAPE}, or a folder")
    rest = str(text)[scheme.end() :]
    if not rest.startswith("/"):
        raise UsageError(f"{text} lacks a slash; {_SHAPE} (as str: a pathlib.Path drops one)")
    bucket, _, prefix = rest[1:].rstrip("/").partition("/")
    if "@" in bucket or "?" in rest or "#" in rest:
        raise UsageError(
            "a store's URL holds no user, password, query or fragment: credentials come from "
            f"AWS_ACCESS_KEY_ID and its companions; {_SHAPE}"
        )
    parts = prefix.split("/") if prefix else []
    if not _BUCKET.fullmatch(bucket) or not prefix.isprintable() or {"", ".", ".."} & set(parts):
        raise UsageError(f"{text} is no place for a store; {_SHAPE}")
    return "/".join(["s3:/", bucket, *parts])


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """Take a URL apart.

    Parameters
    ----------
    url : str
        From `parse_location`.

    Returns
    -------
    bucket, prefix : str
        The prefix may be empty.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return bucket, prefix
