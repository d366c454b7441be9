"""Resampling in mm agrees with SciPy, SimpleITK and Pillow, each where it applies."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featurecache.resample import resample

AIR = 0.25


def new_grid(image, spacing_mm, to_mm, size, outside=AIR):
    """Resample one image (H, W)."""
    done = resample(
        torch.from_numpy(image)[None, None], torch.tensor([spacing_mm], dtype=torch.float64),
        to_mm, size, torch.tensor([outside]),
    )  # fmt: skip
    return done[0, 0].numpy()


def centres(length, from_mm, to_mm, size):
    """Where new pixels lie, in old pixel indices (centres of pixels are whole)."""
    return (np.arange(size) - (size - 1) / 2) * to_mm / from_mm + (length - 1) / 2


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).random((40, 52), dtype=np.float32)


def test_the_same_grid_changes_no_bit():
    image = np.random.default_rng(3).random((64, 64), dtype=np.float32)
    np.testing.assert_array_equal(new_grid(image, (0.488281, 0.488281), 0.488281, 64), image)


def test_a_smaller_field_of_view_is_the_middle_and_a_larger_one_has_air_around():
    image = np.random.default_rng(3).random((64, 64), dtype=np.float32)
    np.testing.assert_array_equal(new_grid(image, (0.5, 0.5), 0.5, 48), image[8:-8, 8:-8])
    larger = new_grid(image, (0.5, 0.5), 0.5, 80)
    np.testing.assert_array_equal(larger, np.pad(image, 8, constant_values=np.float32(AIR)))


def test_a_whole_number_of_times_coarser_weighs_neighbours_as_a_triangle():
    line = np.zeros((1, 16), np.float32)
    line[0, 7] = 1
    coarse = new_grid(np.repeat(line, 16, axis=0), (1.0, 1.0), 2.0, 8, outside=0.0)
    # old pixel 7 lies 0.5 from the centre of new pixel 3 and 1.5 from that of 4; reach is 2
    np.testing.assert_allclose(coarse[4], [0, 0, 0, 0.375, 0.125, 0, 0, 0], atol=1e-7)


@pytest.mark.oracle
@settings(max_examples=40)
@given(
    row_mm=st.floats(0.7, 2), column_mm=st.floats(0.7, 2), to_mm=st.floats(0.3, 0.69),
    size=st.integers(1, 120),
)  # fmt: skip
def test_finer_pixels_equal_scipys_linear_interpolation(row_mm, column_mm, to_mm, size):
    from scipy.ndimage import map_coordinates

    image = np.random.default_rng(3).random((40, 52), dtype=np.float32)
    rows, columns = (
        centres(length, from_mm, to_mm, size)
        for length, from_mm in zip(image.shape, (row_mm, column_mm), strict=True)
    )
    expected = map_coordinates(
        image.astype(np.float64), np.meshgrid(rows, columns, indexing="ij"), order=1,
        mode="grid-constant", cval=AIR,
    )  # fmt: skip
    np.testing.assert_allclose(
        new_grid(image, (row_mm, column_mm), to_mm, size), expected, atol=2e-6
    )


@pytest.mark.oracle
def test_finer_pixels_equal_simpleitks_linear_resampling_in_mm(image):
    import SimpleITK as sitk

    row_mm, column_mm, to_mm, size = 0.9, 0.7, 0.45, 60
    volume = sitk.GetImageFromArray(image)
    volume.SetSpacing((column_mm, row_mm))
    middle = [(52 - 1) / 2 * column_mm, (40 - 1) / 2 * row_mm]
    expected = sitk.Resample(
        volume, (size, size), sitk.Transform(), sitk.sitkLinear,
        [place - (size - 1) / 2 * to_mm for place in middle], (to_mm, to_mm), (1, 0, 0, 1), AIR,
    )  # fmt: skip
    np.testing.assert_allclose(
        new_grid(image, (row_mm, column_mm), to_mm, size),
        sitk.GetArrayFromImage(expected),
        atol=1e-5,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("size", [9, 10, 13])
def test_coarser_pixels_equal_pillows_antialiased_resize_of_the_same_box(image, size):
    from PIL import Image

    row_mm, column_mm, to_mm = 0.6, 0.45, 1.5
    high, wide = size * to_mm / row_mm, size * to_mm / column_mm
    top, left = (40 - high) / 2, (52 - wide) / 2
    bordered = np.pad(image, 30)  # Pillow's filter ends at the edge, ours meets air there
    expected = Image.fromarray(bordered).resize(
        (size, size), Image.Resampling.BILINEAR,
        box=(left + 30, top + 30, left + wide + 30, top + high + 30),
    )  # fmt: skip
    np.testing.assert_allclose(
        new_grid(image, (row_mm, column_mm), to_mm, size, outside=0.0), expected, atol=2e-6
    )


def test_a_batch_has_a_spacing_for_each_slice_and_neighbours_change_no_bit():
    images = torch.rand(4, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    spacing = torch.tensor([[0.4, 0.5], [0.9, 0.8], [0.4, 0.5], [0.31, 1.7]], dtype=torch.float64)
    outside = torch.tensor([0.0, 0.5, 1.0])
    together = resample(images, spacing, 0.77, 50, outside)
    assert together.shape == (4, 3, 50, 50)
    for number in range(4):
        alone = resample(images[[number]], spacing[[number]], 0.77, 50, outside)
        torch.testing.assert_close(together[[number]], alone, rtol=0, atol=0)


def test_each_channel_has_its_own_air():
    done = resample(
        torch.full((1, 2, 4, 4), 0.5), torch.tensor([[1.0, 1.0]]).double(), 1.0, 8,
        torch.tensor([0.0, 1.0]),
    )  # fmt: skip
    assert done[0, :, 0, 0].tolist() == [0.0, 1.0]
    assert done[0, :, 4, 4].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("spacing", [np.nan, 0.0, -1.0, np.inf])
def test_never_guesses_a_spacing(spacing):
    with pytest.raises(ValueError, match="spacings must be positive"):
        new_grid(np.zeros((4, 4), np.float32), (0.5, spacing), 1.0, 4)
