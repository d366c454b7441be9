"""Several feature sets in one run: each slice is decoded once, and nothing else changes."""

import logging
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from featurecache.errors import StoreMismatchError, UsageError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import FeatureOptions, RunOptions, feature_sets
from featurecache.scan import scan
from featurecache.store import FeatureStore

KEEP = Identifiers(None)
TINY = FeatureOptions(
    "tiny", "random:0", size=32, precision="fp32", dtype="float32", batch_size=4, compile="off"
)
FLAT = replace(TINY, backbone="flat", size=48)
RUN = RunOptions(workers=1)


@pytest.fixture
def run(tiny, small_index, tmp_path):
    """run(*features, store=..., **options) -> report."""

    def call(*features, store="cache.zarr", index=small_index, **options):
        return extract(index, tmp_path / store, features, replace(RUN, **options), KEEP)

    return call


def chunks(store_content, path, name):
    return {
        key: value for key, value in store_content(path).items()
        if key.startswith((f"part-0000/features/{name}/c", f"part-0000/status/{name}/c"))
    }  # fmt: skip


def test_together_and_one_after_the_other_give_the_same_bytes(run, tmp_path, store_content):
    together = run(TINY, FLAT)
    assert together.timing.slices == together.rows, "every slice is decoded once"
    assert [one.timing.slices for one in together.features] == [together.rows] * 2
    run(TINY, store="apart.zarr")
    run(FLAT, store="apart.zarr")
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "apart.zarr")


def test_the_report_has_one_entry_a_set_and_sums_up(run):
    document = run(TINY, FLAT).document()
    assert document["name"] == "tiny,flat"
    assert [one["name"] for one in document["features"]] == ["tiny", "flat"]
    assert document["units"] == sum(one["units"] for one in document["features"])
    assert (document["dim"], document["slices_failed"]) == (13, 0)
    assert document["units_this_run"] == document["units_done"] == document["units"] > 2
    again = run(TINY, FLAT).document()
    assert (again["units_this_run"], again["slices_this_run"]) == (0, 0)


def test_batches_of_different_size_share_units(run, tmp_path, store_content):
    odd = replace(FLAT, batch_size=6)
    report = run(TINY, odd)
    assert report.timing.slices == report.rows
    units = {one.rows // one.units for one in report.features}
    assert len(units) == 1
    run(odd, store="apart.zarr", unit_slices=12)
    assert chunks(store_content, tmp_path / "cache.zarr", "flat") == chunks(
        store_content, tmp_path / "apart.zarr", "flat"
    )


def test_sets_that_were_planned_apart_are_decoded_apart_and_it_is_said(run, caplog):
    run(TINY, plan_only=True, unit_slices=8)
    with caplog.at_level(logging.WARNING):
        report = run(TINY, FLAT, unit_slices=12)
    assert "units of different size (8, 12 slices)" in caplog.text
    assert report.timing.slices == 2 * report.rows
    assert report.units_done == report.units


def test_what_one_set_has_already_is_computed_for_the_other_only(run, tmp_path):
    run(TINY, unit_slices=8)
    first = tmp_path / "cache.zarr/part-0000/features/tiny/c.1.0"
    before = first.stat().st_mtime_ns
    (tmp_path / "cache.zarr/part-0000/features/tiny/c.0.0").unlink()
    report = run(TINY, FLAT, unit_slices=8)
    assert [one.timing.units for one in report.features] == [1, report.features[1].units]
    assert report.timing.slices == report.rows
    assert first.stat().st_mtime_ns == before


def test_one_backbone_at_two_sizes(run, tmp_path):
    report = run(TINY, replace(TINY, name="tiny-large", size=64))
    assert report.name == "tiny,tiny-large"
    store = FeatureStore.open(tmp_path / "cache.zarr")
    assert store["tiny"].recipe["size"] == 32
    assert not np.array_equal(store["tiny"].to_numpy(), store["tiny-large"].to_numpy())


def test_a_slice_that_one_recipe_refuses_is_a_gap_of_that_set_only(
    tiny, small_phantom, tmp_path, run
):
    import shutil

    tree = shutil.copytree(small_phantom, tmp_path / "dicom")
    images = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    images = [path for path in images if "LOCALIZER" not in pydicom.dcmread(path).ImageType]
    dicom = pydicom.dcmread(images[3])
    del dicom.PixelSpacing
    dicom.save_as(images[3])
    scan(tree, tmp_path / "index.sqlite", workers=1)
    report = run(TINY, replace(FLAT, spacing_mm=2.0, fov_mm=200.0), index=tmp_path / "index.sqlite")
    assert [one.failed_rows for one in report.features] == [0, 1]
    assert (report.failed_rows, report.exit_code) == (1, 3)
    assert report.document()["files"]["failed"] == 1


def test_a_set_of_another_recipe_stops_the_run_before_any_work(run, tmp_path, store_content):
    run(TINY)
    before = store_content(tmp_path / "cache.zarr")
    with pytest.raises(StoreMismatchError, match="size is 32, not 64"):
        run(FLAT, replace(TINY, size=64))
    assert store_content(tmp_path / "cache.zarr") == before


def test_lists_of_backbones_weights_and_names():
    both = feature_sets("vgg16,resnet50", "random:0,random:1", "a,b", size=96)
    assert [(one.backbone, one.weights, one.feature_name) for one in both] == [
        ("vgg16", "random:0", "a"), ("resnet50", "random:1", "b"),
    ]  # fmt: skip
    assert {one.size for one in both} == {96}
    assert [one.weights for one in feature_sets("vgg16,resnet50", "random:7")] == ["random:7"] * 2
    for wrong in ({"weights": "a,b,c"}, {"name": "one"}):
        with pytest.raises(UsageError, match="given for 2 backbones"):
            feature_sets("vgg16,resnet50", **wrong)


def test_two_sets_of_one_name_are_refused(run):
    with pytest.raises(UsageError, match="two feature sets are called 'tiny'"):
        run(TINY, replace(TINY, size=64))
