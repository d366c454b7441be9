"""What is rendered: Hounsfield units, a closed skull, displaced brain, masks that fit labels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from featurecache.phantom import (
    FINDINGS,
    draw_case,
    lesion_masks,
    render_slice,
    visible_findings,
)
from featurecache.phantom.findings import Displacement, Fracture, Intraparenchymal, Pathology
from featurecache.phantom.render import render

HEALTHY = Pathology(frozenset(), (), None)


@pytest.fixture(scope="module")
def healthy():
    return [replace(draw_case(3, i, 256), pathology=HEALTHY) for i in range(4)]


def with_pathology(case, *present, lesions=(), displacement=None):
    return replace(case, pathology=Pathology(frozenset(present), lesions, displacement))


def head_coordinates(case, series, k):
    """Pixel centres in head coordinates, from the DICOM geometry alone."""
    row, column, _ = series.axes
    steps = np.arange(series.size) * series.spacing_mm
    points = series.position_mm(k) + steps[:, None, None] * column + steps[:, None] * row
    points = points - np.array(case.study.pose.center_mm)
    return points @ np.array(case.study.pose.rotation) / np.array(case.anatomy.scale)


def slice_at(case, series, z_mm):
    """The slice whose middle lies nearest to a height in the head."""
    middles = [head_coordinates(case, series, k)[:, :, 2].mean() for k in range(series.n_slices)]
    return int(np.argmin(np.abs(np.array(middles) - z_mm)))


def mean_hu(case, series, center, radius_mm=3.0):
    """Mean of the noise-free image within a disc around a point of the head."""
    pose = case.study.pose
    point = np.array(pose.rotation) @ (np.array(center) * case.anatomy.scale) + pose.center_mm
    heights = [(point - series.position_mm(k)) @ series.axes[2] for k in range(series.n_slices)]
    k = int(np.argmin(np.abs(heights)))
    distance = np.linalg.norm(head_coordinates(case, series, k) - center, axis=-1)
    assert distance.min() < 2.0
    return float(render(case, series, k).hu[distance < radius_mm].mean())


@pytest.mark.parametrize(
    ("tissue", "center", "low", "high"),
    [
        ("thalamus", (10, 14, 8), 33, 41),
        ("white matter", (25, -5, 33), 16, 33),
        ("eye", (32, -71, -23), 0, 30),
        ("air around", (0, -118, 30), -1001, -990),
    ],
)
def test_tissues_have_their_hounsfield_units(healthy, tissue, center, low, high):
    for case in healthy[:2]:
        series = case.study.only("thin")[0]
        assert low <= mean_hu(case, series, center, 2.5) <= high, tissue


def test_white_matter_is_darker_than_grey_and_fluid_darker_than_both(healthy):
    for case in healthy:
        series = case.study.only("thin")[0]
        grey, white = mean_hu(case, series, (10, 14, 8)), mean_hu(case, series, (25, -5, 33))
        fluid = mean_hu(case, series, (14, 4, 25), 1.0)
        assert grey - 16 < white < grey - 5
        assert 0 < fluid < 20


def test_cortical_bone_is_dense_and_diploe_less(healthy):
    for case in healthy:
        series = case.study.only("thin")[0]
        hu = render(case, series, slice_at(case, series, 25)).hu
        assert 1000 < np.percentile(hu[hu > 300], 95) < 1800
        assert np.percentile(hu[hu > 300], 5) < 1000


def test_the_skull_is_closed_around_the_brain(healthy):
    for case in healthy:
        series = case.study.only("thin")[0]
        for z in (20, 35, 50):
            k = slice_at(case, series, z)
            points = head_coordinates(case, series, k)
            soft = render(case, series, k).hu < 250
            regions, _ = ndimage.label(soft)
            brain = regions[np.unravel_index(np.argmin((points**2).sum(-1)), soft.shape)]
            assert brain != 0
            assert brain != regions[0, 0]
            area_mm2 = (regions == brain).sum() * series.spacing_mm**2
            assert area_mm2 > 3000


def test_noise_has_the_stated_size_and_differs_between_slices(healthy):
    case = healthy[0]
    for series in case.study.series:
        k = slice_at(case, series, 30)
        inside = np.abs(head_coordinates(case, series, k)[..., :2]).max(-1) < 35
        noise = [render_slice(case, series, j) - render(case, series, j).hu for j in (k, k - 1)]
        assert noise[0][inside].std() == pytest.approx(series.noise_hu, rel=0.12)
        assert abs(np.corrcoef(noise[0][inside], noise[1][inside])[0, 1]) < 0.1


def test_rendering_the_same_slice_twice_gives_the_same_pixels(healthy):
    case = healthy[1]
    series = case.study.only("thick")[0]
    first, second = (render_slice(case, series, 12) for _ in range(2))
    assert first.dtype == np.int16
    assert np.array_equal(first, second)


def ventricle_middle_mm(case, series, k):
    """Where the frontal horns are, left to right, by their fluid."""
    points = head_coordinates(case, series, k)
    near = (np.abs(points[..., 0]) < 26) & (np.abs(points[..., 1] + 23) < 10)
    fluid = near & (render(case, series, k).hu < 17)
    assert fluid.sum() * series.spacing_mm**2 > 30
    return points[fluid][:, 0].mean()


@pytest.mark.parametrize("shift_mm", [-10.0, 10.0])
def test_midline_shift_moves_the_ventricles(healthy, shift_mm):
    displacement = Displacement(
        (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 0.0, 25.0, shift_mm, -15.0, 14.0, 0.0
    )
    for case in healthy[:2]:
        series = case.study.only("thin")[0]
        k = slice_at(case, series, 12)
        shifted = with_pathology(case, "MidlineShift", displacement=displacement)
        moved = ventricle_middle_mm(shifted, series, k) - ventricle_middle_mm(case, series, k)
        assert moved == pytest.approx(shift_mm, rel=0.25)
        assert visible_findings(shifted, series, k)["MidlineShift"] == 1
        assert visible_findings(case, series, k)["MidlineShift"] == 0


def test_a_clot_is_bright_where_its_mask_says(healthy):
    clot = Intraparenchymal((26.0, -2.0, 12.0), (9.0, 10.0, 9.0), 70.0, 4.0, (0.0, 1.0, 2.0))
    case = with_pathology(healthy[2], "IPH", "ICH", lesions=(clot,))
    series = case.study.only("thick")[0]
    k = slice_at(case, series, 12)
    mask = lesion_masks(case, series, k)["IPH"]
    core = ndimage.binary_erosion(mask, iterations=2)
    hu = render(case, series, k).hu
    assert 64 < hu[core].mean() < 76
    assert hu[ndimage.binary_dilation(mask, iterations=3) & ~mask].mean() < 45
    area = mask.sum() * series.spacing_mm**2
    assert area == pytest.approx(np.pi * 9 * 10 * case.anatomy.scale[0] ** 2, rel=0.35)


def test_a_fracture_is_a_dark_line_in_bone(healthy):
    crack = Fracture(1, 0.0, 30.0, 30.0, 2.2, 0.0, 0.0, 0.0)
    case = with_pathology(healthy[3], "CalvarialFracture", lesions=(crack,))
    series = case.study.only("bone")[0]
    k = slice_at(case, series, 30)
    mask = lesion_masks(case, series, k)["CalvarialFracture"]
    before, after = (render(c, series, k).hu for c in (healthy[3], case))
    assert mask.any()
    assert (before - after)[mask].mean() > 250
    assert np.allclose((before - after)[~ndimage.binary_dilation(mask, iterations=3)], 0, atol=2)


def test_every_finding_shows_in_several_slices_and_nothing_else_does():
    for index in range(24):
        case = draw_case(8, index, 128)
        for series in case.study.only("thick") + case.study.only("bone"):
            shown = [visible_findings(case, series, k) for k in range(series.n_slices)]
            counts = {name: sum(s[name] for s in shown) for name in FINDINGS}
            for name in FINDINGS:
                if case.labels[name]:
                    assert counts[name] >= 2, (index, series.kind, name)
                else:
                    assert counts[name] == 0, (index, series.kind, name)


def test_masks_agree_with_what_a_slice_is_said_to_show():
    for index in range(10):
        case = draw_case(9, index, 128)
        series = case.study.only("thick")[0]
        for k in range(3, series.n_slices, 3):
            shown = visible_findings(case, series, k)
            masks = lesion_masks(case, series, k)
            for name in ("IPH", "IVH", "SDH", "EDH", "SAH"):
                area = masks[name].sum() * series.spacing_mm**2 if name in masks else 0.0
                assert shown[name] == int(area >= 12.0)


def test_lesions_lie_inside_the_skull():
    for index in range(12):
        case = draw_case(10, index, 128)
        series = case.study.only("thick")[0]
        for k in range(2, series.n_slices, 5):
            hu = render(case, series, k).hu
            for name, mask in lesion_masks(case, series, k).items():
                if name != "CalvarialFracture" and mask.any():
                    assert hu[mask].min() > -200, (index, k, name)
