"""Stored values to network input, in batches, on the device."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from featurecache.recipe import HU_RANGE, Recipe


def rescale(stored: Tensor, slope: Tensor, intercept: Tensor) -> Tensor:
    """Stored values to Hounsfield units.

    Parameters
    ----------
    stored : Tensor (N, H, W), any integer type
        Stored values.
    slope, intercept : Tensor (N,), float64
        RescaleSlope and RescaleIntercept of each slice.

    Returns
    -------
    Tensor (N, H, W), float32
        HU, clamped to [-1024, 3071]. Computed in float64 where float32 is not exact and the
        device has it.

    References
    ----------
    DICOM PS3.3 C.11.1.1.2 (Modality LUT: output units = m * SV + b).
    """
    exact = torch.float32 if _is_exact_in_float32(stored, slope, intercept) else torch.float64
    shape = (-1, 1, 1)
    slope, intercept = slope.to(exact).reshape(shape), intercept.to(exact).reshape(shape)
    hu = stored.to(exact).mul_(slope).add_(intercept).clamp_(*HU_RANGE)
    return hu.to(torch.float32)


def apply_windows(hu: Tensor, windows: Sequence[tuple[float, float]]) -> Tensor:
    """Grey levels of one or more windows.

    Parameters
    ----------
    hu : Tensor (N, H, W), float32
        Hounsfield units.
    windows : sequence of (level_hu, width_hu)
        C windows.

    Returns
    -------
    Tensor (N, C, H, W), float32
        ``(hu - (level - width / 2)) / width``, clipped to [0, 1].

    Raises
    ------
    ValueError
        A width is not positive.

    References
    ----------
    DICOM PS3.3 C.11.2.1.3.2 (LINEAR_EXACT).
    """
    if any(width <= 0 for _, width in windows):
        raise ValueError(f"window widths must be positive, got {list(windows)}")
    channels = [(hu - (level - width / 2)).div_(width).clamp_(0, 1) for level, width in windows]
    return torch.stack(channels, dim=1)


def resize(images: Tensor, size: int, zoom: int | None = None) -> Tensor:
    """Squash images to a square, and enlarge them if asked.

    Parameters
    ----------
    images : Tensor (N, C, H, W), float32
        Grey levels.
    size : int
        First to ``size`` x ``size`` pixels: bilinear, antialiased, aspect ratio not kept.
    zoom : int, optional
        Then to ``zoom`` x ``zoom`` pixels: bilinear (DrCT2's attention-proposal network).

    Returns
    -------
    Tensor (N, C, size, size) or (N, C, zoom, zoom), float32
    """
    images = functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    if zoom is not None:
        images = functional.interpolate(images, size=(zoom, zoom), mode="bilinear")
    return images


def to_input(stored: Tensor, slope: Tensor, intercept: Tensor, recipe: Recipe) -> Tensor:
    """Stored values to what the backbone takes.

    Parameters
    ----------
    stored : Tensor (N, H, W), any integer type
        Stored values of slices of one size.
    slope, intercept : Tensor (N,), float64
        RescaleSlope and RescaleIntercept of each slice.
    recipe : Recipe
        Windows, size, zoom and normalisation.

    Returns
    -------
    Tensor (N, 3, size, size), float32
    """
    images = apply_windows(rescale(stored, slope, intercept), recipe.windows)
    images = resize(images, recipe.size, recipe.zoom).expand(-1, 3, -1, -1)
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=images.device).reshape(1, 3, 1, 1)
        for values in (recipe.mean, recipe.std)
    )
    return (images - mean) / std


def _is_exact_in_float32(stored: Tensor, slope: Tensor, intercept: Tensor) -> bool:
    """Slope 1 and a whole intercept, as nearly all CT has; also MPS, which has no float64."""
    if stored.device.type == "mps":
        return True
    whole = bool((slope == 1).all()) and bool((intercept == intercept.round()).all())
    return whole and stored.element_size() <= 2 and bool((intercept.abs() < 1 << 20).all())
