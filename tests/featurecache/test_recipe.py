"""A recipe identifies features: equal where they are interchangeable, different where not."""

from dataclasses import replace

import pytest

from featurecache.errors import UsageError
from featurecache.framing import parse_framing
from featurecache.recipe import WINDOWS, Recipe, differences, only_numerics, parse_windows

RECIPE = Recipe(
    backbone="vgg16", weights="a" * 64, weights_source="random:0", layer="features.30", pool="avg",
    windows=((40.0, 80.0),), size=224, zoom=None, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2),
    precision="fp32", dtype="float32",
)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "vgg19"}, {"weights": "b" * 64}, {"layer": "features.29"}, {"pool": "max"},
        {"windows": ((80.0, 200.0),)}, {"size": 256}, {"zoom": 512}, {"mean": (0.0, 0.5, 0.5)},
        {"std": (0.2, 0.2, 0.3)}, {"resize": "pad"}, {"values_version": 1},
        {"hu_range": (-1000.0, 3071.0)}, {"resize": parse_framing(224, "crop").words},
        {"spacing_mm": 1.0}, {"fov_mm": 250.0}, {"view_number": 1}, {"view_seed": 3},
    ],
)  # fmt: skip
def test_every_field_that_changes_values_changes_the_identity(change):
    other = replace(RECIPE, **change)
    assert other.fingerprint()["identity"] != RECIPE.fingerprint()["identity"]
    assert other.fingerprint()["numerics"] == RECIPE.fingerprint()["numerics"]
    (sentence,) = differences(RECIPE.document(), other.document())
    assert sentence.startswith(next(iter(change)))
    assert not only_numerics(RECIPE.document(), other.document())


def test_a_recipe_without_a_field_of_view_keeps_the_fingerprint_it_had_before_there_were_any():
    assert replace(RECIPE, values_version=1).fingerprint() == {
        "identity": "2ea97e33a000b114027db7317c344d8cf1835131a6288d9e705af394ab5602f0",
        "numerics": "b374336d74b7de86cdc01f816705bd3c101408c52d5222756080af97fa047196",
    }
    assert not {"spacing_mm", "fov_mm", "fit"} & set(RECIPE.document())


def test_a_field_of_view_stands_in_the_document_and_in_the_difference():
    other = replace(RECIPE, spacing_mm=1.0, fov_mm=250.0)
    assert {"spacing_mm": 1.0, "fov_mm": 250.0}.items() <= other.document().items()
    assert differences(RECIPE.document(), other.document()) == [
        "spacing_mm is absent, not 1.0", "fov_mm is absent, not 250.0"
    ]  # fmt: skip


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_a_recipe_gives_back_the_framing_it_was_made_of(fit):
    framing = parse_framing(224, fit)
    assert replace(RECIPE, resize=framing.words).framing == framing


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"dtype": "float16"}])
def test_numerics_are_apart_from_identity(change):
    other = replace(RECIPE, **change)
    assert other.fingerprint()["identity"] == RECIPE.fingerprint()["identity"]
    assert other.fingerprint()["numerics"] != RECIPE.fingerprint()["numerics"]
    assert only_numerics(RECIPE.document(), other.document())


def test_where_weights_came_from_is_not_compared():
    other = replace(RECIPE, weights_source="imagenet")
    assert other.fingerprint() == RECIPE.fingerprint()
    assert differences(RECIPE.document(), other.document()) == []


def test_windows_by_name_and_by_number():
    assert parse_windows("brain") == ((40.0, 80.0),)
    assert parse_windows("brain, subdural,bone") == ((40, 80), (80, 200), (600, 2800))
    assert parse_windows("brain,40/80,brain") == parse_windows("brain"), "the same images"
    assert parse_windows("brain,brain,bone") == ((40, 80), (40, 80), (600, 2800))
    assert parse_windows("-10/350.5") == ((-10.0, 350.5),)
    assert all(width > 0 for _, width in WINDOWS.values())


@pytest.mark.parametrize("text", ["", "brian", "40", "40/0", "40/-80", "nan/80", "40/inf", "1/2/3"])
def test_refuses_what_is_no_window(text):
    with pytest.raises(UsageError, match="--windows"):
        parse_windows(text)


def test_refuses_two_or_four_windows():
    with pytest.raises(UsageError, match="give one window"):
        parse_windows("brain,bone")
