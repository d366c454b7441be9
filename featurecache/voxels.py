"""Voxels of a NIfTI file -> stored values of one slice, checked.

References
----------
NIfTI-1 data format, https://nifti.nimh.nih.gov/nifti-1 (voxels are in Fortran order).
"""

import math
import zlib
from time import perf_counter

import numpy as np

from featurecache.errors import ReadError
from featurecache.files import opened, read_range
from featurecache.functional_groups import FrameHeader
from featurecache.nifti import (
    MOST_BYTES,
    Grid,
    frame_of,
    grid_of,
    is_gzip,
    open_header,
    scaling_of,
    volume_of,
)
from featurecache.reasons import NOT_USABLE_ANY_MORE, PIXEL_FORMAT, PIXELS_MALFORMED, PIXELS_SHORT
from featurecache.sanity import AIR_HU, TOP_HU, check_noise, findings

NOT_FINITE = "values that are not finite: taken as air"
_EXACT = frozenset({"int16", "uint16", "int32"})
_STEPS_PER_HU = 4096  # every step is exact in float32: 3071 of them fit 24 bits
_volumes: dict[tuple[str, int, int], memoryview] = {}


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
        As in `pixels.Decoded`. Values that these types do not hold are clamped to -1024 to 3071
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
    if total > MOST_BYTES:
        raise ReadError(PIXEL_FORMAT, f"a volume of {total} bytes, at most {MOST_BYTES}")
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
    """Return all voxels; those of the last file are kept, since its slices come one by one."""
    if key not in _volumes:
        _volumes.clear()
        if packed:
            data = memoryview(_unpacked(read_range(fd, 0, key[1]), start + total))[start:]
        else:
            data = memoryview(read_range(fd, start, total))
        _volumes[key] = data
    return _volumes[key]


def _unpacked(raw: bytes, total: int) -> bytes:
    """Decompress `total` bytes and, where nothing follows them, let zlib check the checksum."""
    parts: list[bytes] = []
    try:
        while total > 0 and is_gzip(raw):
            stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            parts.append(stream.decompress(raw, total))
            total -= len(parts[-1])
            open_end = total == 0 and not stream.eof
            if open_end and not stream.decompress(stream.unconsumed_tail, 1) and not stream.eof:
                raise ReadError(PIXELS_SHORT, "the compressed file is cut")
            raw = stream.unused_data
    except zlib.error as error:
        raise ReadError(PIXELS_MALFORMED, f"gzip: {error}") from None
    return b"".join(parts)


def _storable(
    plane: np.ndarray, slope: float, intercept: float, warnings: list[str]
) -> tuple[np.ndarray, float, float]:
    """Return values in a type that travels to the device, with their slope and intercept."""
    if plane.dtype.name in _EXACT:
        return plane, slope, intercept
    hu = plane.astype(np.float64) * slope + intercept
    if not np.isfinite(hu).all():
        warnings.append(NOT_FINITE)
        hu = np.nan_to_num(hu, nan=AIR_HU, posinf=TOP_HU, neginf=AIR_HU)
    hu = np.clip(hu, AIR_HU, TOP_HU)
    if np.array_equal(hu, np.rint(hu)):
        return hu.astype(np.int16), 1.0, 0.0
    return np.rint(hu * _STEPS_PER_HU).astype(np.int32), 1 / _STEPS_PER_HU, 0.0
