"""A store in a folder: temporary file and rename."""

import errno
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from featurecache.errors import StoreError
from featurecache.storage import Storage

if TYPE_CHECKING:
    from zarr.abc.store import Store

_DRAFT = r"[0-9a-f]{32}\.partial"


class LocalStorage(Storage):
    """A store in a folder of a local or shared file system.

    Every change of the disk is a `put_file` of a temporary file, a `move` that gives it its name,
    or a `remove`; nothing that a reader looks at is ever written in place.

    Parameters
    ----------
    folder : Path
        Folder of the store; it need not be there.
    durable : bool
        Wait until each write is on the disk before the next one begins, so that a power failure
        loses no more than a kill does. Slower; a kill alone needs none of it.
    """

    folder: Path

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder, self.durable = folder, durable

    def __str__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r}, durable={self.durable})"

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    def read(self, key: str) -> bytes:
        """What is under a key, see `Storage.read`."""
        return (self.folder / key).read_bytes()

    def read_below(self, prefix: str) -> dict[str, bytes]:
        """Everything below a prefix, see `Storage.read_below`."""
        root = self.folder / prefix
        files = (path for path in sorted(root.rglob("*")) if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    def exists(self, key: str) -> bool:
        """Whether there is a file, see `Storage.exists`."""
        return (self.folder / key).is_file()

    def files(self, prefix: str = "") -> list[str]:
        """Files of a folder, see `Storage.files`."""
        return sorted(entry.name for entry in self._entries(prefix) if not entry.is_dir())

    def folders(self, prefix: str = "") -> list[str]:
        """Folders in a folder, see `Storage.folders`."""
        return sorted(entry.name for entry in self._entries(prefix) if entry.is_dir())

    def _entries(self, prefix: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder / prefix) as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise StoreError(f"{self.folder / prefix} is not a folder") from error

    def write(self, key: str, data: bytes) -> None:
        """Replace a file in one step, see `Storage.write`."""
        path = self.folder / key
        draft = path.with_name(_draft_name(path.name))
        try:
            self.put_file(draft, data)
            self.move(draft, path)
        except BaseException:
            self.remove(draft)
            raise

    def create(self, key: str, data: bytes) -> bool:
        """Write a file unless there is one, see `Storage.create`; the caller holds the lock."""
        if self.exists(key):
            return False
        self.write(key, data)
        return True

    def replace(self, key: str, data: bytes, expected: bytes) -> bool:
        """Replace a file that is as expected, see `Storage.replace`; the caller holds the lock."""
        if self.read(key) != expected:
            return False
        self.write(key, data)
        return True

    def publish(self, prefix: str, files: Mapping[str, bytes]) -> bool:
        """Make a folder appear with all its files, see `Storage.publish`."""
        target = self.folder / prefix
        draft = self._draft_of(prefix)
        draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            for key, data in files.items():
                (draft / key).parent.mkdir(parents=True, exist_ok=True)
                self.put_file(draft / key, data)
            self._sync(draft, *(folder for folder in draft.rglob("*") if folder.is_dir()))
            return self._appear(draft, target) or self._holds(target, files)
        finally:
            self.remove(draft)

    def _appear(self, draft: Path, target: Path) -> bool:
        try:
            self.move(draft, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        return True

    @staticmethod
    def _holds(target: Path, files: Mapping[str, bytes]) -> bool:
        """Whether a folder that was there before has these files."""
        return all(
            (target / key).is_file() and (target / key).read_bytes() == data
            for key, data in files.items()
        )

    def _draft_of(self, prefix: str) -> Path:
        if not prefix:
            return self.folder.with_name(_draft_name(f".{self.folder.name}"))
        return self.folder / _draft_name(f".{prefix.replace('/', '.')}")

    def put_file(self, path: Path, data: bytes) -> None:
        """Write a file that nobody looks at yet.

        Parameters
        ----------
        path : Path
            The file, in a draft or with a name of its own.
        data : bytes
            All of it.
        """
        with path.open("wb") as file:
            file.write(data)
            if self.durable:
                file.flush()
                os.fsync(file.fileno())

    def move(self, draft: Path, target: Path) -> None:
        """Give a finished draft, a file or a folder, its name.

        Parameters
        ----------
        draft, target : Path
            On the same file system. A file is replaced; a folder must be empty or not be there.
        """
        draft.replace(target)
        self._sync(target.parent)

    def remove(self, path: Path) -> None:
        """Delete a file or a folder with all that is in it, if it is there.

        Parameters
        ----------
        path : Path
            A draft, or what a killed run left.
        """
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _sync(self, *folders: Path) -> None:
        """Wait until the names in folders are on the disk."""
        for folder in folders if self.durable else ():
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def discard_debris(self, prefix: str) -> None:
        """Delete a folder, see `Storage.discard_debris`; the caller holds the lock."""
        self.remove(self.folder / prefix)

    def check_writable(self) -> None:
        """Refuse a folder that is read-only, see `Storage.check_writable`.

        Raises
        ------
        StoreError
            The folder, or a part of it, is read-only.
        """
        if not self.folder.exists():
            return
        for folder in (self.folder, *self.folder.glob("part-*/features/*")):
            if not os.access(folder, os.W_OK):
                raise StoreError(f"{folder} cannot be written: check its owner and permissions")

    def remove_debris(self) -> int:
        """Delete drafts, see `Storage.remove_debris`."""
        of_root = re.compile(rf"\.{re.escape(self.folder.name)}\.{_DRAFT}")
        drafts = [path for path in self.folder.parent.iterdir() if of_root.fullmatch(path.name)]
        drafts += [*self.folder.glob(".part-*.partial"), *self.folder.glob("part-*/.*.partial")]
        files = [*self.folder.glob("part-*/*.partial"), *self.folder.glob("part-*/*/*/*.partial")]
        for path in (*drafts, *files):
            self.remove(path)
        return len(drafts) + len(files)

    def zarr_store(self) -> "Store":
        """The folder for zarr, see `Storage.zarr_store`."""
        from zarr.storage import LocalStore

        return LocalStore(self.folder, read_only=True)


def _draft_name(name: str) -> str:
    return f"{name}.{uuid4().hex}.partial"
