"""Extraction on small synthetic series: what fails is recorded, what is done is not done again."""

import shutil

import numpy as np
import pydicom
import pytest
import torch

from featurecache.errors import (
    StoreCorruptError,
    StoreIncompleteError,
    StoreLockedError,
    StoreMismatchError,
    UsageError,
)
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.locks import store_lock
from featurecache.recipe import Recipe
from featurecache.scan import scan
from featurecache.store import FeatureStore, describe

KEEP = Identifiers(None)
OPTIONS = {
    "backbone": "squeezenet1_1", "weights": "random:0", "size": 64, "precision": "fp32",
    "dtype": "float32", "batch_size": 4, "unit_slices": 8, "workers": 1,
}  # fmt: skip


@pytest.fixture
def tree(small_phantom, tmp_path):
    return shutil.copytree(small_phantom, tmp_path / "dicom")


@pytest.fixture
def extract_only(tmp_path, split_options):
    """Extract from the index as it is; returns the report."""

    def call(store="cache.zarr", **options):
        features, how = split_options(**{**OPTIONS, **options})
        return extract(tmp_path / "index.sqlite", tmp_path / store, features, how, KEEP)

    return call


@pytest.fixture
def run(tree, tmp_path, extract_only):
    """Scan and extract; returns the report."""

    def call(**options):
        scan(tree, tmp_path / "index.sqlite", workers=1)
        return extract_only(**options)

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
    assert first.document()["slices"] == first.document()["slices_this_run"] == first.rows
    assert second.document()["units"] == second.document()["units_done"] > 0
    assert second.document()["units_this_run"] == 0
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


def test_unreadable_for_a_passing_reason_is_tried_again_when_told(
    run, extract_only, tree, tmp_path
):
    clean = run(name="clean")
    victim = image_files(tree)[0]
    scan(tree, tmp_path / "index.sqlite", workers=1)
    away = victim.with_suffix(".away")
    victim.rename(away)
    assert extract_only().failed_rows == 1
    away.rename(victim)
    assert extract_only().failed_rows == 1
    report = extract_only(retry_failed=True)
    assert report.failed_rows == 0
    assert report.timing.units == 1
    store = FeatureStore.open(tmp_path / "cache.zarr")
    np.testing.assert_array_equal(store["clean"].to_numpy(), store["squeezenet1_1"].to_numpy())
    assert clean.rows == report.rows


def away(tree):
    """Take the first patient's folder away; returns a function that brings it back."""
    folder = sorted(path for path in tree.iterdir() if path.is_dir())[0]
    hidden = folder.rename(tree.parent / "away")
    return lambda: hidden.rename(folder)


def test_units_wait_for_series_that_are_away_and_are_computed_when_they_are_back(
    run, tree, tmp_path
):
    clean = run(name="clean")
    run(plan_only=True)
    bring_back = away(tree)
    report = run()
    assert report.exit_code == 3
    assert report.missing_series == 1
    assert 0 < report.units_done < report.units
    assert "cannot be computed without them" in report.text()
    with pytest.raises(StoreIncompleteError):
        FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]
    bring_back()
    assert run().exit_code == 0
    store = FeatureStore.open(tmp_path / "cache.zarr")
    np.testing.assert_array_equal(store["clean"].to_numpy(), store["squeezenet1_1"].to_numpy())
    assert clean.rows == report.rows


def test_series_taken_for_lost_are_failed_rows_and_not_silent(run, tree, tmp_path):
    run(plan_only=True)
    away(tree)
    report = run(accept_missing=True)
    assert report.exit_code == 3
    features = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]
    assert len(features) == 1
    assert set(features.failed["reason"]) == {"file vanished"}
    assert report.failed_rows == len(features.failed)


def test_features_of_series_that_were_archived_stay_and_are_mentioned(run, tree, tmp_path):
    run()
    before = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"].to_numpy()
    away(tree)
    report = run(retry_failed=True)
    assert (report.exit_code, report.missing_series) == (0, 1)
    assert "1 series of the store are not in the index" in report.text()
    after = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"].to_numpy()
    np.testing.assert_array_equal(after, before)


def test_retrying_one_row_keeps_the_others_of_its_unit(run, extract_only, tree, tmp_path):
    """Two series in one unit: one row failed for a passing reason, the other series is away."""
    victim = image_files(tree)[-1]
    run(name="clean", unit_slices=64)
    hidden = victim.rename(victim.with_suffix(".away"))
    assert extract_only(unit_slices=64).failed_rows == 1
    hidden.rename(victim)
    away(tree)
    run(retry_failed=True, unit_slices=64)
    both = FeatureStore.open(tmp_path / "cache.zarr")
    np.testing.assert_array_equal(both["clean"].to_numpy(), both["squeezenet1_1"].to_numpy())


def test_split_series_is_superseded_with_all_its_stacks(run, tree, tmp_path):
    folder = image_files(tree)[0].parent
    files = image_files(folder)
    for path in files[:8]:
        dicom = pydicom.dcmread(path)
        dicom.ConvolutionKernel = "H60s"
        dicom.save_as(path)
    run()
    for path in files[8:]:
        path.unlink()
    run()
    slices = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"].slices
    assert not slices["slice"].duplicated().any()
    mine = {str(pydicom.dcmread(path).SOPInstanceUID) for path in files[:8]}
    series = set(slices.loc[slices["slice"].isin(mine), "series"])
    assert (slices["series"].isin(series)).sum() == 8


def test_strict_after_the_fact_is_refused(run):
    run()
    with pytest.raises(StoreMismatchError, match="begun without --strict"):
        run(strict=True)


def test_zoomed_map_that_is_not_pooled_has_the_width_of_the_zoomed_image(run):
    assert run(pool="none", zoom=96).dim == 512 * 5 * 5


