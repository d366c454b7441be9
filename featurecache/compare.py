"""What a walk met, compared with what the index knows: new, changed and gone files.

The comparison is made in SQLite, a batch at a time, so that a file that did not change costs
microseconds and no memory.
"""

import functools
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from featurecache.reasons import RETRIED_REASONS
from featurecache.walk import Entry

_OUT_OF_DATE_NS = 1 << 62  # half of it before 1970 no file was written: such a time is a mark
READ_AGAIN = f"mtime_ns = mtime_ns - {_OUT_OF_DATE_NS}"
"""SQL that has a file read again because an option made it out of date, its own time not lost."""
NOT_MARKED = f"mtime_ns > -{_OUT_OF_DATE_NS // 2}"
"""SQL that says that this has not been done yet."""

_WALKED = "WITH walked (path, size, mtime_ns, reason) AS (VALUES {rows}) "
_UNCHANGED = """
SELECT id FROM walked CROSS JOIN files USING (path)
WHERE files.size = walked.size AND files.mtime_ns = walked.mtime_ns AND CASE
WHEN walked.reason IS NULL THEN files.reason IS NULL OR files.reason NOT IN ({retried})
ELSE status = 'skipped' AND files.reason = walked.reason END
"""
_KNOWN = "SELECT path, id, size, mtime_ns, revision FROM files WHERE path IN ({paths})"

_RETRIED = tuple(sorted(RETRIED_REASONS))


class Known(NamedTuple):
    """What the index said about a file before this scan."""

    identity: int
    size: int
    mtime_ns: int
    revision: int

    def revision_of(self, entry: Entry) -> int:
        """Return the revision of the file that is now in its place."""
        marked = self.mtime_ns < -_OUT_OF_DATE_NS // 2
        mtime_ns = self.mtime_ns + _OUT_OF_DATE_NS * marked
        return self.revision + ((self.size, mtime_ns) != (entry.size, entry.mtime_ns))


class Comparison:
    """The entries of one walk beside the ``files`` table as it was when the walk began.

    Memory holds one byte for each file that the index knew.

    Parameters
    ----------
    database : sqlite3.Connection
        Of an index open for writing.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        count, last = database.execute("SELECT count(*), max(id) FROM files").fetchone()
        self._not_met = int(count)
        self._met = bytearray(int(last or 0) + 1)

    @property
    def first_new(self) -> int:
        """Numbers from here on are free; rows that bear them are not compared."""
        return len(self._met)

    def changed(self, batch: Sequence[Entry]) -> list[tuple[Entry, Known | None]]:
        """Return the entries that are new, have changed, or were not read for a passing reason.

        Parameters
        ----------
        batch : sequence of Entry
            Each entry of the tree comes in one batch.

        Returns
        -------
        list of (Entry, Known or None)
            In the order of the batch; None for what the index does not know.
        """
        unchanged = self._unchanged(batch)
        for identity in unchanged:
            self._met[identity] = 1
        self._not_met -= len(unchanged)
        if len(unchanged) == len(batch):
            return []
        changed: list[tuple[Entry, Known | None]] = []
        known = self._known(batch)
        for entry in batch:
            found = known.get(entry.path)
            if found is None or not self._met[found.identity]:
                changed.append((entry, found))
        for found in known.values():
            self._not_met -= not self._met[found.identity]
            self._met[found.identity] = 1
        return changed

    def _unchanged(self, batch: Sequence[Entry]) -> list[int]:
        query = _WALKED.format(rows=_marks(len(batch), "(?, ?, ?, ?)")) + _UNCHANGED.format(
            retried=_marks(len(_RETRIED), "?")
        )
        values = [value for entry in batch for value in entry[:4]]
        return [identity for (identity,) in self._database.execute(query, (*values, *_RETRIED))]

    def _known(self, batch: Sequence[Entry]) -> dict[bytes, Known]:
        query = _KNOWN.format(paths=_marks(len(batch), "?"))
        rows = self._database.execute(query, [entry.path for entry in batch])
        return {path: Known(*rest) for path, *rest in rows}

    def gone(self) -> list[int]:
        """Return the numbers of the files that no batch had."""
        if not self._not_met:
            return []
        rows = self._database.execute("SELECT id FROM files WHERE id < ?", (self.first_new,))
        return [identity for (identity,) in rows if not self._met[identity]]


@functools.cache
def _marks(count: int, mark: str) -> str:
    return ", ".join([mark] * count)
