"""Who may write to a store: one run alone, or the shards of one run side by side.

Locks are files beside the store, since equal work gives equal stores. The kernel drops a lock when
its holder ends in any way, so a stale one cannot remain.

``.NAME.lock``
    Held alone by a plain run and by whoever makes the plan; held together by shards at work.
``.NAME.lock.3-of-8``
    Held alone by shard 3 of 8 for as long as it runs.
"""

import fcntl
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from featurecache.errors import StoreError, StoreLockedError
from featurecache.open_storage import open_storage
from featurecache.options import Shard
from featurecache.storage import Storage

_PLANS = ", making the plan"
_POLL_S, _SIGNED_AFTER_S = 0.2, 2.0  # a holder signs right after it has the lock


@contextmanager
def store_lock(store: str | Path | Storage) -> Iterator[int | None]:
    """Hold a store alone.

    Parameters
    ----------
    store : str, Path or Storage
        The store; it need not exist yet.

    Yields
    ------
    int or None
        A file descriptor: while a process has it open, the lock is held. None where the store is
        not in a folder: such a storage has rivals, and no lock.

    Raises
    ------
    StoreLockedError
        Another process holds the lock; the message names it.
    StoreError
        The folder cannot be written.
    """
    store = open_storage(store)
    if store.folder is None:
        yield None
        return
    path = _lock_path(store.folder)
    with _opened(path, store) as file:
        if not _locked(file, fcntl.LOCK_EX):
            beside = _locked(file, fcntl.LOCK_SH)  # then those who hold it are shards
            raise StoreLockedError(_refusal(store, _shard_at_work(path) if beside else _text(path)))
        _sign(file, _name())
        _remove_shard_files(path)
        yield file.fileno()


class ShardLock:
    """The lock of one shard: alone while it makes the plan, then beside other shards.

    Attributes
    ----------
    alone : bool
        Whether the shard holds the store alone now, and so may change its plan.
    """

    def __init__(self, store: Storage, path: Path, shard: Shard, file: IO[str]) -> None:
        self.alone = False
        self._store, self._path, self._shard, self._file = store, path, shard, file

    def fileno(self) -> int:
        """A file descriptor: while a process has it open, the lock is held."""
        return self._file.fileno()

    def enter(self, waiting: Callable[[str], None] | None = None) -> None:
        """Take the lock alone if nobody has it, else beside other shards.

        Parameters
        ----------
        waiting : callable, optional
            Told once who it is, when another shard makes the plan.

        Raises
        ------
        StoreLockedError
            A run that is no shard holds the store.
        """
        self._take((fcntl.LOCK_EX, fcntl.LOCK_SH), waiting)
        if self.alone:
            _sign(self._file, f"shard {self._shard}, {_name()}{_PLANS}")

    def share(self) -> None:
        """Let other shards in, after the plan was made.

        Raises
        ------
        StoreLockedError
            A run that is no shard came in between.
        """
        self._take((fcntl.LOCK_SH,), None)

    def _take(self, kinds: tuple[int, ...], waiting: Callable[[str], None] | None) -> None:
        unsigned_s, told = 0.0, waiting is None
        while True:
            for kind in kinds:
                if _locked(self._file, kind):
                    self.alone = kind == fcntl.LOCK_EX
                    return
            holder = _text(self._path)
            unsigned_s = 0.0 if holder.endswith(_PLANS) else unsigned_s + _POLL_S
            if unsigned_s > _SIGNED_AFTER_S:
                raise StoreLockedError(_refusal(self._store, holder))
            if waiting is not None and not told and not unsigned_s:
                waiting(holder.removesuffix(_PLANS))
                told = True
            time.sleep(_POLL_S)


@contextmanager
def shard_lock(store: str | Path | Storage, shard: Shard) -> Iterator[ShardLock]:
    """Be one of the shards of a store; call `ShardLock.enter` next.

    Parameters
    ----------
    store : str, Path or Storage
        A folder, or a storage in one; it need not exist yet.
    shard : Shard
        Which.

    Yields
    ------
    ShardLock

    Raises
    ------
    StoreLockedError
        The same shard runs, or shards of another number; the message names one.
    StoreError
        The folder cannot be written.
    """
    store = open_storage(store)
    if store.folder is None:
        raise StoreError(f"{store} is no folder: it has rivals, and no lock")
    path = _lock_path(store.folder)
    mine = path.with_name(f"{path.name}.{shard.number}-of-{shard.of}")
    with ExitStack() as stack:
        main = stack.enter_context(_opened(path, store))
        while True:
            file = stack.enter_context(_opened(mine, store))
            if not _locked(file, fcntl.LOCK_EX):
                raise StoreLockedError(_refusal(store, _text(mine)))
            if _is_at(file, mine):
                break  # else its last holder has removed the file that we have opened
        _sign(file, f"shard {shard}, {_name()}")
        stack.callback(mine.unlink, missing_ok=True)
        for other in _shard_files(path):
            if not other.name.endswith(f"-of-{shard.of}") and _is_held(other):
                raise StoreLockedError(
                    f"{_refusal(store, _text(other))}. Shards that run together have the same N in "
                    "--shard I/N"
                )
        yield ShardLock(store, path, shard, main)


def _lock_path(folder: Path) -> Path:
    folder = folder.resolve()  # one lock, however the store is spelt
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def _opened(path: Path, store: Storage) -> Iterator[IO[str]]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write beside {store}: {error.strerror}") from error
    with file:
        yield file


def _locked(file: IO[str], kind: int) -> bool:
    """Take a lock, or turn one that is held into this kind; False if another process has it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"{file.name} cannot be locked ({error.strerror}): keep the store on a file system "
            "with locks"
        ) from error
    return True


def _is_held(path: Path) -> bool:
    try:
        with path.open("r", encoding="utf-8") as file:
            return not _locked(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _sign(file: IO[str], text: str) -> None:
    """Write who holds a lock, for the message that another one gets."""
    file.truncate(0)
    file.write(text)
    file.flush()
    os.fsync(file.fileno())  # other hosts see what the server has


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except FileNotFoundError:
        return "another process"


def _shard_files(path: Path) -> list[Path]:
    pattern = re.compile(re.escape(path.name) + r"\.\d+-of-\d+")
    return sorted(file for file in path.parent.iterdir() if pattern.fullmatch(file.name))


def _shard_at_work(path: Path) -> str:
    return next((_text(file) for file in _shard_files(path) if _is_held(file)), "another process")


def _remove_shard_files(path: Path) -> None:
    """Remove what killed shards left, each while it is locked, so that nobody has it meanwhile."""
    for old in _shard_files(path):
        with old.open("r+", encoding="utf-8") as file:
            if _locked(file, fcntl.LOCK_EX):
                old.unlink(missing_ok=True)


def _refusal(store: Storage, holder: str) -> str:
    return f"{store} is being written by {holder}. Wait for it, or stop it and run again"
