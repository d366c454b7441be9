"""Where blood is: the share of each kind of haemorrhage at points of the cranial cavity."""

import numpy as np

from featurecache.phantom.anatomy import Anatomy, Calcification
from featurecache.phantom.brain import Tissue
from featurecache.phantom.findings import (
    Extradural,
    Hypodensity,
    Intraparenchymal,
    Intraventricular,
    Lesion,
    Subarachnoid,
    Subdural,
)
from featurecache.phantom.grid import ramp
from featurecache.phantom.skull import surface_point

_EDGE_MM = 1.3


def collection_mm(
    anatomy: Anatomy, lesion: Extradural | Subdural, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Return how thick an extra-axial collection is under each point of the skull.

    Parameters
    ----------
    anatomy : Anatomy
    lesion : Extradural or Subdural
    x, y, z : numpy.ndarray
        float32 (P,), head coordinates, mm.

    Returns
    -------
    numpy.ndarray
        float32 (P,), mm; 0 where there is none.
    """
    if isinstance(lesion, Extradural):
        cx, cy, cz = surface_point(anatomy, lesion.side, lesion.y_mm, lesion.z_mm)
        r2 = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        return lesion.thickness_mm * np.maximum(1 - r2 * (1 / lesion.radius_mm**2), 0)
    r2 = ((y - lesion.y_mm) * (1 / lesion.reach_y_mm)) ** 2
    r2 += ((z - lesion.z_mm) * (1 / lesion.reach_z_mm)) ** 2
    beside_falx = np.clip((x * lesion.side - 3) * (1 / 10), 0, 1)
    return lesion.thickness_mm * np.sqrt(np.maximum(1 - r2, 0)) * beside_falx


def add_lesion(
    anatomy: Anatomy,
    lesion: Lesion,
    tissue: Tissue,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
) -> np.ndarray | None:
    """Put a lesion into the brain.

    Parameters
    ----------
    anatomy : Anatomy
    lesion : Lesion
    tissue : Tissue
        Changed in place.
    x, y, z : numpy.ndarray
        float32 (P,), head coordinates, mm, as seen (displacement included).
    depth : numpy.ndarray
        float32 (P,), distance below the inner table, mm.

    Returns
    -------
    numpy.ndarray or None
        float32 (P,), share of blood at each point; None for a lesion that is no blood.
    """
    if isinstance(lesion, Intraparenchymal):
        return _add_clot(lesion, tissue, x, y, z, depth)
    if isinstance(lesion, Intraventricular):
        return _add_ventricular(lesion, tissue, x, y)
    if isinstance(lesion, Subarachnoid):
        return _add_subarachnoid(lesion, tissue, x, y, z)
    if isinstance(lesion, Extradural | Subdural):
        return _add_collection(anatomy, lesion, tissue, x, y, z, depth)
    if isinstance(lesion, Hypodensity):
        _add_dark(lesion, tissue, x, y, z)
    return None


def _add_clot(
    lesion: Intraparenchymal,
    tissue: Tissue,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
) -> np.ndarray:
    inside_mm = _lobed_mm(lesion, x, y, z)
    brain = ramp(depth - 2.0, 2.0)
    rim = (
        0.75
        * ramp(inside_mm + lesion.oedema_mm, 2.5)
        * brain
        * (1 - tissue.fluid)
        * (1 - tissue.lateral)
    )
    tissue.hu += (17 - tissue.hu) * rim
    share = ramp(inside_mm, _EDGE_MM) * brain
    for clear in (tissue.fluid, tissue.lateral, tissue.midline):
        clear *= 1 - share
    tissue.hu += (lesion.hu + 1.5 * np.sin(x * 0.6 + y * 0.5) - tissue.hu) * share
    return share


def _lobed_mm(lesion: Intraparenchymal, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Rough signed distance to an ellipsoid with an irregular outline."""
    (cx, cy, cz), (a, b, c), (u, v, w) = lesion.center, lesion.axes, lesion.wobble
    dx, dy, dz = (x - cx) * (1 / a), (y - cy) * (1 / b), (z - cz) * (1 / c)
    q = np.sqrt(dx * dx + dy * dy + dz * dz)
    q *= 1 + 0.08 * np.sin(3.1 * dx + 2.3 * dy + u) + 0.07 * np.sin(2.7 * dy - 3.4 * dz + v)
    q += 0.05 * np.sin(4.9 * dz - 4.1 * dx + 3.3 * dy + w)
    return (1 - q) * min(lesion.axes)


def _add_ventricular(
    lesion: Intraventricular, tissue: Tissue, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Blood settles behind a level in the lateral ventricles, or fills them."""
    filled = ramp(y - lesion.level_y_mm, 1.5)
    if lesion.cast_side:
        np.maximum(filled, ramp(x * lesion.cast_side, 1.0), out=filled)
    share = tissue.lateral * filled
    if lesion.midline:
        np.maximum(share, tissue.midline, out=share)
    tissue.hu += (lesion.hu - tissue.hu) * share
    return share


def subarachnoid_reach(
    lesion: Subarachnoid, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Return how far the blood has spread: 1 in the middle of its region, 0 outside.

    Parameters
    ----------
    lesion : Subarachnoid
    x, y, z : numpy.ndarray
        float32 (P,), head coordinates, mm.

    Returns
    -------
    numpy.ndarray
        float32 (P,).
    """
    (cx, cy, cz), (a, b, c) = lesion.center, lesion.reach
    q = ((x - cx) * (1 / a)) ** 2 + ((y - cy) * (1 / b)) ** 2 + ((z - cz) * (1 / c)) ** 2
    return np.clip(2.5 * (1 - np.sqrt(q)), 0, 1)


def _add_subarachnoid(
    lesion: Subarachnoid, tissue: Tissue, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Blood lies where the fluid was, in sulci and cisterns."""
    share = tissue.fluid * subarachnoid_reach(lesion, x, y, z) * lesion.share
    tissue.hu += (lesion.hu - tissue.hu) * share
    return share


def _add_collection(
    anatomy: Anatomy,
    lesion: Extradural | Subdural,
    tissue: Tissue,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
) -> np.ndarray:
    thick = collection_mm(anatomy, lesion, x, y, z)
    share = ramp(thick - depth, _EDGE_MM) * (thick > 0.5)
    if isinstance(lesion, Extradural):
        hu = lesion.hu - lesion.swirl_hu * (np.sin(x * 0.35 + z * 0.3) * np.sin(y * 0.3) > 0.35)
    else:
        hu = lesion.hu + lesion.settled_hu * ramp(y - lesion.y_mm, 12.0)
    tissue.hu += (hu - tissue.hu) * share
    for clear in (tissue.fluid, tissue.lateral, tissue.midline):
        clear *= 1 - share
    return share


def _add_dark(
    lesion: Hypodensity, tissue: Tissue, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> None:
    (cx, cy, cz), (a, b, c) = lesion.center, lesion.axes
    q = ((x - cx) * (1 / a)) ** 2 + ((y - cy) * (1 / b)) ** 2 + ((z - cz) * (1 / c)) ** 2
    q = np.sqrt(q) * (1 + 0.12 * np.sin(x * 0.2) * np.sin(y * 0.23 + z * 0.2))
    share = ramp((1 - q) * min(a, b, c), 5.0) * (tissue.hu > lesion.hu)
    tissue.hu += (lesion.hu - tissue.hu) * share * 0.9


def add_calcification(
    spot: Calcification, tissue: Tissue, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> None:
    """Put a calcification into the brain.

    Parameters
    ----------
    spot : Calcification
    tissue : Tissue
        Changed in place.
    x, y, z : numpy.ndarray
        float32 (P,), head coordinates without displacement, mm.
    """
    (cx, cy, cz), (a, b, c) = spot.center, spot.axes
    near = np.flatnonzero((np.abs(z - cz) < c + 1) & (np.abs(y - cy) < b + 1))
    x, y, z = x[near], y[near], z[near]
    q = ((x - cx) * (1 / a)) ** 2 + ((y - cy) * (1 / b)) ** 2 + ((z - cz) * (1 / c)) ** 2
    share = ramp((1 - np.sqrt(q)) * min(a, b, c), 1.2)
    tissue.hu[near] += (spot.hu - tissue.hu[near]) * share
