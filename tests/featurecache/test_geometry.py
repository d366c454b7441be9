"""Slices in anatomical order, whatever their files are called and their headers claim."""

import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from featurecache.geometry import build_stacks, slice_normal
from featurecache.stacks import Frame

NAN = math.nan
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def frame(number: int, position=None, **changes) -> Frame:
    plain = Frame(
        path=f"f{number}",
        frame=0,
        sop_uid=f"1.{number:04}",
        series_uid="1.2",
        study_uid="1.1",
        patient_id="p",
        source="0" * 32,
        rows=512,
        columns=512,
        position=(0.0, 0.0, 5.0 * number) if position is None else position,
        orientation=AXIAL,
        row_spacing_mm=0.5,
        column_spacing_mm=0.5,
        thickness_mm=5.0,
        kernel="H30",
        acquisition="1",
        image_type="ORIGINAL\\PRIMARY\\AXIAL",
        echo="",
        description="",
        manufacturer="",
        instance_number=number + 1,
        size=1,
        mtime_ns=1,
        may_be_wrapped=False,
        assumed_hu=False,
        warnings=(),
    )
    return replace(plain, **changes)


def uids(stack) -> list[str]:
    return [slice_.sop_uid for slice_ in stack.slices]


def one(frames, **options):
    stacks = build_stacks(frames, **options)
    assert len(stacks) == 1
    return stacks[0]


@pytest.mark.parametrize(
    ("orientation", "normal"),
    [
        (AXIAL, (0, 0, 1)),
        ((1, 0, 0, 0, -1, 0), (0, 0, 1)),
        ((0, 1, 0, 0, 0, -1), (1, 0, 0)),
        ((1, 0, 0, 0, 0, -1), (0, 1, 0)),
        ((1, 0, 0, 0, 0.8, -0.6), (0, 0.6, 0.8)),
        ((-1, 0, 0, 0, 0.8, -0.6), (0, 0.6, 0.8)),
    ],
)
def test_the_normals_largest_component_is_positive(orientation, normal):
    np.testing.assert_allclose(slice_normal(orientation), normal, atol=1e-12)


def test_slices_are_ordered_lowest_first_and_gaps_recorded():
    stack = one([frame(2), frame(0), frame(1)])
    assert uids(stack) == ["1.0000", "1.0001", "1.0002"]
    assert [slice_.z_mm for slice_ in stack.slices] == [0, 5, 10]
    assert math.isnan(stack.slices[0].gap_mm)
    assert [slice_.gap_mm for slice_ in stack.slices[1:]] == [5, 5]
    assert (stack.median_gap_mm, stack.z_extent_mm, stack.fov_mm) == (5, 10, 256)
    assert (stack.tilt_deg, stack.warnings, stack.usable) == (0, (), True)


