"""What users call a store -> the storage it lies in."""

from pathlib import Path

from featurecache.local_storage import LocalStorage
from featurecache.storage import Storage


def open_storage(where: str | Path | Storage) -> Storage:
    """The storage of a store.

    Parameters
    ----------
    where : str, Path or Storage
        Folder of the store; a storage is returned as it is.

    Returns
    -------
    Storage
    """
    return where if isinstance(where, Storage) else LocalStorage(Path(where))
