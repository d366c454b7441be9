"""Voxels of a NIfTI file -> stored values of one slice, checked.

References
----------
NIfTI-1 data format, https://nifti.nimh.nih.gov/nifti-1 (voxels are in Fortran order).
"""

import gzip
import io
import math
import zlib
from time import perf_counter
from typing import Any

import numpy as np

from featurecache.errors import ReadError
from featurecache.files import opened, read_range
from featurecache.functional_groups import FrameHeader
from featurecache.nifti import is_gzip, open_header, scaling_of, volume_of
from featurecache.nifti_grid import Grid, frame_of, grid_of
from featurecache.reasons import NOT_USABLE_ANY_MORE, PIXELS_MALFORMED, PIXELS_SHORT
from featurecache.sanity import AIR_HU, check_noise, findings

NOT_FINITE = "values that are not finite: taken as air"
_EXACT = frozenset({"int16", "uint16", "int32"})
_LIMIT_HU = 4096.0  # beyond what a window can show, so that what is no HU is still seen
_STEPS_PER_HU = 4096  # every step is exact in float32: 4096 HU of them fit 24 bits
_CHUNK_BYTES = 1 << 20
_volumes: dict[tuple[str, int, int], memoryview | ReadError] = {}


def read_nifti_slice(
    path: str, frame: int, size: int, mtime_ns: int
) -> tuple[np.ndarray, FrameHeader, tuple[str, ...], float, float]:
    """Read one frame of a NIfTI file.

    Parameters
    ----------
    path : str
        Absolute path.
    frame : int
        0-based, along the slice axis as stored.
    size, mtime_ns : int
        What the file was when it was scanned.

    Returns
    -------
    stored : ndarray (H, W) of int16, uint16 or int32
        As in `pixels.Decoded`. Values that these types do not hold are clamped to -4096 to 4096
        HU and kept in steps of 1/4096 HU.
    frame_header : FrameHeader
        With the slope and intercept that turn `stored` into Hounsfield units.
    warnings : tuple of str
        Findings about these pixels.
    read_s, decode_s : float
        Seconds spent reading and decompressing, and turning and checking.

    Raises
    ------
    ReadError
        With a reason of `featurecache.reasons.SLICE_REASONS`.
    """
    started_s = perf_counter()
    with opened(path, size, mtime_ns) as fd:
        _, nifti = open_header(fd, size)
        shape, dtype = volume_of(nifti)
        grid = grid_of(nifti)
        slope, intercept = scaling_of(nifti)
        if not 0 <= frame < shape[grid.axes[0]]:
            raise ReadError(NOT_USABLE_ANY_MORE, f"no slice {frame + 1} in this file")
        plane = _plane(
            fd, (path, size, mtime_ns), int(nifti["vox_offset"]), shape, dtype, grid, frame
        )
    read_s = perf_counter() - started_s
    warnings: list[str] = []
    stored, slope, intercept = _storable(plane, slope, intercept, warnings)
    warnings += findings(int(stored.min()), int(stored.max()), slope, intercept)
    check_noise(stored, slope)
    header = frame_of(grid, shape, frame, slope, intercept)
    return stored, header, tuple(warnings), read_s, perf_counter() - started_s - read_s


def _plane(
    fd: int,
    key: tuple[str, int, int],
    start: int,
    shape: tuple[int, int, int],
    dtype: np.dtype,
    grid: Grid,
    frame: int,
) -> np.ndarray:
    """Return one slice, rows from the top, columns from the left; voxels are in Fortran order."""
    total = math.prod(shape) * dtype.itemsize
    packed = is_gzip(read_range(fd, 0, 2))
    if not packed and grid.axes[0] == 2:
        length = total // shape[2]
        data = memoryview(read_range(fd, start + frame * length, length))
        shape, frame, total = (*shape[:2], 1), 0, length
    else:
        data = _whole(fd, key, packed, start, total)
    if len(data) < total:
        raise ReadError(PIXELS_SHORT, f"expected {total} bytes, the file has {len(data)}")
    voxels = np.frombuffer(data, dtype, math.prod(shape)).reshape(shape, order="F")
    plane = np.moveaxis(voxels, grid.axes[0], 0)[frame]
    if grid.axes[1] > grid.axes[2]:
        plane = plane.T
    for axis, flipped in enumerate(grid.flipped):
        plane = np.flip(plane, axis) if flipped else plane
    return np.ascontiguousarray(plane, dtype=dtype.newbyteorder("="))


def _whole(fd: int, key: tuple[str, int, int], packed: bool, start: int, total: int) -> memoryview:
    """Return all voxels; those of the last file are kept, since its slices come one by one.

    So is the fault of a damaged file, which would otherwise be unpacked once for each slice.
    """
    if key not in _volumes:
        _volumes.clear()
        try:
            if packed:
                _volumes[key] = _unpacked(fd, start + total)[start:]
            else:
                _volumes[key] = memoryview(read_range(fd, start, total))
        except ReadError as error:
            if error.reason not in {PIXELS_MALFORMED, PIXELS_SHORT}:
                raise
            _volumes[key] = error
    found = _volumes[key]
    if isinstance(found, ReadError):
        raise ReadError(found.reason, found.detail)
    return found


class _Bytes(io.RawIOBase):
    """A file as a stream that reads as `files.read_range` does: again, where a fault may pass."""

    def __init__(self, fd: int) -> None:
        self._fd, self._at = fd, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = read_range(self._fd, self._at, len(buffer))
        self._at += len(data)
        buffer[: len(data)] = data
        return len(data)


def _unpacked(fd: int, total: int) -> memoryview:
    """Decompress `total` bytes; checksums are compared unless there is more than that."""
    data, filled = memoryview(bytearray(total)), 0
    try:
        with gzip.GzipFile(fileobj=io.BufferedReader(_Bytes(fd), _CHUNK_BYTES)) as stream:
            while filled < total and (length := stream.readinto(data[filled:])):
                filled += length
            stream.read(1)
    except EOFError:
        raise ReadError(PIXELS_SHORT, "the compressed file is cut") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ReadError(PIXELS_MALFORMED, f"gzip: {error}") from None
    return data[:filled]


def _storable(
    plane: np.ndarray, slope: float, intercept: float, warnings: list[str]
) -> tuple[np.ndarray, float, float]:
    """Return values in a type that travels to the device, with their slope and intercept."""
    if plane.dtype.name in _EXACT:
        return plane, slope, intercept
    hu = plane.astype(np.float64) * slope + intercept
    if not np.isfinite(hu).all():
        warnings.append(NOT_FINITE)
        hu = np.nan_to_num(hu, nan=AIR_HU, posinf=_LIMIT_HU, neginf=AIR_HU)
    hu = np.clip(hu, -_LIMIT_HU, _LIMIT_HU)
    if np.array_equal(hu, np.rint(hu)):
        return hu.astype(np.int16), 1.0, 0.0
    return np.rint(hu * _STEPS_PER_HU).astype(np.int32), 1 / _STEPS_PER_HU, 0.0