def rotation(tilt_deg: float, turn_deg: float) -> np.ndarray:
    a, b = math.radians(tilt_deg), math.radians(turn_deg)
    about_x = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
    about_z = [[math.cos(b), -math.sin(b), 0], [math.sin(b), math.cos(b), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_x)


@st.composite
def volumes(draw):
    """Frames in true order: any rotation, uneven gaps, table moving along z or the normal."""
    matrix = rotation(draw(st.floats(-35, 35)), draw(st.floats(-20, 20)))
    row, column = matrix[:, 0], matrix[:, 1] * draw(st.sampled_from([1, -1]))
    gaps = draw(st.lists(st.floats(0.3, 20), min_size=1, max_size=12))
    along = draw(st.sampled_from(["table", "normal"]))
    direction = np.array([0, 0, 1.0]) if along == "table" else matrix[:, 2]
    origin = np.array(draw(st.tuples(*[st.floats(-300, 300)] * 3)))
    heights = np.concatenate([[0], np.cumsum(gaps)])
    return [
        frame(
            number,
            position=tuple(map(float, origin + height * direction)),
            orientation=tuple(map(float, (*row, *column))),
        )
        for number, height in enumerate(heights)
    ]


@given(volumes(), st.randoms(use_true_random=False))
def test_any_order_of_files_names_and_instance_numbers_gives_the_same_stack(frames, random):
    """Cases 20, 21 and 24."""
    expected = one(frames)
    assert uids(expected) == [f.sop_uid for f in frames]
    shuffled = list(frames)
    random.shuffle(shuffled)
    numbers = random.choice(["reversed", "absent", "equal", "random"])
    changed = [
        replace(
            f,
            path=f"{random.random()}",
            instance_number={
                "reversed": len(frames) - n,
                "absent": None,
                "equal": 1,
                "random": random.randrange(1000),
            }[numbers],
        )
        for n, f in enumerate(shuffled)
    ]
    stack = one(changed)
    assert uids(stack) == uids(expected)
    assert [s.z_mm for s in stack.slices] == [s.z_mm for s in expected.slices]
    assert stack.tilt_deg == expected.tilt_deg
    assert all(s.gap_mm > 0 for s in stack.slices[1:])


@given(st.floats(-30, 30).filter(lambda tilt: abs(tilt) > 0.6), st.integers(2, 9))
def test_tilt_of_either_sign_comes_from_positions(tilt_deg, n):
    """Case 24."""
    matrix = rotation(-tilt_deg, 0)
    cosines = tuple(map(float, (*matrix[:, 0], *matrix[:, 1])))
    stack = one([frame(k, position=(0.0, 0.0, 3.0 * k), orientation=cosines) for k in range(n)])
    assert stack.tilt_deg == pytest.approx(tilt_deg, abs=1e-6)
    assert "tilted gantry" in stack.warnings
    assert stack.median_gap_mm == pytest.approx(3 * math.cos(math.radians(tilt_deg)))


def test_a_rotated_volume_without_shear_is_not_tilted():
    matrix = rotation(25, 0)
    cosines = tuple(map(float, (*matrix[:, 0], *matrix[:, 1])))
    frames = [
        frame(k, position=tuple(map(float, 3 * k * matrix[:, 2])), orientation=cosines)
        for k in range(5)
    ]
    assert one(frames).tilt_deg == pytest.approx(0, abs=1e-6)


def test_a_sagittal_series_is_ordered_left_to_right_and_reported():
    """Case 24."""
    frames = [
        frame(k, position=(40.0 - 5 * k, 0.0, 0.0), orientation=(0, 1, 0, 0, 0, -1))
        for k in range(4)
    ]
    stack = one(frames)
    assert uids(stack) == ["1.0003", "1.0002", "1.0001", "1.0000"]
    assert "not axial but sagittal" in stack.warnings


def test_positions_outrank_a_missing_orientation_and_instance_numbers():
    frames = [frame(k, orientation=None, instance_number=9 - k) for k in range(4)]
    stack = one(frames)
    assert uids(stack) == ["1.0000", "1.0001", "1.0002", "1.0003"]
    assert "no usable orientation: taken as axial" in stack.warnings


def test_without_positions_instance_numbers_decide_with_a_warning():
    """Case 23."""
    frames = [
        replace(frame(k), position=None, orientation=None, instance_number=9 - k) for k in range(4)
    ]
    stack = one(frames)
    assert uids(stack) == ["1.0003", "1.0002", "1.0001", "1.0000"]
    assert stack.usable
    assert "no positions: ordered by InstanceNumber" in stack.warnings
    assert all(math.isnan(s.z_mm) for s in stack.slices)
    assert math.isnan(stack.tilt_deg)


@pytest.mark.parametrize("number", [None, 7])
def test_without_positions_and_numbers_the_series_is_refused(number):
    frames = [replace(frame(k), position=None, instance_number=number) for k in range(4)]
    stack = one(frames)
    assert not stack.usable
    assert stack.reason == "order unknown: no positions, InstanceNumber absent or repeated"


@pytest.mark.parametrize("number", [None, 7])
def test_useless_positions_without_orientation_fall_back_to_numbers(number):
    frames = [
        frame(k, position=(1.0, 2.0, 3.0), orientation=None, instance_number=number)
        for k in range(3)
    ]
    assert not one(frames).usable
    numbered = [replace(f, instance_number=k) for k, f in enumerate(frames)]
    assert one(numbered).usable


def test_gaps_and_uneven_spacing_are_reported():
    """Case 25."""
    stack = one([frame(k, position=(0.0, 0.0, z)) for k, z in enumerate([0.0, 5, 10, 20, 25])])
    assert {"gap between slices", "uneven slice spacing"} <= set(stack.warnings)
    assert [s.gap_mm for s in stack.slices[1:]] == [5, 5, 10, 5]
    assert stack.median_gap_mm == 5


def test_slices_at_one_position_are_all_kept_with_a_warning():
    """Case 25."""
    stack = one([*(frame(k) for k in range(4)), frame(9, position=(0.0, 0.0, 10.0))])
    assert uids(stack) == ["1.0000", "1.0001", "1.0002", "1.0009", "1.0003"]
    assert "several slices at one position" in stack.warnings
    assert stack.median_gap_mm == 5


def test_two_kernels_under_one_uid_are_two_stacks():
    """Case 25."""
    frames = [frame(k) for k in range(4)]
    frames += [frame(10 + k, position=(0.0, 0.0, 5.0 * k), kernel="H60") for k in range(3)]
    soft, bone = build_stacks(frames)
    assert (soft.key, soft.kernel, len(soft.slices)) == ("1.2", "H30", 4)
    assert (bone.key, bone.kernel, len(bone.slices)) == ("1.2#2", "H60", 3)
    assert soft.series_uid == bone.series_uid == "1.2"
    assert "series split into several stacks" in soft.warnings


@pytest.mark.parametrize(
    "change",
    [
        {"orientation": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)},
        {"rows": 256},
        {"columns": 256},
        {"patient_id": "other"},
        {"study_uid": "1.9"},
    ],
)
def test_what_can_be_no_volume_is_split(change):
    """Case 26."""
    frames = [frame(k) for k in range(4)]
    frames += [frame(10 + k, position=(3.0 * k, 0.0, 99.0 + k), **change) for k in range(3)]
    assert [len(stack.slices) for stack in build_stacks(frames)] == [4, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"acquisition": "2"},
        {"image_type": "DERIVED\\SECONDARY\\AXIAL"},
        {"echo": "2"},
    ],
)
def test_two_passes_over_the_same_positions_are_two_stacks(change):
    frames = [frame(k) for k in range(4)]
    frames += [frame(10 + k, position=(0.0, 0.0, 5.0 * k), **change) for k in range(4)]
    first, second = build_stacks(frames)
    assert uids(first) == ["1.0000", "1.0001", "1.0002", "1.0003"]
    assert uids(second) == ["1.0010", "1.0011", "1.0012", "1.0013"]


