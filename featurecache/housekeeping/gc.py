"""What a store no longer needs: debris of killed runs, and rows that a later part has again."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from featurecache import arrays
from featurecache.columns import part_draft
from featurecache.errors import StoreError, StoreIncompleteError
from featurecache.housekeeping.merge import Merged
from featurecache.local_storage import LocalStorage
from featurecache.locks import store_lock
from featurecache.open_storage import open_storage
from featurecache.part_numbers import list_parts, part_name, replaced_parts
from featurecache.storage import Storage, walk
from featurecache.store import FeatureStore
from featurecache.words import plural


@dataclass(frozen=True, slots=True)
class GcReport:
    """What was removed, or would be.

    Parameters
    ----------
    store : str
        The store.
    dry_run : bool
        Nothing was changed.
    debris : list of str
        Files and folders of killed runs.
    superseded_rows : int
        Rows of old parts that no reader returned.
    parts : list of int
        Parts that were removed.
    freed_bytes : int
        Size on disk before, less that after; None for a dry run with superseded rows.
    refused : str or None
        Why superseded rows stay.
    """

    store: str
    dry_run: bool
    debris: list[str]
    superseded_rows: int
    parts: list[int]
    freed_bytes: int | None
    refused: str | None

    @property
    def exit_code(self) -> int:
        """5 where superseded rows had to stay, else 0."""
        return 5 if self.refused else 0

    def document(self) -> dict[str, Any]:
        """The document of ``gc --json``."""
        return {
            "schema_version": 1,
            "store": self.store,
            "dry_run": self.dry_run,
            "debris": self.debris,
            "superseded_rows": self.superseded_rows,
            "parts_removed": self.parts,
            "freed_bytes": self.freed_bytes,
            "refused": self.refused,
        }

    def text(self) -> str:
        """The same for people."""
        would = "would be " if self.dry_run else ""
        lines = [f"debris      {would}removed: {file}" for file in self.debris]
        if self.superseded_rows and not self.refused:
            parts = ", ".join(part_name(part) for part in self.parts)
            lines.append(
                f"superseded  {plural(self.superseded_rows, 'row')} {would}dropped; one part "
                f"{would or 'was '}written in place of {parts}"
            )
        if self.refused:
            lines.append(
                f"superseded  {plural(self.superseded_rows, 'row')} not dropped: {self.refused}"
            )
        if len(lines) == 0:
            lines.append("nothing to remove")
        if self.freed_bytes is not None:
            lines.append(f"{self.store}: {self.freed_bytes:,} bytes freed")
        return "\n".join(lines)


def gc(
    store: str | Path | Storage, *, dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> GcReport:  # fmt: skip
    """Remove debris of killed runs and rows that a later part supersedes.

    Readers return the same rows before, after, and at every moment in between: the rows that
    count are written as one new part, which appears in one step and says that it replaces those
    before it; then these go.

    Parameters
    ----------
    store : str, Path or Storage
        The store.
    dry_run : bool
        Only say what would be removed.
    progress : callable, optional
        Called with (rows written, rows to write).

    Returns
    -------
    GcReport

    Raises
    ------
    StoreError
        The store is locked, damaged, or no folder.
    """
    storage = open_storage(store)
    if not isinstance(storage, LocalStorage):
        raise StoreError(
            f"{storage}: gc works on stores in a folder. Pack the store into a new one instead "
            "(`featurecache pack`), and delete this one"
        )
    arrays.read_root(storage)
    if dry_run:
        return _survey(storage)
    with store_lock(storage):
        return _clean(storage, progress)


def _survey(storage: LocalStorage) -> GcReport:
    merged, parts = Merged(storage), list_parts(storage)
    debris = [str(path.relative_to(storage.folder.parent)) for path in debris_of(storage)]
    rows = merged.superseded_rows
    refused = _refusal(storage) if rows else None
    gone = parts if rows and refused is None else []
    return GcReport(str(storage), True, debris, rows, gone, None, refused)


def _clean(storage: LocalStorage, progress: Callable[[int, int], None] | None) -> GcReport:
    before = _size(storage)
    gone = replaced_parts(storage, list_parts(storage))
    _remove_parts(storage, gone)  # a gc was killed after it had published their rows
    debris = debris_of(storage)
    for path in debris:
        storage.remove(path)
    merged = Merged(storage)
    rows = merged.superseded_rows
    refused = _refusal(storage) if rows else None
    if rows and refused is None:
        gone += _replace_parts(storage, merged, progress)
    names = [str(path.relative_to(storage.folder.parent)) for path in debris]
    freed = before - _size(storage)
    return GcReport(str(storage), False, names, rows, gone, freed, refused)


def debris_of(storage: LocalStorage) -> list[Path]:
    """What killed runs left: drafts, and status chunks and arrays whose features never came.

    Parameters
    ----------
    storage : LocalStorage
        Where the store lies.

    Returns
    -------
    list of Path
    """
    keys = set(walk(storage))
    found = {storage.folder / key for key in keys if key.endswith((".partial", ".partial/"))}
    for key in keys:
        part, _, rest = key.partition("/status/")
        name, _, file = rest.partition("/")
        if not rest or not file:
            continue
        if f"{part}/features/{name}/zarr.json" not in keys:
            has_chunks = any(other.startswith(f"{part}/status/{name}/c.") for other in keys)
            found |= set() if has_chunks else {storage.folder / part / "status" / name}
        elif file.startswith("c.") and f"{part}/features/{name}/{file}.0" not in keys:
            found.add(storage.folder / key)
    return sorted({*found, *storage.debris()})


def _refusal(storage: LocalStorage) -> str | None:
    """Why superseded rows cannot be dropped: rows that count would be dropped with them."""
    store = FeatureStore.open(storage)
    for name in store:
        try:
            store[name]
        except StoreIncompleteError as error:
            return (
                f"features {name!r} are unfinished, and gc drops no part before they are. {error}"
            )
    return None


def _replace_parts(
    storage: LocalStorage, merged: Merged, progress: Callable[[int, int], None] | None
) -> list[int]:
    """Write the rows that count as one new part, then remove the others."""
    old = list_parts(storage)
    new = old[-1] + 1
    draft = LocalStorage(storage.folder / f".{part_name(new)}.{uuid4().hex}.partial")
    tables = merged.tables()
    total, done = tables.n_slices * len(merged.names), 0
    try:
        draft.publish(part_name(0), part_draft(draft, tables, new).files())
        for name in merged.names:
            for rows in merged.copy(name, draft, 0):
                done += rows
                if progress is not None:
                    progress(done, total)
        os.sync()  # the old rows go next: let the new ones be on the disk, not in its cache
        storage.move(draft.folder / part_name(0), storage.folder / part_name(new))
    finally:
        draft.remove(draft.folder)
    _remove_parts(storage, old)
    return old


def _remove_parts(storage: LocalStorage, parts: list[int]) -> None:
    """Rename before removing, so that a reader finds a part whole or not at all."""
    drafts = [storage.folder / f".{part_name(part)}.{uuid4().hex}.partial" for part in parts]
    for part, draft in zip(parts, drafts, strict=True):
        storage.move(storage.folder / part_name(part), draft)
    for draft in drafts:
        storage.remove(draft)


def _size(storage: LocalStorage) -> int:
    return sum(path.stat().st_size for path in storage.folder.rglob("*") if path.is_file())
