"""One writer at a time: a lock file beside the store that dies with its holder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featurecache.errors import StoreError, StoreLockedError
from featurecache.open_storage import open_storage
from featurecache.storage import Storage


@contextmanager
def store_lock(store: str | Path | Storage) -> Iterator[None]:
    """Hold the lock of a store in a folder; other storages have rivals instead, and no lock.

    The kernel drops the lock when its holder ends in any way, so a stale one cannot remain.
    The lock file lies beside the store (``.NAME.lock``), so that equal work gives equal stores,
    and stays: removing it would let two writers lock two files of one name.

    Parameters
    ----------
    store : str, Path or Storage
        The store; it need not exist yet.

    Raises
    ------
    StoreLockedError
        Another process holds the lock; the message names it.
    StoreError
        The folder cannot be written.
    """
    folder = open_storage(store).folder
    if folder is None:
        yield
        return
    folder = folder.resolve()  # one lock, however the store is spelt
    path = folder.with_name(f".{folder.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write beside {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise StoreLockedError(
                f"{folder} is being written by {holder}. Wait for it, or stop it and run again"
            ) from error
        except OSError as error:
            raise StoreError(
                f"{path} cannot be locked ({error.strerror}): keep the store on a file system with "
                "locks"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
