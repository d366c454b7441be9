"""Stored values become network input exactly as plain formulas say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache.transforms import apply_windows, rescale, resize


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
    expected = min(max((hu - (level - width / 2)) / width, 0.0), 1.0)
    assert value == pytest.approx(expected, abs=1e-5)


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
    zoomed = resize(images, 32, zoom=64)
    expected = torch.nn.functional.interpolate(resize(images, 32), (64, 64), mode="bilinear")
    torch.testing.assert_close(zoomed, expected)
