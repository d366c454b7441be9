"""Two feature sets side by side, joined by slice, compared with plain NumPy."""

import json

import numpy as np
import pytest

from featurecache.errors import StoreIncompleteError, UsageError
from featurecache.housekeeping.diff import OTHER_KEYS, Side, diff, diff_text
from featurecache.metadata import sealed

rng = np.random.default_rng(0)
A = {name: rng.normal(size=(n, 4)).astype("float32") for name, n in [("a", 70), ("b", 3), ("c", 5)]}


def compare(a, b):
    return diff(Side.parse(str(a)), Side.parse(str(b)))


def test_a_store_equals_itself(tmp_path, make_store):
    store = make_store(tmp_path / "a.zarr", A, failed={"a": [2]})
    document = compare(store, store)
    (features,) = document["features"]
    assert document["equal"]
    assert features["slices"] == {"common": 77, "only_in_a": 0, "only_in_b": 0}
    assert features["values"]["identical"] == 77
    assert features["values"]["relative_error"]["worst"] == 0
    assert "the same, bit for bit" in diff_text(document)


def test_differences_are_those_of_the_rows_that_both_have(tmp_path, make_store):
    b = {"c": A["c"].copy(), "a": A["a"] * 1.01, "d": A["b"]}  # another order, other series
    b["a"][7] = -3 * A["a"][7]
    one = make_store(tmp_path / "a.zarr", A, failed={"a": [2]})
    two = make_store(tmp_path / "b.zarr", b, failed={"a": [5]}, recipe={"size": 96})
    document = compare(one, f"{two}:toy")
    (features,) = document["features"]
    assert not document["equal"]
    assert "size is 224, not 96" in features["recipe"]
    assert features["series"] == {"common": 2, "only_in_a": ["b"], "only_in_b": ["d"]}
    assert features["slices"] == {"common": 68 + 5, "only_in_a": 1 + 3, "only_in_b": 1 + 3}
    keep = [row for row in range(70) if row not in (2, 5)]
    x = np.concatenate([A["a"][keep], A["c"]]).astype(float)
    y = np.concatenate([b["a"][keep], b["c"]]).astype(float)
    relative = np.linalg.norm(x - y, axis=1) / np.linalg.norm(x, axis=1)
    cosine = [u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in zip(x, y, strict=True)]
    values = features["values"]
    assert values["identical"] == 5
    assert values["max_abs"] == pytest.approx(np.abs(x - y).max())
    assert values["relative_error"] == {
        "median": pytest.approx(np.median(relative)), "worst": pytest.approx(4),
        "series": "a", "slice": "a.7",
    }  # fmt: skip
    assert values["cosine"] == {
        "median": pytest.approx(np.median(cosine)), "least": pytest.approx(-1)
    }  # fmt: skip
    text = diff_text(document)
    assert "5 of 73 slices identical" in text
    assert "at worst (slice a.7)" in text


def test_rows_without_a_direction_have_no_relative_error(tmp_path, make_store):
    zeros = {"a": np.zeros((2, 4), "float32")}
    one = make_store(tmp_path / "a.zarr", zeros)
    two = make_store(tmp_path / "b.zarr", {"a": np.ones((2, 4), "float32")})
    values = compare(one, two)["features"][0]["values"]
    assert values["not_defined"] == 2
    assert values["relative_error"]["worst"] is values["cosine"]["least"] is None
    assert "n/a" in diff_text(compare(one, two))


def test_other_widths_and_no_common_slices_are_said(tmp_path, make_store):
    one = make_store(tmp_path / "a.zarr", A)
    two = make_store(tmp_path / "b.zarr", {"a": np.ones((70, 9), "float32")})
    three = make_store(tmp_path / "c.zarr", {"z": np.ones((2, 4), "float32")})
    assert "D is 4 and 9" in diff_text(compare(one, two))
    assert "no slice is in both" in diff_text(compare(one, three))
    assert not compare(one, three)["equal"]


def test_other_keys_cannot_be_joined_and_recipes_still_are_compared(tmp_path, make_store):
    one = make_store(tmp_path / "a.zarr", A)
    two = make_store(tmp_path / "b.zarr", A, recipe={"size": 96})
    root = json.loads((two / "zarr.json").read_bytes())
    root["attributes"]["key_digest"] = "0" * 32
    (two / "zarr.json").write_bytes(sealed(json.dumps(root).encode()))
    document = compare(one, two)
    assert document["note"] == OTHER_KEYS
    assert document["features"][0]["slices"] is None
    assert "size is 224, not 96" in document["features"][0]["recipe"]
    assert OTHER_KEYS in diff_text(document)


def test_which_feature_sets_are_compared(tmp_path, make_store):
    both = make_store(tmp_path / "a.zarr", A, name=("one", "two"))
    one = make_store(tmp_path / "b.zarr", A, name="one")
    other = make_store(tmp_path / "c.zarr", A, name="other")
    assert compare(both, one)["only_in_a"] == ["two"]
    assert [f["a"] for f in compare(both, both)["features"]] == ["one", "two"]
    pair = compare(f"{both}:two", other)["features"]
    assert [(f["a"], f["b"]) for f in pair] == [("two", "other")]
    assert compare(one, other)["features"][0]["b"] == "other"
    with pytest.raises(UsageError, match="no feature set in common"):
        compare(both, other)
    with pytest.raises(UsageError, match="no feature set 'other'; it has: one, two"):
        compare(both, f"{other}:other")
    with pytest.raises(UsageError, match="no feature set 'three'"):
        compare(f"{both}:three", one)


def test_a_colon_in_the_path_of_a_store_is_no_name(tmp_path, make_store):
    store = make_store(tmp_path / "a:b.zarr", A)
    assert compare(store, f"{store}:toy")["equal"]


def test_an_unfinished_set_is_refused(tmp_path, make_store):
    store = make_store(tmp_path / "a.zarr", A)
    (store / "part-0000/features/toy/c.1.0").unlink()
    with pytest.raises(StoreIncompleteError):
        compare(store, store)
