"""What another option, or a fault that may pass, has made out of date in the index.

Called before a walk, so that the scan looks again at files and series that did not change.
"""

import json
import os

from featurecache.compare import NOT_MARKED, READ_AGAIN
from featurecache.index import Index
from featurecache.nifti_ids import FileIds
from featurecache.probes import HU_ASSUMED
from featurecache.reasons import NOT_HU, REPEAT_UNDECIDED, RESCALE_MISSING, VALUES_UNDECIDED
from featurecache.repeats import forget_unread

_ASSUMED = "rescale missing: stored values taken as HU"


def mark_outdated(
    index: Index,
    *,
    assume_hu: bool,
    min_slices: int,
    nifti_paths: list[str],
    nifti_ids: FileIds | None,
) -> None:
    """Mark files to be read again and series to be put together again; all of it, or nothing.

    Parameters
    ----------
    index : Index
        Open for writing.
    assume_hu, min_slices
        Of this scan.
    nifti_paths : list of str
        Every NIfTI file below the root; looked at where their identifiers have changed.
    nifti_ids : FileIds or None
        Identifiers of NIfTI files, None where their paths say who they are.
    """
    index.database.execute("BEGIN")
    _undecided(index)
    if index.meta("assume_hu", int(assume_hu)) != int(assume_hu):
        _other_assumption(index)
    if index.meta("min_slices", min_slices) != min_slices:
        _series(index, "SELECT DISTINCT series_uid FROM frames")
    digest = None if nifti_ids is None else nifti_ids.digest
    if index.meta("nifti_ids") != digest:
        index.set_meta("complete", 0)
        index.database.executemany(
            f"UPDATE files SET {READ_AGAIN} WHERE {NOT_MARKED} AND path = ?",  # noqa: S608
            [(os.fsencode(path),) for path in nifti_paths],
        )
    index.set_meta("assume_hu", int(assume_hu))
    index.set_meta("min_slices", min_slices)
    index.set_meta("nifti_ids", digest)
    index.set_meta(
        "nifti_rows_without_file", json.dumps(nifti_ids.without_file if nifti_ids else ())
    )
    index.database.execute("COMMIT")


def _undecided(index: Index) -> None:
    """What could not be read may be readable now."""
    forget_unread(index)
    _series(
        index,
        "SELECT DISTINCT series_uid FROM files WHERE reason IN (?, ?)",
        VALUES_UNDECIDED,
        REPEAT_UNDECIDED,
    )


def _other_assumption(index: Index) -> None:
    index.set_meta("complete", 0)
    index.database.execute(
        f"UPDATE files SET {READ_AGAIN} WHERE {NOT_MARKED} "  # noqa: S608  constants only
        "AND (reason = ? OR warnings LIKE ?)",
        (RESCALE_MISSING, f"%{_ASSUMED}%"),
    )
    _series(
        index,
        "SELECT DISTINCT series_uid FROM files WHERE reason = ? UNION "
        "SELECT series_uid FROM stacks JOIN findings ON stack = stacks.id WHERE warning = ?",
        NOT_HU,
        HU_ASSUMED,
    )


def _series(index: Index, query: str, *values: str) -> None:
    added = index.database.execute(f"INSERT OR IGNORE INTO dirty {query}", values)
    if added.rowcount:
        index.set_meta("complete", 0)
