"""A packed store is a store: the same rows, in few files."""

import numpy as np
import pytest
import zarr

from featurecache.errors import StoreIncompleteError, UsageError
from featurecache.housekeeping import pack as module
from featurecache.housekeeping.pack import pack, shard_rows
from featurecache.housekeeping.verify import verify
from featurecache.store import FeatureStore

rng = np.random.default_rng(0)
A = {name: rng.normal(size=(n, 3)).astype("float32") for name, n in [("a", 70), ("b", 3)]}
B = {"b": rng.normal(size=(60, 3)).astype("float32"), "c": np.ones((1, 3), "float32")}


@pytest.fixture
def store(tmp_path, make_store, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", 16)
    monkeypatch.setattr(module, "SHARD_ROWS", 64)
    path = tmp_path / "cache.zarr"
    make_store(path, A, name=("one", "two"), failed={"a": [3]}, dtype="float16", unit_slices=8)
    return make_store(path, B, name=("one", "two"), dtype="float16")


def test_readers_see_the_same_rows(store, tmp_path):
    report = pack(store, tmp_path / "packed.zarr")
    assert (report.names, report.rows, report.series) == (["one", "two"], 131, 3)
    before, after = FeatureStore.open(store), FeatureStore.open(tmp_path / "packed.zarr")
    assert after.keep_ids
    for name in before:
        old, new = before[name], after[name]
        assert old.to_numpy().tobytes() == new.to_numpy().tobytes()
        assert list(old) == list(new)
        for series in old:
            assert old[series].tobytes() == new[series].tobytes()
        for table in ("slices", "failed", "series"):
            assert getattr(old, table).equals(getattr(new, table))
        assert (old.recipe, old.fingerprint) == (new.recipe, new.fingerprint)


def test_verify_knows_a_packed_store_and_finds_every_flipped_bit(store, tmp_path):
    pack(store, tmp_path / "p.zarr", ["one"])
    report = verify(tmp_path / "p.zarr")
    assert (report.state, report.units) == ("sound", 3)
    for chunk in sorted((tmp_path / "p.zarr/part-0000").glob("*/one/c.*")):
        content = chunk.read_bytes()
        for place in rng.integers(0, len(content), 5):
            changed = bytearray(content)
            changed[place] ^= 1
            chunk.write_bytes(changed)
            (fault,) = verify(tmp_path / "p.zarr").faults
            assert str(tmp_path / "p.zarr" / fault.file) == str(chunk)
        chunk.write_bytes(content)


def test_plain_zarr_opens_it(store, tmp_path):
    pack(store, tmp_path / "p.zarr", ["two"])
    array = zarr.open_group(tmp_path / "p.zarr", mode="r")["part-0000/features/two"]
    assert (array.shards, array.chunks) == ((64, 3), (16, 3))
    assert len(list((tmp_path / "p.zarr/part-0000/features/two").glob("c.*"))) == 3
    rows = FeatureStore.open(store)["two"].to_numpy()
    np.testing.assert_array_equal(array[:][~np.isnan(array[:, 0])], rows)


def content(path):
    files = [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(path): file.read_bytes() for file in files}


def test_packing_twice_gives_the_same_bytes_and_a_packed_store_packs_to_itself(store, tmp_path):
    for source, out in (("cache", "p"), ("cache", "q"), ("p", "r")):
        pack(tmp_path / f"{source}.zarr", tmp_path / f"{out}.zarr")
    files = [content(tmp_path / f"{name}.zarr") for name in "pqr"]
    assert files[0] == files[1] == files[2]


def test_a_bucket_gets_the_objects_that_a_folder_has(store, tmp_path, faults):
    bucket = faults.MemoryStorage()
    pack(store, bucket)
    pack(store, tmp_path / "p.zarr")
    assert bucket.objects == {str(key): data for key, data in content(tmp_path / "p.zarr").items()}
    assert verify(bucket).state == "sound"
    with pytest.raises(UsageError, match="is there already"):
        pack(store, bucket)


def test_a_store_is_whole_or_not_there(store, tmp_path):
    with pytest.raises(UsageError, match="is there already"):
        pack(store, store)
    with pytest.raises(UsageError, match="no feature set 'three'"):
        pack(store, tmp_path / "p.zarr", ["three"])
    (store / "part-0001/features/two/c.0.0").unlink()
    with pytest.raises(StoreIncompleteError):
        pack(store, tmp_path / "p.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache.zarr"]
    pack(store, tmp_path / "p.zarr", ["one"])


def test_a_shard_fits_into_memory():
    assert shard_rows(512 * 2) == 65_536
    assert shard_rows(25_088 * 4) == 5 * 1024
    assert shard_rows(2**30) == 1024
