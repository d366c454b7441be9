"""CT in NIfTI files: one file is one series, cut into axial slices as DICOM would show them.

The affine says where voxels are. Slices are taken across the voxel axis nearest to the body's, rows
run from the patient's right to left and columns from front to back, as in an axial DICOM image;
position, orientation and spacing go through the same rules as those of DICOM (`geometry`). Values
are taken as Hounsfield units: nothing in such a file says so. Needs the ``nifti`` extra.

References
----------
NIfTI-1 data format, https://nifti.nimh.nih.gov/nifti-1 (methods 2 and 3 of orientation).
"""

import hashlib
import io
import math
import os
import re
import warnings as python_warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from featurecache.elements import PIXEL_DATA, PixelElement
from featurecache.errors import ReadError
from featurecache.files import read_range
from featurecache.functional_groups import FrameHeader
from featurecache.header import FileHeader
from featurecache.reasons import PIXELS_MALFORMED, SkipFileError

NAMES_SAY_WHO = "identifiers from the file name: each file counts as a patient"
RESAMPLED = "resampled by dcm2niix (_Eq or _Tilt in its name)"
_NAME = re.compile(r"(?i)(?P<stem>.+)\.nii(?P<gz>\.gz)?")
_CHANGED_BY_DCM2NIIX = re.compile(r"_(Eq|Tilt)(_\d+)?(?=_|$)")
_SUBJECT = re.compile(r"(?:^|[/_])sub-([0-9A-Za-z]+)")
_HEADER_BYTES = {348: 352, 540: 544}  # NIfTI-1 and -2, with the bytes that announce extensions
_MOST_PIXELS_A_SIDE = 8192
MOST_BYTES = 1 << 30
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_USABLE = frozenset({"int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"})


