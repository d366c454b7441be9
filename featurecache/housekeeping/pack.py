"""A store for shipping: the rows that count, in one part, in few files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from featurecache import arrays
from featurecache.blueprints import CHUNK_ROWS, root_files
from featurecache.columns import part_draft
from featurecache.errors import StoreError, UsageError
from featurecache.housekeeping.merge import Merged
from featurecache.local_storage import LocalStorage
from featurecache.open_storage import open_storage
from featurecache.storage import Storage, walk
from featurecache.store import FeatureStore
from featurecache.words import plural

SHARD_ROWS = 65_536
"""Rows of a file, unless that is more than `SHARD_BYTES`."""

SHARD_BYTES = 2**29
"""A shard is written from memory."""


@dataclass(frozen=True, slots=True)
class PackReport:
    """What was packed.

    Parameters
    ----------
    out : str
        The new store.
    names : list of str
        Its feature sets.
    rows, series, files : int
        How many.
    """

    out: str
    names: list[str]
    rows: int
    series: int
    files: int

    def text(self) -> str:
        """The same for people."""
        return (
            f"{self.out}: {', '.join(self.names)}; {plural(self.rows, 'slice')} of "
            f"{self.series:,} series in {plural(self.files, 'file')}"
        )


def pack(
    store: str | Path | Storage, out: str | Path | Storage, names: Sequence[str] = (), *,
    progress: Callable[[int, int], None] | None = None,
) -> PackReport:  # fmt: skip
    """Write the rows of a store that count as another store: one part, features in shards.

    Parameters
    ----------
    store : str, Path or Storage
        The store; it is only read.
    out : str, Path or Storage
        The new store; its folder appears when it is whole.
    names : sequence of str
        Feature sets that go in; by default all.
    progress : callable, optional
        Called with (rows done, rows to do).

    Returns
    -------
    PackReport

    Raises
    ------
    UsageError
        `out` is there already, or a feature set is not in the store.
    StoreError
        A feature set is unfinished, or the store cannot be read.
    """
    source, target = open_storage(store), open_storage(out)
    opened = FeatureStore.open(source)
    if target.files() or target.folders() or (target.folder and target.folder.exists()):
        raise UsageError(f"{target} is there already: choose another name")
    if not opened.part_count:
        raise StoreError(f"{source} is empty: there is nothing to pack")
    merged, chosen = Merged(source), list(names) or opened.names
    for name in chosen:
        opened[name]  # refuses what is unfinished before anything is written
    if target.folder is None:
        return _write(merged, chosen, target, opened.key_digest, str(target), progress)
    target.folder.parent.mkdir(parents=True, exist_ok=True)
    draft = LocalStorage(target.folder.with_name(f".{target.name}.{uuid4().hex}.partial"))
    try:
        report = _write(merged, chosen, draft, opened.key_digest, str(target), progress)
        draft.move(draft.folder, target.folder)
    finally:
        draft.remove(draft.folder)
    return report


def _write(
    merged: Merged, names: list[str], target: Storage, key_digest: str | None, out: str,
    progress: Callable[[int, int], None] | None,
) -> PackReport:  # fmt: skip
    """Write everything, the root last: until then it is no store."""
    tables = merged.tables()
    target.publish(arrays.part_name(0), part_draft(target, tables).files())
    total, done = tables.n_slices * len(names), 0
    for name in names:
        for rows in merged.copy(name, target, 0, shard_rows(merged.row_bytes(name)), CHUNK_ROWS):
            done += rows
            if progress is not None:
                progress(done, total)
    target.write("zarr.json", root_files(key_digest)["zarr.json"])
    n_files = sum(1 for _ in walk(target))
    return PackReport(out, names, tables.n_slices, tables.n_series, n_files)


def shard_rows(row_bytes: int) -> int:
    """Rows of a shard.

    Parameters
    ----------
    row_bytes : int
        Bytes of one row of features.

    Returns
    -------
    int
        A multiple of `CHUNK_ROWS`, at most `SHARD_ROWS`.
    """
    fit = SHARD_BYTES // (row_bytes * CHUNK_ROWS) * CHUNK_ROWS
    return min(SHARD_ROWS, max(fit, CHUNK_ROWS))
