"""Stored values become network input exactly as plain formulas say."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache.framing import parse_framing
from featurecache.recipe import Recipe
from featurecache.transforms import (
    apply_windows,
    enlarge,
    grey_levels,
    make_square,
    rescale,
    resize,
    to_grey,
    to_input,
)
from featurecache.views import Placement, matrices

BRAIN = [(40.0, 80.0)]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32])
def test_rescale_is_slope_times_value_plus_intercept_clamped(dtype):
    stored = np.array([[[0, 1, 1000, 24], [5000, 30000, 7, 8]]], dtype)
    hu = rescale(torch.from_numpy(stored), torch.tensor([0.5]).double(), torch.tensor([-1024.0]))
    expected = np.clip(stored.astype(np.float64) * 0.5 - 1024, -1024, 3071)
    np.testing.assert_array_equal(hu.numpy(), expected.astype(np.float32))


def test_each_slice_has_its_own_slope_and_intercept():
    stored = torch.full((2, 1, 1), 100, dtype=torch.int16)
    hu = rescale(stored, torch.tensor([1.0, 2.0]).double(), torch.tensor([0.0, -50.0]).double())
    assert hu.flatten().tolist() == [100.0, 150.0]


@given(
    level=st.floats(-1000, 1000), width=st.floats(1, 4000), hu=st.floats(-1024, 3071)
)  # fmt: skip
def test_window_is_linear_exact(level, width, hu):
    (value,) = apply_windows(torch.tensor([[[hu]]]), [(level, width)]).flatten().tolist()
    low = level - width / 2
    expected = min(max((hu - low) / width, 0.0), 1.0)
    rounding = 2 * float(np.finfo(np.float32).eps) * max(abs(hu), abs(low)) / width
    assert value == pytest.approx(expected, abs=1e-6 + rounding)


def test_windows_become_channels_in_order():
    hu = torch.tensor([[[40.0]]])
    channels = apply_windows(hu, [(40, 80), (80, 200), (600, 2800)])
    assert channels.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(channels.flatten(), [0.5, 0.3, 0.3], rtol=1e-6)


def test_refuses_a_width_that_is_not_positive():
    with pytest.raises(ValueError, match="positive"):
        apply_windows(torch.zeros(1, 2, 2), [(40, 0)])


@pytest.mark.oracle
def test_resize_equals_torchvisions_antialiased_bilinear():
    from torchvision.transforms.v2 import functional

    images = torch.rand(2, 1, 512, 400)
    expected = functional.resize(images, [224, 224], antialias=True)
    torch.testing.assert_close(resize(images, 224), expected)


def test_zoom_enlarges_the_small_image():
    images = torch.rand(1, 3, 100, 100)
    zoomed = enlarge(resize(images, 32), 64)
    expected = torch.nn.functional.interpolate(resize(images, 32), (64, 64), mode="bilinear")
    torch.testing.assert_close(zoomed, expected)


def grey(hu, framing, windows=BRAIN, spacing_mm=None):
    """Images of stored values that are HU already."""
    ones = torch.ones(len(hu), dtype=torch.float64)
    spacing = None if spacing_mm is None else torch.tensor(spacing_mm, dtype=torch.float64)
    return to_grey(hu, ones, 0 * ones, windows, framing, spacing)


@pytest.fixture
def hu():
    """Two slices (2, 30, 41) with values around the brain window."""
    generator = torch.Generator().manual_seed(5)
    return torch.randint(-40, 120, (2, 30, 41), generator=generator, dtype=torch.int16)


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint16, torch.int32, torch.uint8])
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (1, -1024.5), (0.5, 3), (1, 40000)])
@pytest.mark.parametrize(
    "windows",
    [[(40, 80)], [(40, 80), (80, 200), (600, 2800)], [(35.5, 80)], [(3000, 400)], [(40, 60000)]],
)
def test_grey_levels_are_windows_of_hu_to_the_last_bit(dtype, slope, intercept, windows):
    info = torch.iinfo(dtype)
    values = torch.linspace(info.min, info.max, 5000).to(dtype)
    near = torch.arange(-200, 3500).clamp(info.min, info.max).to(dtype)
    stored = torch.cat([values, near])[None, :, None]
    slopes, intercepts = (
        torch.full((1,), value, dtype=torch.float64) for value in (slope, intercept)
    )
    plain = apply_windows(rescale(stored, slopes, intercepts), windows)
    assert torch.equal(grey_levels(stored, slopes, intercepts, windows), plain)


def test_grey_levels_of_slices_that_are_rescaled_differently():
    stored = torch.arange(-100, 100, dtype=torch.int16).reshape(2, 10, 10)
    slopes, intercepts = torch.ones(2, dtype=torch.float64), torch.tensor([0.0, 7.0]).double()
    plain = apply_windows(rescale(stored, slopes, intercepts), [(40, 80)])
    assert torch.equal(grey_levels(stored, slopes, intercepts, [(40, 80)]), plain)


def test_the_default_framing_is_window_then_resize(hu):
    plain = ((hu.float() - (40 - 80 / 2)) / 80).clamp(0, 1)[:, None]
    plain = torch.nn.functional.interpolate(plain, (24, 24), mode="bilinear", antialias=True)
    torch.testing.assert_close(grey(hu, parse_framing(24)), plain, rtol=0, atol=3e-7)
    recipe = SimpleNamespace(
        windows=BRAIN, framing=parse_framing(24), zoom=None, mean=(0.4, 0.5, 0.6), std=(0.2,) * 3
    )
    ones = torch.ones(2, dtype=torch.float64)
    normalised = (plain - torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1)) / 0.2
    torch.testing.assert_close(to_input(hu, ones, 0 * ones, recipe), normalised)


@pytest.mark.parametrize("turned", [False, True])
def test_pad_adds_air_on_both_shorter_sides(hu, turned):
    hu = hu.float().mT if turned else hu.float()
    square = make_square(hu, "pad")
    assert square.shape == (2, 41, 41)
    square = square.mT if turned else square
    assert (square[:, :5] == -1024).all()
    assert (square[:, 35:] == -1024).all()
    torch.testing.assert_close(square[:, 5:35], hu.mT if turned else hu, rtol=0, atol=0)


@pytest.mark.parametrize("turned", [False, True])
def test_crop_cuts_both_longer_sides(hu, turned):
    hu = hu.float().mT if turned else hu.float()
    square = make_square(hu, "crop")
    expected = hu[:, 5:35] if turned else hu[:, :, 5:35]
    torch.testing.assert_close(square, expected, rtol=0, atol=0)


def test_fits_keep_the_aspect_ratio_but_squash(hu):
    """A square in the image stays one, or becomes 2 x 1."""
    wide = torch.full((1, 32, 64), -1000, dtype=torch.int16)
    wide[:, 8:24, 24:40] = 100
    extents = {}
    for fit in ("squash", "pad", "crop"):
        lit = grey(wide, parse_framing(32, fit))[0, 0] > 0.5
        extents[fit] = (int(lit.any(1).sum()), int(lit.any(0).sum()))
    assert extents == {"squash": (16, 8), "pad": (8, 8), "crop": (16, 16)}


def test_a_square_image_is_the_same_in_every_fit(hu):
    square = hu[:, :, :30]
    images = [grey(square, parse_framing(24, fit)) for fit in ("squash", "pad", "crop")]
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=0)
    torch.testing.assert_close(images[0], images[2], rtol=0, atol=0)


def test_refuses_a_fit_that_does_not_exist(hu):
    with pytest.raises(ValueError, match="Got 'stretch'"):
        make_square(hu.float(), "stretch")


def test_air_beyond_the_slice_is_what_the_window_makes_of_it(hu):
    framing = parse_framing(60, spacing_mm=1, fov_mm=60)
    images = grey(hu, framing, [*BRAIN, (-1024.0, 100.0)], spacing_mm=[[1.0, 1.0]] * 2)
    assert (images[:, 0, :15] == 0).all()
    assert (images[:, 1, :15] == 0.5).all()
    torch.testing.assert_close(
        images[:, 0, 15:45, 9:50].mean(), apply_windows(hu.float(), BRAIN).mean(),
        atol=0.02, rtol=0,
    )  # fmt: skip


def test_an_object_keeps_its_size_in_mm_whatever_the_pixels_are():
    def disc(side, spacing_mm):
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        inside = np.hypot(x, y) * spacing_mm < 50
        return torch.from_numpy(np.where(inside, 1000, -1000).astype(np.int16))[None]

    framing = parse_framing(125, spacing_mm=1, fov_mm=250)
    areas_mm2 = [
        float(grey(disc(side, mm), framing, spacing_mm=[[mm, mm]]).sum()) * 2 * 2
        for side, mm in ((512, 0.45), (512, 0.6), (256, 0.9), (300, 1.3))
    ]
    np.testing.assert_allclose(areas_mm2, np.pi * 50**2, rtol=0.02)


def test_a_field_of_view_needs_the_spacing(hu):
    with pytest.raises(ValueError, match="needs the spacing"):
        grey(hu, parse_framing(24, fov_mm=250))


def test_a_view_is_placed_after_resizing_with_air_around():
    recipe = Recipe(
        backbone="x", weights="", weights_source="", layer="", pool="avg", windows=((40, 80),),
        size=16, zoom=None, mean=(0, 0, 0), std=(1, 1, 1), precision="fp32", dtype="float16",
        view_number=1,
    )  # fmt: skip
    stored = torch.full((1, 32, 32), 40, dtype=torch.int16)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    moved = to_input(stored, one, zero, recipe, None, matrices([Placement(shift_rows=0.25)]))
    assert moved.shape == (1, 3, 16, 16)
    assert (moved[:, :, :4] == 0).all()
    torch.testing.assert_close(moved[:, :, 4:], torch.full((1, 3, 12, 16), 0.5))
