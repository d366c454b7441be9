"""The index: one SQLite database that says what became of every file under a root.

It holds identifiers and paths, so it is readable by its owner only. A writer holds it
exclusively; the journal is a rollback journal, so that the finished index can be read from a
read-only or network file system.

Tables: ``files`` (one row per entry of the tree), ``frames`` (one row per image), ``stacks``,
``findings`` (warnings of stacks), ``dirty`` (series whose stacks must be rebuilt: this is how a
killed scan knows where it was), ``probes`` (series whose pixels must say whether they are wrapped)
and ``meta``.
"""

import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from featurecache.account import Account
from featurecache.errors import UsageError
from featurecache.reasons import ROW_WITHOUT_FILE
from featurecache.schema import SCHEMA
from featurecache.stacks import Slice, Stack

SCHEMA_VERSION = 3
_WRITER_CACHE_KIB = 32 << 10  # pages of the tables that a scan fills at many places
_NAMED = 5

_STACK_COLUMNS = (
    "id, key, series_uid, study_uid, patient_id, usable, reason, tilt_deg, row_spacing_mm, "
    "column_spacing_mm, thickness_mm, median_gap_mm, z_extent_mm, fov_mm, wrapped, assume_hu, "
    "description, kernel, manufacturer"
)

_SELECTED = "usable AND key NOT IN (SELECT value FROM json_each(?))"
_FILE_WARNINGS = f"""
SELECT value, count(*) FROM files, json_each(files.warnings)
WHERE status = 'used' AND warnings != '[]' AND EXISTS (
    SELECT 1 FROM frames JOIN stacks ON stacks.id = stack WHERE file = files.id AND {_SELECTED}
) GROUP BY value
"""  # noqa: S608  constants only
_STACK_WARNINGS = f"""
SELECT warning, count(*) FROM findings JOIN stacks ON stacks.id = stack WHERE {_SELECTED}
GROUP BY warning
"""  # noqa: S608  constants only


