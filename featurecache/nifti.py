"""CT in NIfTI files: one file is one series, cut into axial slices as DICOM would show them.

The affine says where voxels are. Slices are taken across the voxel axis nearest to the body's, rows
run from the patient's right to left and columns from front to back, as in an axial DICOM image;
position, orientation and spacing go through the same rules as those of DICOM (`geometry`). Values
are taken as Hounsfield units: nothing in such a file says so, and `probes` looks whether they can
be. Needs the ``nifti`` extra.

References
----------
NIfTI-1 data format, https://nifti.nimh.nih.gov/nifti-1; BIDS, entity ``sub``.
"""

import hashlib
import math
import os
import re
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from featurecache.elements import PIXEL_DATA, PixelElement
from featurecache.errors import ReadError
from featurecache.files import read_range
from featurecache.header import FileHeader
from featurecache.nifti_grid import frame_of, grid_of
from featurecache.nifti_ids import NiftiIds
from featurecache.reasons import (
    NIFTI_EXTRA,
    NIFTI_UNLISTED,
    PIXELS_MALFORMED,
    PIXELS_SHORT,
    RESCALE_UNUSABLE,
    SkipFileError,
)

NAMES_SAY_WHO = "identifiers from the file name: each file counts as a patient"
RESAMPLED = "resampled by dcm2niix (_Eq or _Tilt in its name)"
_NAME = re.compile(r"(?is)(?P<stem>.+)\.nii(?P<gz>\.gz)?")
_CHANGED_BY_DCM2NIIX = re.compile(r"_(Eq|Tilt)(_\d+)?(?=_|$)")
_SUBJECT = re.compile(r"(?:^|[/_])sub-([0-9A-Za-z]+)")
_HEADER_BYTES = {348: 352, 540: 544}  # NIfTI-1 and -2, with the bytes that announce extensions
_BYTE_ORDERS: tuple[tuple[Literal["little", "big"], str], ...] = (("little", "<"), ("big", ">"))
_MOST_EXTENSION_BYTES = 64 << 20
_MOST_PIXELS_A_SIDE = 8192
MOST_BYTES = 1 << 30
_USABLE = frozenset({"int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"})


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


def load_nifti(
    fd: int, size: int, path: str, listed: Mapping[str, NiftiIds] | None = None
) -> FileHeader:
    """Read the header of an open NIfTI file.

    Parameters
    ----------
    fd : int
        Descriptor of a regular file.
    size : int
        Its size in bytes.
    path : str
        Relative to the scanned root.
    listed : mapping of str to NiftiIds, optional
        Path -> identifiers, from the user's table. Without one they are made from the path.

    Returns
    -------
    FileHeader
        As if it were a multi-frame CT image; ``pixel`` points into the uncompressed file.

    Raises
    ------
    SkipFileError
        If nibabel is not installed, or the file is no CT volume.
    ReadError
        If it is a volume that cannot be placed or read, or nobody says whose it is.
    """
    head, nifti = open_header(fd, size)
    shape, dtype = volume_of(nifti)
    slope, intercept = scaling_of(nifti)
    grid = grid_of(nifti)
    ids, warnings = identifiers_of(path, listed)
    warnings += grid.warnings
    n_frames, rows, columns = (shape[axis] for axis in grid.axes)
    start, n_bytes = int(nifti["vox_offset"]), math.prod(shape) * dtype.itemsize
    if size < start + n_bytes and not is_gzip(read_range(fd, 0, 2)):
        warnings += (PIXELS_SHORT,)
    bits = 8 * dtype.itemsize
    return FileHeader(
        data=b"",
        little=dtype.byteorder != ">",
        transfer_syntax="NIfTI",
        sop_uid=ids.series_uid,
        series_uid=ids.series_uid,
        study_uid=ids.study_uid,
        patient_id=ids.patient_id,
        rows=rows,
        columns=columns,
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=int(dtype.kind != "u"),
        n_frames=n_frames,
        pixel=PixelElement(PIXEL_DATA, start, start, n_bytes),
        padding=(),
        overlay_bits=False,
        digest=_digest(fd, size, head[:start], ids),
        description=_stem(path).rpartition("/")[2],
        manufacturer="",
        echo="",
        assumed_hu=False,
        frames=tuple(frame_of(grid, shape, number, slope, intercept) for number in range(n_frames)),
        warnings=warnings,
    )


