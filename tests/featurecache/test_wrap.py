"""The RSNA wrap: found where a slice has air, undone exactly, and nothing else touched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from featurecache.pixels import decode_slice, job_for, to_hu
from featurecache.probes import NOT_WRAPPED, WRAPPED
from featurecache.wrap import has_air_peak, may_be_wrapped, unwrap

RNG = np.random.default_rng(0)


def head_hu(outside=-1000.0, noise_hu=6, radius=26):
    """Hounsfield units (64, 64) of a disc of brain in something."""
    y, x = np.mgrid[:64, :64] - 31.5
    hu = np.where(np.hypot(x, y) < radius, 35.0, outside)
    return np.clip(np.rint(hu + RNG.normal(0, noise_hu, hu.shape)), -1024, 3071).astype(np.int32)


def wrap(hu, intercept=0):
    return ((hu - intercept) % 4096).astype(np.uint16)


@given(arrays.arrays(np.int32, (4, 4), elements=st.integers(-1024, 3071)), st.integers(-99, 5000))
def test_the_wrap_is_undone_exactly_for_any_intercept(hu, intercept):
    np.testing.assert_array_equal(unwrap(wrap(hu, intercept), intercept) + intercept, hu)


@given(
    arrays.arrays(np.uint16, 16, elements=st.integers(4096, 65535))
    | arrays.arrays(np.int16, 16, elements=st.integers(-32768, -1))
    | arrays.arrays(np.int32, 16, elements=st.integers(-(1 << 31), -1))
)
def test_values_that_12_bits_do_not_hold_were_not_wrapped_and_stay(stored):
    np.testing.assert_array_equal(unwrap(stored, 0), stored)


def test_the_header_of_a_wrapped_image_has_no_air():
    assert may_be_wrapped(12, 0, 1.0, 0.0)
    assert not may_be_wrapped(12, 0, 1.0, -1024.0)
    assert not may_be_wrapped(12, 1, 1.0, 0.0)
    assert not may_be_wrapped(16, 0, 1.0, 0.0)
    assert not may_be_wrapped(12, 0, 0.5, 0.0)


AS_STORED = {
    "lost intercept": lambda hu: hu + 1024,
    "no negative values": lambda hu: np.clip(hu, 0, None),
    "windowed to 8 bits": lambda hu: np.clip((hu + 40) * 3, 0, 255),
    "metal cut off at 3071": lambda hu: np.where(hu < -900, 3071, np.clip(hu, 0, None)),
    "inverted": lambda hu: 4095 - np.clip(hu + 1024, 0, 4095),
    "noise": lambda hu: RNG.integers(0, 4096, hu.shape),
    "a ramp": lambda hu: np.arange(hu.size).reshape(hu.shape) % 4096,
    "one value": lambda hu: np.full_like(hu, 3000) * (hu > 1e6),
}


@pytest.mark.parametrize("stored", AS_STORED.values(), ids=AS_STORED)
def test_no_other_values_look_wrapped(stored):
    assert not has_air_peak(stored(head_hu()).astype(np.uint16))
    assert has_air_peak(wrap(head_hu()))


def test_without_pixels_there_is_no_peak():
    assert not has_air_peak(np.zeros(0, np.uint16))


@pytest.mark.real_data
def test_real_slices_look_wrapped_only_if_they_are(real_scans, scanned):
    result = scanned(real_scans / "head-ge")
    (stack,) = result.stacks
    for slice_ in stack.slices[::3]:
        hu = to_hu(decode_slice(job_for(result.index.root, stack, slice_))).astype(np.int32)
        assert has_air_peak(wrap(hu))
        assert not has_air_peak(hu + 1024)
        assert not has_air_peak(np.clip(hu, 0, None))


def write(write_ct, folder, number, values, uid="1.5", **elements):
    own = {
        "SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid}.{number}", "RescaleIntercept": 0,
        "ImagePositionPatient": [0, 0, 5 * number],
    }  # fmt: skip
    return write_ct(folder / f"{uid}-{number:02}.dcm", values, **own | elements)


def hounsfield_units(result, stack):
    return [to_hu(decode_slice(job_for(result.index.root, stack, s))) for s in stack.slices]


def test_the_rsna_wrap_is_decided_for_the_series(tmp_path, write_ct, scanned):
    """Case 29: one slice with air is enough, the others follow."""
    truth = [head_hu(-1000.0 if number == 5 else 60.0) for number in range(8)]
    truth[2][:5] = -3  # water around 0 HU is 4093 if wrapped
    for number, hu in enumerate(truth):
        write(write_ct, tmp_path / "root", number, wrap(hu))
    result = scanned(tmp_path / "root")
    (stack,) = result.stacks
    assert stack.wrapped
    assert WRAPPED in stack.warnings
    assert result.account.reasons["warning", WRAPPED] == 1
    np.testing.assert_array_equal(hounsfield_units(result, stack), truth)


def test_without_an_air_peak_nothing_is_unwrapped(tmp_path, write_ct, scanned):
    """Case 30."""
    for number in range(4):
        write(write_ct, tmp_path / "root", number, wrap(head_hu(60.0)))
    (stack,) = scanned(tmp_path / "root").stacks
    assert not stack.wrapped
    assert NOT_WRAPPED in stack.warnings


def test_images_of_a_wrapped_series_that_are_right_already_stay(tmp_path, write_ct, scanned):
    """One signed image, one with its intercept: no reason to leave the others wrapped."""
    truth = [head_hu() for _ in range(5)]
    stored = [wrap(hu) for hu in truth]
    others = {
        1: {"values": truth[1].astype(np.int16)},
        3: {"values": (truth[3] + 1024).astype(np.uint16), "RescaleIntercept": -1024},
    }
    for number in range(5):
        other = {"values": stored[number]} | others.get(number, {})
        write(write_ct, tmp_path / "root", number, **other)
    result = scanned(tmp_path / "root")
    (stack,) = result.stacks
    assert WRAPPED in stack.warnings
    np.testing.assert_array_equal(hounsfield_units(result, stack), truth)


@pytest.mark.parametrize(
    ("values", "elements"),
    [
        ((head_hu() + 1024).astype(np.uint16), {"RescaleIntercept": -1024}),
        (head_hu().astype(np.int16), {}),
        (head_hu().astype(np.int16), {"BitsStored": 12, "HighBit": 11}),
    ],
    ids=["intercept -1024", "signed", "signed, 12 bits"],
)
def test_a_series_that_is_right_already_is_not_asked(tmp_path, write_ct, scanned, values, elements):
    if elements.get("BitsStored") == 12:
        values = np.clip(values, -2048, 2047)
    for number in range(3):
        write(write_ct, tmp_path / "root", number, values, **elements)
    result = scanned(tmp_path / "root")
    (stack,) = result.stacks
    assert not stack.wrapped
    assert not {WRAPPED, NOT_WRAPPED} & set(stack.warnings)
    for hu in hounsfield_units(result, stack):
        expected = values.astype(np.int32) + elements.get("RescaleIntercept", 0)
        np.testing.assert_array_equal(hu, expected)


def test_padding_that_is_taken_as_air_is_no_air_peak(tmp_path, write_ct, scanned):
    """Values that are right already, a quarter of the image padded."""
    hu = np.clip(head_hu(60.0), 0, 4095)
    hu[:16] = 3000
    for number in range(3):
        write(write_ct, tmp_path / "root", number, hu.astype(np.uint16), PixelPaddingValue=3000)
    (stack,) = scanned(tmp_path / "root").stacks
    assert not stack.wrapped


def test_padding_beyond_12_bits_stays_air_in_a_wrapped_series(tmp_path, write_ct, scanned):
    """-2000 in the corners is 63536 unsigned: with or without a tag that says so."""
    truth = head_hu()
    stored = wrap(truth)
    stored[:4] = 63536
    truth[:4] = -1024
    for number in range(3):
        tag = {"PixelPaddingValue": 63536} if number else {}
        write(write_ct, tmp_path / "root", number, stored, **tag)
    result = scanned(tmp_path / "root")
    (stack,) = result.stacks
    assert stack.wrapped
    np.testing.assert_array_equal(hounsfield_units(result, stack), [truth] * 3)


def test_a_sign_that_16_bits_lost_is_reported(tmp_path, write_ct, decode):
    """-1000 as 64536: no wrap of 12 bits, and no value that a scanner writes."""
    path = write_ct(
        tmp_path / "a.dcm", (head_hu() & 0xFFFF).astype(np.uint16), RescaleIntercept=0,
        BitsStored=16, HighBit=15,
    )  # fmt: skip
    assert decode(path).warnings == ("values far above the CT range",)
