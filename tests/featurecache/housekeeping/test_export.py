"""What other tools read from an export is what the store returns."""

import json
import sys

import numpy as np
import pytest

from featurecache.errors import MissingResourceError, StoreIncompleteError, UsageError
from featurecache.housekeeping.export import export
from featurecache.store import FeatureStore

rng = np.random.default_rng(0)
MATRICES = {
    name: rng.normal(size=(n, 3)).astype("float32")
    for name, n in [("1.2/x", 70), ("b%2F", 3), ("c", 5), ("gone", 1)]
}


@pytest.fixture(params=["float16", "float32"])
def store(request, tmp_path, make_store):
    failed = {"1.2/x": [2, 69], "gone": [0]}
    return make_store(tmp_path / "c.zarr", MATRICES, failed=failed, dtype=request.param)


def features_of(store):
    return FeatureStore.open(store)["toy"]


def check_about(about, features):
    about = json.loads(about)
    assert about["recipe"] == features.recipe
    assert about["fingerprint"] == features.fingerprint
    assert about["identifiers"] == "kept"


def test_npz_is_read_by_numpy_without_pickle(store, tmp_path):
    report = export(store, "toy", tmp_path / "x.npz", "npz")
    features = features_of(store)
    assert (report.rows, report.series, report.failed) == (76, 3, 3)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as data:
        assert data["features"].dtype == features.dtype
        np.testing.assert_array_equal(data["features"], features.to_numpy())
        for column in ("series", "slice", "position", "z_mm", "gap_mm"):
            np.testing.assert_array_equal(data[column], features.slices[column].to_numpy())
        assert data["patient"][0] == "patient of 1.2/x"
        for number, series in enumerate(data["series_id"]):
            first, n_rows = data["series_first_row"][number], data["series_n_rows"][number]
            mine = data["features"][first : first + n_rows]
            assert (data["series"][first : first + n_rows] == series).all()
            np.testing.assert_array_equal(mine, features.get(series, np.empty((0, 3))))
        assert data["failed_slice"].tolist() == ["1.2/x.2", "1.2/x.69", "gone.0"]
        assert set(data["failed_reason"]) == {"pixel data is short"}
        check_about(str(data["about"]), features)


def test_h5_has_a_data_set_for_each_series(store, tmp_path):
    h5py = pytest.importorskip("h5py")
    export(store, "toy", tmp_path / "x.h5", "h5")
    features = features_of(store)
    with h5py.File(tmp_path / "x.h5") as file:
        names = dict(
            zip(file["series/series"].asstr(), file["series/dataset"].asstr(), strict=True)
        )
        assert set(file["features"]) == {names[series] for series in features}
        assert len(set(names.values())) == 4
        for series, matrix in features.items():
            stored = file["features"][names[series]]
            assert stored.dtype == features.dtype
            np.testing.assert_array_equal(stored[:], matrix)
        np.testing.assert_array_equal(file["slices/z_mm"][:], features.slices["z_mm"])
        assert list(file["slices/slice"].asstr()) == features.slices["slice"].tolist()
        assert list(file["failed/reason"].asstr()) == ["pixel data is short"] * 3
        check_about(file.attrs["about"], features)


def test_parquet_is_a_long_table(store, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    report = export(store, "toy", tmp_path / "x.parquet", "parquet")
    features = features_of(store)
    table = parquet.read_table(tmp_path / "x.parquet")
    values = np.stack(table["features"].to_numpy())
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, features.to_numpy().astype(np.float32))
    assert table["slice"].to_pylist() == features.slices["slice"].tolist()
    np.testing.assert_array_equal(table["gap_mm"].to_numpy(), features.slices["gap_mm"])
    check_about(table.schema.metadata[b"featurecache"].decode(), features)
    failed = parquet.read_table(report.failed_out)
    assert failed["slice"].to_pylist() == ["1.2/x.2", "1.2/x.69", "gone.0"]
    assert "3 slices without features: see " in report.text()


@pytest.mark.parametrize("form", ["npz", "h5", "parquet"])
def test_equal_stores_give_equal_files(store, tmp_path, form):
    export(store, "toy", tmp_path / "a", form)
    export(store, "toy", tmp_path / "b", form)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parquet_spans_several_row_groups(tmp_path, make_store, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("featurecache.housekeeping.export_formats._ROW_GROUP_ROWS", 4)
    store = make_store(tmp_path / "c.zarr", MATRICES)
    report = export(store, "toy", tmp_path / "x.parquet", "parquet")
    assert report.failed_out is None
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["x.parquet"]
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    assert file.num_row_groups == 3
    values = np.stack(file.read()["features"].to_numpy())
    np.testing.assert_array_equal(values, features_of(store).to_numpy())


def test_an_unfinished_set_is_refused_unless_told(tmp_path, make_store):
    store = make_store(tmp_path / "c.zarr", {"a": MATRICES["1.2/x"], "b": MATRICES["c"]})
    make_store(store, {"late": MATRICES["c"]}, name="other")
    chunk = store / "part-0000/features/toy/c.1.0"
    chunk.unlink()
    with pytest.raises(StoreIncompleteError):
        export(store, "toy", tmp_path / "x.npz", "npz")
    report = export(store, "toy", tmp_path / "x.npz", "npz", incomplete=True)
    assert (report.rows, report.failed) == (64, 75 - 64 + 5)
    with np.load(tmp_path / "x.npz") as data:
        np.testing.assert_array_equal(data["features"], MATRICES["1.2/x"][:64])
        assert set(data["failed_reason"]) == {"not extracted yet"}


def test_a_file_is_replaced_only_when_told_and_never_half(store, tmp_path, monkeypatch):
    out = tmp_path / "x.npz"
    out.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        export(store, "toy", out, "npz")
    (store / "part-0000/features/toy/c.1.0").write_bytes(b"damaged")
    with pytest.raises(Exception, match="damaged"):
        export(store, "toy", out, "npz", replace=True)
    assert out.read_text() == "mine"
    assert list(tmp_path.glob(".x.npz*")) == []
    with pytest.raises(UsageError, match="no folder"):
        export(store, "toy", tmp_path / "none" / "x.npz", "npz")
    with pytest.raises(UsageError, match="is a folder"):
        export(store, "toy", tmp_path, "npz", replace=True)


def test_an_unknown_format_and_a_missing_package_are_said_before_any_work(
    store, tmp_path, monkeypatch
):
    with pytest.raises(UsageError, match="expected one of npz, h5, parquet"):
        export(store, "toy", tmp_path / "x", "mat")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingResourceError, match=r"pip install 'featurecache\[export\]'"):
        export(store, "toy", tmp_path / "x.h5", "h5")
    assert not (tmp_path / "x.h5").exists()
