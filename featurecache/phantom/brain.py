"""The brain: folded cortex, white matter, deep nuclei, cisterns, falx and ventricles.

Everything is evaluated on flat arrays of points inside the cranial cavity, in head coordinates
from which the displacement has been taken off.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from featurecache.phantom.anatomy import Anatomy
from featurecache.phantom.grid import ramp

_CORTEX_MM = 3.2
_SULCUS_DEPTH_MM = 17.0
_LATERAL = (
    ((6.6, -23.0, 12.0), (4.6, 15.0, 9.0), -0.30),
    ((12.5, 4.0, 25.0), (5.5, 28.0, 6.0), 0.13),
    ((25.0, 33.0, 14.0), (6.5, 11.0, 11.0), 0.25),
    ((26.0, 50.0, 9.0), (4.0, 13.0, 5.5), -0.10),
    ((31.0, 6.0, -12.0), (2.0, 14.0, 3.0), 0.12),
)
_MIDLINE = (((0.0, 8.0, 5.0), (2.0, 12.0, 9.0)), ((0.0, 44.0, -26.0), (6.0, 5.0, 9.0)))
_NUCLEI = (
    ((14.5, -20.0, 13.0), (4.5, 9.0, 9.0), -0.25),
    ((24.0, -4.0, 7.0), (6.5, 14.0, 9.0), 0.28),
    ((10.0, 14.0, 8.0), (7.0, 12.0, 8.0), 0.20),
)


@dataclass
class Tissue:
    """What is at each point of the brain.

    Parameters
    ----------
    hu : numpy.ndarray
        float32 (P,).
    fluid : numpy.ndarray
        float32 (P,), share of cerebrospinal fluid in sulci and cisterns.
    lateral, midline : numpy.ndarray
        float32 (P,), shares of the lateral ventricles and of the third and fourth.
    """

    hu: np.ndarray
    fluid: np.ndarray
    lateral: np.ndarray
    midline: np.ndarray


def brain_tissue(
    anatomy: Anatomy,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
    opening: np.ndarray | float,
    swell: float,
) -> Tissue:
    """Return the tissue at points of the brain.

    Parameters
    ----------
    anatomy : Anatomy
    x, y, z : numpy.ndarray
        float32 (P,), head coordinates without displacement, mm.
    depth : numpy.ndarray
        float32 (P,), distance below the dura, mm.
    opening : numpy.ndarray or float
        Width of sulci relative to the head's own, [0, 1].
    swell : float
        Size of the ventricles relative to the head's own.

    Returns
    -------
    Tissue
    """
    ax = np.abs(x)
    cerebellum = ramp(-5 + 0.28 * (y - 24) - z, 5.0) * ramp(y - 17, 6.0)
    fluid, cortex = _folded_cortex(anatomy, x, y, z, depth, opening, cerebellum)
    fissure, beside = _fissures(anatomy, ax, y, z, depth, opening)
    np.maximum(fluid, fissure, out=fluid)
    np.maximum(cortex, beside, out=cortex)
    lateral, midline, gap_mm = _ventricles(anatomy, x, ax, y, z, depth, swell)
    np.maximum(cortex, _nuclei(ax, y, z, depth), out=cortex)
    folia = 0.6 + 0.18 * np.sin(1.5 * np.sqrt(ax * ax + (y - 30) ** 2) + 2 * np.sin(0.2 * x))
    cortex += (folia - cortex) * cerebellum
    white = anatomy.white_hu - anatomy.leukoaraiosis_hu * np.exp(gap_mm * (-1 / 7))
    hu = white + (anatomy.grey_hu - white) * cortex
    hu += 4.0 * np.exp(depth * (-1 / 5))
    hu += (anatomy.csf_hu - hu) * np.maximum(np.maximum(fluid, lateral), midline)
    hu += (50 - hu) * _falx(ax, y, z, depth)
    return Tissue(hu, fluid, lateral, midline)


def _folded_cortex(
    anatomy: Anatomy,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
    opening: np.ndarray | float,
    cerebellum: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Sulci along the zeros of a random wave field, and a ribbon of cortex beside them."""
    fold = np.zeros_like(x)
    for kx, ky, kz, phase in anatomy.folds:
        fold += np.sin(x * kx + y * ky + z * kz + phase)
    wave_number = 0.25
    away = np.abs(fold) * (1.0 / (wave_number * sqrt(len(anatomy.folds) / 2) * 1.1))
    open_mm = anatomy.sulcus_mm * opening * (1 - 0.6 * cerebellum)
    half = open_mm * (1 - depth * (1 / _SULCUS_DEPTH_MM))
    surface = 0.4 + 0.7 * open_mm
    fluid = ramp(half - away, 1.1) * np.clip(half * 4, 0, 1)
    np.maximum(fluid, ramp(surface - depth, 1.2), out=fluid)
    wall = away - np.maximum(half, 0) + np.maximum(depth - _SULCUS_DEPTH_MM, 0) * 0.6
    cortex = ramp(_CORTEX_MM - np.minimum(depth - surface, wall), 1.6)
    return fluid, cortex


