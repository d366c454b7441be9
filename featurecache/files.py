"""Reading bytes of a file that may vanish, change, hang on a network or not be a file at all."""

import errno
import functools
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from featurecache.errors import ReadError
from featurecache.reasons import CHANGED, IO_ERROR, UNREADABLE, VANISHED, SkipFileError

_PAUSES_S = (0.05, 0.2, 0.5)
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT})

Result = TypeVar("Result")


@contextmanager
def opened(path: str | bytes, size: int, mtime_ns: int) -> Iterator[int]:
    """Open a regular file and make sure it is, before and after, the one that was seen.

    Parameters
    ----------
    path : str or bytes
        Absolute path.
    size, mtime_ns : int
        What the file was when it was seen.

    Yields
    ------
    int
        A file descriptor. Pipes and devices are refused without blocking.

    Raises
    ------
    SkipFileError
        If it is unreadable for us, or no regular file.
    ReadError
        If it vanished or changed, or reading fails.
    """
    fd = retried(lambda: _open(path))
    try:
        _check_same(fd, size, mtime_ns)
        yield fd
        _check_same(fd, size, mtime_ns)
    finally:
        os.close(fd)


def read_range(fd: int, start: int, length: int) -> bytes:
    """Read up to `length` bytes from `start`; fewer where the file ends.

    Parameters
    ----------
    fd : int
        Descriptor of a file open for reading; its own position is neither used nor moved.
    start, length : int
        First byte, counted from the beginning of the file, and how many.

    Returns
    -------
    bytes
        Shorter than `length` only if the file ends before.

    Raises
    ------
    ReadError
        If the disk or network fails four times in a row.
    """
    parts: list[bytes] = []
    while length > 0:
        part = retried(functools.partial(os.pread, fd, length, start))
        if not part:
            break
        if len(part) == length and not parts:
            return part
        parts.append(part)
        start += len(part)
        length -= len(part)
    return b"".join(parts)


def retried(action: Callable[[], Result]) -> Result:
    """Do something with the file system, again after a pause where a fault may pass.

    Parameters
    ----------
    action : callable
        Takes nothing; called up to four times, as long as it raises an OSError that may pass (an
        input/output error, a stale file handle, an interruption, a time-out).

    Returns
    -------
    object
        What `action` returned.

    Raises
    ------
    SkipFileError
        If permission is denied.
    ReadError
        "file vanished" or "read error".
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            return action()
        except OSError as error:
            if error.errno not in _PASSING or pause_s is None:
                raise _translated(error) from error
            time.sleep(pause_s)
    raise ReadError(IO_ERROR, "unreachable")


def _open(path: str | bytes) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


def _check_same(fd: int, size: int, mtime_ns: int) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise SkipFileError("special file: no regular file", "it is not opened for reading")
    if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
        raise ReadError(
            CHANGED, f"expected {size} bytes, found {status.st_size}, or its time differs"
        )


def _translated(error: OSError) -> ReadError:
    words = error.strerror or type(error).__name__
    if error.errno in {errno.EACCES, errno.EPERM}:
        return SkipFileError(UNREADABLE, words)
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
        return ReadError(VANISHED, "it was there when the tree was walked")
    if error.errno in {errno.ENXIO, errno.ENODEV}:
        return SkipFileError("special file: no regular file", words)
    return ReadError(IO_ERROR, words)
