"""A selection on an index and on a store: files add up, and nothing that was computed is lost."""

from dataclasses import replace

import numpy as np
import pytest

from featurecache.chosen import Chosen, choose
from featurecache.errors import FeatureCacheError, UsageError
from featurecache.explain import explain
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import FeatureOptions, RunOptions
from featurecache.scan import scan
from featurecache.scan_document import scan_document
from featurecache.select import Selection
from featurecache.store import FeatureStore

FEATURES = [
    FeatureOptions(
        backbone="squeezenet1_1", weights="random:0", size=64, precision="fp32", dtype="float32",
        batch_size=4, compile="off",
    )
]  # fmt: skip
RUN = RunOptions(unit_slices=4, workers=1)


@pytest.fixture
def split_tree(tmp_path, write_series, write_ct, head_values):
    """One SeriesInstanceUID with a soft and a bone kernel, and a plain series."""
    root = tmp_path / "dicom"
    write_series(root / "plain", uid="1.1", ConvolutionKernel="SOFT")
    for kernel, first, n in (("SOFT", 1, 5), ("BONE", 6, 4)):
        for k in range(n):
            write_ct(
                root / "split" / f"{first + k}.dcm", np.roll(head_values, k, axis=1),
                SeriesInstanceUID="1.2", SOPInstanceUID=f"1.2.{first + k}",
                ConvolutionKernel=kernel, ImagePositionPatient=[0.0, 0.0, 5.0 * k],
            )  # fmt: skip
    return root


@pytest.fixture
def select(split_tree, tmp_path):
    """Scan and extract with some rules; returns the report."""

    def run(*rules, **options):
        scan(split_tree, tmp_path / "index.sqlite", workers=1)
        return extract(
            tmp_path / "index.sqlite", tmp_path / "cache.zarr", FEATURES, RUN, Identifiers(None),
            selection=Selection.parse(rules), **options,
        )  # fmt: skip

    return run


def stored(tmp_path):
    return FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]


def counts(document):
    files = document["files"]
    assert files["seen"] == files["used"] + files["skipped"] + files["failed"]
    return files["used"], files["skipped"], files["failed"]


def test_files_of_series_left_out_move_from_used_to_skipped(split_tree, scanned):
    index = scanned(split_tree).index
    assert counts(scan_document(index)) == (13, 0, 0)

    document = scan_document(index, chosen=choose(index, Selection.parse(["kernel!=BONE"])))

    assert counts(document) == (9, 4, 0)
    reason = "not selected: kernel matches BONE"
    assert {"kind": "skipped", "reason": reason, "count": 4} in document["reasons"]
    assert document["selection"] == ["kernel!=BONE"]
    by_key = {one["series"]: one for one in document["series"]}
    assert [by_key[key]["selected"] for key in ("1.1", "1.2", "1.2#2")] == [True, True, False]
    assert by_key["1.2#2"]["usable"] and by_key["1.2#2"]["reason"] == reason
    assert by_key["1.1"]["reason"] is None


def test_warnings_of_series_left_out_are_not_counted(tmp_path, write_series, scanned):
    root = tmp_path / "dicom"
    write_series(
        root / "a", uid="1.1", PhotometricInterpretation="MONOCHROME1", ConvolutionKernel="A"
    )
    write_series(root / "b", uid="1.2", ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
                 ConvolutionKernel="B", gap_mm=0.0)  # fmt: skip
    index = scanned(root).index

    def warnings(*rules):
        document = scan_document(index, chosen=choose(index, Selection.parse(rules)))
        counts(document)
        found = [one for one in document["reasons"] if one["kind"] == "warning"]
        return {one["reason"].partition(":")[0]: one["count"] for one in found}

    of_b = {"not axial but sagittal": 1, "several slices at one position": 1}
    assert warnings("all") == {"MONOCHROME1": 4, **of_b}
    assert warnings("kernel=A") == {"MONOCHROME1": 4}
    assert warnings("kernel=B") == of_b


def warned(document):
    return {one["reason"]: one["count"] for one in document["reasons"] if one["kind"] == "warning"}