class Index:
    """An open index.

    Parameters
    ----------
    database : sqlite3.Connection
        Use :meth:`open` rather than the constructor.
    path : Path
        Where it lies.
    """

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self.database = database
        self.path = path

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, readonly: bool = False) -> Self:
        """Open an index, creating it (mode 0600) unless `readonly`.

        Parameters
        ----------
        path : path-like
            The database file.
        readonly : bool
            Neither create nor change anything.

        Raises
        ------
        UsageError
            If there is no index, it is not one, another version of featurecache made it, a scan
            is writing to it, or the last scan was interrupted.
        """
        path = Path(path)
        if readonly and not path.exists():
            raise UsageError(f"No index at {path}. Run `featurecache scan` first.")
        try:
            index = cls(_connect(path, readonly), path)
            index._prepare(readonly)
        except sqlite3.Error as error:
            raise UsageError(_explain(path, error)) from error
        return index

    def _prepare(self, readonly: bool) -> None:
        tables = self.database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables and not readonly:
            # One transaction: a scan killed here leaves no index without a version.
            self.database.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} "  # noqa: S608  constants only
                f"INSERT INTO meta VALUES ('schema_version', {SCHEMA_VERSION}); COMMIT;"
            )
        version = self.meta("schema_version") if tables or not readonly else None
        if version != SCHEMA_VERSION:
            self.close()
            raise UsageError(_other_version(self.path, version))
        if readonly and not self.meta("complete"):
            self.close()
            raise UsageError(
                f"The scan behind {self.path} was interrupted, so files may be missing from it. "
                "Run `featurecache scan` again; it continues where it stopped."
            )

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def meta(self, key: str, default: Any = None) -> Any:
        """Return a value of the ``meta`` table."""
        row = self.database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def set_meta(self, key: str, value: Any) -> None:
        """Store a value in the ``meta`` table, unless it stands there already."""
        if self.meta(key) == value:
            return
        self.database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @property
    def root(self) -> Path:
        """The folder this index describes; relative paths in it start here."""
        root = self.meta("root")
        if root is None:
            raise UsageError(f"{self.path} is empty. Run `featurecache scan` first.")
        return Path(os.fsdecode(root))

    def stacks(self, *, usable_only: bool = True) -> Iterator[Stack]:
        """Yield stacks ordered by patient, study and key; memory holds one at a time.

        Parameters
        ----------
        usable_only : bool
            Leave out stacks that have a reason not to be used.
        """
        for _, stack in self.numbered_stacks(usable_only=usable_only):
            yield stack

    def numbered_stacks(self, *, usable_only: bool = True) -> Iterator[tuple[int, Stack]]:
        """Yield stacks as `stacks` does, each with the number that `numbered_stack` takes."""
        where = "WHERE usable" if usable_only else ""
        rows = self.database.execute(
            f"SELECT {_STACK_COLUMNS} FROM stacks {where} "  # noqa: S608  constants only
            "ORDER BY patient_id, study_uid, key"
        )
        for row in rows:
            yield row[0], self._stack(row)

    def numbered_stack(self, number: int) -> Stack | None:
        """Return the stack of a number; None where a scan has put the series together anew.

        Raises
        ------
        UsageError
            A scan holds the index for longer than this connection waits, or it cannot be read.
        """
        select = f"SELECT {_STACK_COLUMNS} FROM stacks WHERE id = ?"  # noqa: S608  constants only
        try:
            row = self.database.execute(select, (number,)).fetchone()
            return None if row is None else self._stack(row)
        except sqlite3.Error as error:
            raise UsageError(_explain(self.path, error)) from error

    def stacks_of(self, series: str) -> list[Stack]:
        """Return the stacks with this key or SeriesInstanceUID, usable or not."""
        rows = self.database.execute(
            f"SELECT {_STACK_COLUMNS} FROM stacks "  # noqa: S608  constants only
            "WHERE series_uid = ? OR key = ? ORDER BY id",
            (_bindable(series), _bindable(series)),
        ).fetchall()
        return [self._stack(row) for row in rows]

    def find(self, series: str) -> Stack:
        """Return one stack, by its key, its SeriesInstanceUID or the folder its files lie in.

        Parameters
        ----------
        series : str
            One of the three. A folder is named from the working folder or, if nothing of the
            index lies there, from the scanned root, as ``info --series`` prints it.

        Returns
        -------
        Stack

        Raises
        ------
        UsageError
            If there is none, or the folder holds several.
        """
        select = f"SELECT {_STACK_COLUMNS} FROM stacks "  # noqa: S608  constants only
        row = self.database.execute(select + "WHERE key = ?", (_bindable(series),)).fetchone()
        if row is not None:
            return self._stack(row)
        rows: list[Any] = []
        for folder in (Path(series), self.root / series):
            rows = (
                rows
                or self.database.execute(
                    select  # noqa: S608  constants only
                    + "WHERE id IN (SELECT stack FROM frames JOIN files ON files.id = file "
                    "WHERE path >= ? AND path < ?) ORDER BY usable DESC, key",
                    _below(self.relative(folder)),
                ).fetchall()
            )
        usable = [row for row in rows if row[5]]
        candidates = usable or rows
        if len(candidates) == 1:
            return self._stack(candidates[0])
        if not candidates:
            raise UsageError(
                f"No series {series!r} in {self.path}: expected a SeriesInstanceUID or a folder "
                "with one series. `featurecache info --series` lists them, and "
                "`featurecache scan --explain PATH` says what became of a file or folder."
            )
        keys = ", ".join(row[1] for row in candidates[:_NAMED])
        more = f" and {len(candidates) - _NAMED:,} more" if len(candidates) > _NAMED else ""
        raise UsageError(f"{series!r} holds {len(candidates):,} series; name one: {keys}{more}")

    def relative(self, path: Path) -> bytes:
        """Return a path as the index stores it: bytes, relative to the root."""
        # The last component is not resolved: a link is an entry of its own.
        full = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
        if path.name in {"", ".", ".."}:
            full = os.path.realpath(path)
        inside = os.path.relpath(full, self.root)
        return b"" if inside == os.curdir else os.fsencode(inside)

    def account(self, left_out: Collection[str] = ()) -> Account:
        """Return the account of the last scan.

        Parameters
        ----------
        left_out : collection of str
            Keys of stacks whose warnings do not count, because a selection leaves them out.

        Returns
        -------
        Account
            Checked: it balances.
        """
        account = Account(seen=int(self.meta("seen", 0)))
        for status, reason, count in self.database.execute(
            "SELECT status, reason, count(*) FROM files GROUP BY status, reason"
        ):
            if status in {"used", "skipped", "failed"}:
                setattr(account, status, getattr(account, status) + count)
            if status in {"skipped", "failed"}:
                account.reasons[status, reason] = count
        self._add_warnings(account, json.dumps(sorted(left_out)))
        account.check()
        return account

    def _add_warnings(self, account: Account, left_out: str) -> None:
        """Count warnings of used files by file; those that only a stack has, by stack."""
        for query in (_FILE_WARNINGS, _STACK_WARNINGS):
            for warning, count in self.database.execute(query, (left_out,)):
                account.reasons.setdefault(("warning", warning), count)
        if rows := self.nifti_rows_without_file():
            account.reasons["warning", ROW_WITHOUT_FILE] = len(rows)

    def nifti_rows_without_file(self) -> list[str]:
        """Return the paths in the table of NIfTI identifiers that name no file of the tree."""
        return list(json.loads(self.meta("nifti_rows_without_file", "[]")))

    def _stack(self, row: tuple[Any, ...]) -> Stack:
        identity, key, series_uid, study_uid, patient_id, usable, reason, *rest = row
        numbers, (wrapped, assume_hu), texts = rest[:7], rest[7:9], rest[9:]
        warnings = self.database.execute(
            "SELECT warning FROM findings WHERE stack = ? ORDER BY warning", (identity,)
        )
        fields: list[Any] = [key, series_uid, study_uid, patient_id, tuple(self._slices(identity))]
        fields += [bool(usable), reason, tuple(warning for (warning,) in warnings)]
        fields += [*map(_nan, numbers), bool(wrapped), bool(assume_hu), *texts]
        return Stack(*fields)

    def _slices(self, stack: int) -> Iterator[Slice]:
        rows = self.database.execute(
            "SELECT path, frame, sop_uid, digest, revision, rows, columns, z_mm, gap_mm, "
            "instance_number, size, mtime_ns FROM frames JOIN files ON files.id = file "
            "WHERE stack = ? ORDER BY place",
            (stack,),
        )
        for path, frame, sop_uid, digest, revision, n_rows, columns, z, gap, *rest in rows:
            yield Slice(
                os.fsdecode(path),
                frame,
                sop_uid,
                source_of(digest, revision),
                n_rows,
                columns,
                _nan(z),
                _nan(gap),
                *rest,
            )


