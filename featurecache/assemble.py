"""Series by series: frames of the index -> stacks, repeats removed, files settled."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from featurecache.geometry import build_stacks
from featurecache.index import Index, source_of
from featurecache.nifti import is_nifti
from featurecache.reasons import REPEAT_UNDECIDED
from featurecache.repeats import UNREAD, known_content
from featurecache.stacks import Frame, Stack

DUPLICATE = "duplicate of another file"
CONFLICT = "one SOPInstanceUID, different pixels"
NIFTI_OF_DICOM = "NIfTI file with the SeriesInstanceUID of DICOM files"
SHARED = "SOPInstanceUID in several series"


@dataclass(frozen=True, slots=True)
class Row:
    """A frame with the number of its file."""

    file: int
    frame: Frame


def assemble_series(index: Index, series_uid: str, min_slices: int) -> None:
    """Rebuild the stacks of one series and settle what became of its files.

    Parameters
    ----------
    index : Index
        Open for writing, inside a transaction; `repeats.compare_repeats` has been called.
    series_uid : str
        Which series.
    min_slices : int
        A stack with fewer slices is not usable.
    """
    rows = list(_rows(index, series_uid))
    _forget(index, series_uid)
    if rows:
        kept, verdicts = _without_repeats(index, series_uid, rows)
        stacks = build_stacks([row.frame for row in kept], min_slices=min_slices)
        if any(row.frame.may_be_wrapped or is_nifti(row.frame.path) for row in kept):
            index.database.execute("INSERT OR IGNORE INTO probes VALUES (?)", (series_uid,))
        places = _store_stacks(index, stacks, kept)
        _settle(index, rows, places, verdicts)
    index.database.execute("DELETE FROM dirty WHERE series_uid = ?", (series_uid,))


def _rows(index: Index, series_uid: str) -> Iterator[Row]:
    found = index.database.execute(
        "SELECT file, path, frame, sop_uid, frames.series_uid, study_uid, patient_id, digest, "
        "revision, rows, columns, position, orientation, row_spacing_mm, column_spacing_mm, "
        "thickness_mm, kernel, acquisition, image_type, echo, description, manufacturer, "
        "instance_number, size, mtime_ns, may_be_wrapped, assumed_hu, warnings "
        "FROM frames JOIN files ON files.id = file WHERE frames.series_uid = ? "
        "ORDER BY path, frame",
        (series_uid,),
    )
    for file, path, *columns in found:
        yield Row(file, _frame(os.fsdecode(path), columns))


def _frame(path: str, columns: list[Any]) -> Frame:
    number, sop_uid, series_uid, study_uid, patient_id, digest, revision = columns[:7]
    n_rows, n_columns, position, orientation = columns[7:11]
    instance_number, size, mtime_ns, may_be_wrapped, assumed_hu, warnings = columns[20:]
    fields: list[Any] = [path, number, sop_uid, series_uid, study_uid, patient_id]
    fields += [source_of(digest, revision), n_rows, n_columns]
    fields += [_vector(position), _vector(orientation)]
    fields += [math.nan if spacing is None else spacing for spacing in columns[11:14]]
    fields += columns[14:20]
    fields += [instance_number, size, mtime_ns, bool(may_be_wrapped), bool(assumed_hu)]
    fields.append(_warnings(warnings))
    return Frame(*fields)


@lru_cache(maxsize=1024)
def _vector(text: str | None) -> tuple[float, ...] | None:
    """Read a vector; orientations repeat, and a series is read in one go."""
    return None if text is None else tuple(json.loads(text))


@lru_cache(maxsize=256)
def _warnings(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _forget(index: Index, series_uid: str) -> None:
    database = index.database
    database.execute("DELETE FROM probes WHERE series_uid = ?", (series_uid,))
    database.execute(
        "DELETE FROM findings WHERE stack IN (SELECT id FROM stacks WHERE series_uid = ?)",
        (series_uid,),
    )
    database.execute("DELETE FROM stacks WHERE series_uid = ?", (series_uid,))
    database.execute(
        "UPDATE frames SET stack = NULL, place = NULL, z_mm = NULL, gap_mm = NULL "
        "WHERE series_uid = ? AND stack IS NOT NULL",
        (series_uid,),
    )


def _without_repeats(
    index: Index, series_uid: str, rows: list[Row]
) -> tuple[list[Row], dict[tuple[int, int], tuple[str, str, str]]]:
    """Keep one of several files with the same image; refuse all where the images differ.

    Returns the rows kept and, for the others, (status, reason, detail) by (file, frame).
    """
    elsewhere = _elsewhere(index, series_uid)
    groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
    verdicts = _nifti_among_dicom(rows)
    for row in rows:
        if _name(row) not in verdicts:
            groups[row.frame.sop_uid, row.frame.frame].append(row)
    kept: list[Row] = []
    for name, group in groups.items():
        others = elsewhere.get(name, [])
        if len(group) + len(others) == 1:
            kept += group
            continue
        refusal = _refusal(index, [*group, *others])
        if refusal is not None:
            verdicts |= {_name(row): refusal for row in group}
            continue
        first, *repeats = sorted(group, key=lambda row: row.frame.path)
        if others:
            warnings = tuple(sorted({*first.frame.warnings, SHARED}))
            first = Row(first.file, replace(first.frame, warnings=warnings))
        kept.append(first)
        same = f"same image as {first.frame.path}"
        verdicts |= {_name(row): ("skipped", DUPLICATE, same) for row in repeats}
    refused = {file: why for (file, _), why in verdicts.items() if why[0] == "failed"}
    verdicts |= {_name(row): refused[row.file] for row in kept if row.file in refused}
    return [row for row in kept if row.file not in refused], verdicts


def _nifti_among_dicom(rows: Sequence[Row]) -> dict[tuple[int, int], tuple[str, str, str]]:
    """A table of identifiers that gives a NIfTI file the series of DICOM files is refused."""
    nifti = [row for row in rows if is_nifti(row.frame.path)]
    if len(nifti) == len(rows):
        return {}
    why = ("failed", NIFTI_OF_DICOM, "the table of --nifti-ids says so: change it there")
    return {_name(row): why for row in nifti}


def _refusal(index: Index, group: Sequence[Row]) -> tuple[str, str, str] | None:
    """Say why frames of one SOPInstanceUID are not used, unless they are the same image."""
    contents = {known_content(index, *_name(row)) for row in group}
    unread = sorted(content for content in contents if content.startswith(UNREAD))
    n_images = len(contents) - len(unread)
    if n_images > 1:
        return "failed", CONFLICT, f"{len(group)} files, {n_images} different images"
    if unread:
        return "failed", REPEAT_UNDECIDED, unread[0]
    return None


def _name(row: Row) -> tuple[int, int]:
    return row.file, row.frame.frame


def _elsewhere(index: Index, series_uid: str) -> dict[tuple[str, int], list[Row]]:
    """Return frames of other series that bear a SOPInstanceUID of this one."""
    others = index.database.execute(
        "SELECT DISTINCT other.series_uid FROM frames AS mine JOIN frames AS other "
        "ON other.sop_uid = mine.sop_uid AND other.series_uid != mine.series_uid "
        "WHERE mine.series_uid = ?",
        (series_uid,),
    ).fetchall()
    found: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for (other,) in others:
        for row in _rows(index, other):
            found[row.frame.sop_uid, row.frame.frame].append(row)
    return found


def _store_stacks(
    index: Index, stacks: list[Stack], kept: Sequence[Row]
) -> dict[tuple[int, int], Stack]:
    """Write stacks, their findings and the place of every slice; return frame -> stack."""
    by_name = {(row.frame.path, row.frame.frame): row for row in kept}
    places: dict[tuple[int, int], Stack] = {}
    for stack in stacks:
        values = (
            stack.key, stack.series_uid, stack.study_uid, stack.patient_id, stack.usable,
            stack.reason, stack.tilt_deg, stack.row_spacing_mm, stack.column_spacing_mm,
            stack.thickness_mm, stack.median_gap_mm, stack.z_extent_mm, stack.fov_mm,
            stack.wrapped, stack.assume_hu, stack.description, stack.kernel, stack.manufacturer,
        )  # fmt: skip
        identity = index.database.execute(
            "INSERT INTO stacks (key, series_uid, study_uid, patient_id, usable, reason, "
            "tilt_deg, row_spacing_mm, column_spacing_mm, thickness_mm, median_gap_mm, "
            "z_extent_mm, fov_mm, wrapped, assume_hu, description, kernel, manufacturer) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            tuple(_null(value) for value in values),
        ).lastrowid
        index.database.executemany(
            "INSERT INTO findings VALUES (?, ?)",
            [(identity, warning) for warning in stack.warnings],
        )
        updates = []
        for place, slice_ in enumerate(stack.slices):
            row = by_name[slice_.path, slice_.frame]
            places[_name(row)] = stack
            updates.append((identity, place, _null(slice_.z_mm), _null(slice_.gap_mm), *_name(row)))
        index.database.executemany(
            "UPDATE frames SET stack = ?, place = ?, z_mm = ?, gap_mm = ? "
            "WHERE file = ? AND frame = ?",
            updates,
        )
    return places


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _settle(
    index: Index,
    rows: Sequence[Row],
    places: dict[tuple[int, int], Stack],
    verdicts: dict[tuple[int, int], tuple[str, str, str]],
) -> None:
    """Give every file its final status: used if any of its frames is in a usable stack."""
    outcomes: dict[int, list[tuple[str, str | None, str | None]]] = defaultdict(list)
    for row in rows:
        stack = places.get(_name(row))
        if stack is None:
            outcomes[row.file].append(verdicts[_name(row)])
        elif stack.usable:
            outcomes[row.file].append(("used", None, None))
        else:
            outcomes[row.file].append(("skipped", stack.reason, f"series {stack.key}"))
    rank = {"failed": 0, "used": 1, "skipped": 2}
    index.database.executemany(
        "UPDATE files SET status = ?, reason = ?, detail = ? WHERE id = ?",
        [
            (*min(found, key=lambda outcome: rank[outcome[0]]), file)
            for file, found in outcomes.items()
        ],
    )


def mark_dirty(index: Index, files: Iterable[int]) -> None:
    """Mark the series of these files, and those that share an image with them, for rebuilding.

    Parameters
    ----------
    index : Index
        Open for writing.
    files : iterable of int
        Numbers in the ``files`` table, whose frames are still there.
    """
    index.database.executemany(
        "INSERT OR IGNORE INTO dirty SELECT DISTINCT other.series_uid FROM frames AS mine "
        "JOIN frames AS other ON other.sop_uid = mine.sop_uid WHERE mine.file = ?",
        ((file,) for file in files),
    )


__all__ = ["CONFLICT", "DUPLICATE", "assemble_series", "mark_dirty"]