def test_image_type_and_acquisition_alone_do_not_split_a_series():
    """As in the real GE series, where both change from slice to slice."""
    frames = [
        frame(k, acquisition=str(k), image_type="ORIGINAL\\PRIMARY\\AXIAL" + "\\ADD" * (k < 2))
        for k in range(4)
    ]
    assert len(one(frames).slices) == 4


def test_rounding_of_cosines_does_not_split():
    frames = [frame(k, orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 1e-5 * k)) for k in range(4)]
    assert len(one(frames).slices) == 4


@pytest.mark.parametrize(("min_slices", "usable"), [(1, True), (2, False)])
def test_a_single_slice_depends_on_min_slices(min_slices, usable):
    """Case 19."""
    stack = one([frame(0)], min_slices=min_slices)
    assert stack.usable is usable
    assert stack.reason == (None if usable else "fewer than 2 slices")


def test_differing_pixel_spacing_is_reported():
    stack = one([frame(0), frame(1, row_spacing_mm=0.6), frame(2)])
    assert "pixel spacing differs between slices" in stack.warnings


def test_a_slice_off_the_line_is_reported():
    stack = one([frame(0), frame(1, position=(4.0, 0.0, 5.0)), frame(2)])
    assert "positions are not on one line" in stack.warnings
    assert one([frame(0), frame(1), frame(2)]).warnings == ()


