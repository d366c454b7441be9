"""A store gives back what was written, or says what is wrong."""

import hashlib

import numpy as np
import pytest

from featurecache import arrays
from featurecache.errors import StoreCorruptError, StoreError, StoreIncompleteError, UsageError
from featurecache.feature_array import FeatureArray
from featurecache.open_storage import open_storage
from featurecache.store import FeatureStore, describe


@pytest.fixture
def matrices():
    rng = np.random.default_rng(0)
    return {
        f"s{k}": rng.normal(size=(n, 5)).astype("float32") for k, n in enumerate([3, 70, 1, 90])
    }


def test_returns_each_series_as_written(tmp_path, make_store, matrices):
    features = FeatureStore.open(make_store(tmp_path / "c.zarr", matrices))["toy"]
    assert list(features) == list(matrices)
    for series, matrix in matrices.items():
        np.testing.assert_array_equal(features[series], matrix)
    np.testing.assert_array_equal(features.to_numpy(), np.concatenate(list(matrices.values())))


def test_leaves_failed_rows_out_and_lists_them_with_the_reason(tmp_path, make_store, matrices):
    path = make_store(tmp_path / "c.zarr", matrices, failed={"s1": [0, 69], "s2": [0]})
    features = FeatureStore.open(path)["toy"]
    np.testing.assert_array_equal(features["s1"], matrices["s1"][1:69])
    assert "s2" not in features
    assert features.series.loc["s2", "n_ok"] == 0
    assert list(features.failed["slice"]) == ["s1.0", "s1.69", "s2.0"]
    assert set(features.failed["reason"]) == {"pixel data is short"}
    assert len(features.slices) == len(features.to_numpy()) == 161
    assert describe(path)["features"]["toy"]["failed_rows"] == 3


def test_slices_and_rows_are_in_the_same_order(tmp_path, make_store, matrices):
    features = FeatureStore.open(make_store(tmp_path / "c.zarr", matrices))["toy"]
    rows, slices = features.to_numpy(), features.slices
    for series in features:
        mine = slices["series"] == series
        np.testing.assert_array_equal(rows[mine.to_numpy()], features[series])
        assert list(slices.loc[mine, "position"]) == list(range(len(features[series])))


def test_unfinished_features_are_an_error_not_missing_rows(tmp_path, make_store, matrices):
    path = make_store(tmp_path / "c.zarr", matrices)
    (path / "part-0000/features/toy/c.1.0").unlink()
    with pytest.raises(StoreIncompleteError, match="2 of 3 units"):
        FeatureStore.open(path)["toy"]
    assert not describe(path)["features"]["toy"]["complete"]


def test_later_part_supersedes_a_series_of_an_earlier_one(tmp_path, make_store, matrices):
    path = make_store(tmp_path / "c.zarr", matrices)
    changed = {"s1": matrices["s1"][:9] + 1, "new": matrices["s0"] - 1}
    make_store(path, changed)
    features = FeatureStore.open(path)["toy"]
    assert sorted(features) == ["new", "s0", "s1", "s2", "s3"]
    np.testing.assert_array_equal(features["s1"], changed["s1"])
    assert len(features.to_numpy()) == 3 + 1 + 90 + 9 + 3


def test_part_without_the_feature_set_is_incomplete(tmp_path, make_store, matrices):
    path = make_store(tmp_path / "c.zarr", matrices)
    make_store(path, {"new": matrices["s0"]}, name="other")
    with pytest.raises(StoreIncompleteError, match="part-0001 has no features 'toy'"):
        FeatureStore.open(path)["toy"]


def _all_reads(path):
    features = FeatureStore.open(path)["toy"]
    return features.to_numpy(), features.slices, features.series, features.failed


def test_every_flipped_bit_and_every_deleted_file_is_reported(tmp_path, make_store, matrices):
    path = make_store(tmp_path / "c.zarr", matrices)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    assert len(files) > 20
    silent = []
    for file in files:
        content = file.read_bytes()
        if file.parent.name in ("series", "slices", "features", "status"):
            continue  # metadata of a group hold nothing that a reader uses
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 4
        for damage in (bytes(flipped), content[: len(content) // 2], None):
            file.write_bytes(damage) if damage is not None else file.unlink()
            try:
                _all_reads(path)
                silent.append((file.relative_to(path), damage and len(damage)))
            except StoreError:
                pass
            file.write_bytes(content)
    assert silent == []
    _all_reads(path)


def test_refuses_non_finite_features_of_a_slice_that_decoded(tmp_path, make_store, matrices):
    path = make_store(tmp_path / "c.zarr", matrices, dtype="float16")
    array = FeatureArray(open_storage(path), 0, "toy", writable=True)
    values = np.zeros((64, 5), "float32")
    values[3, 2] = 1e6
    with pytest.raises(StoreError, match=r"row 3: .*float16 cannot hold"):
        array.write_unit(0, values, np.ones(64, "uint8"))


def test_unit_whose_slices_all_failed_is_committed(tmp_path, make_store, matrices):
    """A plain zarr handle would delete a chunk that is all fill value."""
    path = make_store(tmp_path / "c.zarr", matrices, failed={"s1": range(70), "s0": range(3)})
    assert FeatureArray(open_storage(path), 0, "toy").units_done() == {0, 1, 2}


def test_plain_zarr_reads_the_features(tmp_path, make_store, matrices):
    import zarr

    path = make_store(tmp_path / "c.zarr", matrices)
    values = zarr.open_group(path, mode="r")["part-0000/features/toy"][:]
    np.testing.assert_array_equal(values, np.concatenate(list(matrices.values())))


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "x" * 65])
def test_refuses_names_that_are_no_folder_names(name):
    with pytest.raises(UsageError, match="letters, digits"):
        arrays.check_name(name)


def test_says_what_is_wrong_with_the_folder(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        FeatureStore.open(tmp_path / "none.zarr")
    (tmp_path / "x").mkdir()
    with pytest.raises(StoreError, match="there is no store"):
        FeatureStore.open(tmp_path / "x")
    (tmp_path / "x" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a featurecache store"):
        FeatureStore.open(tmp_path / "x")
    with pytest.raises(StoreError, match="exists and is not a store"):
        arrays.create_store(open_storage(tmp_path / "x"), None)
    assert (tmp_path / "x" / "notes.txt").exists()


def test_removed_part_between_others_is_reported(tmp_path, make_store, matrices):
    path = make_store(tmp_path / "c.zarr", matrices)
    make_store(path, {"new": matrices["s0"]})
    (path / "part-0000").rename(tmp_path / "away")
    with pytest.raises(StoreCorruptError, match="not consecutive"):
        FeatureStore.open(path)


def test_bytes_of_a_store_stay_what_they_were(tmp_path, make_store, matrices):
    """Metadata may differ between versions of zarr; chunks may not, nor where they lie."""
    path = make_store(tmp_path / "c.zarr", matrices, failed={"s1": [0, 69]})
    make_store(path, {"é": matrices["s0"]}, dtype="float16")
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        if file.is_file() and file.name != "zarr.json":
            digest.update(file.read_bytes())
    assert digest.hexdigest() == (
        "84ef276ea9651e50d8436fa23774acf34e54bea552819fdc9c4940fa90a71e4a"
    )