def test_damaged_chunk_names_the_file_whose_deletion_repairs_the_store(run, tmp_path):
    run()
    store = tmp_path / "cache.zarr"
    before = FeatureStore.open(store)["squeezenet1_1"].to_numpy()
    chunk = store / "part-0000/features/squeezenet1_1/c.2.0"
    chunk.write_bytes(chunk.read_bytes()[:-7])
    with pytest.raises(StoreCorruptError, match=r"Delete .*/c\.2\.0 and run"):
        FeatureStore.open(store)["squeezenet1_1"].to_numpy()
    chunk.unlink()
    run()
    np.testing.assert_array_equal(FeatureStore.open(store)["squeezenet1_1"].to_numpy(), before)


def test_lock_holds_for_every_spelling_of_the_store(run, extract_only, tmp_path):
    run()
    (tmp_path / "link.zarr").symlink_to(tmp_path / "cache.zarr")
    with store_lock(tmp_path / "cache.zarr"), pytest.raises(StoreLockedError):
        extract_only(store="link.zarr")


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


def test_tree_without_usable_series_is_an_error_that_says_so(run, tmp_path, tree):
    for path in image_files(tree):
        path.unlink()
    with pytest.raises(UsageError, match="no usable CT series"):
        run()
    assert not (tmp_path / "cache.zarr").exists()


@pytest.mark.parametrize(
    "options", [{"precision": "fp8"}, {"dtype": "int8"}, {"size": 0}, {"compile": "maybe"},
                {"batch_size": -1}, {"name": "../x"}, {"device": "tpu"}, {"windows": "x"}],
)  # fmt: skip
def test_refuses_options_in_words(run, options):
    with pytest.raises(UsageError, match=next(iter(options)).replace("_", "-")):
        run(**options)


def without_spacing(path):
    dicom = pydicom.dcmread(path)
    del dicom.PixelSpacing
    dicom.save_as(path)


def test_a_field_of_view_in_mm_is_recorded_and_a_slice_without_spacing_fails(run, tree, tmp_path):
    without_spacing(image_files(tree)[3])
    report = run(spacing_mm=2.0, fov_mm=200.0)
    assert report.exit_code == 3
    features = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]
    assert features.failed["reason"].tolist() == ["pixel spacing unknown"]
    assert (features.recipe["spacing_mm"], features.recipe["fov_mm"]) == (2.0, 200.0)
    assert np.isfinite(features.to_numpy()).all()


def test_a_slice_without_spacing_is_no_gap_where_no_mm_are_asked_for(run, tree, tmp_path):
    without_spacing(image_files(tree)[3])
    assert run(fit="pad").failed_rows == 0
    features = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]
    assert features.recipe["resize"].startswith("pad to a square with air")
    assert not {"spacing_mm", "fov_mm"} & set(features.recipe)


def test_features_of_another_framing_do_not_mix(run):
    run()
    with pytest.raises(StoreMismatchError, match="fov_mm is absent, not 200"):
        run(fov_mm=200.0)
    with pytest.raises(StoreMismatchError, match="resize is squash"):
        run(fit="crop")


def test_views_are_feature_sets_of_the_same_rows_with_the_slices_of_a_series_placed_alike(
    run, tmp_path
):
    run(views=2, view_seed=5, fit="squash")
    store = FeatureStore.open(tmp_path / "cache.zarr")
    assert store.names == ["squeezenet1_1", "squeezenet1_1.view1", "squeezenet1_1.view2"]
    plain, first, second = (store[name] for name in store.names)
    assert first.slices.equals(plain.slices)
    assert (first.recipe["view_number"], first.recipe["view_seed"]) == (1, 5)
    assert not {"view_number", "view_seed"} & set(plain.recipe)
    for series in plain:
        assert not np.allclose(first[series], plain[series])
        assert not np.allclose(first[series], second[series])
    assert run(views=1, view_seed=5, name="again").exit_code == 0
    np.testing.assert_array_equal(
        FeatureStore.open(tmp_path / "cache.zarr")["again.view1"].to_numpy(), first.to_numpy()
    )


def test_a_view_shows_the_backbone_what_its_placement_says(run, tmp_path, small_phantom):
    """The features of a view are those of images that were placed by hand."""
    from featurecache.backbones import load_backbone
    from featurecache.embed import Embedder
    from featurecache.index import Index
    from featurecache.pixels import decode_slice, job_for
    from featurecache.views import View, matrices, place

    run(views=1)
    store = FeatureStore.open(tmp_path / "cache.zarr")
    series = next(iter(store["squeezenet1_1"]))
    with Index.open(tmp_path / "index.sqlite", readonly=True) as index:
        (stack,) = [stack for stack in index.stacks() if stack.key == series]
        decoded = [decode_slice(job_for(index.root, stack, one)) for one in stack.slices[:4]]
    recipe = store["squeezenet1_1"].recipe
    backbone = load_backbone("squeezenet1_1", "random:0", size=64)
    plain = Embedder(
        backbone, run_recipe(recipe), torch.device("cpu"), 4
    ).images(decoded)  # fmt: skip
    mean, std = (torch.tensor(recipe[name]).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    grey = plain * std + mean
    placed = place(grey, matrices([View(1, 0).placement(series)] * 4), torch.zeros(3))
    with torch.inference_mode():
        wanted = backbone.module((placed - mean) / std).numpy()
    np.testing.assert_allclose(
        store["squeezenet1_1.view1"][series][:4], wanted, rtol=1e-4, atol=1e-4
    )  # fmt: skip


def run_recipe(document):
    """A recipe from its document."""
    windows = tuple(tuple(window) for window in document["windows"])
    return Recipe(**{**document, "windows": windows})
