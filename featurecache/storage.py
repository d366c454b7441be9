"""Where a store lies: bytes under keys, whole or not at all."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from featurecache.errors import StoreError

if TYPE_CHECKING:
    from zarr.abc.store import Store


class Storage(ABC):
    """A place for one store: bytes under keys such as ``part-0000/zarr.json``.

    What is written under a key is there whole or not at all. ``str()`` of a storage is the folder
    or URL that users know it by, and `open_storage` of that gives an equal one in any process.

    Attributes
    ----------
    folder : Path or None
        The folder, where it is one.
    shared : bool
        Whether other writers may come at any moment; False where a lock keeps them away.
    """

    folder: Path | None = None
    shared: bool = False

    @abstractmethod
    def __str__(self) -> str:
        """The folder or URL, for messages."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the folder or URL."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """What is under a key.

        Raises
        ------
        FileNotFoundError
            Nothing is.
        """

    @abstractmethod
    def read_below(self, prefix: str) -> dict[str, bytes]:
        """Everything below a prefix, by the rest of its key."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether anything is under a key."""

    @abstractmethod
    def files(self, prefix: str = "") -> list[str]:
        """Keys directly below a prefix, without it; sorted."""

    @abstractmethod
    def folders(self, prefix: str = "") -> list[str]:
        """First parts of the longer keys below a prefix; sorted."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Put bytes under a key, in place of what is there."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Put bytes under a key unless it is taken; whether that was done."""

    @abstractmethod
    def replace(self, key: str, data: bytes, expected: bytes) -> bool:
        """Put bytes under a key in place of the expected ones; False where others are there."""

    @abstractmethod
    def publish(self, prefix: str, files: Mapping[str, bytes]) -> bool:
        """Make several keys below a prefix appear, the last one being the sign that all are there.

        Parameters
        ----------
        prefix : str
            Where; nothing else is written below it before.
        files : mapping
            Rest of the key -> bytes, in the order in which they are written.

        Returns
        -------
        bool
            Whether they are there now, be it from a rival; False where others are.
        """

    @abstractmethod
    def discard_debris(self, prefix: str) -> None:
        """Delete what a killed run left below a prefix; nothing where rivals may be at work."""

    @abstractmethod
    def check_writable(self) -> None:
        """Refuse a store that is there and cannot be written, before any work.

        Raises
        ------
        StoreError
            It is read-only.
        """

    @abstractmethod
    def remove_debris(self) -> int:
        """Delete what a killed run left half-written; how much that was.

        The caller holds the store's lock. Where there is none, nothing is deleted.
        """

    @abstractmethod
    def zarr_store(self) -> "Store":
        """The same for zarr, to read from."""

    def trouble(self, error: Exception) -> StoreError | None:
        """Say in plain words why something could not be read; None where it could, but is damaged.

        Parameters
        ----------
        error : Exception
            Raised by `zarr_store` while it was read.

        Returns
        -------
        StoreError or None
        """
        if isinstance(error, OSError) and error.errno is not None:
            return StoreError(f"{self} cannot be read: {error.strerror}")
        return None
