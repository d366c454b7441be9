"""Augmented views: one placement a series, drawn as the paper draws, and placed exactly."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as oracle

from featurecache.views import ROTATION_DEG, SHIFT, Placement, View, matrices, place

AIR = 0.25


def placed(images, *placements):
    outside = torch.full((images.shape[1],), AIR)
    return place(images, matrices(list(placements)), outside)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_an_empty_placement_changes_next_to_nothing(images):
    torch.testing.assert_close(placed(images, Placement(), Placement()), images)


def test_mirroring_exchanges_left_and_right(images):
    done = placed(images, Placement(mirrored=True), Placement())
    torch.testing.assert_close(done[0], images[0].flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(done[1], images[1])


@pytest.mark.parametrize(("down", "right"), [(3, 0), (0, -5), (-2, 4)])
def test_a_shift_moves_down_and_right_and_lets_air_in(images, down, right):
    done = placed(images, *[Placement(shift_rows=down / 32, shift_columns=right / 32)] * 2)
    expected = oracle.affine(images, 0, [right, down], 1, [0, 0], fill=AIR)
    torch.testing.assert_close(done, expected, atol=1e-5, rtol=0)


@pytest.mark.oracle
@given(angle=st.floats(-ROTATION_DEG, ROTATION_DEG), mirrored=st.booleans())
def test_a_rotation_is_clockwise_as_in_torchvision(angle, mirrored):
    smooth = oracle.gaussian_blur(torch.rand(1, 1, 33, 33), [7, 7])
    done = placed(smooth, Placement(rotation_deg=angle, mirrored=mirrored))
    before = smooth.flip(-1) if mirrored else smooth
    expected = oracle.affine(
        before, angle, [0, 0], 1, [0, 0], interpolation=InterpolationMode.BILINEAR, fill=AIR
    )
    middle = (..., slice(6, -6), slice(6, -6))  # torchvision blends the fill differently at edges
    torch.testing.assert_close(done[middle], expected[middle], atol=1e-4, rtol=0)


def test_each_image_of_a_batch_has_its_own_placement_and_neighbours_change_nothing(images):
    rotated, shifted = Placement(rotation_deg=20), Placement(shift_rows=0.02)
    together = placed(images, rotated, shifted)
    torch.testing.assert_close(together[:1], placed(images[:1], rotated), atol=0, rtol=0)
    torch.testing.assert_close(together[1:], placed(images[1:], shifted), atol=0, rtol=0)


def test_a_view_of_a_series_is_the_same_on_every_machine():
    placement = View(1, 0).placement("series-a")
    assert placement.shift_rows == pytest.approx(0.016030459234249936)
    assert placement.shift_columns == pytest.approx(-0.008623452199201936)
    assert View(1, 0).placement("series-b") == Placement(mirrored=True)


def test_views_differ_by_series_number_and_seed():
    views = [View(1, 0), View(2, 0), View(1, 1)]
    draws = {(view, series): view._draws(series) for view in views for series in "abc"}
    assert len({tuple(draw) for draw in draws.values()}) == len(draws)


def test_a_third_each_is_rotated_mirrored_and_shifted_within_the_ranges_of_the_paper():
    drawn = [View(1, 5).placement(str(series)) for series in range(3000)]
    kinds = Counter(
        "mirrored" if p.mirrored else "rotated" if p.rotation_deg else "shifted" for p in drawn
    )
    assert all(abs(count - 1000) < 100 for count in kinds.values())
    angles = np.array([p.rotation_deg for p in drawn])
    shifts = np.array([(p.shift_rows, p.shift_columns) for p in drawn])
    assert 24 < abs(angles).max() <= ROTATION_DEG
    assert 0.95 * SHIFT < abs(shifts).max() <= SHIFT
    assert abs(angles[angles != 0].mean()) < 1.5
