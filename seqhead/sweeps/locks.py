"""Locks of a sweep folder, which the kernel drops when their holder ends in any way."""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from seqhead.errors import SweepError


def take_lock(path: Path) -> int:
    """Wait for a lock.

    Parameters
    ----------
    path : Path
        Its file, which need not exist.

    Returns
    -------
    int
        A file descriptor: closing it gives the lock back.

    Raises
    ------
    SweepError
        The file system has no locks, or the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SweepError(f"cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        os.close(descriptor)
        raise SweepError(
            f"{path} cannot be locked ({error.strerror}): keep the sweep on a file system with "
            "locks"
        ) from error
    return descriptor


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock.

    Parameters
    ----------
    path : Path
        Its file, which need not exist.

    Raises
    ------
    SweepError
        As `take_lock`.
    """
    descriptor = take_lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def sign_of_life(folder: Path) -> Iterator[str]:
    """Be seen to live, until the end of this block or of this process.

    Parameters
    ----------
    folder : Path
        Where signs of life are kept.

    Yields
    ------
    str
        The name to ask `lives` for.
    """
    name = uuid.uuid4().hex
    folder.mkdir(mode=0o700, exist_ok=True)
    with held(folder / name):
        try:
            yield name
        finally:
            (folder / name).unlink(missing_ok=True)


def lives(folder: Path, name: str) -> bool:
    """Tell whether somebody lives.

    Parameters
    ----------
    folder : Path
        As for `sign_of_life`, by whoever it is about: on this machine or another.
    name : str
        What that gave.

    Returns
    -------
    bool
    """
    try:
        descriptor = os.open(folder / name, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def remove_signs_of_the_dead(folder: Path) -> None:
    """Remove what processes left that were killed.

    Parameters
    ----------
    folder : Path
        Where signs of life are kept; afterwards nobody may need to know who died.
    """
    for path in folder.glob("*"):
        if not lives(folder, path.name):
            path.unlink(missing_ok=True)
