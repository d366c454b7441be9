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

from featurecache.account import Account
from featurecache.assemble import assemble_series, mark_dirty
from featurecache.compare import Comparison, Known
from featurecache.copies import settle_copies
from featurecache.crew import Workers
from featurecache.errors import UsageError
from featurecache.explain import explain
from featurecache.index import Index
from featurecache.intake import FRAME_COLUMNS, FileRecord, read_file
from featurecache.nifti import is_nifti
from featurecache.nifti_ids import FileIds, NiftiTable, join_files, read_nifti_table
from featurecache.outdated import mark_outdated
from featurecache.pool import Failure, default_workers, isolated_map
from featurecache.probes import decide_values
from featurecache.reasons import KILLED, TIME_OUT
from featurecache.repeats import compare_repeats
from featurecache.scan_document import scan_document
from featurecache.walk import Entry, walk_tree

__all__ = ["Account", "explain", "scan", "scan_document"]

_BATCH = 512
_CHUNK = 32
_COMMIT_EVERY_S = 2.0

_INSERT_FILE = (
    "INSERT INTO files (id, path, size, mtime_ns, revision, status, reason, detail, warnings, "
    "series_uid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FRAME_MARKS = ", ".join("?" * (FRAME_COLUMNS.count(",") + 1))
_INSERT_FRAME = f"INSERT INTO frames ({FRAME_COLUMNS}) VALUES ({_FRAME_MARKS})"  # noqa: S608

Progress = Callable[[int, int | None], None]


def scan(
    root: Path,
    index_path: Path,
    *,
    workers: Workers | None = None,
    assume_hu: bool = False,
    min_slices: int = 2,
    nifti_ids: Path | None = None,
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
    workers : int or Crew, optional
        Reader processes; by default one per core.
    assume_hu : bool
        Take values as Hounsfield units where rescale is absent, or where those of a NIfTI file do
        not look like it; with a warning.
    min_slices : int
        A stack with fewer slices is not used.
    nifti_ids : Path, optional
        CSV with the identifiers of NIfTI files, see `nifti_ids.read_nifti_table`; without one they
        come from the paths.
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
        If `root` is no folder, the index belongs to another root, another scan writes to it, or
        the table of NIfTI files is wrong.
    FeatureCacheError
        If the account does not balance.
    """
    resolved = _resolved(root)
    table = None if nifti_ids is None else read_nifti_table(nifti_ids)
    with Index.open(index_path) as index:
        _claim(index, resolved)
        ids = _look_for_outdated(index, table, assume_hu, min_slices)
        workers = workers or default_workers()
        read = functools.partial(
            read_file,
            root=os.fsencode(resolved),
            assume_hu=assume_hu,
            nifti_ids=None if ids is None else ids.by_path,
        )
        _Scan(index, read, workers, timeout_s, progress).run()
        _assemble_all(index, min_slices, workers, timeout_s)
        decide_values(index, workers, timeout_s, assume_hu=assume_hu)
        settle_copies(index)
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


def _look_for_outdated(
    index: Index, table: NiftiTable | None, assume_hu: bool, min_slices: int
) -> FileIds | None:
    """Mark what is out of date; return the identifiers of NIfTI files, if there is a table."""
    paths: list[str] = []
    if table is not None or index.meta("nifti_ids") is not None:
        paths = [
            os.fsdecode(entry.path)
            for entry in walk_tree(os.fsencode(index.root), _own_files(index))
            if entry.reason is None and is_nifti(entry.path)
        ]
    ids = None if table is None else join_files(table, paths)
    mark_outdated(
        index, assume_hu=assume_hu, min_slices=min_slices, nifti_paths=paths, nifti_ids=ids
    )
    return ids


def _own_files(index: Index) -> frozenset[bytes]:
    """The index is no entry of the tree it describes."""
    own = os.path.relpath(os.path.realpath(index.path), index.root)
    return frozenset(os.fsencode(own) + end for end in (b"", b"-journal", b"-wal", b"-shm"))


class _Scan:
    """The walk and the reading, which overlap: files are read while the tree is still walked."""

    def __init__(
        self,
        index: Index,
        read: Callable[[Entry], FileRecord],
        workers: Workers,
        timeout_s: float,
        progress: Progress | None,
    ) -> None:
        self._index = index
        self._database = index.database
        self._root = os.fsencode(index.root)
        self._workers = workers
        self._timeout_s = timeout_s
        self._progress = progress or (lambda done, total: None)
        self._read = read
        self._comparison = Comparison(index.database)
        self._next_id = self._comparison.first_new
        self._known: dict[bytes, Known | None] = {}  # of files that are being read
        self._records: list[tuple[Entry, Known | None, FileRecord]] = []
        self._seen = 0
        self._done = 0
        self._walked = False

    def run(self) -> None:
        """Walk, read and record, then drop what is gone."""
        results = isolated_map(
            self._read,
            self._to_read(),
            workers=self._workers,
            timeout_s=self._timeout_s,
            chunk=_CHUNK,
        )
        committed_s = monotonic()
        self._database.execute("BEGIN")
        with contextlib.closing(results):
            for entry, result in results:
                self._note(entry, self._known.pop(entry.path), _settled(result))
                if monotonic() - committed_s > _COMMIT_EVERY_S:
                    self._store()
                    self._database.execute("COMMIT")
                    self._database.execute("BEGIN")
                    committed_s = monotonic()
        self._store()
        self._drop(self._comparison.gone())
        self._index.set_meta("seen", self._seen)
        self._database.execute("COMMIT")
        self._progress(self._seen, self._seen)

    def _to_read(self) -> Iterator[Entry]:
        """Yield regular files that are new or changed; settle everything else on the way."""
        entries = walk_tree(self._root, _own_files(self._index))
        while batch := list(itertools.islice(entries, _BATCH)):
            self._seen += len(batch)
            changed = self._comparison.changed(batch)
            self._advance(len(batch) - len(changed))
            for entry, known in changed:
                if entry.reason is not None:
                    record = FileRecord("skipped", entry.reason, entry.detail, "[]", None, ())
                    self._note(entry, known, record)
                else:
                    self._known[entry.path] = known
                    yield entry
        self._walked = True

    def _note(self, entry: Entry, known: Known | None, record: FileRecord) -> None:
        self._records.append((entry, known, record))
        if len(self._records) >= _BATCH:
            self._store()
        self._advance(1)

    def _advance(self, n_files: int) -> None:
        before = self._done
        self._done += n_files
        if self._done // 64 > before // 64:
            self._progress(self._done, self._seen if self._walked else None)

    def _store(self) -> None:
        """Replace what the index knows about these files; a change in place raises a revision."""
        if not self._records:
            return
        self._index.set_meta("complete", 0)
        self._drop([known.identity for _, known, _ in self._records if known is not None])
        files, frames, dirty = [], [], set()
        for identity, (entry, known, record) in enumerate(self._records, self._next_id):
            revision = 0 if known is None else known.revision_of(entry)
            files.append((identity, *entry[:3], revision, *record[:-1]))
            if record.frames:
                frames += [(identity, *frame) for frame in record.frames]
                dirty.add((record.series_uid,))
        self._next_id += len(files)
        self._records.clear()
        self._database.executemany(_INSERT_FILE, files)
        self._database.executemany(_INSERT_FRAME, frames)
        self._database.executemany("INSERT OR IGNORE INTO dirty VALUES (?)", dirty)

    def _drop(self, files: Sequence[int]) -> None:
        """Forget files, and mark the series that had frames of them."""
        if not files:
            return
        self._index.set_meta("complete", 0)
        mark_dirty(self._index, files)
        self._database.executemany(
            "DELETE FROM files WHERE id = ?", [(identity,) for identity in files]
        )


def _settled(result: FileRecord | Failure) -> FileRecord:
    """Return what became of a file: one that kills or holds up its reader twice is set aside."""
    if isinstance(result, FileRecord):
        return result
    status = "skipped" if result.reason in {KILLED, TIME_OUT} else "failed"
    return FileRecord(status, result.reason, result.detail, "[]", None, ())


def _assemble_all(index: Index, min_slices: int, workers: Workers, timeout_s: float) -> None:
    """Put every series together again whose files changed, committing in batches."""
    database = index.database
    if database.execute("SELECT 1 FROM dirty LIMIT 1").fetchone():
        database.execute(
            # A new file may bear the SOPInstanceUID of an image in a series that did not change.
            "INSERT OR IGNORE INTO dirty SELECT DISTINCT other.series_uid FROM dirty "
            "CROSS JOIN frames AS mine ON mine.series_uid = dirty.series_uid "
            "CROSS JOIN frames AS other ON other.sop_uid = mine.sop_uid"
        )
        compare_repeats(index, workers, timeout_s)
    while batch := database.execute("SELECT series_uid FROM dirty LIMIT 256").fetchall():
        database.execute("BEGIN")
        for (series_uid,) in batch:
            assemble_series(index, series_uid, min_slices)
        database.execute("COMMIT")