def test_warnings_are_those_of_what_is_used(tmp_path, write_series, scanned):
    """By file where files have them, by series where only a series has: left-out ones do not."""
    root = tmp_path / "dicom"
    write_series(root / "a", 3, uid="1.1", ConvolutionKernel="SOFT")
    write_series(
        root / "b", 4, uid="1.2", ConvolutionKernel="BONE",
        PhotometricInterpretation="MONOCHROME1", ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
    )  # fmt: skip
    write_series(root / "c", 2, uid="1.3", PhotometricInterpretation="MONOCHROME1")
    index = scanned(root).index
    shown = "MONOCHROME1: for display only, Hounsfield units are not inverted"

    def of(*rules):
        return warned(scan_document(index, chosen=choose(index, Selection.parse(rules))))

    assert of() == warned(scan_document(index))
    assert of()[shown] == 6
    assert "several slices at one position" in of()
    assert of("kernel!=BONE") == {shown: 2}
    assert of("kernel=SOFT") == {}
    document = scan_document(index, chosen=choose(index, Selection.parse(["kernel=SOFT"])))
    by_key = {one["series"]: one["warnings"] for one in document["series"]}
    assert shown in by_key["1.2"], "each series still tells its own"


def test_free_text_of_headers_stands_in_the_document_only_when_asked(split_tree, scanned):
    index = scanned(split_tree).index
    assert "SOFT" not in str(scan_document(index))
    assert "SOFT" in str(scan_document(index, with_texts=True))


def test_a_multi_frame_file_is_left_out_only_with_all_its_series(tmp_path, scanned, make_ct):
    """Frames of one file in two stacks: one left out, the file is still used."""
    import pydicom
    from pydicom.dataset import Dataset
    from pydicom.uid import EnhancedCTImageStorage

    frames = np.zeros((6, 64, 64), np.uint16) + np.arange(6, dtype=np.uint16)[:, None, None] + 1000
    ds = make_ct(frames, SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=6, PixelSpacing=None,
                 ImagePositionPatient=None, ImageOrientationPatient=None)  # fmt: skip
    ds.PerFrameFunctionalGroupsSequence = []
    for k in range(6):
        item = Dataset()
        item.PlanePositionSequence = [Dataset()]
        item.PlanePositionSequence[0].ImagePositionPatient = [0.0, 0.0, 5.0 * (k % 4)]
        item.PlaneOrientationSequence = [Dataset()]
        turned = [1, 0, 0, 0, 1, 0] if k < 4 else [0, 1, 0, 0, 0, -1]
        item.PlaneOrientationSequence[0].ImageOrientationPatient = turned
        if k >= 4:
            item.PlanePositionSequence[0].ImagePositionPatient = [5.0 * k, 0.0, 0.0]
        item.PixelMeasuresSequence = [Dataset()]
        item.PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.5]
        ds.PerFrameFunctionalGroupsSequence.append(item)
    (tmp_path / "dicom").mkdir()
    pydicom.dcmwrite(tmp_path / "dicom/one.dcm", ds, enforce_file_format=True)
    found = scanned(tmp_path / "dicom")
    assert sorted(len(stack.slices) for stack in found.stacks) == [2, 4]

    some = choose(found.index, Selection.parse(["slices>=4"]))
    none = choose(found.index, Selection.parse(["slices>=5"]))

    assert (len(some.series), dict(some.files)) == (1, {})
    assert (len(none.series), list(none.files)) == (2, ["one.dcm"])


def test_explain_says_what_the_selection_does(split_tree, scanned):
    path = scanned(split_tree).path
    bone = Selection.parse(["kernel=BONE"])
    reason = "not selected: kernel does not match BONE"

    assert f"skipped: {reason}" in explain(path, split_tree / "split/1.dcm", bone)
    assert "  used" in explain(path, split_tree / "split/6.dcm", bone)
    folder = explain(path, split_tree / "split", bone)
    assert "       4  used" in folder
    assert f"       5  skipped: {reason}" in folder
    assert f"  not used: {reason}" in folder
    assert "not selected" not in explain(path, split_tree / "split")


def test_a_selection_that_leaves_nothing_is_an_error_before_anything_is_written(select, tmp_path):
    with pytest.raises(UsageError, match=r"'slices>5' took the last 3 of 3"):
        select("slices>5")
    assert not (tmp_path / "cache.zarr").exists()


