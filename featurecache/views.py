"""Augmented views of a series: rotated, mirrored or shifted, all slices alike."""

import hashlib
from dataclasses import dataclass
from math import cos, radians, sin

import torch
from torch import Tensor
from torch.nn import functional

ROTATION_DEG = 25.0
"""Rotations are drawn from -25 to 25 degrees."""

SHIFT = 15 / 512
"""Shifts are drawn from -15 to 15 pixels of a 512-pixel image, as a share of the field of view."""

_DRAWS = 3


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image comes to lie in its frame.

    Parameters
    ----------
    rotation_deg : float
        About the centre; positive is clockwise as the image is shown.
    mirrored : bool
        Left and right are exchanged.
    shift_rows, shift_columns : float
        Down and to the right, as a share of the field of view.
    """

    rotation_deg: float = 0.0
    mirrored: bool = False
    shift_rows: float = 0.0
    shift_columns: float = 0.0

    def matrix(self) -> list[list[float]]:
        """Rows (2, 3) that map a place in the new image to one in the old, both from -1 to 1."""
        c, s = cos(radians(self.rotation_deg)), sin(radians(self.rotation_deg))
        x, y = -2 * self.shift_columns, -2 * self.shift_rows
        sign = -1.0 if self.mirrored else 1.0
        return [[sign * c, sign * s, sign * (c * x + s * y)], [-s, c, c * y - s * x]]


@dataclass(frozen=True, slots=True)
class View:
    """One augmented view of every series: which of the three it is differs by series.

    Parameters
    ----------
    number : int
        From 1; the images as they are have no view.
    seed : int
        Of the draws.

    References
    ----------
    The CNN-LSTM paper, section on augmentation: a sample is original, rotated, mirrored or
    shifted with equal probability. The original is the feature set without a view.
    """

    number: int
    seed: int = 0

    def placement(self, series: str) -> Placement:
        """What is done to all slices of a series.

        Parameters
        ----------
        series : str
            Store id.

        Returns
        -------
        Placement
            The same on every machine.
        """
        kind, first, second = self._draws(series)
        if kind < 1 / 3:
            return Placement(rotation_deg=ROTATION_DEG * (2 * first - 1))
        if kind < 2 / 3:
            return Placement(mirrored=True)
        return Placement(shift_rows=SHIFT * (2 * first - 1), shift_columns=SHIFT * (2 * second - 1))

    def _draws(self, series: str) -> list[float]:
        """Uniform numbers in [0, 1)."""
        digest = hashlib.sha256(f"{self.seed}/{self.number}/{series}".encode()).digest()
        size = len(digest) // _DRAWS
        parts = (digest[i * size : (i + 1) * size] for i in range(_DRAWS))
        return [int.from_bytes(part[:6], "big") / 2**48 for part in parts]


def place(images: Tensor, matrices: Tensor, outside: Tensor) -> Tensor:
    """Rotate, mirror or shift images.

    Parameters
    ----------
    images : Tensor (N, C, H, W), float32
        Grey levels.
    matrices : Tensor (N, 2, 3), float32
        `Placement.matrix` of each.
    outside : Tensor (C,), float32
        Grey levels beyond the edge of an image.

    Returns
    -------
    Tensor (N, C, H, W), float32
        Bilinear.
    """
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    base = outside.reshape(1, -1, 1, 1)
    return functional.grid_sample(images - base, grid, align_corners=False).add_(base)


def matrices(placements: list[Placement]) -> Tensor:
    """Matrices of several images.

    Parameters
    ----------
    placements : list of Placement
        One an image.

    Returns
    -------
    Tensor (N, 2, 3), float32
    """
    return torch.tensor([placement.matrix() for placement in placements], dtype=torch.float32)
