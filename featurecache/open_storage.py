"""What users call a store -> the storage it lies in."""

from pathlib import Path

from featurecache.local_storage import LocalStorage
from featurecache.location import parse_location
from featurecache.object_storage import ObjectStorage
from featurecache.storage import Storage


def open_storage(where: str | Path | Storage, *, durable: bool = False) -> Storage:
    """The storage of a store.

    Parameters
    ----------
    where : str, Path or Storage
        A folder or ``s3://BUCKET/PREFIX``; a storage is returned as it is.
    durable : bool
        Of `LocalStorage`; an object store is durable by itself.

    Returns
    -------
    Storage

    Raises
    ------
    UsageError
        A URL that is none of a store.
    """
    if isinstance(where, Storage):
        return where
    location = parse_location(where)
    if isinstance(location, str):
        return ObjectStorage(location)
    return LocalStorage(location, durable=durable)
