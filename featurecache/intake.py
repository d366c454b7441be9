"""One file -> the rows that the index keeps of it. Runs in worker processes."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from featurecache.errors import ReadError
from featurecache.files import opened
from featurecache.header import FileHeader, load_header
from featurecache.index import json_or_none
from featurecache.nifti import is_nifti, load_nifti
from featurecache.nifti_ids import NiftiIds
from featurecache.reasons import SkipFileError
from featurecache.walk import Entry
from featurecache.wrap import may_be_wrapped

FRAME_COLUMNS = (
    "file, frame, series_uid, sop_uid, digest, study_uid, patient_id, rows, columns, position, "
    "orientation, row_spacing_mm, column_spacing_mm, thickness_mm, kernel, acquisition, "
    "image_type, echo, description, manufacturer, instance_number, may_be_wrapped, assumed_hu"
)


class FileRecord(NamedTuple):
    """What became of one file when its header was read.

    Parameters
    ----------
    status : str
        "image", "skipped" or "failed".
    reason, detail : str or None
        Why not.
    warnings : str
        JSON list.
    series_uid : str or None
        For images.
    frames : tuple of tuple
        Rows of the ``frames`` table, without the file's number.
    """

    status: str
    reason: str | None
    detail: str | None
    warnings: str
    series_uid: str | None
    frames: tuple[tuple[Any, ...], ...]


def read_file(
    item: Entry,
    *,
    root: bytes,
    assume_hu: bool,
    nifti_ids: Mapping[str, NiftiIds] | None = None,
) -> FileRecord:
    """Read the header of one file.

    Parameters
    ----------
    item : Entry
        Path relative to the root, size and time as the walk saw them.
    root : bytes
        Absolute path of the root.
    assume_hu : bool
        Take stored values as Hounsfield units where rescale is absent.
    nifti_ids : mapping of str to NiftiIds, optional
        Path of a NIfTI file -> identifiers. Where given, no other NIfTI file is used.

    Returns
    -------
    FileRecord
        Never raises ReadError: a reason is a result.
    """
    path, size, mtime_ns, *_ = item
    try:
        with opened(os.path.join(root, path), size, mtime_ns) as fd:  # noqa: PTH118
            if is_nifti(path):
                header = load_nifti(fd, size, os.fsdecode(path), nifti_ids)
            else:
                header = load_header(fd, size, assume_hu=assume_hu)
    except SkipFileError as error:
        return FileRecord("skipped", error.reason, error.detail, "[]", None, ())
    except ReadError as error:
        return FileRecord("failed", error.reason, error.detail, "[]", None, ())
    frames = tuple(
        _row(header, number) for number, frame in enumerate(header.frames) if not frame.localizer
    )
    if not frames:
        return FileRecord("skipped", "localizer", "every frame is one", "[]", None, ())
    warnings = json.dumps(header.warnings) if header.warnings else "[]"
    return FileRecord("image", None, None, warnings, header.series_uid, frames)


def _row(header: FileHeader, number: int) -> tuple[Any, ...]:
    frame = header.frames[number]
    wrapped = may_be_wrapped(
        header.bits_stored, header.pixel_representation, frame.slope, frame.intercept
    )
    return (
        number,
        header.series_uid,
        header.sop_uid,
        header.digest,
        header.study_uid,
        header.patient_id,
        header.rows,
        header.columns,
        json_or_none(frame.position),
        json_or_none(frame.orientation),
        _known(frame.row_spacing_mm),
        _known(frame.column_spacing_mm),
        _known(frame.thickness_mm),
        frame.kernel,
        frame.acquisition,
        frame.image_type,
        header.echo,
        header.description,
        header.manufacturer,
        frame.instance_number,
        wrapped,
        header.assumed_hu,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
