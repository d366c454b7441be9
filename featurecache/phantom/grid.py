"""Pixels of one slice -> head coordinates, on a grid coarse enough to be quick.

Shapes are evaluated at about 0.9 mm and brought to full resolution by interpolation: signed
distances and tissue densities are smooth, edges are drawn from the interpolated distances.
A thick slice is sampled at several heights.
"""

from dataclasses import dataclass

import numpy as np

from featurecache.phantom.anatomy import Anatomy
from featurecache.phantom.study import Pose, Series

HEAD_BOX_MM = (94.0, 118.0)
"""Half extents of a standard head with its scalp, left-right and front-back."""


@dataclass(frozen=True)
class SliceGrid:
    """Head coordinates of the part of one slice that the head may cover.

    Parameters
    ----------
    x, y, z : numpy.ndarray
        float32 (Z, H, W), head coordinates in mm at Z heights within the slice.
    box : tuple of slice
        Rows and columns of the image that the grid covers, at full resolution.
    factor : int
        Full-resolution pixels per grid point, 1 or 2.
    pixel_mm : float
        Full-resolution pixel spacing.
    thickness_mm : float
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    box: tuple[slice, slice]
    factor: int
    pixel_mm: float
    thickness_mm: float

    @property
    def step_mm(self) -> float:
        """Distance of grid points."""
        return self.pixel_mm * self.factor

    @property
    def middle(self) -> int:
        """Which of the heights is the slice's own plane."""
        return self.z.shape[0] // 2

    def near(self, center: tuple[float, float, float], radius_mm: float) -> tuple | None:
        """Return the rows and columns within `radius_mm` of a point, or None.

        Parameters
        ----------
        center : tuple of float
            Head coordinates.
        radius_mm : float

        Returns
        -------
        tuple of slice or None
            Index for the last two axes of the grid.
        """
        m = self.middle
        height = float(np.abs(self.z[m].mean() - center[2]))
        if height > radius_mm + 60.0:
            return None
        x, y, z = self.x[m], self.y[m], self.z[m]
        squared = (x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2
        close = squared < (radius_mm + self.thickness_mm) ** 2
        rows, columns = np.flatnonzero(close.any(1)), np.flatnonzero(close.any(0))
        if not rows.size:
            return None
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def slice_grid(anatomy: Anatomy, pose: Pose, series: Series, k: int) -> SliceGrid:
    """Place a grid over the head in slice `k`.

    Parameters
    ----------
    anatomy : Anatomy
    pose : Pose
    series : Series
    k : int
        Counted from the feet.

    Returns
    -------
    SliceGrid
    """
    to_head = np.array(pose.rotation).T / np.array(anatomy.scale)[:, None]
    row, column, normal = series.axes
    start = to_head @ (series.position_mm(k) - np.array(pose.center_mm))
    per_column, per_row = to_head @ row * series.spacing_mm, to_head @ column * series.spacing_mm
    factor = 2 if series.spacing_mm < 0.6 else 1
    box = _head_box(start, per_column, per_row, series.size, factor)
    heights = _heights_mm(series.thickness_mm)[:, None] * (to_head @ normal)
    rows = np.arange(box[0].start, box[0].stop, factor) + (factor - 1) / 2
    columns = np.arange(box[1].start, box[1].stop, factor) + (factor - 1) / 2
    x, y, z = (
        (start[i] + heights[:, i, None, None] + rows[:, None] * per_row[i]).astype(np.float32)
        + (columns * per_column[i]).astype(np.float32)
        for i in range(3)
    )
    return SliceGrid(x, y, z, box, factor, series.spacing_mm, series.thickness_mm)


def _heights_mm(thickness_mm: float) -> np.ndarray:
    """Heights within a slice at which shapes are sampled."""
    count = 3 if thickness_mm > 2.2 else 1
    return (np.arange(count) - (count - 1) / 2) * thickness_mm / count


def _head_box(
    start: np.ndarray, per_column: np.ndarray, per_row: np.ndarray, size: int, factor: int
) -> tuple[slice, slice]:
    """Rows and columns that hold the head, even at both ends."""
    turn = np.array([[per_row[0], per_column[0]], [per_row[1], per_column[1]]])
    corners = np.array(
        [(sx * HEAD_BOX_MM[0], sy * HEAD_BOX_MM[1]) for sx in (-1, 1) for sy in (-1, 1)]
    )
    pixels = np.linalg.solve(turn, (corners - start[:2]).T)
    low = np.clip(np.floor(pixels.min(1)), 0, size - 16).astype(int) // 2 * 2
    high = np.clip(np.ceil(pixels.max(1)), 16, size).astype(int) // 2 * 2
    high = np.maximum(high, low + 16)
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def upsample(field: np.ndarray, factor: int) -> np.ndarray:
    """Interpolate a field to full resolution.

    Parameters
    ----------
    field : numpy.ndarray
        float32 (H, W).
    factor : int
        1 or 2.

    Returns
    -------
    numpy.ndarray
        float32 (factor * H, factor * W).
    """
    if factor == 1:
        return field
    rows = np.empty((2 * field.shape[0], field.shape[1]), np.float32)
    _double(field, rows)
    full = np.empty((rows.shape[0], 2 * rows.shape[1]), np.float32)
    _double(rows.T, full.T)
    return full


def _double(field: np.ndarray, out: np.ndarray) -> None:
    """Twice the rows, each new one a quarter of the way to its neighbour."""
    near = field * np.float32(0.75)
    far = field * np.float32(0.25)
    out[2::2] = near[1:] + far[:-1]
    out[1:-1:2] = near[:-1] + far[1:]
    out[0] = field[0]
    out[-1] = field[-1]


def ramp(distance: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """Share of a pixel that lies inside a surface: 1 inside, 0 outside, linear across the edge.

    Parameters
    ----------
    distance : numpy.ndarray
        Signed distance, mm, positive inside.
    width : numpy.ndarray or float
        Width of the edge, mm.

    Returns
    -------
    numpy.ndarray
        float32, in [0, 1].
    """
    share = distance / width
    share += np.float32(0.5)
    return np.clip(share, 0.0, 1.0, out=share)
