"""The base of the skull and what lies below it: fossae, petrous ridges, orbits, sinuses, face.

The floor of the cranial cavity is a height map over (X, Y): a slice shows cavity where it lies
above the map, bone just below it, face further down. Contours of the map are what a reader
knows as the petrous V and the sphenoid wings.
"""

import numpy as np

from featurecache.phantom.grid import ramp


def cavity_floor(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the height of the cavity's floor, and the thickness of the bone under it.

    Parameters
    ----------
    x, y : numpy.ndarray
        float32, head coordinates, mm.

    Returns
    -------
    floor, thickness : numpy.ndarray
        float32, mm.
    """
    ax = np.abs(x)
    front = -9 + 8 * np.exp(-(((ax - 30) * (1 / 15)) ** 2)) - 5 * np.exp(-((ax * (1 / 8)) ** 2))
    sella = np.exp(-((ax * (1 / 11)) ** 2))
    middle = -35 + 21 * sella - 4 * sella * np.exp(-(((y + 4) * (1 / 5)) ** 2))
    back = -52 + 38 * sella * np.exp(-np.maximum(y - 6, 0) * (1 / 11))
    wing = _step(y + 13 + 0.42 * ax, 3.0)
    petrous_y = 5 + 0.42 * ax
    behind = _step(y - petrous_y, 4.0)
    ridge = np.exp(-(((y - petrous_y) * (1 / 7.5)) ** 2)) * _step(ax - 9, 3.0)
    floor = front + (middle - front) * wing
    floor += (back - floor) * behind
    floor += (23 - 0.12 * ax) * ridge
    hole = ((x * (1 / 15)) ** 2 + ((y - 38) * (1 / 17)) ** 2) < 1
    thickness = 4 + 20 * ridge + 9 * sella * (1 - behind)
    return np.where(hole, np.float32(-90), floor), np.where(hole, np.float32(0), thickness)


def _step(value: np.ndarray, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-value / width, -30, 30)))


def below_floor_hu(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    floor: np.ndarray,
    thickness: np.ndarray,
    thickness_mm: float,
) -> np.ndarray:
    """Return the density of what lies under the cranial cavity.

    Parameters
    ----------
    x, y, z : numpy.ndarray
        float32, head coordinates, mm.
    floor, thickness : numpy.ndarray
        What `cavity_floor` returned.
    thickness_mm : float
        Of the slice: wide edges where it is thick.

    Returns
    -------
    numpy.ndarray
        float32, HU.
    """
    hu = _face_hu(x, y, z)
    edge = 0.6 * thickness_mm + 1.0
    solid = ramp(floor - z, edge) * ramp(z - floor + thickness, edge)
    grain = np.sin(x * 0.9 + 1) * np.sin(y * 1.1) * np.sin(z * 0.8)
    hu += (950 + 300 * grain - hu) * solid
    cells = _ball(np.abs(x), y, z, (50, 33, -32), (13, 13, 15))
    hu += (np.where(grain > -0.12, np.float32(-650), np.float32(500)) - hu) * ramp(cells, 3.0)
    sphenoid = _ball(x, y, z, (0, -15, -27), (12, 11, 8))
    return hu + (-960 - hu) * ramp(sphenoid, 2.0)


def _ball(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    center: tuple[float, float, float],
    axes: tuple[float, float, float],
) -> np.ndarray:
    """Rough signed distance to an ellipsoid, positive inside."""
    q = ((x - center[0]) * (1 / axes[0])) ** 2
    q += ((y - center[1]) * (1 / axes[1])) ** 2
    q += ((z - center[2]) * (1 / axes[2])) ** 2
    return (1 - np.sqrt(q)) * min(axes)


def _face_hu(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Muscle and fat, walls of bone, orbits, air of the nose and its sinuses."""
    ax = np.abs(x)
    mix = np.sin(ax * 0.21 + y * 0.05 + 1.3) * np.sin(y * 0.17 - ax * 0.08 + 0.4)
    mix += 0.5 * np.sin(z * 0.13 + ax * 0.1 + y * 0.07)
    hu = -85 + 137 * ramp(mix + 0.75, 0.5)
    wall = np.abs(ax - 47 - 0.25 * (y + 45)) - 2.2
    hu += (800 - hu) * ramp(-wall, 1.5) * (y < -28) * (y > -76)
    orbit = _ball(ax, y, z, (31, -58, -23), (18.5, 27, 17))
    hu += (700 - hu) * ramp(orbit + 2.5, 1.5)
    hu += (-90 - hu) * ramp(orbit, 1.5)
    rectus = np.minimum(2.0 - np.abs(np.abs(ax - 31) - 9 - 0.18 * (y + 50)), y + 72)
    hu += (55 - hu) * ramp(np.minimum(rectus, 7 - np.abs(z + 23)), 1.5) * (orbit > 0)
    nerve = np.minimum(2.0 - np.abs(ax - 27 + 0.18 * (y + 50)), 2.5 - np.abs(z + 22))
    hu += (40 - hu) * ramp(nerve, 1.5) * (orbit > 0)
    globe = _ball(ax, y, z, (32, -71, -23), (12, 12, 12))
    hu += (np.where(globe > 1.2, np.float32(8), np.float32(50)) - hu) * ramp(globe, 1.2)
    lens = _ball(ax, y, z, (32, -80.5, -23), (4.5, 2.2, 4.5))
    hu += (85 - hu) * ramp(lens, 1.2)
    nose = np.minimum(11.5 - ax, np.minimum(y + 82, -24 - y))
    nose = np.minimum(nose, -13 - z)
    bent = 2.2 * np.sin(y * 0.23 + z * 0.31) + 1.4 * np.sin(z * 0.6 + ax)
    septa = 2.5 * np.abs(np.sin(y * 0.33 + 0.3 * bent)) - 0.7
    septa = np.minimum(septa, np.abs(ax - 6 - 0.5 * bent) - 0.9)
    septa = np.minimum(septa, ax - 0.9)
    hu += (-900 + 950 * ramp(-septa, 0.9) - hu) * ramp(nose, 1.5)
    maxillary = _ball(ax, y, z, (28, -56, -57), (14, 17, 15))
    hu += (600 - hu) * ramp(maxillary + 2, 1.5)
    return hu + (-970 - hu) * ramp(maxillary, 1.5)
