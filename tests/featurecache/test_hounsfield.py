"""NIfTI values that cannot be Hounsfield units are refused; those that can are not."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from featurecache.explain import explain
from featurecache.hounsfield import is_mask, look_at, why_not_hu
from featurecache.pixels import decode_slice, job_for, to_hu
from featurecache.probes import HU_ASSUMED
from featurecache.reasons import MASK, NOT_HU

RNG = np.random.default_rng(0)


def head(n=3):
    """Hounsfield units (n, 64, 64) of brain in a skull in air."""
    y, x = np.mgrid[:64, :64] - 31.5
    hu = np.where(np.hypot(x, y) < 26, 1000.0, -1000.0)
    hu[np.hypot(x, y) < 23] = 35
    return np.rint(np.stack([hu] * n) + RNG.normal(0, 8, (n, 64, 64)))


def why(volume):
    return why_not_hu([look_at(plane) for plane in volume])


RIGHT = {
    "as a scanner gives it": lambda hu: hu,
    "cut off at -1024": lambda hu: np.clip(hu, -1024, None),
    "cut off at -1000": lambda hu: np.clip(hu, -1000, None),
    "as fractions": lambda hu: hu + 0.25,
    "padded in the corners": lambda hu: np.where(np.arange(64) < 14, -3024, hu),
    "air in one slice of three": lambda hu: np.stack([hu[0], hu[1] * 0 + 35, hu[2] * 0 + 35]),
}
WRONG = {
    "without its intercept": lambda hu: hu + 1024,
    "without its intercept, padded": lambda hu: np.where(np.arange(64) < 14, -2000, hu + 1024),
    "its intercept twice": lambda hu: hu - 1024,
    "brain window, 8 bits": lambda hu: np.clip((hu + 40) * 3, 0, 255),
    "whole range, 8 bits": lambda hu: np.clip((hu + 1024) / 16, 0, 255),
    "normalised": lambda hu: np.clip((hu + 1024) / 4095, 0, 1),
    "standardised": lambda hu: (hu - hu.mean()) / hu.std(),
    "cut off at -500": lambda hu: np.clip(hu, -500, 1000),
    "without skull and air": lambda hu: np.where(np.abs(hu - 35) < 60, hu, 0),
    "constant": lambda hu: hu * 0 + 7.0,
}


@pytest.mark.parametrize("change", RIGHT.values(), ids=RIGHT)
def test_hounsfield_units_are_known_by_their_air(change):
    assert why(change(head())) is None


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_other_values_are_told_with_their_range(change):
    volume = change(head())
    assert f"values from {volume.min():g} to {volume.max():g}" in why(volume)


@given(st.integers(-4096, 4096), st.floats(0.01, 20))
def test_no_other_scale_of_a_head_has_its_air_at_the_right_place(shift, factor):
    """Nor anything else: what lies there could be taken for air."""
    places = [value * factor + shift for value in (-1000, 35, 1000)]
    assume(min(abs(place + 1000) for place in places) > 150 + 40 * factor)
    assert why(head(1) * factor + shift) is not None


def test_a_mask_has_few_values_and_no_air():
    def mask(volume):
        return is_mask([look_at(plane) for plane in volume])

    assert mask((head() > 500) * 3.0)
    assert mask(np.zeros((2, 8, 8)))
    assert not mask(head() + 1024)
    assert not mask(np.where(head() > -500, 40.0, -1000.0)), "it has air: a phantom"
    many = np.stack([np.full((8, 8), value) for value in range(40)])
    assert not mask(many), "few values a slice, but others in each"


@pytest.mark.real_data
def test_real_series_look_like_hounsfield_units_and_shifted_ones_do_not(real_scans, scanned):
    result = scanned(real_scans)
    assert len(result.stacks) >= 2
    for stack in result.stacks:
        slices = stack.slices[:: max(1, len(stack.slices) // 8)]
        decoded = [decode_slice(job_for(result.index.root, stack, s)) for s in slices]
        volume = [one.stored * one.slope + one.intercept for one in decoded]
        assert why(volume) is None
        for change in (lambda hu: hu + 1024, lambda hu: np.clip((hu + 40) * 3, 0, 255)):
            assert why([change(plane) for plane in volume]) is not None


def voxels(volume, dtype=np.int16):
    return volume.transpose(2, 1, 0).astype(dtype)


@pytest.fixture
def tree(tmp_path, write_nifti):
    """One volume in Hounsfield units, a shifted one, a normalised one and a mask."""
    root = tmp_path / "nifti"
    write_nifti(root / "right.nii.gz", voxels(head()))
    write_nifti(root / "shifted.nii.gz", voxels(head() + 1024))
    write_nifti(root / "normal.nii", voxels(WRONG["normalised"](head()), np.float32))
    write_nifti(root / "mask.nii", voxels(head() > 500))
    return root


def test_the_scan_refuses_what_is_not_in_hounsfield_units(tree, scanned):
    result = scanned(tree)
    account = result.account
    assert (account.used, account.skipped, account.failed) == (1, 1, 2)
    assert account.reasons["failed", NOT_HU] == 2
    assert account.reasons["skipped", MASK] == 1
    assert [stack.key for stack in result.stacks] == ["right"]
    told = explain(result.path, tree / "shifted.nii.gz")
    assert "expected air at -1000, found values from" in told
    assert scanned(tree).account == account, "a second scan says the same"


def test_assumed_units_come_and_go_with_the_option(tree, scanned, content):
    first = scanned(tree)
    assumed = scanned(tree, assume_hu=True)
    assert (assumed.account.used, assumed.account.skipped, assumed.account.failed) == (3, 1, 0)
    assert assumed.account.reasons["warning", HU_ASSUMED] == 2
    (shifted,) = [stack for stack in assumed.stacks if stack.key == "shifted"]
    plane = decode_slice(job_for(assumed.index.root, shifted, shifted.slices[1]))
    assert to_hu(plane)[0, 0] == pytest.approx(24, abs=50)
    assert content(scanned(tree).path) == content(first.path)
