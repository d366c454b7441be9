"""Noise with the texture of a reconstruction kernel, and what surrounds the head."""

from functools import lru_cache

import numpy as np

from featurecache.phantom.grid import upsample
from featurecache.phantom.study import Series

AIR_HU = -1000.0
_HOLDER_HU = (-120.0, 160.0)


def noise(rng: np.random.Generator, size: int, kind: str) -> np.ndarray:
    """Return noise of standard deviation 1.

    A soft kernel leaves blotches of some pixels; a bone kernel sharpens.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : int
        Rows and columns.
    kind : {"thin", "thick", "bone"}

    Returns
    -------
    numpy.ndarray
        float32 (size, size).
    """
    white = rng.standard_normal((size + 2, size + 2), np.float32)
    if kind == "bone":
        return (white[1:-1, 1:-1] - _box(_box(white)) * np.float32(0.5)) * np.float32(1.19)
    half = (size + 1) // 2
    coarse = upsample(rng.standard_normal((half, half), np.float32), 2)[:size, :size]
    return _box(white)[:size, :size] * np.float32(1.7) + coarse * np.float32(0.83)


def _box(field: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 neighbours, one row and column fewer."""
    pairs = field[1:] + field[:-1]
    return (pairs[:, 1:] + pairs[:, :-1]) * np.float32(0.25)


@lru_cache(maxsize=4)
def background(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the empty scanner in HU, and which pixels lie in the reconstruction circle.

    Parameters
    ----------
    series : Series

    Returns
    -------
    hu : numpy.ndarray
        float32 (H, W): air and the head holder.
    circle : numpy.ndarray
        bool (H, W).
    """
    axis = (np.arange(series.size, dtype=np.float32) - (series.size - 1) / 2) * series.spacing_mm
    u, v = axis[None, :], axis[:, None]
    radius = np.sqrt((u / 112) ** 2 + ((v - 8) / 118) ** 2)
    off = (radius - 1) * 115
    sides = np.clip((v + 25) / 12, 0, 1)
    shell = np.clip(1.6 - np.abs(off), 0, 1)
    hu = np.full((series.size, series.size), AIR_HU, np.float32)
    hu += (_HOLDER_HU[0] - hu) * 0.06 * np.clip(5 - np.abs(off - 5), 0, 1) * sides
    hu += (_HOLDER_HU[1] - hu) * shell * sides
    half_mm = series.size * series.spacing_mm / 2
    return hu, u * u + v * v <= half_mm * half_mm
