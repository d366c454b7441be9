"""How a head was scanned: the series of a study, where their slices lie, and the head's pose.

Drawn from its own stream of random numbers, which the findings never touch: what can be read
from a header therefore says nothing about them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from pydicom.uid import generate_uid

from featurecache.phantom.anatomy import INNER_SKULL_MM, Anatomy, draw_anatomy

ANATOMY_STREAM, GEOMETRY_STREAM, FINDINGS_STREAM, NOISE_STREAM = range(4)
_WIDEST_MM = 8.0
_SLICES = {"thin": (60, 100), "thick": (20, 32), "bone": (20, 32)}
_GAPS_MM = {
    "thin": (1.25, 1.5, 1.75, 2.0),
    "thick": (4.0, 4.5, 5.0, 5.5, 6.0),
    "bone": (4.0, 4.5, 5.0, 5.5, 6.0),
}


def stream(seed: int, index: int, *which: int) -> np.random.Generator:
    """Return one of the independent random streams of a case.

    Parameters
    ----------
    seed, index : int
        The phantom's seed and the patient's number, both 0 or more.
    *which : int
        The stream (``ANATOMY_STREAM``, ...) and, for noise, series and slice.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.default_rng(np.random.SeedSequence([seed, index, *which]))


@dataclass(frozen=True)
class Pose:
    """Where the head lies in the scanner.

    Parameters
    ----------
    center_mm : tuple of float
        Origin of the head coordinates in DICOM patient coordinates (LPS).
    rotation : tuple of tuple of float
        3 x 3, turns head axes into patient axes.
    """

    center_mm: tuple[float, float, float]
    rotation: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Vendor:
    """What differs between makers: rescale, padding outside the reconstruction circle."""

    model: str
    intercept: int
    padding: int | None
    feet_first_numbering: bool


@dataclass(frozen=True)
class Series:
    """One series of axial slices.

    Parameters
    ----------
    kind : {"thin", "thick", "bone"}
    number : int
        SeriesNumber.
    uid : str
        SeriesInstanceUID.
    n_slices : int
    size : int
        Rows and Columns.
    spacing_mm : float
        PixelSpacing, both ways.
    gap_mm : float
        Distance of slices along their normal.
    thickness_mm : float
        SliceThickness.
    tilt_deg : float
        GantryDetectorTilt.
    origin_mm : tuple of float
        ImagePositionPatient of the lowest slice.
    noise_hu : float
        Standard deviation of the noise in brain.
    """

    kind: str
    number: int
    uid: str
    n_slices: int
    size: int
    spacing_mm: float
    gap_mm: float
    thickness_mm: float
    tilt_deg: float
    origin_mm: tuple[float, float, float]
    noise_hu: float

    @cached_property
    def axes(self) -> np.ndarray:
        """Row direction, column direction and normal as rows, float64 (3, 3).

        A tilted gantry turns the image plane about the X axis.
        """
        tilt = np.deg2rad(self.tilt_deg)
        row, column = (1.0, 0.0, 0.0), (0.0, np.cos(tilt), -np.sin(tilt))
        return np.array([row, column, np.cross(row, column)])

    def position_mm(self, k: int) -> np.ndarray:
        """Return ImagePositionPatient of slice `k`, counted from the feet.

        The table moves along Z whatever the tilt, so tilted stacks are sheared, as a real
        scanner writes them.

        Parameters
        ----------
        k : int
            0 to `n_slices` - 1.

        Returns
        -------
        numpy.ndarray
            float64 (3,), mm.
        """
        table_step_mm = self.gap_mm / np.cos(np.deg2rad(self.tilt_deg))
        x, y, z = self.origin_mm
        return np.array([x, y, z + k * table_step_mm])


@dataclass(frozen=True)
class Study:
    """A patient's examination.

    Parameters
    ----------
    patient_id : str
    uid, frame_uid, localizer_uid : str
        StudyInstanceUID, FrameOfReferenceUID and the localizer's SeriesInstanceUID.
    pose : Pose
    vendor : Vendor
    series : tuple of Series
        Thin, thick, bone.
    """

    patient_id: str
    uid: str
    frame_uid: str
    localizer_uid: str
    pose: Pose
    vendor: Vendor
    series: tuple[Series, ...]

    def only(self, kinds: str) -> tuple[Series, ...]:
        """Return all series (``"all"``) or those of one kind.

        Parameters
        ----------
        kinds : {"all", "thin", "thick", "bone"}

        Returns
        -------
        tuple of Series
        """
        return tuple(s for s in self.series if kinds in ("all", s.kind))


