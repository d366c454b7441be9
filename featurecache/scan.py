"""``featurecache scan``: a tree of files -> the index, headers only, restartable.

Three steps, each committed in batches, so that a scan killed at any moment continues: the walk
finds what is new, changed or gone; workers read headers; series whose files changed are put
together again. At the end the account must balance.
"""

import contextlib
import functools
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from featurecache.account import Account
from featurecache.assemble import assemble_series, mark_dirty
from featurecache.errors import UsageError
from featurecache.explain import explain
from featurecache.index import Index
from featurecache.intake import FRAME_COLUMNS, FileRecord, read_file
from featurecache.pool import Failure, default_workers, isolated_map
from featurecache.probes import compare_repeats, decide_wraps
from featurecache.reasons import PASSING_REASONS, RESCALE_MISSING, SLICE_REASONS
from featurecache.scan_document import scan_document
from featurecache.walk import Entry, walk_tree

__all__ = ["Account", "explain", "scan", "scan_document"]

_BATCH = 512
_CHUNK = 32
_COMMIT_EVERY_S = 2.0
_ASSUMED = "rescale missing: stored values taken as HU"

Item = tuple[bytes, int, int]
Progress = Callable[[int, int | None], None]


def scan(
    root: Path,
    index_path: Path,
    *,
    workers: int | None = None,
    assume_hu: bool = False,
    min_slices: int = 2,
    timeout_s: float = 60.0,
    progress: Progress | None = None,
) -> Account:
    """Bring an index up to date with a tree of files.

    Files whose size and time are unchanged are not opened again.

    Parameters
    ----------
    root : Path
        Folder to scan. An index describes one root only.
    index_path : Path
        The index; created, readable by the owner only, if it does not exist.
    workers : int, optional
        Reader processes; by default one per core.
    assume_hu : bool
        Take stored values as Hounsfield units where rescale is absent, with a warning.
    min_slices : int
        A stack with fewer slices is not used.
    timeout_s : float
        Seconds a file may take.
    progress : callable, optional
        Called with (files done, files known or None).

    Returns
    -------
    Account
        What became of every file; it balances, or an error is raised.

    Raises
    ------
    UsageError
        If `root` is no folder, the index belongs to another root, or another scan writes to it.
    FeatureCacheError
        If the account does not balance.
    """
    resolved = _resolved(root)
    with Index.open(index_path) as index:
        _claim(index, resolved)
        _apply_options(index, assume_hu, min_slices)
        workers = workers or default_workers()
        _Scan(index, os.fsencode(resolved), workers, assume_hu, timeout_s, progress).run()
        _assemble_all(index, min_slices, workers, timeout_s)
        index.set_meta("complete", 1)
        return index.account()


def _resolved(root: Path) -> str:
    resolved = os.path.realpath(root)
    try:
        is_folder = stat.S_ISDIR(os.stat(resolved).st_mode)  # noqa: PTH116
    except OSError as error:
        raise UsageError(f"Cannot scan {root}: {error.strerror}. Expected a folder.") from error
    if not is_folder:
        raise UsageError(f"Cannot scan {root}: it is a file. Expected a folder of DICOM files.")
    return resolved


def _claim(index: Index, root: str) -> None:
    known = index.meta("root")
    if known is None:
        index.set_meta("root", os.fsencode(root))
    elif known != os.fsencode(root):
        raise UsageError(
            f"{index.path} describes {os.fsdecode(known)}, not {root}. An index has one root: "
            "use another --index, or delete this one if the tree has moved."
        )
    index.set_meta("complete", 0)


def _apply_options(index: Index, assume_hu: bool, min_slices: int) -> None:
    """Mark what the options of the last scan decided differently, to be read again."""
    database = index.database
    if index.meta("assume_hu", int(assume_hu)) != int(assume_hu):
        database.execute(
            "UPDATE files SET mtime_ns = -2 WHERE reason = ? OR warnings LIKE ?",
            (RESCALE_MISSING, f"%{_ASSUMED}%"),
        )
    if index.meta("min_slices", min_slices) != min_slices:
        database.execute("INSERT OR IGNORE INTO dirty SELECT DISTINCT series_uid FROM frames")
    index.set_meta("assume_hu", int(assume_hu))
    index.set_meta("min_slices", min_slices)


