"""A framing says in mm or in pixels what a network is shown, and refuses what it cannot mean."""

import math

import pytest

from featurecache.errors import UsageError
from featurecache.framing import FITS, Framing, fit_of, parse_framing


def test_the_default_is_the_whole_slice_squashed():
    assert parse_framing(224) == Framing(224, "squash", None, None)
    assert parse_framing(224).words == "squash, bilinear, antialiased, after windowing"
    assert parse_framing(224).grid is None


def test_radnet_sees_250_mm_at_1_mm():
    framing = parse_framing(256, spacing_mm=1, fov_mm=250)
    assert (framing.grid, framing.spacing_mm, framing.fov_mm) == (250, 1.0, 250.0)
    assert framing.text() == "central 250 mm at 1 mm, resized to 256 x 256 pixels"
    direct = parse_framing(250, spacing_mm=1)
    assert direct.text() == "central 250 mm at 1 mm: 250 x 250 pixels"


def test_one_length_follows_from_the_other_and_the_size():
    assert parse_framing(224, spacing_mm=1) == parse_framing(224, spacing_mm=1, fov_mm=224)
    alone = parse_framing(200, fov_mm=250)
    assert (alone.grid, alone.spacing_mm) == (200, 1.25)
    assert alone == parse_framing(200, spacing_mm=1.25, fov_mm=250)


def test_whole_numbers_give_the_fingerprint_of_their_floats():
    for framing in (
        parse_framing(200, fov_mm=250), parse_framing(224, spacing_mm=1, fov_mm=250),
        parse_framing(224, spacing_mm=1),
    ):  # fmt: skip
        assert isinstance(framing.spacing_mm, float)
        assert isinstance(framing.fov_mm, float), "JSON tells 250 from 250.0"


def test_a_field_of_view_is_rounded_to_whole_pixels_and_says_so():
    framing = parse_framing(224, spacing_mm=0.9, fov_mm=250)
    assert framing.grid == 278
    assert framing.fov_mm == 250.2
    assert framing == parse_framing(224, spacing_mm=0.9, fov_mm=250.2)


@pytest.mark.parametrize("size", [1, 7, 97, 224, 299, 1000])
@pytest.mark.parametrize("fov_mm", [0.3, 99.9, 250, 511.7])
def test_a_field_of_view_alone_has_size_pixels(size, fov_mm):
    assert parse_framing(size, fov_mm=fov_mm).grid == size


def test_every_fit_is_equal_in_a_field_of_view_which_is_square():
    framings = {parse_framing(224, fit, 1.0, 250.0) for fit in FITS}
    assert len(framings) == 1


def test_words_name_the_fit():
    assert [fit_of(Framing(8, fit).words) for fit in FITS] == list(FITS)
    with pytest.raises(ValueError, match="resize must be one of"):
        fit_of("stretch")


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"fit": "stretch"}, "--fit stretch"),
        ({"spacing_mm": 0.0}, "--spacing 0"),
        ({"spacing_mm": -1.0}, "--spacing -1"),
        ({"fov_mm": math.nan}, "--fov nan"),
        ({"fov_mm": math.inf}, "--fov inf"),
        ({"spacing_mm": 0.001, "fov_mm": 250.0}, "2.5e\\+05 pixels"),
        ({"spacing_mm": 10.0, "fov_mm": 1.0}, "0.1 pixels"),
        ({"fov_mm": 250_000.0}, "250000 mm is wider than any scanner"),
        ({"spacing_mm": 440.0}, "98560 mm is wider than any scanner"),
    ],
)
def test_refuses_what_cannot_be_meant(wanted, named):
    with pytest.raises(UsageError, match=named):
        parse_framing(224, **wanted)


@pytest.mark.parametrize("spacing_mm", [math.nan, 0.0, -0.5, math.inf])
def test_a_slice_without_spacing_is_refused_only_where_mm_are_asked_for(spacing_mm):
    assert parse_framing(224, "pad").refusal(spacing_mm, spacing_mm) is None
    assert parse_framing(224, fov_mm=250).refusal(0.5, spacing_mm) == "pixel spacing unknown"
    assert parse_framing(224, fov_mm=250).refusal(spacing_mm, 0.5) == "pixel spacing unknown"
    assert parse_framing(224, fov_mm=250).refusal(0.4, 0.5) is None


@pytest.mark.parametrize("spacing_mm", [1e-6, 0.0005, 488.0, 1e9])
def test_a_spacing_in_metres_or_micrometres_is_not_resampled_into_air(spacing_mm):
    framing = parse_framing(224, fov_mm=250)
    assert framing.refusal(spacing_mm, 0.5) == "pixel spacing implausible"
    assert framing.refusal(0.5, spacing_mm) == "pixel spacing implausible"
    assert parse_framing(224).refusal(spacing_mm, spacing_mm) is None
    assert framing.refusal(0.098, 31.25) is None
