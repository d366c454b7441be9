"""Extraction on small synthetic series: what fails is recorded, what is done is not done again."""

import shutil

import numpy as np
import pydicom
import pytest

from featurecache.errors import StoreMismatchError, UsageError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import ExtractOptions
from featurecache.scan import scan
from featurecache.store import FeatureStore, describe

KEEP = Identifiers(None)
OPTIONS = {
    "backbone": "squeezenet1_1", "weights": "random:0", "size": 64, "precision": "fp32",
    "dtype": "float32", "batch_size": 4, "unit_slices": 8, "workers": 1,
}  # fmt: skip


@pytest.fixture(scope="session")
def phantom_tree(tmp_path_factory):
    from featurecache.phantom import write_phantom

    out = tmp_path_factory.mktemp("extract") / "phantom"
    write_phantom(out, patients=2, seed=3, series="thick", size=64)
    return out / "dicom"


@pytest.fixture
def tree(phantom_tree, tmp_path):
    return shutil.copytree(phantom_tree, tmp_path / "dicom")


@pytest.fixture
def run(tree, tmp_path):
    """Scan and extract; returns the report."""

    def call(**options):
        scan(tree, tmp_path / "index.sqlite", workers=1)
        options = ExtractOptions(**{**OPTIONS, **options})
        return extract(tmp_path / "index.sqlite", tmp_path / "cache.zarr", options, KEEP)

    return call


def image_files(tree):
    files = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    return [path for path in files if "LOCALIZER" not in pydicom.dcmread(path).ImageType]


def test_rows_are_the_same_whatever_the_unit_size(run, tmp_path):
    run()
    run(name="other", unit_slices=20)
    store = FeatureStore.open(tmp_path / "cache.zarr")
    np.testing.assert_array_equal(store["squeezenet1_1"].to_numpy(), store["other"].to_numpy())


def test_second_run_has_nothing_left_to_do(run):
    first, second = run(), run()
    assert first.timing.slices == first.rows
    assert second.timing.slices == 0
    assert "computed nothing" in second.text()


def cut_pixels(path):
    path.write_bytes(path.read_bytes()[:-1000])


def test_slice_that_cannot_be_decoded_is_a_gap_with_a_reason(run, tree, tmp_path):
    """Case 7: the run goes on and ends with exit code 3."""
    clean = run(name="clean")
    victims = image_files(tree)[3:5]
    for victim in victims:
        cut_pixels(victim)
    shutil.rmtree(tmp_path / "cache.zarr")
    report = run()
    assert clean.exit_code == 0
    assert report.exit_code == 3
    files = report.document()["files"]
    assert files["failed"] == 2
    assert files["seen"] == files["used"] + files["skipped"] + files["failed"]
    reason = {"kind": "failed", "reason": "pixel data is short", "count": 2}
    assert reason in report.document()["reasons"]
    features = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]
    assert set(features.failed["reason"]) == {"pixel data is short"}
    uids = {pydicom.dcmread(victim).SOPInstanceUID for victim in victims}
    assert set(features.failed["slice"]) == uids
    assert len(features.to_numpy()) == report.rows - 2
    assert run().exit_code == 3, "a later run that computes nothing still reports the failures"


def test_strict_leaves_the_whole_series_out(run, tree, tmp_path):
    victim = image_files(tree)[3]
    series = str(pydicom.dcmread(victim).SeriesInstanceUID)
    cut_pixels(victim)
    run(strict=True)
    features = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]
    assert series not in features
    assert len(features) == 1
    assert features.series.loc[series, "n_ok"] == 0
    assert features.failed["reason"].value_counts().to_dict().keys() == {
        "pixel data is short", "another slice of the series failed (--strict)",
    }  # fmt: skip


def test_unreadable_for_a_passing_reason_is_tried_again_when_told(run, tree, tmp_path, monkeypatch):
    clean = run(name="clean")
    victim = image_files(tree)[0]
    scan(tree, tmp_path / "index.sqlite", workers=1)
    away = victim.with_suffix(".away")
    real_scan_index = tmp_path / "index.sqlite"
    victim.rename(away)
    options = ExtractOptions(**OPTIONS)
    failed = extract(real_scan_index, tmp_path / "cache.zarr", options, KEEP)
    assert failed.failed_rows == 1
    away.rename(victim)
    assert extract(real_scan_index, tmp_path / "cache.zarr", options, KEEP).failed_rows == 1
    retried = ExtractOptions(**OPTIONS, retry_failed=True)
    report = extract(real_scan_index, tmp_path / "cache.zarr", retried, KEEP)
    assert report.failed_rows == 0
    assert report.timing.units == 1
    store = FeatureStore.open(tmp_path / "cache.zarr")
    np.testing.assert_array_equal(store["clean"].to_numpy(), store["squeezenet1_1"].to_numpy())
    assert clean.rows == report.rows


def test_changed_series_is_written_whole_into_a_new_part(run, tree, tmp_path):
    run()
    victim = image_files(tree)[0]
    dicom = pydicom.dcmread(victim)
    before = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"].to_numpy()
    dicom.PixelData = bytes(reversed(dicom.PixelData))
    dicom.save_as(victim)
    report = run()
    series = str(dicom.SeriesInstanceUID)
    features = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]
    assert report.timing.slices == features.series.loc[series, "n_slices"]
    assert features.to_numpy().shape == before.shape
    changed = features.slices["slice"] == dicom.SOPInstanceUID
    assert not (features.to_numpy()[changed] == before).all(axis=1).any()
    assert describe(tmp_path / "cache.zarr")["parts"] == 2


def test_later_feature_set_covers_every_part_and_marks_superseded_rows(run, tree, tmp_path):
    run()
    dicom = pydicom.dcmread(image_files(tree)[0])
    dicom.PixelData = bytes(reversed(dicom.PixelData))
    dicom.save_as(dicom.filename)
    run()
    report = run(name="late")
    assert report.exit_code == 0
    store = FeatureStore.open(tmp_path / "cache.zarr")
    np.testing.assert_array_equal(store["late"].to_numpy(), store["squeezenet1_1"].to_numpy())


def test_plan_only_computes_nothing_and_is_followed(run, tmp_path):
    assert run(plan_only=True).units_done == 0
    assert run().units_done == run().units > 1


def test_precision_of_an_earlier_run_is_kept_by_auto_and_refused_when_another_is_asked(run):
    run(precision="fp32")
    assert run(precision="auto").precision["used"] == "fp32"
    with pytest.raises(StoreMismatchError, match="precision is fp32, not bf16"):
        run(precision="bf16")


def test_tree_without_usable_series_is_an_error_that_says_so(tmp_path, tree):
    for path in image_files(tree):
        path.unlink()
    scan(tree, tmp_path / "index.sqlite", workers=1)
    with pytest.raises(UsageError, match="no usable CT series"):
        extract(tmp_path / "index.sqlite", tmp_path / "c.zarr", ExtractOptions(**OPTIONS), KEEP)


@pytest.mark.parametrize(
    "options", [{"precision": "fp8"}, {"dtype": "int8"}, {"size": 0}, {"compile": "maybe"},
                {"batch_size": -1}, {"name": "../x"}, {"device": "tpu"}, {"windows": "x"}],
)  # fmt: skip
def test_refuses_options_in_words(run, options):
    with pytest.raises(UsageError, match=next(iter(options)).replace("_", "-")):
        run(**options)
