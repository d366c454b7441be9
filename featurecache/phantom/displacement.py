"""Mass effect and midline shift: a smooth field that moves the brain inside the skull."""

import numpy as np

from featurecache.phantom.findings import Displacement

_HALF_WIDTH_MM = 62.0
_SHIFT_REACH_MM = (44.0, 34.0)
_EFFACEMENT_REACH_MM = 42.0


def displacement_field(
    displacement: Displacement, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return how far the brain at each point has moved.

    Tissue seen at p comes from p - u(p). The field is smooth, vanishes at the skull on the
    far side and nowhere folds over (its gradient stays below 1).

    Parameters
    ----------
    displacement : Displacement
    x, y, z : numpy.ndarray
        float32, head coordinates, mm, any one shape.

    Returns
    -------
    ux, uy, uz : numpy.ndarray
        float32, mm.
    push : numpy.ndarray
        float32, mm: length of the part that is mass effect, without the midline's shift.
    """
    d = displacement
    dx, dy, dz = x - d.center[0], y - d.center[1], z - d.center[2]
    r2 = dx * dx + dy * dy + dz * dz
    if any(d.inward):
        size = d.push_mm * np.exp(r2 * (-0.5 / d.sigma_mm**2))
        ux, uy, uz = (size * c for c in d.inward)
        push = size
    else:
        sigma = 0.75 * d.sigma_mm
        size = (d.push_mm / sigma) * np.exp(0.5 - r2 * (0.5 / sigma**2))
        ux, uy, uz = size * dx, size * dy, size * dz
        push = size * np.sqrt(r2)
    if d.shift_mm:
        ux = ux + _midline_shift(d, x, y, z)
    return ux, uy, uz, push


def _midline_shift(d: Displacement, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Greatest at the septum, nothing at the skull, where the falx is attached."""
    across = np.maximum(1 - (x * (1 / _HALF_WIDTH_MM)) ** 2, 0) ** 2
    along = ((y - d.shift_y_mm) * (1 / _SHIFT_REACH_MM[0])) ** 2
    along += ((z - d.shift_z_mm) * (1 / _SHIFT_REACH_MM[1])) ** 2
    return d.shift_mm * across * np.exp(-along)


def sulcus_opening(
    displacement: Displacement, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Return how wide sulci stay under pressure: 1 untouched, 0 closed.

    Parameters
    ----------
    displacement : Displacement
    x, y, z : numpy.ndarray
        float32, head coordinates, mm.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1].
    """
    d = displacement
    r2 = (x - d.center[0]) ** 2 + (y - d.center[1]) ** 2 + (z - d.center[2]) ** 2
    return 1 - d.effacement * np.exp(r2 * (-0.5 / _EFFACEMENT_REACH_MM**2))