class _Scan:
    """The walk and the reading, which overlap: files are read while the tree is still walked."""

    def __init__(
        self,
        index: Index,
        root: bytes,
        workers: int,
        assume_hu: bool,
        timeout_s: float,
        progress: Progress | None,
    ) -> None:
        self._index = index
        self._database = index.database
        self._root = root
        self._workers = workers
        self._timeout_s = timeout_s
        self._progress = progress or (lambda done, total: None)
        self._read = functools.partial(read_file, root=root, assume_hu=assume_hu)
        self._seen = 0
        self._done = 0
        self._walked = False

    def run(self) -> None:
        """Walk, read and record, then drop what is gone."""
        self._database.execute("DROP TABLE IF EXISTS temp.walk")
        self._database.execute(
            "CREATE TEMP TABLE walk (path BLOB PRIMARY KEY, size, mtime_ns) WITHOUT ROWID"
        )
        results = isolated_map(
            self._read,
            self._changed(),
            workers=self._workers,
            timeout_s=self._timeout_s,
            chunk=_CHUNK,
        )
        committed_s = monotonic()
        self._database.execute("BEGIN")
        with contextlib.closing(results):
            for item, record in results:
                self._record(item, record)
                if monotonic() - committed_s > _COMMIT_EVERY_S:
                    self._database.execute("COMMIT")
                    self._database.execute("BEGIN")
                    committed_s = monotonic()
        self._drop_gone()
        self._index.set_meta("seen", self._seen)
        self._database.execute("COMMIT")
        self._progress(self._seen, self._seen)

    def _changed(self) -> Iterator[Item]:
        """Yield regular files that are new or changed; settle everything else on the way."""
        entries = walk_tree(self._root, self._own_files())
        while batch := list(itertools.islice(entries, _BATCH)):
            self._seen += len(batch)
            known = self._known(batch)
            for entry in batch:
                if entry.reason is not None:
                    self._settle(entry, known)
                elif not self._is_current(entry, known):
                    yield entry.path, entry.size, entry.mtime_ns
                else:
                    self._advance()
        self._walked = True

    def _own_files(self) -> frozenset[bytes]:
        """The index is no entry of the tree it describes."""
        own = os.path.relpath(os.path.realpath(self._index.path), os.fsdecode(self._root))
        return frozenset(os.fsencode(own) + end for end in (b"", b"-journal", b"-wal", b"-shm"))

    def _known(self, batch: Sequence[Entry]) -> dict[bytes, list[Any]]:
        self._database.executemany(
            "INSERT OR REPLACE INTO temp.walk VALUES (?, ?, ?)",
            [(entry.path, entry.size, entry.mtime_ns) for entry in batch],
        )
        marks = ",".join("?" * len(batch))
        rows = self._database.execute(
            f"SELECT path, size, mtime_ns, status, reason FROM files WHERE path IN ({marks})",  # noqa: S608  question marks only
            [entry.path for entry in batch],
        )
        return {path: rest for path, *rest in rows}

    def _is_current(self, entry: Entry, known: dict[bytes, list[Any]]) -> bool:
        found = known.get(entry.path)
        if found is None:
            return False
        size, mtime_ns, status, reason = found
        passing = status == "failed" and reason in _passing_words()
        return (size, mtime_ns) == (entry.size, entry.mtime_ns) and not passing

    def _settle(self, entry: Entry, known: dict[bytes, list[Any]]) -> None:
        """Record an entry that is not opened; a folder that cannot be read, for instance."""
        found = known.get(entry.path)
        current = (entry.size, entry.mtime_ns, "skipped", entry.reason)
        if found is None or tuple(found) != current:
            record = FileRecord("skipped", entry.reason, entry.detail, "[]", None, ())
            self._store((entry.path, entry.size, entry.mtime_ns), record)
        self._advance()

    def _record(self, item: Item, record: FileRecord | Failure) -> None:
        if isinstance(record, Failure):
            record = FileRecord("failed", record.reason, record.detail, "[]", None, ())
        self._store(item, record)
        self._advance()

    def _advance(self) -> None:
        self._done += 1
        if self._done % 64 == 0:
            self._progress(self._done, self._seen if self._walked else None)

    def _store(self, item: Item, record: FileRecord) -> None:
        """Replace what the index knows about one file; a change in place raises its revision."""
        path, size, mtime_ns = item
        database = self._database
        old = database.execute(
            "SELECT id, size, mtime_ns, revision FROM files WHERE path = ?", (path,)
        ).fetchone()
        revision = 0
        if old is not None:
            identity, old_size, old_mtime_ns, revision = old
            mark_dirty(self._index, [identity])
            changed = old_mtime_ns != -2 and (old_size, old_mtime_ns) != (size, mtime_ns)
            revision += changed
            database.execute("DELETE FROM files WHERE id = ?", (identity,))
        identity = database.execute(
            "INSERT INTO files (path, size, mtime_ns, revision, status, reason, detail, warnings, "
            "series_uid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                path,
                size,
                mtime_ns,
                revision,
                record.status,
                record.reason,
                record.detail,
                record.warnings,
                record.series_uid,
            ),
        ).lastrowid
        if record.frames:
            marks = ",".join("?" * (len(record.frames[0]) + 1))
            database.executemany(
                f"INSERT INTO frames ({FRAME_COLUMNS}) VALUES ({marks})",  # noqa: S608
                [(identity, *frame) for frame in record.frames],
            )
            database.execute("INSERT OR IGNORE INTO dirty VALUES (?)", (record.series_uid,))

    def _drop_gone(self) -> None:
        """Forget files that the walk did not meet."""
        gone = [
            identity
            for (identity,) in self._database.execute(
                "SELECT id FROM files WHERE path NOT IN (SELECT path FROM temp.walk)"
            )
        ]
        mark_dirty(self._index, gone)
        self._database.executemany(
            "DELETE FROM files WHERE id = ?", ((identity,) for identity in gone)
        )
        self._database.execute("DROP TABLE temp.walk")


@functools.cache
def _passing_words() -> frozenset[str]:
    return frozenset(SLICE_REASONS[code] for code in PASSING_REASONS)


def _assemble_all(index: Index, min_slices: int, workers: int, timeout_s: float) -> None:
    """Put every series together again whose files changed, committing in batches."""
    database = index.database
    database.execute(
        # A new file may bear the SOPInstanceUID of an image in a series that did not change.
        "INSERT OR IGNORE INTO dirty SELECT DISTINCT other.series_uid FROM dirty "
        "JOIN frames AS mine ON mine.series_uid = dirty.series_uid "
        "JOIN frames AS other ON other.sop_uid = mine.sop_uid"
    )
    if database.execute("SELECT 1 FROM dirty LIMIT 1").fetchone():
        compare_repeats(index, workers, timeout_s)
    while batch := database.execute("SELECT series_uid FROM dirty LIMIT 256").fetchall():
        database.execute("BEGIN")
        for (series_uid,) in batch:
            assemble_series(index, series_uid, min_slices)
        database.execute("COMMIT")
    decide_wraps(index, workers, timeout_s)
