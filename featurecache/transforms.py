"""Stored values to network input, in batches, on the device."""

import warnings
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from featurecache.framing import Framing
from featurecache.recipe import HU_RANGE, Recipe
from featurecache.resample import resample
from featurecache.views import place


def rescale(stored: Tensor, slope: Tensor, intercept: Tensor) -> Tensor:
    """Stored values to Hounsfield units.

    Parameters
    ----------
    stored : Tensor (N, H, W), any integer type
        Stored values.
    slope, intercept : Tensor (N,), float64
        RescaleSlope and RescaleIntercept of each slice; best left on the CPU, which need not
        wait for a device to look at them.

    Returns
    -------
    Tensor (N, H, W), float32
        HU, clamped to [-1024, 3071]. Computed in float64 where float32 is not exact and the
        device has it.

    References
    ----------
    DICOM PS3.3 C.11.1.1.2 (Modality LUT: output units = m * SV + b).
    """
    plain = _is_exact_in_float32(stored, slope, intercept)
    exact = torch.float32 if plain else torch.float64
    slope, intercept = (
        values.to(exact).to(stored.device).reshape(-1, 1, 1) for values in (slope, intercept)
    )
    hu = stored.to(exact)
    if not plain or stored.device.type == "mps":
        hu = hu.mul_(slope)
    return hu.add_(intercept).clamp_(*HU_RANGE).to(torch.float32)


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
    images = hu.new_empty(len(hu), len(windows), *hu.shape[1:])
    for channel, (level, width) in enumerate(windows):
        lowest = level - width / 2
        above = hu - lowest if lowest else hu
        images[:, channel].copy_(above).div_(width).clamp_(0, 1)
    return images


def grey_levels(
    stored: Tensor, slope: Tensor, intercept: Tensor, windows: Sequence[tuple[float, float]]
) -> Tensor:
    """``apply_windows(rescale(stored, slope, intercept), windows)``, to the last bit.

    Stored values of nearly all CT are int16 with slope 1 and a whole intercept. Then a window is
    cut out of the stored values, in a third of the time: all sums are whole and exact, and the
    division is the same.

    Parameters
    ----------
    stored : Tensor (N, H, W), any integer type
        Stored values.
    slope, intercept : Tensor (N,), float64
        Of each slice.
    windows : sequence of (level_hu, width_hu)
        C windows.

    Returns
    -------
    Tensor (N, C, H, W), float32
        In [0, 1].
    """
    cuts = _whole_cuts(stored, slope, intercept, windows)
    if cuts is None:
        return apply_windows(rescale(stored, slope, intercept), windows)
    shape = (len(stored), len(windows), *stored.shape[1:])
    images = torch.empty(shape, dtype=torch.float32, device=stored.device)
    for channel, ((zero, lowest, highest), (_, width)) in enumerate(
        zip(cuts, windows, strict=True)
    ):
        above = stored.clamp(lowest, highest).sub_(zero)
        images[:, channel].copy_(above).div_(width)
    return images


def resize(images: Tensor, size: int) -> Tensor:
    """Squash images to a square.

    Torch's own resize, and on a CPU the same weights as two sparse products, which take half the
    time: the two differ in the order of a few sums.

    Parameters
    ----------
    images : Tensor (N, C, H, W), float32
        Grey levels.
    size : int
        To ``size`` x ``size`` pixels: bilinear, antialiased, aspect ratio not kept.

    Returns
    -------
    Tensor (N, C, size, size), float32
    """
    if images.device.type != "cpu":
        return _antialiased(images, (size, size))
    resized = images.new_empty(*images.shape[:2], size, size)
    rows, columns = (_resize_weights(length, size) for length in images.shape[2:])
    for image, result in zip(images.flatten(0, 1), resized.flatten(0, 1), strict=True):
        result.copy_((columns @ (rows @ image).T.contiguous()).T)
    return resized


def enlarge(images: Tensor, zoom: int) -> Tensor:
    """Enlarge images (DrCT2's attention-proposal network).

    Parameters
    ----------
    images : Tensor (N, C, H, W), float32
        Grey levels.
    zoom : int
        To ``zoom`` x ``zoom`` pixels: bilinear.

    Returns
    -------
    Tensor (N, C, zoom, zoom), float32
    """
    return functional.interpolate(images, size=(zoom, zoom), mode="bilinear")