@dataclass(frozen=True, slots=True)
class Grid:
    """How a volume is cut into frames.

    Parameters
    ----------
    axes : tuple of int
        Voxel axes that become slice, row and column number.
    flipped : tuple of bool
        Whether row and column numbers run against their voxel axis.
    affine : ndarray (4, 4) of float64
        Voxel indices to mm, in DICOM's axes: left, posterior, superior.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool]
    affine: np.ndarray


def is_nifti(path: str | bytes) -> bool:
    """Say whether a file is NIfTI by its name: ``.nii`` or ``.nii.gz``.

    Parameters
    ----------
    path : str or bytes
        Name or path of a file.

    Returns
    -------
    bool
    """
    return os.fsencode(path[-7:]).lower().endswith((b".nii", b".nii.gz"))


def load_nifti(fd: int, size: int, path: str) -> FileHeader:
    """Read the header of an open NIfTI file.

    Parameters
    ----------
    fd : int
        Descriptor of a regular file.
    size : int
        Its size in bytes.
    path : str
        Relative to the scanned root: identifiers are made from it.

    Returns
    -------
    FileHeader
        As if it were a multi-frame CT image; ``pixel`` points into the uncompressed file.

    Raises
    ------
    SkipFileError
        If nibabel is not installed, or the file is no CT volume.
    ReadError
        If it is a volume that cannot be placed or read.
    """
    head, nifti = open_header(fd, size)
    shape, dtype = volume_of(nifti)
    grid = grid_of(nifti)
    slope, intercept = scaling_of(nifti)
    n_frames, rows, columns = (shape[axis] for axis in grid.axes)
    if max(shape) > _MOST_PIXELS_A_SIDE or math.prod(shape) * dtype.itemsize > MOST_BYTES:
        raise SkipFileError("implausible matrix", f"{shape}, {dtype}; at most 1 GiB is read")
    name = _NAME.fullmatch(path)
    series = name["stem"] if name else path
    subject = _SUBJECT.search(series)
    start = int(nifti["vox_offset"])
    digest = hashlib.blake2b(head[:start] + b"%d" % size, digest_size=16)
    digest.update(read_range(fd, max(size - 8, 0), 8))  # checksum of the content, if compressed
    warnings: tuple[str, ...] = () if subject else (NAMES_SAY_WHO,)
    if _CHANGED_BY_DCM2NIIX.search(series.rpartition("/")[2]):
        warnings += (RESAMPLED,)
    bits = 8 * dtype.itemsize
    return FileHeader(
        data=b"",
        little=dtype.byteorder != ">",
        transfer_syntax="NIfTI",
        sop_uid=series,
        series_uid=series,
        study_uid=series,
        patient_id=subject[1] if subject else series,
        rows=rows,
        columns=columns,
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=int(dtype.kind != "u"),
        n_frames=n_frames,
        pixel=PixelElement(PIXEL_DATA, start, start, math.prod(shape) * dtype.itemsize),
        padding=(),
        overlay_bits=False,
        digest=digest.hexdigest(),
        description=series.rpartition("/")[2],
        manufacturer="",
        echo="",
        assumed_hu=False,
        frames=tuple(frame_of(grid, shape, number, slope, intercept) for number in range(n_frames)),
        warnings=warnings,
    )


def open_header(fd: int, size: int) -> tuple[bytes, Any]:
    """Read the header proper.

    Parameters
    ----------
    fd : int
        Descriptor of a regular file.
    size : int
        Its size in bytes.

    Returns
    -------
    head : bytes
        The first 64 KiB of the uncompressed file, or all of it.
    nifti : nibabel.Nifti1Header or nibabel.Nifti2Header
        Not checked yet.

    Raises
    ------
    SkipFileError
        If nibabel is not installed, or this is no NIfTI header.
    """
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    except ImportError:
        raise SkipFileError(
            "NIfTI file: pip install 'featurecache[nifti]'", "nibabel is not installed"
        ) from None
    raw = read_range(fd, 0, min(size, 1 << 16))
    head = _inflated(raw, 1 << 16) if is_gzip(raw) else raw
    for length in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")):
        if length in _HEADER_BYTES:
            break
    else:
        raise SkipFileError("not NIfTI, though named so", "expected a header of 348 or 540 bytes")
    if len(head) < _HEADER_BYTES[length]:
        raise SkipFileError("cut in the header", f"the file ends at byte {size}")
    kind = Nifti1Header if length == 348 else Nifti2Header
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        try:
            nifti = kind.from_fileobj(io.BytesIO(head), check=False)
            if not bytes(nifti["magic"].tobytes()).startswith((b"n+1", b"n+2")):
                raise SkipFileError("NIfTI in two files", "expected one file, .nii or .nii.gz")
            nifti.get_data_dtype()
        except (ValueError, KeyError, TypeError) as error:
            raise SkipFileError("NIfTI header is damaged", f"{type(error).__name__}") from None
    return head, nifti


def is_gzip(raw: bytes) -> bool:
    """Say whether bytes begin as a gzip file does.

    Parameters
    ----------
    raw : bytes
        The first bytes of a file.

    Returns
    -------
    bool
    """
    return raw[:2] == b"\x1f\x8b"


def _inflated(raw: bytes, limit: int) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(raw, limit)
    except zlib.error as error:
        raise ReadError(PIXELS_MALFORMED, f"gzip: {error}") from None


def volume_of(nifti: Any) -> tuple[tuple[int, int, int], np.dtype]:
    """Return shape and type of a volume that may be CT.

    Parameters
    ----------
    nifti : nibabel.Nifti1Header
        Of `open_header`.

    Returns
    -------
    shape : tuple of 3 int
        Lengths of the voxel axes.
    dtype : numpy.dtype
        In the byte order of the file.

    Raises
    ------
    SkipFileError
        If it is in colour, of 8 bits (a mask), or damaged.
    ReadError
        If it holds several volumes.
    """
    rank, *lengths = (int(length) for length in nifti["dim"])
    dtype = nifti.get_data_dtype()
    if dtype.names or dtype.kind == "c":
        raise SkipFileError("colour image", f"NIfTI data type {dtype.descr}"[:80])
    if not 3 <= rank <= 7 or any(length != 1 for length in lengths[3:rank]):
        raise ReadError("NIfTI file is not one volume", f"dim {[rank, *lengths[: max(rank, 0)]]}")
    if dtype.name not in _USABLE:
        raise SkipFileError("not CT: NIfTI values of 8 bits", f"data type {dtype.name}")
    if min(lengths[:3]) < 1 or not math.isfinite(float(nifti["vox_offset"])):
        raise SkipFileError("NIfTI header is damaged", f"dim {[rank, *lengths[:3]]}")
    if int(nifti["vox_offset"]) < 348:
        raise SkipFileError("NIfTI header is damaged", "voxels begin inside the header")
    return (lengths[0], lengths[1], lengths[2]), dtype


def scaling_of(nifti: Any) -> tuple[float, float]:
    """Return slope and intercept; 0 or no number means that values are as stored.

    Parameters
    ----------
    nifti : nibabel.Nifti1Header
        Of `open_header`.

    Returns
    -------
    tuple of 2 float
        Hounsfield units are ``stored * slope + intercept``.
    """
    slope, intercept = float(nifti["scl_slope"]), float(nifti["scl_inter"])
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        return 1.0, 0.0
    return slope, intercept


def grid_of(nifti: Any) -> Grid:
    """Decide which voxel axes are slices, rows and columns, from the affine.

    Parameters
    ----------
    nifti : nibabel.Nifti1Header
        Of `open_header`.

    Returns
    -------
    Grid

    Raises
    ------
    ReadError
        If the file does not say where its voxels are.
    """
    if int(nifti["sform_code"]) <= 0 and int(nifti["qform_code"]) <= 0:
        raise ReadError("NIfTI file without orientation", "qform_code and sform_code are 0")
    try:
        affine = np.asarray(nifti.get_best_affine(), dtype=np.float64)
    except ValueError as error:
        raise ReadError("NIfTI file without orientation", str(error)[:100]) from None
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    affine[:3] *= _MM_PER_UNIT.get(int(nifti["xyzt_units"]) & 7, 1.0)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not lengths.all():
        raise ReadError("NIfTI file without orientation", "the affine cannot be used")
    cosines = affine[:3, :3] / lengths
    if abs(np.linalg.det(cosines)) < 1e-3:
        raise ReadError("NIfTI file without orientation", "the affine's axes lie in one plane")
    slices = int(np.argmax(np.abs(cosines[2])))
    rest = [axis for axis in range(3) if axis != slices]
    columns = max(rest, key=lambda axis: abs(cosines[0, axis]))
    rows = next(axis for axis in rest if axis != columns)
    flipped = (bool(cosines[1, rows] < 0), bool(cosines[0, columns] < 0))
    return Grid((slices, rows, columns), flipped, affine)


def frame_of(
    grid: Grid, shape: tuple[int, int, int], number: int, slope: float, intercept: float
) -> FrameHeader:
    """Return a slice as a frame: position of its first pixel, direction of rows and columns.

    Parameters
    ----------
    grid : Grid
        Of `grid_of`.
    shape : tuple of 3 int
        Of `volume_of`.
    number : int
        0-based, along the slice axis as stored.
    slope, intercept : float
        To Hounsfield units.

    Returns
    -------
    FrameHeader

    References
    ----------
    DICOM PS3.3 C.7.6.2.1.1.
    """
    slices, rows, columns = grid.axes
    first = np.zeros(4)
    first[slices], first[3] = number, 1
    steps = []
    for axis, flipped in zip((columns, rows), (grid.flipped[1], grid.flipped[0]), strict=True):
        first[axis] = shape[axis] - 1 if flipped else 0
        steps.append(grid.affine[:3, axis] * (-1 if flipped else 1))
    spacing = [float(np.linalg.norm(step)) for step in steps]
    cosines = np.concatenate([step / length for step, length in zip(steps, spacing, strict=True)])
    return FrameHeader(
        position=tuple(map(float, (grid.affine @ first)[:3])),
        orientation=tuple(map(float, cosines)),
        row_spacing_mm=spacing[1],
        column_spacing_mm=spacing[0],
        thickness_mm=math.nan,
        slope=slope,
        intercept=intercept,
        kernel="",
        acquisition="",
        image_type="",
        instance_number=number + 1,
    )