def _stem(path: str) -> str:
    """Return a path without its ending; bytes that are no UTF-8 become escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    name = _NAME.fullmatch(text)
    return name["stem"] if name else text


def identifiers_of(
    path: str, listed: Mapping[str, NiftiIds] | None
) -> tuple[NiftiIds, tuple[str, ...]]:
    """Return whose scan a file is, and what is to be said about it.

    Parameters
    ----------
    path : str
        Relative to the scanned root.
    listed : mapping of str to NiftiIds or None
        Of the user's table; None where there is none.

    Returns
    -------
    ids : NiftiIds
        Complete. What the table does not say comes from the path: the BIDS subject is the patient
        where there is one, and the path without its ending is everything else.
    warnings : tuple of str

    Raises
    ------
    ReadError
        If there is a table and the file is not in it, or the path names two subjects.
    """
    stem = _stem(path)
    warnings: tuple[str, ...] = ()
    if _CHANGED_BY_DCM2NIIX.search(stem.rpartition("/")[2]):
        warnings = (RESAMPLED,)
    if listed is not None:
        if path not in listed:
            raise ReadError(NIFTI_UNLISTED, "add a row, or move the file out of the folder")
        patient, study, series = listed[path]
        return NiftiIds(patient, study or stem, series or stem), warnings
    subjects = set(_SUBJECT.findall(stem))
    if len(subjects) > 1:
        raise ReadError(
            "path of a NIfTI file names two subjects",
            f"{', '.join(sorted(subjects))}: rename it, or use --nifti-ids",
        )
    if not subjects:
        return NiftiIds(stem, stem, stem), (NAMES_SAY_WHO, *warnings)
    return NiftiIds(subjects.pop(), stem, stem), warnings


def _digest(fd: int, size: int, header: bytes, ids: NiftiIds) -> str:
    """Digest of what is known without reading voxels; other identifiers are another source."""
    digest = hashlib.blake2b(header + b"%d" % size, digest_size=16)
    digest.update(read_range(fd, max(size - 8, 0), 8))  # checksum of the content, if compressed
    digest.update("\0".join(ids).encode("utf-8"))
    return digest.hexdigest()


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
        Without extensions, and not checked yet.

    Raises
    ------
    SkipFileError
        If nibabel is not installed, or this is no NIfTI header.
    ReadError
        If the file is compressed and damaged.
    """
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    except ImportError:
        raise SkipFileError(NIFTI_EXTRA, "nibabel is not installed") from None
    raw = read_range(fd, 0, min(size, 1 << 16))
    head = _inflated(raw, 1 << 16) if is_gzip(raw) else raw
    lengths = {int.from_bytes(head[:4], order): mark for order, mark in _BYTE_ORDERS}
    length = next((length for length in lengths if length in _HEADER_BYTES), None)
    if length is None:
        raise SkipFileError("not NIfTI, though named so", "expected a header of 348 or 540 bytes")
    if len(head) < _HEADER_BYTES[length]:
        raise SkipFileError("cut in the header", f"the file ends at byte {size}")
    kind = Nifti1Header if length == 348 else Nifti2Header
    nifti = kind(head[:length], lengths[length], check=False)
    if not nifti["magic"].tobytes().startswith((b"n+1", b"n+2")):
        raise SkipFileError("NIfTI in two files", "expected one file, .nii or .nii.gz")
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
        If it holds several volumes, is too large, or of a type that is not read.
    """
    rank, *lengths = (int(length) for length in nifti["dim"])
    dtype = _type_of(nifti)
    if not 3 <= rank <= 7 or any(length != 1 for length in lengths[3:rank]):
        raise ReadError("NIfTI file is not one volume", f"dim {[rank, *lengths[: max(rank, 0)]]}")
    shape = (lengths[0], lengths[1], lengths[2])
    if min(shape) < 1:
        raise SkipFileError("NIfTI header is damaged", f"dim {[rank, *shape]}")
    if max(shape) > _MOST_PIXELS_A_SIDE:
        raise SkipFileError("implausible matrix", f"{shape}; at most {_MOST_PIXELS_A_SIDE} a side")
    if math.prod(shape) * dtype.itemsize > MOST_BYTES:
        raise ReadError(
            "NIfTI volume larger than 1 GiB", f"{shape}, {dtype.name}: save it as int16, or cut it"
        )
    start, least = float(nifti["vox_offset"]), int(nifti["sizeof_hdr"])
    if not least <= start <= least + _MOST_EXTENSION_BYTES:
        raise SkipFileError("NIfTI header is damaged", f"voxels begin at byte {start:g}")
    return shape, dtype


def _type_of(nifti: Any) -> np.dtype:
    try:
        dtype = nifti.get_data_dtype()
    except KeyError:
        raise SkipFileError(
            "NIfTI header is damaged", f"data type {int(nifti['datatype'])}"
        ) from None
    if dtype.names or dtype.kind == "c":
        raise SkipFileError("colour image", f"NIfTI data type {dtype.descr}"[:80])
    if dtype.itemsize == 1:
        raise SkipFileError("not CT: NIfTI values of 8 bits", f"data type {dtype.name}")
    if dtype.name not in _USABLE:
        raise ReadError("NIfTI data type is not read", f"{dtype.name}: save it as int16")
    return dtype


def scaling_of(nifti: Any) -> tuple[float, float]:
    """Return slope and intercept; a slope that is 0 or NaN means that values are as stored.

    Parameters
    ----------
    nifti : nibabel.Nifti1Header
        Of `open_header`.

    Returns
    -------
    tuple of 2 float
        Hounsfield units are ``stored * slope + intercept``.

    Raises
    ------
    ReadError
        If the slope is infinite, or is a number and the intercept is none.
    """
    slope, intercept = float(nifti["scl_slope"]), float(nifti["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise ReadError(RESCALE_UNUSABLE, f"scl_slope {slope}, scl_inter {intercept}")
    return slope, intercept
