"""The errors that featurecache raises on purpose, and the exit code each one means.

::

    FeatureCacheError            1
    ├── UsageError               2   an argument, a configuration file or a label file is wrong
    │   └── CsvError             2   a CSV file cannot be read as a table
    ├── ReadError                3   one DICOM file cannot be used; carries a reason
    ├── MissingResourceError     4   weights, a decoder plugin or an extra is not installed
    └── StoreError               5
        ├── StoreLockedError     5   another run writes to this store
        ├── StoreMismatchError   5   the store was made with another recipe, plan or key
        ├── StoreIncompleteError 5   an extraction was interrupted and can be resumed
        └── StoreCorruptError    5   bytes on disk are not what was written

`cli` translates ``exit_code`` to the process's exit code in one place.
"""


class FeatureCacheError(Exception):
    """Base of all errors that are raised on purpose; the message says what to do."""

    exit_code = 1


class UsageError(FeatureCacheError):
    """An argument, a configuration file or a label file is wrong."""

    exit_code = 2


class CsvError(UsageError):
    """A CSV file cannot be read as a table; the message names the line."""


class ReadError(FeatureCacheError):
    """One DICOM file cannot be used.

    Parameters
    ----------
    reason : str
        Short and countable, the same words for the same fault in every file,
        e.g. ``"pixel data is short"``.
    detail : str
        What was expected and what came, for this file.
    """

    exit_code = 3

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class MissingResourceError(FeatureCacheError):
    """Weights, a decoder plugin or an extra is missing; the message has the line that gets it."""

    exit_code = 4


class StoreError(FeatureCacheError):
    """The store cannot be used as asked."""

    exit_code = 5


class StoreLockedError(StoreError):
    """Another run is writing to this store."""


class StoreMismatchError(StoreError):
    """The store was made with another recipe, plan or key; the message names the fields."""


class StoreIncompleteError(StoreError):
    """Some units of a feature set are not written yet; running ``extract`` again finishes it."""


class StoreCorruptError(StoreError):
    """Bytes on disk are not what was written."""