def source_of(digest: str, revision: int) -> str:
    """Return `Slice.source`: the header's digest, and from the first change on the revision.

    Parameters
    ----------
    digest : str
        32 hex digits of raw header bytes and file size.
    revision : int
        How often a re-scan found the file changed.

    Returns
    -------
    str
        32 hex digits; `digest` itself for revision 0.
    """
    if not revision:
        return digest
    import hashlib

    return hashlib.blake2b(f"{digest}/{revision}".encode(), digest_size=16).hexdigest()


def _below(folder: bytes) -> tuple[bytes, bytes]:
    """Return the range of stored paths that lie in a folder."""
    if not folder:
        return b"", b"\xff" * 8
    return folder + b"/", folder + b"0"  # "0" follows "/"


def _bindable(text: str) -> str:
    """Return text that SQLite takes; names that are not UTF-8 are no identifiers of ours."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _connect(path: Path, readonly: bool) -> sqlite3.Connection:
    if not readonly:
        # SQLite gives its journal the database's mode, so both are private.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    absolute = quote(os.fsencode(path.absolute()))
    mode = "ro" if readonly else "rw"
    database = sqlite3.connect(
        f"file:{absolute}?mode={mode}", uri=True, isolation_level=None, timeout=5
    )
    database.execute("PRAGMA foreign_keys = ON")
    if not readonly:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("BEGIN IMMEDIATE")
        database.execute("COMMIT")
    return database


def _explain(path: Path, error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"Another scan is writing to {path}. Wait for it, or use another --index."
    if name.startswith("SQLITE_READONLY") or name == "SQLITE_CANTOPEN":
        return (
            f"The index {path} cannot be opened ({error}). If a scan was killed, run "
            "`featurecache scan` again; if the folder is read-only, use another --index."
        )
    return f"{path} is not an index of featurecache ({error}). Use another --index."


def _other_version(path: Path, version: Any) -> str:
    if not isinstance(version, int):
        return f"{path} is not an index of featurecache (no version). Use another --index."
    age = "an older" if version < SCHEMA_VERSION else "a newer"
    return (
        f"{path} was made by {age} featurecache: index version {version}, expected "
        f"{SCHEMA_VERSION}. Delete it and run `featurecache scan` again, or use another --index."
    )


def json_or_none(value: tuple[float, ...] | None) -> str | None:
    """Return a vector as JSON text for a column (exact: floats round-trip).

    Parameters
    ----------
    value : tuple of float or None
        A position or orientation; None where it is unknown.

    Returns
    -------
    str or None
        None, which SQLite stores as NULL, for None.
    """
    return None if value is None else json.dumps(value)