def _fissures(
    anatomy: Anatomy,
    ax: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
    opening: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray]:
    """Interhemispheric and Sylvian fissures and basal cisterns; and cortex beside them."""
    open_mm = anatomy.sulcus_mm * opening
    split = np.maximum(np.maximum(z - 30, -34 - y), np.minimum(y - 40, z + 2))
    gap = np.minimum(0.5 + 0.7 * open_mm - ax, split)
    bent = 1.6 * np.sin(y * 0.33 + z * 0.2) + 0.008 * (y + 2) ** 2
    insula = np.minimum(0.4 + 1.2 * open_mm - np.abs(ax - 41 + bent), 22 - np.abs(y + 2))
    insula = np.minimum(insula, (11 - np.abs(z - 9)) * 0.25)
    cleft = np.minimum(0.6 + 1.4 * open_mm - np.abs(y + 15 + 0.5 * (ax - 40) + bent), ax - 39)
    cleft = np.minimum(cleft, (9 - np.abs(z - 4)) * 0.25)
    np.maximum(insula, cleft, out=insula)
    stem = np.minimum(0.5 + 0.8 * open_mm - np.abs(y + 13 - 0.1 * (ax - 12) + 0.5 * bent), ax - 9)
    stem = np.minimum(np.minimum(stem, 42 - ax), (5 - np.abs(z + 7)) * 0.3)
    np.maximum(insula, stem, out=insula)
    beside = ramp(np.maximum(gap, insula) + _CORTEX_MM, 1.6)
    wall = np.maximum(np.maximum(gap, insula), _cisterns(anatomy, ax, y, z))
    return ramp(wall, 1.1), beside


def _cisterns(anatomy: Anatomy, ax: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Fluid around the brain stem, rough signed distance."""
    wide = 0.7 + 0.4 * anatomy.sulcus_mm
    stem_x = ax - 0.06 * (y - 12) ** 2 * (y < 12)
    ring = np.sqrt((stem_x * (1 / 16)) ** 2 + ((y - 21) * (1 / 14)) ** 2)
    ambient = np.minimum(1.1 * wide - np.abs(ring - 1) * 14, 6 - np.abs(z + 5 - 0.3 * (y - 21)))
    ambient = np.minimum(ambient, (y - 14) * 0.4)
    star = _ellipsoid(ax - 0.5 * np.maximum(-y - 6, 0), y, z, (0, -5, -12), (12, 9, 6))
    plate = _ellipsoid(ax, y, z, (0, 37, 0), (9 * wide, 3.5 * wide, 6))
    pons = _ellipsoid(ax, y, z, (0, 4, -24), (11, 3.2 * wide, 12))
    magna = _ellipsoid(ax, y, z, (0, 60, -44), (13, 6, 8))
    deep = np.maximum(np.maximum(star, plate), np.maximum(pons, magna))
    return np.maximum(ambient, deep)


def _ventricles(
    anatomy: Anatomy,
    x: np.ndarray,
    ax: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
    swell: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of lateral and midline ventricles, and the distance from the lateral ones."""
    size = anatomy.ventricle * swell
    off = np.abs(x - anatomy.asymmetry_mm)
    lateral = np.full_like(x, -60.0)
    for center, (a, b, c), shear in _LATERAL:
        axes = (a * size, b * (0.75 + 0.25 * size), c * (0.5 + 0.5 * size))
        if z.size and (z.min() > center[2] + axes[2] + 12 or z.max() < center[2] - axes[2] - 12):
            continue
        part = _ellipsoid(off - shear * (y - center[1]), y, z, center, axes)
        np.maximum(lateral, part, out=lateral)
    np.minimum(lateral, off - 0.6, out=lateral)
    midline = np.full_like(x, -60.0)
    for center, (a, b, c) in _MIDLINE:
        np.maximum(midline, _ellipsoid(x, y, z, center, (a * size, b, c)), out=midline)
    return ramp(lateral, 1.2), ramp(midline, 1.2), np.maximum(-lateral, 0)


def _nuclei(ax: np.ndarray, y: np.ndarray, z: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Caudate, lentiform nucleus and thalamus."""
    share = np.zeros_like(ax)
    if z.size and (z.min() > 30 or z.max() < -10):
        return share
    for center, axes, shear in _NUCLEI:
        part = _ellipsoid(ax - shear * (y - center[1]), y, z, center, axes)
        np.maximum(share, ramp(part, 2.5), out=share)
    return share


def _falx(ax: np.ndarray, y: np.ndarray, z: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """A thin dense sheet in the interhemispheric fissure, and the sinus at its back edge."""
    where = np.maximum(np.maximum(z - 36, -44 - y), np.minimum(y - 46, z - 4))
    sheet = ramp(np.minimum(0.55 - ax, where), 1.0)
    tent = np.minimum(0.5 - np.abs(z - 14 + 0.3 * ax - 0.2 * (y - 40)) * 0.8, y - 34)
    np.maximum(sheet, 0.6 * ramp(np.minimum(tent, ax - 2), 1.5), out=sheet)
    sinus = np.minimum(4.5 - depth - ax * 1.2, np.maximum(y - 20, z - 40))
    return np.maximum(sheet * 0.9, ramp(sinus, 2.0) * (z > 0))


def _ellipsoid(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    center: tuple[float, float, float],
    axes: tuple[float, float, float],
) -> np.ndarray:
    """Rough signed distance to an ellipsoid, positive inside, mm."""
    q = (x - center[0]) ** 2 * (1 / axes[0] ** 2)
    q += (y - center[1]) ** 2 * (1 / axes[1] ** 2)
    q += (z - center[2]) ** 2 * (1 / axes[2] ** 2)
    return (1 - np.sqrt(q)) * min(axes)