def draw_study(seed: int, index: int, size: int = 512) -> Study:
    """Draw how patient `index` was scanned, without findings and without pixels.

    Parameters
    ----------
    seed : int
        The phantom's seed, 0 or more.
    index : int
        The patient's number, from 0.
    size : int
        Rows and columns.

    Returns
    -------
    Study
    """
    anatomy = draw_anatomy(stream(seed, index, ANATOMY_STREAM))
    rng = stream(seed, index, GEOMETRY_STREAM)
    tilt = float(rng.uniform(7, 20) * rng.choice([-1, 1])) if rng.uniform() < 0.4 else 0.0
    pose = _draw_pose(rng, tilt)
    field_mm, offset_mm = rng.uniform(218, 255), rng.normal(0, 4.0, 2)
    low_mm, high_mm = _coverage(rng, anatomy)
    common = (seed, index, size, pose, field_mm, offset_mm, low_mm, high_mm)
    series = (
        _draw_series(rng, "thin", 2, 0.0, *common),
        _draw_series(rng, "thick", 3, tilt, *common),
        _draw_series(rng, "bone", 4, tilt, *common),
    )
    return Study(
        patient_id=f"PH{index:06d}",
        uid=_uid(seed, index, size, "study"),
        frame_uid=_uid(seed, index, size, "frame"),
        localizer_uid=_uid(seed, index, size, "localizer"),
        pose=pose,
        vendor=_draw_vendor(rng),
        series=series,
    )


def _uid(*entropy: object) -> str:
    """A UID that depends on nothing but its arguments."""
    return str(generate_uid(entropy_srcs=["featurecache phantom 1", *map(str, entropy)]))


def slice_uid(series: Series, k: int) -> str:
    """Return the SOPInstanceUID of slice `k`.

    Parameters
    ----------
    series : Series
    k : int
        Counted from the feet, from 0.

    Returns
    -------
    str
    """
    return _uid(series.uid, k)


def _draw_vendor(rng: np.random.Generator) -> Vendor:
    model = str(rng.choice(["A", "B", "C"]))
    return Vendor(
        model=f"PHANTOM {model}",
        intercept=0 if model == "B" else -1024,
        padding=-2000 if model == "B" else None,
        feet_first_numbering=bool(rng.uniform() < 0.5),
    )


def _draw_pose(rng: np.random.Generator, tilt_deg: float) -> Pose:
    """A head is never straight; the gantry is tilted to follow it, never quite."""
    pitch = np.deg2rad(rng.normal(0, 4.0) + 0.8 * tilt_deg)
    roll, yaw = np.deg2rad(rng.normal(0, (2.5, 5.0)).clip(-12, 12))
    cp, sp, cr, sr, cy, sy = (f(a) for a in (pitch, roll, yaw) for f in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    rotation = about_x @ about_y @ about_z
    x, y, z = rng.normal(0, 5.0, 3).clip(-11, 11)
    rows = tuple((float(a), float(b), float(c)) for a, b, c in rotation)
    return Pose((float(x), float(y), float(z) + 40.0), rows)


def _coverage(rng: np.random.Generator, anatomy: Anatomy) -> tuple[float, float]:
    """From below the posterior fossa or a little higher to above the vertex, mm."""
    low = -rng.uniform(40.0, 54.0) * anatomy.scale[2]
    high = (INNER_SKULL_MM[2] + 2.0) * anatomy.scale[2] + rng.uniform(0.0, 9.0)
    return low, high


def _draw_series(
    rng: np.random.Generator,
    kind: str,
    number: int,
    tilt_deg: float,
    seed: int,
    index: int,
    size: int,
    pose: Pose,
    field_mm: float,
    offset_mm: np.ndarray,
    low_mm: float,
    high_mm: float,
) -> Series:
    """Choose a gap that covers the head within the slice counts of this kind."""
    fewest, most = _SLICES[kind]
    extent_mm = high_mm - low_mm
    fits = [g for g in _GAPS_MM[kind] if fewest <= round(extent_mm / g) + 1 <= most]
    gap_mm = float(rng.choice(fits))
    spacing_mm = round(field_mm / size, 6)
    thin_share = {"thin": 1.0, "thick": rng.choice([0.9, 1.0]), "bone": rng.choice([0.5, 0.8])}
    noise = {"thin": (4.5, 6.5), "thick": (2.4, 3.8), "bone": (18.0, 30.0)}[kind]
    tilted = Series(
        kind=kind,
        number=number,
        uid=_uid(seed, index, size, "series", number),
        n_slices=round(extent_mm / gap_mm) + 1,
        size=size,
        spacing_mm=spacing_mm,
        gap_mm=gap_mm,
        thickness_mm=round(gap_mm * float(thin_share[kind]), 3),
        tilt_deg=round(tilt_deg, 1),
        origin_mm=(0.0, 0.0, 0.0),
        noise_hu=float(rng.uniform(*noise)),
    )
    origin = _first_position(tilted, pose, offset_mm, low_mm)
    return replace(tilted, origin_mm=origin)


def _first_position(
    series: Series, pose: Pose, offset_mm: np.ndarray, low_mm: float
) -> tuple[float, float, float]:
    """The corner of the lowest slice, `low_mm` along the normal from the head's middle.

    The image is centred where the head is widest; a tilted stack drifts away from there.
    """
    row, column, normal = series.axes
    half_mm = series.spacing_mm * (series.size - 1) / 2
    middle = np.array(pose.center_mm) + _WIDEST_MM * normal
    middle += offset_mm[0] * row + offset_mm[1] * column
    table_mm = (low_mm - _WIDEST_MM) / np.cos(np.deg2rad(series.tilt_deg))
    corner = middle - half_mm * (row + column) + (0.0, 0.0, table_mm)
    x, y, z = np.round(corner, 6)
    return float(x), float(y), float(z)
