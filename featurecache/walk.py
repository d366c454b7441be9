"""Every entry of a tree, without recursion, without opening anything and without following links.

A link is never followed: what it points to inside the root is read where it lies, and what lies
outside is not part of the tree. So there are no loops, and no file counts twice.
"""

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

LINK_INSIDE = "symbolic link: its target is read where it lies"
LINK_OUTSIDE = "symbolic link out of the root"
LINK_LOOP = "symbolic link loop"
LINK_BROKEN = "broken symbolic link"
UNREADABLE_FOLDER = "unreadable folder"
ZARR_STORE = "Zarr store, not DICOM"


class Entry(NamedTuple):
    """One entry of the tree.

    Parameters
    ----------
    path : bytes
        Relative to the root.
    size, mtime_ns : int
        As the file system gives them; -1 where it gives nothing.
    reason : str or None
        Why it is not even opened; None for a regular file.
    detail : str
        More about the reason.
    """

    path: bytes
    size: int
    mtime_ns: int
    reason: str | None = None
    detail: str = ""


def walk_tree(root: bytes, excluded: frozenset[bytes] = frozenset()) -> Iterator[Entry]:
    """Yield every file, link and special file under a root, and every folder that fails to open.

    Parameters
    ----------
    root : bytes
        Absolute path without symbolic links.
    excluded : frozenset of bytes
        Relative paths that are not entries of the tree: the index itself and its journal.

    Yields
    ------
    Entry
        In no particular order. Names are bytes, so they need not be UTF-8.
    """
    folders = [b""]
    while folders:
        folder = folders.pop()
        prefix = folder and folder + b"/"
        try:
            with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118
                for entry in entries:
                    path = prefix + entry.name
                    if path in excluded:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if _is_zarr_store(root, path):
                            yield Entry(path, -1, -1, ZARR_STORE)
                        else:
                            folders.append(path)
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError as error:
                        yield Entry(path, -1, -1, None, _words(error))
                        continue
                    if stat.S_ISREG(status.st_mode):
                        yield Entry(path, status.st_size, status.st_mtime_ns)
                    else:
                        reason, detail = _special(root, path, status.st_mode)
                        yield Entry(path, status.st_size, status.st_mtime_ns, reason, detail)
        except OSError as error:
            yield Entry(folder or b".", -1, -1, UNREADABLE_FOLDER, _words(error))


def _special(root: bytes, path: bytes, mode: int) -> tuple[str, str]:
    """Return why an entry that is no regular file is not read, and more about it."""
    return _link(root, path) if stat.S_ISLNK(mode) else (f"special file: {_kind(mode)}", "")


def _link(root: bytes, path: bytes) -> tuple[str, str]:
    full = os.path.join(root, path)  # noqa: PTH118
    try:
        target = os.path.realpath(full, strict=True)
    except OSError as error:
        return (LINK_LOOP if error.errno == errno.ELOOP else LINK_BROKEN), _words(error)
    if target != root and not target.startswith(root.rstrip(b"/") + b"/"):
        return LINK_OUTSIDE, ""
    if (full + b"/").startswith(target + b"/"):
        return LINK_LOOP, "it points to a folder it lies in"
    return LINK_INSIDE, ""


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "character device"),
        (stat.S_ISBLK, "block device"),
    )
    return next((name for test, name in kinds if test(mode)), "unknown kind")


def _is_zarr_store(root: bytes, path: bytes) -> bool:
    return path.endswith(b".zarr") and os.path.exists(os.path.join(root, path, b"zarr.json"))  # noqa: PTH110, PTH118


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__
