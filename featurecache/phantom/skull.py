"""The vault of the skull and the scalp: distances, bone, sutures and fractures."""

import numpy as np

from featurecache.phantom.anatomy import INNER_SKULL_MM, Anatomy
from featurecache.phantom.findings import Fracture, ScalpSwelling
from featurecache.phantom.grid import ramp

_BELOW = 0.45
"""How quickly the head narrows below the origin, relative to above it."""


def vault_distance(
    anatomy: Anatomy, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance from the inner table, and how steeply it rises with Z.

    Parameters
    ----------
    anatomy : Anatomy
    x, y, z : numpy.ndarray
        float32, head coordinates, mm, any one shape.

    Returns
    -------
    distance : numpy.ndarray
        float32, mm, negative inside the cranial cavity.
    slope : numpy.ndarray
        float32 in [-1, 1], vertical part of the surface's outward normal.

    Notes
    -----
    The surface is (x/a)^2 + (y/b)^2 + (z/c)^2.5 = 1, a little flatter on top than an ellipsoid.
    """
    a, b, c = INNER_SKULL_MM
    qx = x / (a + (a * anatomy.egg / b) * y)
    qy = y * (1 / b)
    qz = np.maximum(z, 0) * (1 / c) - np.minimum(z, 0) * (_BELOW / c)
    flat = np.sqrt(qz)
    k0 = np.sqrt(qx * qx + qy * qy + qz * qz * flat)
    steep = qz * flat * (1.25 / c)
    k1 = np.sqrt(qx * qx * (1 / a**2) + qy * qy * (1 / b**2) + steep * steep) + 1e-6
    return k0 * (k0 - 1) / k1, np.copysign(steep, z) / k1


def skull_mm(anatomy: Anatomy, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the thickness of the vault at a point: thick behind, thin at the temples.

    Parameters
    ----------
    anatomy : Anatomy
    x, y, z : numpy.ndarray
        float32, head coordinates, mm.

    Returns
    -------
    numpy.ndarray
        float32, mm.
    """
    behind = y * (0.22 / 82)
    temple = np.exp(-((y + 22) ** 2) * (1 / 900) - (z - 2) ** 2 * (1 / 700)) * 0.38
    ridge = np.exp(-(x * x) * (1 / 60)) * 0.18
    return anatomy.skull_mm * (1.0 + behind - temple + ridge)


def vault_share(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return where the wall of the head is vault (1) and where face or neck (0).

    Parameters
    ----------
    y, z : numpy.ndarray
        float32, head coordinates, mm.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1].
    """
    lower_edge = -12.0 - 34.0 / (1.0 + np.exp(np.clip(-(y + 48.0) * 0.3, -30, 30)))
    return ramp(z - lower_edge, 4.0)


def scalp_mm(
    anatomy: Anatomy,
    swellings: list[ScalpSwelling],
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scalp's thickness, and the share of it that is a swelling.

    Parameters
    ----------
    anatomy : Anatomy
    swellings : list of ScalpSwelling
    x, y, z : numpy.ndarray
        float32, head coordinates, mm.

    Returns
    -------
    thickness, swollen : numpy.ndarray
        float32, mm and [0, 1].
    """
    neck = 12.0 * ramp(y - 30.0, 40.0) * ramp(-z - 26.0, 30.0)
    temporal = 4.5 * np.exp(-((y + 20) ** 2) * (1 / 700) - z * z * (1 / 900))
    thickness = anatomy.scalp_mm + neck + temporal * np.minimum(np.abs(x) * (1 / 45), 1) ** 2
    swollen = np.zeros_like(thickness)
    for s in swellings:
        cx, cy, cz = surface_point(anatomy, s.side, s.y_mm, s.z_mm)
        r2 = ((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / s.radius_mm**2
        bump = np.maximum(1 - r2, 0)
        thickness = thickness + s.thickness_mm * bump
        swollen = np.maximum(swollen, np.minimum(2 * bump, 1))
    return thickness, swollen


def surface_point(
    anatomy: Anatomy, side: int, y_mm: float, z_mm: float
) -> tuple[float, float, float]:
    """Return the point of the inner table at a height and depth on one side.

    Parameters
    ----------
    anatomy : Anatomy
    side : int
        -1 or 1.
    y_mm, z_mm : float
        Head coordinates.

    Returns
    -------
    tuple of float
    """
    a, b, c = INNER_SKULL_MM
    height = z_mm * (_BELOW if z_mm < 0 else 1.0)
    inside = max(1.0 - (y_mm / b) ** 2 - abs(height / c) ** 2.5, 0.0)
    return side * a * (1 + anatomy.egg * y_mm / b) * float(np.sqrt(inside)), y_mm, z_mm


def bone(
    anatomy: Anatomy,
    fractures: list[Fracture],
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    edge_mm: float,
    slice_mm: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how much of each point is vault bone, its density, and how much a crack took.

    Parameters
    ----------
    anatomy : Anatomy
    fractures : list of Fracture
    x, y, z : numpy.ndarray
        float32, head coordinates, mm.
    edge_mm : float
        Sharpness of the image.
    slice_mm : float
        Thickness of the slice, over which surfaces that lie flat in it are averaged.

    Returns
    -------
    share, hu, cracked : numpy.ndarray
        float32; [0, 1], HU, and the share of bone that a fracture removed.
    """
    distance, slope = vault_distance(anatomy, x, y, z)
    surface_mm = edge_mm + np.abs(slope) * slice_mm
    thickness = skull_mm(anatomy, x, y, z)
    cracks = np.zeros_like(x)
    for fracture in fractures:
        blur_mm = max(edge_mm, 0.5) + abs(fracture.lean) * slice_mm * 0.7
        crack, step = _crack(anatomy, fracture, x, y, z, blur_mm)
        cracks = np.maximum(cracks, crack)
        distance = distance + step
    share = ramp(distance, surface_mm) * ramp(thickness - distance, surface_mm)
    share *= vault_share(y, z)
    level = np.abs(distance / thickness - 0.45)
    texture = np.sin(x * 1.1 + z + 2 * np.sin(y * 0.7)) * np.sin(y * 1.3 - z + 2 * np.sin(x * 0.6))
    marrow = ramp((0.24 - level) * thickness, 1.6)
    hu = anatomy.cortical_hu - (anatomy.cortical_hu - anatomy.diploe_hu - 110 * texture) * marrow
    hu -= 650 * _sutures(anatomy, x, y, z, edge_mm)
    hu += (-850 - hu) * _frontal_sinus(anatomy, x, y, z, level)
    return share * (1 - cracks), hu, share * cracks


def _sutures(
    anatomy: Anatomy, x: np.ndarray, y: np.ndarray, z: np.ndarray, edge_mm: float
) -> np.ndarray:
    """Coronal, sagittal and lambdoid sutures: fine zigzags, to be told from fractures."""
    zigzag = 1.1 * np.sin(z * 1.3 + x * 0.9)
    coronal = np.abs(y + 22 + 0.3 * z + zigzag)
    lambdoid = np.abs(y - 66 + 0.45 * z + 0.1 * np.abs(x) + zigzag) + np.where(
        z < -8, np.float32(9), np.float32(0)
    )
    sagittal = np.abs(x + 1.1 * np.sin(y * 1.2)) + np.where(
        np.abs(y) > 70, np.float32(9), np.float32(0)
    )
    nearest = np.minimum(np.minimum(coronal, lambdoid), sagittal)
    return ramp(anatomy.suture_mm / 2 - nearest, max(edge_mm, 0.6)) * ramp(z + 2, 6.0)


def _frontal_sinus(
    anatomy: Anatomy, x: np.ndarray, y: np.ndarray, z: np.ndarray, level: np.ndarray
) -> np.ndarray:
    """Air between the tables of the forehead."""
    size = anatomy.frontal_sinus
    if size < 0.3:
        return np.zeros_like(x)
    wide = 15 * size - np.abs(x) * (1 + 0.3 * np.sin(z * 0.5))
    high = 11 * size - np.abs(z - 2)
    return ramp(np.minimum(wide, high), 2.0) * ramp((0.33 - level) * 8, 1.0) * (y < -55)


def _crack(
    anatomy: Anatomy,
    fracture: Fracture,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    edge_mm: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The share of bone a crack removes, and how far the skull is pressed in beside it."""
    cx, cy, cz = surface_point(anatomy, fracture.side, fracture.y_mm, fracture.z_mm)
    tangent = np.array([-cy / 82**2, cx / 66**2])
    tangent /= np.linalg.norm(tangent)
    along = (x - cx) * float(tangent[0]) + (y - cy) * float(tangent[1])
    along -= fracture.lean * (z - cz) + fracture.bend_mm * np.sin((z - cz) * 0.35)
    away = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2)
    width = np.minimum(fracture.width_mm, (fracture.half_length_mm - away) * 0.4)
    crack = _line(along, width, edge_mm) * (width > 0)
    pressed = np.clip(1 - along * (1 / 16), 0, 1) * (along > 0) * (away < fracture.half_length_mm)
    return crack, fracture.step_mm * pressed


def _line(off: np.ndarray, width: np.ndarray, blur_mm: float) -> np.ndarray:
    """Share of each point covered by a line of some width, seen with some blur."""
    high = np.clip((off + width / 2) / blur_mm, -0.5, 0.5)
    return high - np.clip((off - width / 2) / blur_mm, -0.5, 0.5)
