"""Optuna's journal of a sweep: a line for each thing that happened, in a file many may write."""

import json
import os
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from seqhead.errors import SweepError
from seqhead.sweeps.locks import take_lock

_AGAIN = "What was tried cannot be told: sweep again into a new folder"
_CHUNK_BYTES = 1 << 16


class JournalLock:
    """The lock of a journal's writers, as `JournalFileBackend` takes it.

    The kernel drops it when its holder is killed, where Optuna's own locks stay for half a minute.
    Whoever gets it removes the line that the last holder was killed in: Optuna reads past such a
    line, and the next one that is written behind it would make the journal unreadable.

    Parameters
    ----------
    journal : Path
        The journal.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._file = journal.with_name(f"{journal.name}.lock")
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock, and leave the journal with whole lines."""
        self._descriptor = take_lock(self._file)
        drop_torn_line(self._journal)
        return True

    def release(self) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_journal(path: Path) -> JournalStorage:
    """Open a journal, which need not exist.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    JournalStorage

    Raises
    ------
    SweepError
        A line of it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what it did is the leaderboard's to say
    _check_lines(path)
    lock: Any = JournalLock(path)  # has what Optuna's locks have; their base is not public
    try:
        return JournalStorage(JournalFileBackend(str(path), lock))
    except (ValueError, KeyError, AssertionError) as error:
        raise SweepError(f"{path} is not the journal of a sweep: {error}. {_AGAIN}") from error


def _check_lines(path: Path) -> None:
    """Every whole line is a record; Optuna does not notice a last one that is not."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                if line.endswith(b"\n"):
                    raise SweepError(
                        f"{path} line {number} is damaged: {error}. {_AGAIN}"
                    ) from None
                return  # whoever wrote it was killed, or is writing
            if not isinstance(record, dict) or "op_code" not in record:
                raise SweepError(f"{path} line {number} is no record of Optuna's. {_AGAIN}")


def drop_torn_line(path: Path) -> None:
    """Cut a file behind its last line feed.

    Parameters
    ----------
    path : Path
        A file of lines, which no other process writes now.
    """
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(end - _CHUNK_BYTES, 0)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)