@st.composite
def mixtures(draw):
    """Frames with anything missing, repeated or contradictory."""
    count = draw(st.integers(1, 10))
    some = st.floats(-50, 50)
    return [
        frame(
            number,
            position=draw(st.one_of(st.just((0.0, 0.0, 5.0)), st.tuples(some, some, some))),
        )
        if draw(st.booleans())
        else replace(
            frame(number),
            position=draw(st.one_of(st.none(), st.tuples(some, some, some))),
            orientation=draw(
                st.sampled_from([None, AXIAL, (0.0,) * 6, (0, 1, 0, 0, 0, -1), (5.0,) * 6])
            ),
            instance_number=draw(st.one_of(st.none(), st.integers(0, 3))),
            kernel=draw(st.sampled_from(["", "H60"])),
            acquisition=draw(st.sampled_from(["", "1", "2"])),
        )
        for number in range(count)
    ]


@given(mixtures(), st.randoms(use_true_random=False))
def test_no_frame_is_lost_and_usable_stacks_are_in_order(frames, random):
    stacks = build_stacks(frames)
    placed = sorted(uid for stack in stacks for uid in uids(stack))
    assert placed == sorted(f.sop_uid for f in frames)
    for stack in stacks:
        heights = [s.z_mm for s in stack.slices]
        assert stack.usable or stack.reason
        assert all(math.isnan(z) for z in heights) or heights == sorted(heights)
    shuffled = list(frames)
    random.shuffle(shuffled)
    assert [(s.key, uids(s)) for s in build_stacks(shuffled)] == [(s.key, uids(s)) for s in stacks]


@pytest.mark.real_data
@pytest.mark.oracle
@pytest.mark.parametrize("series", ["head-ge", "head-phantom-study/S2010"])
def test_order_and_positions_equal_simpleitk_on_real_series(real_scans, scanned, series):
    folder = real_scans / series
    stack = scanned(folder).stacks[0]
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), stack.series_uid)
    assert [str(folder / slice_.path) for slice_ in stack.slices] == list(files)
    for path, slice_ in zip(files, stack.slices, strict=True):
        image = sitk.ReadImage(path)
        direction = np.array(image.GetDirection()).reshape(3, 3)
        height = float(np.dot(image.GetOrigin(), direction[:, 2]))
        assert slice_.z_mm == pytest.approx(height, abs=1e-4)


@pytest.mark.real_data
def test_the_real_ge_head_has_its_tilt_and_gaps(real_scans, scanned):
    stack = scanned(real_scans / "head-ge").stacks[0]
    assert len(stack.slices) == 28
    assert stack.tilt_deg == pytest.approx(18.5, abs=1e-3)
    gaps = [round(slice_.gap_mm, 2) for slice_ in stack.slices[1:]]
    assert gaps == [4.0] * 13 + [1.08] + [7.0] * 13


@pytest.mark.real_data
def test_the_odd_series_are_read_for_what_they_are(real_scans, scanned):
    uneven, tilted = sorted(
        scanned(real_scans / "odd").stacks, key=lambda stack: abs(stack.tilt_deg)
    )
    assert [slice_.gap_mm for slice_ in uneven.slices[1:]] == pytest.approx([5, 5, 10])
    assert tilted.tilt_deg == pytest.approx(14.0, abs=0.01)
    assert math.isnan(tilted.thickness_mm)
