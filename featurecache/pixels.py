"""One frame of one file -> stored values with their rescale, checked -> Hounsfield units.

The steps: open the file that was scanned and no other; find the frame's bytes; decode; look at
bits outside BitsStored; undo the RSNA wrap; turn padding into air; check that it looks like an
image.

References
----------
DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (modality LUT), PS3.5 chapter 8 and annex A.
"""

import math
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Self

import numpy as np

from featurecache.decoders import decode_frame
from featurecache.elements import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from featurecache.errors import ReadError
from featurecache.files import opened, read_range
from featurecache.fragments import Read, check_whole, find_fragments, frame_bytes
from featurecache.header import FileHeader, load_header
from featurecache.nifti import is_nifti
from featurecache.part10 import inflate
from featurecache.reasons import NOT_USABLE_ANY_MORE, PIXEL_FORMAT, PIXELS_MALFORMED, PIXELS_SHORT
from featurecache.sanity import AIR_HU, TOP_HU, check_noise, findings
from featurecache.stacks import Slice, Stack
from featurecache.stored import (
    fill_with_air,
    find_padding,
    meant_values,
    narrow,
    padding_findings,
    without_padding,
)
from featurecache.voxels import read_nifti_slice
from featurecache.wrap import may_be_wrapped, unwrap

_NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED})
_WHOLE_FILE_BYTES = 8 << 20
_MOST_INFLATED_BYTES = 512 << 20
_CACHED_HEADERS = 2
_headers: OrderedDict[tuple[str, int, int, bool], FileHeader] = OrderedDict()


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """What a worker needs to decode one slice.

    Parameters
    ----------
    path : str
        Absolute path.
    frame : int
        0-based frame number.
    size, mtime_ns : int
        What the file was when it was scanned; another file is not decoded.
    wrapped : bool
        Undo the RSNA wrap.
    assume_hu : bool
        Take stored values as Hounsfield units where rescale is absent.
    series : str
        Whose slice it is, in the words of who asks; handed on to `Decoded`.
    """

    path: str
    frame: int
    size: int
    mtime_ns: int
    wrapped: bool
    assume_hu: bool
    series: str = ""

    @classmethod
    def of(
        cls, root: str, frame: int, path: bytes, size: int, mtime_ns: int, assume_hu: int,
        *, wrapped: bool = False,
    ) -> Self:  # fmt: skip
        """Return the job for columns of the index.

        Parameters
        ----------
        root : str
            ``Index.root``.
        frame, path, size, mtime_ns, assume_hu
            As the tables have them.
        wrapped : bool
            Undo the RSNA wrap.

        Returns
        -------
        DecodeJob
        """
        full = os.path.join(root, os.fsdecode(path))  # noqa: PTH118  Path would normalise the name
        return cls(full, frame, size, mtime_ns, wrapped, bool(assume_hu))


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded slice.

    Parameters
    ----------
    stored : ndarray (H, W) of int16, uint16 or int32
        Stored values, wrap undone, padding replaced by a value that means air.
    slope, intercept : float
        Hounsfield units are ``stored * slope + intercept``, to be clamped.
    warnings : tuple of str
        Findings about these pixels.
    read_s, decode_s : float
        Seconds spent reading the file, and decoding and checking it.
    row_spacing_mm, column_spacing_mm : float
        PixelSpacing of this very frame; NaN where its header has none.
    series : str
        Of the job.
    """

    stored: np.ndarray
    slope: float
    intercept: float
    warnings: tuple[str, ...]
    read_s: float
    decode_s: float
    row_spacing_mm: float = math.nan
    column_spacing_mm: float = math.nan
    series: str = ""


def job_for(root: Path, stack: Stack, slice_: Slice, series: str = "") -> DecodeJob:
    """Return the job that decodes one slice of a stack.

    Parameters
    ----------
    root : Path
        ``Index.root``.
    stack, slice_ : Stack, Slice
        As the index gives them.
    series : str
        Handed on to `Decoded`.

    Returns
    -------
    DecodeJob
        With the decisions made for the stack: whether to undo the wrap, whether to assume HU.
    """
    return DecodeJob(
        os.path.join(root, slice_.path),  # noqa: PTH118  Path would normalise the name
        slice_.frame,
        slice_.size,
        slice_.mtime_ns,
        stack.wrapped,
        stack.assume_hu,
        series,
    )


def decode_slice(job: DecodeJob) -> Decoded:
    """Read and decode one slice.

    Parameters
    ----------
    job : DecodeJob
        Which file and frame, and the decisions made for its series.

    Returns
    -------
    Decoded

    Raises
    ------
    ReadError
        Reason and detail; the reasons are those of `featurecache.reasons.SLICE_REASONS`.

    References
    ----------
    DICOM PS3.3 C.7.6.3.1, PS3.5 section 8.
    """
    if is_nifti(job.path):
        return _decode_nifti(job)
    started_s = perf_counter()
    warnings: list[str] = []
    header, frame = _read(job, warnings)
    read_s = perf_counter() - started_s
    cells = _cells_of(frame, header, warnings)
    stored, slope, intercept = _checked(cells, header, job, warnings)
    decode_s = perf_counter() - started_s - read_s
    frame_header = header.frames[job.frame]
    spacing_mm = (frame_header.row_spacing_mm, frame_header.column_spacing_mm)
    return Decoded(
        stored, slope, intercept, tuple(warnings), read_s, decode_s, *spacing_mm, job.series
    )


def stored_values(job: DecodeJob) -> np.ndarray:
    """Read the stored values of a DICOM slice as they are, without padding.

    Parameters
    ----------
    job : DecodeJob
        Which file and frame.

    Returns
    -------
    ndarray (n,) of int
        The wrap is not undone, and nothing asks whether this is an image.

    Raises
    ------
    ReadError
        As `decode_slice`.
    """
    header, frame = _read(job, [])
    cells = _cells_of(frame, header, [])
    rescale = header.frames[job.frame]
    padding = find_padding(cells, header, rescale.slope, rescale.intercept, wrapped=True)
    if padding is not None:
        cells = cells[~padding.mask].reshape(1, -1)
    if not cells.size:
        return cells.ravel()
    return meant_values(cells, header, compressed=header.encapsulated, warnings=[]).ravel()


def _decode_nifti(job: DecodeJob) -> Decoded:
    stored, frame, warnings, read_s, decode_s = read_nifti_slice(
        job.path, job.frame, job.size, job.mtime_ns
    )
    spacing_mm = (frame.row_spacing_mm, frame.column_spacing_mm)
    return Decoded(
        stored,
        frame.slope,
        frame.intercept,
        warnings,
        read_s,
        decode_s,
        *spacing_mm,
        job.series,
    )


def to_hu(decoded: Decoded) -> np.ndarray:
    """Return Hounsfield units, the reference for what the device computes.

    Parameters
    ----------
    decoded : Decoded
        A decoded slice.

    Returns
    -------
    ndarray (H, W) of float32
        Clamped to [-1024, 3071].

    References
    ----------
    DICOM PS3.3 C.11.1.1.2.
    """
    hu = decoded.stored.astype(np.float64)
    hu *= decoded.slope
    hu += decoded.intercept
    return np.clip(hu, AIR_HU, TOP_HU, out=hu).astype(np.float32)


def _read(job: DecodeJob, warnings: list[str]) -> tuple[FileHeader, bytes | memoryview]:
    """Return the header of a file, and the bytes of the frame."""
    with opened(job.path, job.size, job.mtime_ns) as fd:
        header = _header(fd, job)
        if not 0 <= job.frame < len(header.frames):
            raise ReadError(NOT_USABLE_ANY_MORE, f"no frame {job.frame + 1} in this file")
        return header, _frame(fd, header, job, warnings)


def _header(fd: int, job: DecodeJob) -> FileHeader:
    """Parse the header; those of multi-frame files are kept, since every frame asks for it."""
    key = (job.path, job.size, job.mtime_ns, job.assume_hu)
    if key in _headers:
        _headers.move_to_end(key)
        return _headers[key]
    header = load_header(fd, job.size, window=_WHOLE_FILE_BYTES, assume_hu=job.assume_hu)
    if header.n_frames > 1:
        _headers[key] = header
        while len(_headers) > _CACHED_HEADERS:
            _headers.popitem(last=False)
    return header


def _frame(fd: int, header: FileHeader, job: DecodeJob, warnings: list[str]) -> bytes | memoryview:
    """Return the bytes of a frame, compressed or not."""
    syntax = header.transfer_syntax
    if syntax in _NATIVE:
        if header.encapsulated:
            raise ReadError(PIXELS_MALFORMED, "compressed frames in an uncompressed syntax")
        return _native_frame(fd, header, job, warnings)
    if not header.encapsulated:
        raise ReadError(PIXELS_MALFORMED, f"uncompressed pixel data in transfer syntax {syntax}")
    read = _reader(fd, header.data)
    fragments = find_fragments(read, header.pixel.value)
    data = frame_bytes(fragments, read, job.frame, header.n_frames)
    warnings += check_whole(data, syntax, fragments.closed, header.rows, header.columns)
    return data


def _reader(fd: int, data: bytes) -> Read:
    """Return ``read(start, length)`` that goes to the disk only beyond what is in memory."""

    def read(start: int, length: int) -> bytes:
        if start + length <= len(data):
            return data[start : start + length]
        return read_range(fd, start, length)

    return read


def _native_frame(
    fd: int, header: FileHeader, job: DecodeJob, warnings: list[str]
) -> bytes | memoryview:
    length = header.bytes_per_frame
    start, end = job.frame * length, (job.frame + 1) * length
    total = length * header.n_frames
    if header.pixel.length < end:
        raise ReadError(
            PIXELS_SHORT, f"expected {total} bytes, the element has {header.pixel.length}"
        )
    if header.pixel.length > total + total % 2:
        warnings.append("excess pixel bytes")
    first = header.pixel.value + start
    if header.transfer_syntax == DEFLATED:
        frame: bytes | memoryview = _inflated(fd, header, job, first + length)[first:]
    elif first + length <= len(header.data):
        frame = memoryview(header.data)[first : first + length]
    else:
        frame = read_range(fd, first, length)
    if len(frame) < length:
        raise ReadError(
            PIXELS_SHORT, f"expected {length} bytes for a frame, the file has {len(frame)}"
        )
    return frame[:length]


def _inflated(fd: int, header: FileHeader, job: DecodeJob, end: int) -> bytes:
    if end <= len(header.data):
        return header.data
    if end > _MOST_INFLATED_BYTES:
        raise ReadError(PIXEL_FORMAT, f"{end} bytes to inflate, at most {_MOST_INFLATED_BYTES}")
    return inflate(read_range(fd, 0, job.size), end)


def _cells_of(frame: bytes | memoryview, header: FileHeader, warnings: list[str]) -> np.ndarray:
    if header.encapsulated:
        return _decompressed(frame, header, warnings)
    return _cells(frame, header)


def _cells(frame: bytes | memoryview, header: FileHeader) -> np.ndarray:
    """Return uncompressed pixel cells: (H, W), the whole container, in native byte order."""
    order = "<" if header.little else ">"
    kind = "ui"[header.pixel_representation]
    cells = np.frombuffer(frame, dtype=f"{order}{kind}{header.bits_allocated // 8}")
    cells = cells.reshape(header.rows, header.columns)
    return cells.astype(cells.dtype.newbyteorder("="))


def _decompressed(frame: bytes | memoryview, header: FileHeader, warnings: list[str]) -> np.ndarray:
    cells, found = decode_frame(
        bytes(frame),
        header.transfer_syntax,
        rows=header.rows,
        columns=header.columns,
        bits_allocated=header.bits_allocated,
        bits_stored=header.bits_stored,
        pixel_representation=header.pixel_representation,
    )
    warnings += found
    return cells


def _checked(
    cells: np.ndarray, header: FileHeader, job: DecodeJob, warnings: list[str]
) -> tuple[np.ndarray, float, float]:
    """Return stored values that can be trusted, with slope and intercept of the frame."""
    slope, intercept = header.frames[job.frame].slope, header.frames[job.frame].intercept
    bits, signed = header.bits_stored, header.pixel_representation
    wrapped = job.wrapped and may_be_wrapped(bits, signed, slope, intercept)
    padding = find_padding(cells, header, slope, intercept, wrapped=wrapped)
    if padding is not None:
        warnings += padding_findings(padding, slope, intercept)
        cells = without_padding(cells, padding)
    stored = meant_values(cells, header, compressed=header.encapsulated, warnings=warnings)
    if wrapped:
        stored = unwrap(stored, intercept)
    warnings += findings(int(stored.min()), int(stored.max()), slope, intercept)
    check_noise(stored, slope)
    if padding is not None:
        stored = fill_with_air(stored, padding.mask, slope, intercept)
    return narrow(stored), slope, intercept
