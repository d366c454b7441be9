"""Images on one pixel grid -> images on another, both measured in mm, within the plane."""

from math import ceil

import torch
from torch import Tensor


def resample(images: Tensor, from_mm: Tensor, to_mm: float, size: int, outside: Tensor) -> Tensor:
    """Resample the middle of images to square pixels of a given spacing.

    Bilinear; where pixels become larger, the triangle widens with them (antialiasing), as in
    PyTorch's and Pillow's resize. The centres of the old and the new grid coincide. Each slice
    is computed by itself, so neighbours in a batch change no bit of it.

    Parameters
    ----------
    images : Tensor (N, C, H, W), float32
        Grey levels.
    from_mm : Tensor (N, 2), float64, on the CPU
        Row spacing and column spacing of each slice: PixelSpacing, in its order.
    to_mm : float
        New spacing of rows and of columns.
    size : int
        New pixels a side.
    outside : Tensor (C,), float32
        Grey levels beyond the edge of an image.

    Returns
    -------
    Tensor (N, C, size, size), float32

    Raises
    ------
    ValueError
        A spacing is not known or not positive.

    References
    ----------
    DICOM PS3.3 10.7.1.3 (PixelSpacing: between rows, then between columns).
    """
    if not bool(((from_mm > 0) & from_mm.isfinite()).all()):
        raise ValueError(f"spacings must be positive and finite, got {from_mm.tolist()}")
    for axis, dim in ((0, 2), (1, 3)):
        places, weights = _taps(images.shape[dim], from_mm[:, axis], to_mm, size)
        lines = images.movedim(dim, 1)  # (N, L, C, rest)
        lines = _weighted(lines, places, weights, outside.reshape(1, -1, 1))
        images = lines.movedim(1, dim)
    return images.contiguous()


def _taps(
    length: int, from_mm: Tensor, to_mm: float, size: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Which K old pixels make each new one: K places (N, size), K + 1 weights, the last outside."""
    step = (to_mm / from_mm)[:, None]  # (N, 1), old pixels per new pixel
    reach = step.clamp(min=1)
    number = torch.arange(size, dtype=torch.float64) + 0.5
    centre = (number - size / 2) * step + length / 2  # (N, size), edges of pixels are whole
    first = (centre - reach).floor()
    places, weights = [], []
    for tap in range(ceil(2 * float(reach.max())) + 1):
        place = first + tap
        weights.append((1 - (place + 0.5 - centre).abs() / reach).clamp(min=0))
        places.append(place)
    # Summed one by one: taps of weight 0, which a coarser neighbour asks for, change no bit.
    total = sum(weights, torch.zeros_like(centre))
    inside = [((place >= 0) & (place < length)).double() for place in places]
    weights = [weight / total for weight in weights]
    outside = [weight * (1 - there) for weight, there in zip(weights, inside, strict=True)]
    weights = [weight * there for weight, there in zip(weights, inside, strict=True)]
    weights.append(sum(outside, torch.zeros_like(centre)))
    places = [place.clamp(0, length - 1).long() for place in places]
    return places, [weight.float() for weight in weights]


def _weighted(
    lines: Tensor, places: list[Tensor], weights: list[Tensor], outside: Tensor
) -> Tensor:
    """Sum the taps of lines (N, L, C, rest) -> (N, size, C, rest)."""
    count, length, *line = lines.shape
    flat = lines.reshape(count * length, *line)
    start = torch.arange(count)[:, None] * length
    columns = [weight.reshape(-1, 1, 1).to(lines.device) for weight in weights]
    result = (columns.pop() * outside).expand(-1, -1, line[-1]).clone()
    for place, weight in zip(places, columns, strict=True):
        index = (start + place).reshape(-1).to(lines.device)
        result.addcmul_(flat.index_select(0, index), weight)
    return result.reshape(count, -1, *line)