def test_an_index_without_series_is_not_the_selections_fault(tmp_path, scanned):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom/note.txt").write_text("no image")
    choose(scanned(tmp_path / "dicom").index, Selection.parse(["slices>5"])).check()


def test_an_account_that_does_not_add_up_is_an_error(split_tree, scanned):
    found = scanned(split_tree)
    with pytest.raises(FeatureCacheError, match="does not balance"):
        Chosen(files={str(n): "not selected: x" for n in range(5)}).settle(
            type(found.account)(seen=13, used=13, skipped=1)
        )


def test_a_wider_selection_adds_and_a_narrower_one_takes_nothing_away(select, tmp_path):
    first = select("kernel=SOFT")
    assert set(stored(tmp_path)) == {"1.1", "1.2"}
    assert counts(first.scan) == (9, 4, 0)
    before = {key: matrix.copy() for key, matrix in stored(tmp_path).items()}

    wider = select()
    assert set(stored(tmp_path)) == {"1.1", "1.2", "1.2#2"}
    assert counts(wider.scan) == (13, 0, 0)
    assert wider.timing.slices == 9, "one new kernel: its SeriesInstanceUID is written whole again"
    for key, matrix in before.items():
        np.testing.assert_allclose(stored(tmp_path)[key], matrix, rtol=1e-4, atol=1e-5)

    narrower = select("kernel=BONE")
    assert set(stored(tmp_path)) == {"1.1", "1.2", "1.2#2"}
    assert narrower.timing.slices == 0
    assert narrower.unselected_series == 2
    assert "2 series of the store are not selected now" in narrower.text()
    assert narrower.document()["series_not_selected_now"] == 2
    assert counts(narrower.scan) == (4, 9, 0)
    assert FeatureStore.open(tmp_path / "cache.zarr").part_count == 2


def test_one_kernel_after_the_other_keeps_both(select, tmp_path):
    select("kernel=BONE")
    assert set(stored(tmp_path)) == {"1.2#2"}
    select("kernel=SOFT")
    assert set(stored(tmp_path)) == {"1.1", "1.2", "1.2#2"}
    assert select().timing.slices == 0


def test_a_series_that_changed_is_written_again_only_where_it_is_selected(
    select, split_tree, tmp_path
):
    select()
    (split_tree / "split/9.dcm").unlink()
    unselected = select("kernel=SOFT", "description!=x")
    assert unselected.timing.slices == 8 - 3, "the bone stack that changed is not selected"
    assert set(stored(tmp_path)) == {"1.1", "1.2"}
    for report in (unselected, select("kernel=SOFT")):
        assert report.dropped_series == ["1.2#2"], "also by a later run, or one after a kill"
        assert report.document()["series_read_no_longer"] == ["1.2#2"]
        assert "dropped    1 series of the store are read no longer" in report.text()
        assert "(1.2#2)" in report.text()
    again = select()
    assert (again.timing.slices, again.dropped_series) == (8, [])
    assert "dropped" not in again.text()
    assert {key: len(matrix) for key, matrix in stored(tmp_path).items()} == {
        "1.1": 4, "1.2": 5, "1.2#2": 3,
    }  # fmt: skip


def test_a_run_that_was_begun_wider_is_finished_narrower(select, tmp_path, split_tree):
    scan(split_tree, tmp_path / "index.sqlite", workers=1)
    planned = replace(RUN, plan_only=True)
    index, store = tmp_path / "index.sqlite", tmp_path / "cache.zarr"
    extract(index, store, FEATURES, planned, Identifiers(None))
    report = select("kernel=BONE")
    assert report.units_done == report.units
    assert len(stored(tmp_path)) == 3


def test_a_failed_slice_of_a_series_left_out_is_counted_once(select, split_tree, tmp_path):
    victim = split_tree / "split/2.dcm"
    victim.write_bytes(victim.read_bytes()[:-1000])
    assert counts(select().scan) == (12, 0, 1)
    later = select("kernel=BONE")
    assert counts(later.scan) == (4, 9, 0)
    assert later.failed_rows == 1
    assert later.exit_code == 3