def make_square(hu: Tensor, fit: str) -> Tensor:
    """Bring images to the shape that squashing leaves as it is, if that is asked for.

    Parameters
    ----------
    hu : Tensor (N, H, W), float32
        Hounsfield units.
    fit : {"squash", "pad", "crop"}
        Leave as they are; add air on both shorter sides; or cut both longer sides. Where the
        difference is odd, the side of the higher index gets or loses one pixel more.

    Returns
    -------
    Tensor (N, H, W), (N, L, L) with the longer side L, or (N, S, S) with the shorter, float32

    Raises
    ------
    ValueError
        The fit is none of the three.
    """
    rows, columns = hu.shape[1:]
    if fit == "squash" or rows == columns:
        return hu
    if fit == "pad":
        more = [(max(rows, columns) - length) for length in (columns, rows)]
        sides = [part for length in more for part in (length // 2, length - length // 2)]
        return functional.pad(hu, sides, value=HU_RANGE[0])
    if fit == "crop":
        side = min(rows, columns)
        top, left = (rows - side) // 2, (columns - side) // 2
        return hu[:, top : top + side, left : left + side]
    raise ValueError(f"fit must be one of squash, pad, crop. Got {fit!r}.")


def to_grey(
    stored: Tensor, slope: Tensor, intercept: Tensor, windows: Sequence[tuple[float, float]],
    framing: Framing, spacing_mm: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Stored values to the images that a backbone is shown, before normalisation.

    Parameters
    ----------
    stored : Tensor (N, H, W), any integer type
        Stored values of slices of one size.
    slope, intercept : Tensor (N,), float64
        RescaleSlope and RescaleIntercept of each slice.
    windows : sequence of (level_hu, width_hu)
        C windows.
    framing : Framing
        Size, fit, and field of view.
    spacing_mm : Tensor (N, 2), float64, on the CPU
        Row and column spacing of each slice; asked for where the framing is in mm.

    Returns
    -------
    Tensor (N, C, size, size), float32
        In [0, 1]. Beyond the edges of a slice there is air: HU -1024, windowed.

    Raises
    ------
    ValueError
        The framing is in mm and a spacing is not known.
    """
    if framing.grid is None or framing.spacing_mm is None:
        if framing.fit == "pad":
            hu = rescale(stored, slope, intercept)
            images = apply_windows(make_square(hu, framing.fit), windows)
        else:
            images = grey_levels(make_square(stored, framing.fit), slope, intercept, windows)
    else:
        if spacing_mm is None:
            raise ValueError("a field of view in mm needs the spacing of the slices")
        images = grey_levels(stored, slope, intercept, windows)
        air = apply_windows(images.new_full((1, 1, 1), HU_RANGE[0]), windows)
        images = resample(images, spacing_mm, framing.spacing_mm, framing.grid, air)
    return resize(images, framing.size)


def to_input(
    stored: Tensor, slope: Tensor, intercept: Tensor, recipe: Recipe,
    spacing_mm: Tensor | None = None, placements: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Stored values to what the backbone takes.

    Parameters
    ----------
    stored : Tensor (N, H, W), any integer type
        Stored values of slices of one size.
    slope, intercept : Tensor (N,), float64
        RescaleSlope and RescaleIntercept of each slice.
    recipe : Recipe
        Windows, framing, zoom and normalisation.
    spacing_mm : Tensor (N, 2), float64, on the CPU
        Row and column spacing of each slice; see `to_grey`.
    placements : Tensor (N, 2, 3), float32
        Of an augmented view: `views.matrices`. Applied to the resized grey levels.

    Returns
    -------
    Tensor (N, 3, size, size), float32
    """
    images = to_grey(stored, slope, intercept, recipe.windows, recipe.framing, spacing_mm)
    if placements is not None:
        air = apply_windows(images.new_full((1, 1, 1), HU_RANGE[0]), recipe.windows)
        images = place(images, placements.to(images.device), air.reshape(-1))
    if recipe.zoom is not None:
        images = enlarge(images, recipe.zoom)
    images = images.expand(-1, 3, -1, -1)
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=images.device).reshape(1, 3, 1, 1)
        for values in (recipe.mean, recipe.std)
    )
    return (images - mean).div_(std)


def _is_exact_in_float32(stored: Tensor, slope: Tensor, intercept: Tensor) -> bool:
    """Slope 1 and a whole intercept, as nearly all CT has; also MPS, which has no float64."""
    if stored.device.type == "mps":
        return True
    whole = bool((slope == 1).all()) and bool((intercept == intercept.round()).all())
    return whole and stored.element_size() <= 2 and bool((intercept.abs() < 1 << 20).all())


def _whole_cuts(
    stored: Tensor, slope: Tensor, intercept: Tensor, windows: Sequence[tuple[float, float]]
) -> list[tuple[int, int, int]] | None:
    """Stored value of grey level 0, and the lowest and highest that differ, of each window.

    None where any of them is no int16, or not the same for all slices.
    """
    shift = float(intercept[0])
    alike = bool((slope == 1).all()) and bool((intercept == shift).all())
    if stored.dtype != torch.int16 or not alike or not shift.is_integer():
        return None
    cuts = []
    for level, width in windows:
        zero, one = level - width / 2, level + width / 2
        lowest, highest = max(zero, HU_RANGE[0]), min(one, HU_RANGE[1])
        whole = zero.is_integer() and one.is_integer()
        used = (zero - shift, lowest - shift, highest - shift, highest - zero)
        if not whole or lowest > highest or any(abs(value) >= 1 << 15 for value in used):
            return None
        cuts.append((int(used[0]), int(used[1]), int(used[2])))
    return cuts


def _antialiased(images: Tensor, shape: tuple[int, int]) -> Tensor:
    return functional.interpolate(images, size=shape, mode="bilinear", antialias=True)


@lru_cache(maxsize=64)
def _resize_weights(length: int, size: int) -> Tensor:
    """What each of `length` pixels of a line adds to each of `size` (size, length), sparse.

    They are what torch makes of one white pixel after another.
    """
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        pixels = torch.eye(length).reshape(1, 1, length, length)
        return _antialiased(pixels, (size, length))[0, 0].to_sparse_csr()
