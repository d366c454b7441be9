"""Reasons keep their codes for ever."""

import pytest

from featurecache.reasons import PASSING_REASONS, SLICE_REASONS, is_passing, slice_reason_code


def test_codes_leave_room_for_unwritten_and_ok_and_fit_a_byte():
    assert all(2 <= code <= 255 for code in SLICE_REASONS)
    assert len(set(SLICE_REASONS.values())) == len(SLICE_REASONS)


def test_codes_already_in_stores_keep_their_meaning():
    assert [SLICE_REASONS[code] for code in range(2, 8)] == [
        "pixel data is short",
        "decoder failed",
        "decoder not installed",
        "noise below some row",
        "file vanished",
        "file changed since the scan",
    ]


@pytest.mark.parametrize(("code", "reason"), SLICE_REASONS.items())
def test_every_reason_has_its_code(code, reason):
    assert slice_reason_code(reason) == code


def test_unknown_words_still_get_a_code():
    assert SLICE_REASONS[slice_reason_code("never heard of")] == "other reason"


def test_only_faults_that_may_pass_are_retried():
    assert set(SLICE_REASONS) >= PASSING_REASONS
    assert is_passing("time-out")
    assert is_passing("file vanished")
    assert not is_passing("pixel data is short")
    assert not is_passing("noise below some row")
