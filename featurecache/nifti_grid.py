"""The affine of a NIfTI volume -> how it is cut into axial frames, and where each of them lies.

References
----------
NIfTI-1 data format, https://nifti.nimh.nih.gov/nifti-1 (methods 2 and 3 of orientation).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from featurecache.errors import ReadError
from featurecache.functional_groups import FrameHeader

IMAGE_TYPE = "NIFTI"
NO_ORIENTATION = "NIfTI file without orientation"
CONFLICT = "sform and qform place the volume differently: sform is used"
IDENTITY = "the affine is the identity: orientation and voxel size may not be those of the scan"
PIXDIM_DIFFERS = "voxel size in the header is not that of the affine: the affine is used"
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_MOST_MM = 1e6
_FLAT = 1e-3  # determinant of the axes' directions below which they lie in one plane
_SAME_DIRECTION_DEG = 10.0
_SAME_SIZE = 0.01


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
    warnings : tuple of str
        What the header says twice and differently.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool]
    affine: np.ndarray
    warnings: tuple[str, ...] = ()


@np.errstate(all="ignore")  # what is no finite number is refused by name
def grid_of(nifti: Any) -> Grid:
    """Decide which voxel axes are slices, rows and columns, from the affine.

    The sform counts where its code is positive, else the qform, as nibabel has it.

    Parameters
    ----------
    nifti : nibabel.Nifti1Header
        Of `nifti.open_header`.

    Returns
    -------
    Grid

    Raises
    ------
    ReadError
        If the file does not say where its voxels are.
    """
    codes = int(nifti["sform_code"]), int(nifti["qform_code"])
    if max(codes) <= 0:
        raise ReadError(NO_ORIENTATION, "qform_code and sform_code are 0")
    affine = _sform(nifti) if codes[0] > 0 else _qform(nifti)
    cosines = _cosines(affine)
    slices = int(np.argmax(np.abs(cosines[2])))
    rest = [axis for axis in range(3) if axis != slices]
    columns = max(rest, key=lambda axis: abs(cosines[0, axis]))
    rows = next(axis for axis in rest if axis != columns)
    flipped = (bool(cosines[1, rows] < 0), bool(cosines[0, columns] < 0))
    warnings = _contradictions(nifti, affine, cosines, min(codes) > 0)
    return Grid((slices, rows, columns), flipped, affine, warnings)


def _sform(nifti: Any) -> np.ndarray:
    rows = [nifti[name] for name in ("srow_x", "srow_y", "srow_z")]
    return _checked(np.array([*rows, [0, 0, 0, 1]], dtype=np.float64), nifti)


def _qform(nifti: Any) -> np.ndarray:
    """Quaternion to affine; a pixdim[0] of 0 counts as 1, as the format has it."""
    from nibabel.spatialimages import HeaderDataError

    header = nifti.copy()
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1
    try:
        affine = np.asarray(header.get_qform(), dtype=np.float64)
    except (ValueError, HeaderDataError) as error:
        raise ReadError(NO_ORIENTATION, str(error)[:100]) from None
    return _checked(affine, nifti)


def _checked(affine: np.ndarray, nifti: Any) -> np.ndarray:
    """Return the affine in mm and in DICOM's axes, if it can be one."""
    affine[:3] *= _MM_PER_UNIT.get(int(nifti["xyzt_units"]) & 7, 1.0)
    if not (np.isfinite(affine).all() and np.abs(affine).max() < _MOST_MM):
        raise ReadError(NO_ORIENTATION, "the affine has values that are no lengths in mm")
    affine[:2] *= -1
    if abs(np.linalg.det(_cosines(affine))) < _FLAT:
        raise ReadError(NO_ORIENTATION, "the affine's axes lie in one plane")
    return affine


def _cosines(affine: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < 1 / _MOST_MM:
        raise ReadError(NO_ORIENTATION, "an axis of the affine has no length")
    return np.asarray(affine[:3, :3] / lengths)


def _contradictions(
    nifti: Any, affine: np.ndarray, cosines: np.ndarray, both: bool
) -> tuple[str, ...]:
    """Return what the header says differently elsewhere.

    A quaternion cannot hold the shear of a tilted gantry, so of the qform only directions in the
    slice plane count, roughly: that shows a volume that is mirrored or turned.
    """
    found = []
    if np.array_equal(np.abs(affine), np.eye(4)):
        found.append(IDENTITY)
    if both:
        try:
            other = _cosines(_qform(nifti))
        except ReadError:
            other = None
        if other is not None and _turned(cosines, other):
            found.append(CONFLICT)
    sizes = np.abs(np.asarray(nifti["pixdim"][1:4], dtype=np.float64))
    sizes *= _MM_PER_UNIT.get(int(nifti["xyzt_units"]) & 7, 1.0)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # The sheared axis of a tilted scan is longer in the affine than the distance of its slices.
    wrong = ~np.isfinite(sizes) | (np.abs(sizes - lengths) > _SAME_SIZE * lengths)
    if wrong.sum() > 1:
        found.append(PIXDIM_DIFFERS)
    return tuple(found)


def _turned(one: np.ndarray, other: np.ndarray) -> bool:
    """Say whether more than one axis, or the sense of any, points elsewhere."""
    along = (one * other).sum(axis=0)
    off = along < math.cos(math.radians(_SAME_DIRECTION_DEG))
    return bool(off.sum() > 1 or (along <= 0).any())


def frame_of(
    grid: Grid, shape: tuple[int, int, int], number: int, slope: float, intercept: float
) -> FrameHeader:
    """Return a slice as a frame: position of its first pixel, direction of rows and columns.

    Parameters
    ----------
    grid : Grid
        Of `grid_of`.
    shape : tuple of 3 int
        Of `nifti.volume_of`.
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
        image_type=IMAGE_TYPE,
        instance_number=number + 1,
    )
