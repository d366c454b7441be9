"""A table says whose scan each NIfTI file is: read strictly, and followed when it changes."""

import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.assemble import NIFTI_OF_DICOM
from featurecache.errors import UsageError
from featurecache.explain import explain
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.nifti_ids import NiftiIds, NiftiTable, Row, join_files, read_nifti_table
from featurecache.reasons import NIFTI_UNLISTED, ROW_WITHOUT_FILE
from featurecache.scan_document import scan_document
from featurecache.store import FeatureStore


@pytest.fixture
def table(tmp_path):
    """table(text) -> path of a CSV with it; a header is put before it if it has none."""

    def write(text, header="path,PatientID\n"):
        path = tmp_path / "ids.csv"
        path.write_text(text if text.startswith(header[:4]) else header + text, encoding="utf-8")
        return path

    return write


def joined(path, *files):
    return join_files(read_nifti_table(path), files)


def test_rows_name_a_file_by_its_path_or_by_a_name_that_only_it_has(table):
    ids = joined(
        table("a/x.nii,007\ny.nii.gz,8\n./b/x.nii,9\ngone.nii,10\nscan.nii, 11 \n"),
        "a/x.nii", "b/x.nii", "b/c/y.nii.gz", "scan.nii", "d/scan.nii",
    )  # fmt: skip
    assert {path: one.patient_id for path, one in ids.by_path.items()} == {
        "a/x.nii": "007", "b/c/y.nii.gz": "8", "b/x.nii": "9", "scan.nii": "11",
    }  # fmt: skip
    assert ids.without_file == ("gone.nii",)


def test_optional_columns_are_taken_where_they_are_filled(table):
    text = "\ufeffpath,Age,StudyInstanceUID, SeriesInstanceUID,PatientID\r\n"
    ids = joined(table(text + "a.nii,61,1.2,1.2.3,p\r\nb.nii,,,,q", text[:4]), "a.nii", "b.nii")
    assert ids.by_path == {
        "a.nii": NiftiIds("p", "1.2", "1.2.3"), "b.nii": NiftiIds("q", "", ""),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,Patient\na.nii,1\n", "the column 'PatientID' is missing"),
        ("path,patient_id\na.nii,1\n", "did you mean 'PatientID' by 'patient_id'"),
        ("path,PatientID,Series Instance UID\na.nii,1,2\n", "did you mean 'SeriesInstanceUID'"),
        ("pathway,PatientID\na.nii,1\n", "the column 'path' is missing"),
        ("path,PatientID\n", "a header, but no rows"),
        ("path,PatientID\na.nii,1\nb.nii,\n", "line 3: PatientID is blank"),
        ("path,PatientID\n,1\n", "line 2: path is blank"),
        ('path,PatientID\na.nii,"1\n2"\n', "line 2: an identifier has a line break"),
        ("path,PatientID\na.nii,1\na.nii,2\n", "a.nii has other identifiers in line 2 than in"),
        ("path,PatientID\na.nii,1\nd/a.nii,2\nd/a.nii,1\n", "d/a.nii has other identifiers in"),
        ("path,PatientID\nc.nii,1\nd/c.nii,2\n", "d/c.nii has other identifiers in line 2"),
        ("path,PatientID\nx.nii,1\n", r"line 2: x.nii is the name of 2 files \(d/x.nii, e/x.nii\)"),
        (
            "path,PatientID,SeriesInstanceUID\na.nii,1,9\nc.nii,1,9\n",
            "lines 2 and 3 give two files the SeriesInstanceUID 9",
        ),
        (
            "path,PatientID,StudyInstanceUID\na.nii,1,9\nc.nii,2,9\n",
            "lines 2 and 3 give the StudyInstanceUID 9 to two patients",
        ),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused_with_the_line(table, text, words):
    with pytest.raises(UsageError, match=words):
        joined(table(text), "a.nii", "d/a.nii", "d/c.nii", "d/x.nii", "e/x.nii")


def test_rows_that_repeat_each_other_are_one(table):
    ids = joined(table("a.nii,1\na.nii,1\nd/c.nii,2\nc.nii,2\n"), "a.nii", "d/c.nii")
    assert len(ids.by_path) == 2


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("1234"), min_size=1),
    st.permutations(range(6)),
)
def test_the_digest_is_that_of_the_identifiers_and_not_of_the_writing(patients, order):
    rows = [Row(n, f"{path}.nii", NiftiIds(who)) for n, (path, who) in enumerate(patients.items())]
    shuffled = [rows[n] for n in order if n < len(rows)]
    files = [row.path for row in rows]
    one = join_files(NiftiTable("one", tuple(rows)), files)
    assert join_files(NiftiTable("other", tuple(shuffled)), files[::-1]).digest == one.digest
    changed = {path: ids._replace(patient_id="5") for path, ids in one.by_path.items()}
    assert type(one)(changed, ()).digest != one.digest


# ------------------------------------------------------------------------------ with files


def voxels(seed):
    data = np.random.default_rng(seed).normal(35, 9, (16, 16, 3))
    data[:4] = -1000
    return data.astype(np.int16)


@pytest.fixture(scope="module")
def made(tmp_path_factory, write_nifti):
    root = tmp_path_factory.mktemp("nifti") / "root"
    for number, name in enumerate(("a.nii", "d/b.nii.gz", "d/c.nii")):
        write_nifti(root / name, voxels(number))
    (root / "notes.txt").write_text("x")
    return root


@pytest.fixture
def tree(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


ALL = "a.nii,p1\nb.nii.gz,p2\nc.nii,p2\n"


def patients(result):
    return {stack.key: stack.patient_id for stack in result.stacks}


def test_files_get_the_identifiers_of_their_rows(tree, scanned, table):
    header = "path,PatientID,StudyInstanceUID,SeriesInstanceUID\n"
    text = "a.nii,p1,1.1,1.1.1\nb.nii.gz,p2,1.2,\nd/c.nii,p2,,1.2.2\n"
    result = scanned(tree, nifti_ids=table(header + text))
    assert {(s.key, s.study_uid, s.patient_id) for s in result.stacks} == {
        ("1.1.1", "1.1", "p1"), ("d/b", "1.2", "p2"), ("1.2.2", "d/c", "p2"),
    }  # fmt: skip
    assert result.stacks[0].slices[0].sop_uid == "1.1.1"
    assert not any(stack.warnings for stack in result.stacks)


def test_a_file_without_a_row_is_refused_and_a_row_without_a_file_is_told(tree, scanned, table):
    result = scanned(tree, nifti_ids=table("a.nii,p1\nb.nii,p2\nnotes.txt,p3\n"))
    account = result.account
    assert (account.seen, account.used, account.skipped, account.failed) == (4, 1, 1, 2)
    assert account.reasons["failed", NIFTI_UNLISTED] == 2
    assert account.reasons["warning", ROW_WITHOUT_FILE] == 2
    assert patients(result) == {"a": "p1"}
    assert "add a row" in explain(result.path, tree / "d/c.nii")
    document = scan_document(result.index, with_texts=True)
    assert document["nifti_rows_without_file"] == ["b.nii", "notes.txt"]
    assert "notes.txt" not in str(scan_document(result.index)), "nothing of a table in a log"


def test_a_table_that_changes_takes_effect_without_any_file_changing(tree, scanned, table, content):
    first = scanned(tree)
    assert patients(first) == {"a": "a", "d/b": "d/b", "d/c": "d/c"}
    listed = scanned(tree, nifti_ids=table(ALL))
    assert patients(listed) == {"a": "p1", "d/b": "p2", "d/c": "p2"}
    sources = [slice_.source for stack in listed.stacks for slice_ in stack.slices]
    assert not set(sources) & {s.source for stack in first.stacks for s in stack.slices}
    corrected = scanned(tree, nifti_ids=table(ALL.replace("c.nii,p2", "c.nii,p1")))
    assert patients(corrected) == {"a": "p1", "d/b": "p2", "d/c": "p1"}
    less = scanned(tree, nifti_ids=table("a.nii,p1\n"))
    assert (less.account.used, less.account.failed) == (1, 2)
    assert content(scanned(tree, nifti_ids=table(ALL)).path) == content(listed.path)
    assert content(scanned(tree).path)["stacks"] == content(first.path)["stacks"]


def test_a_file_that_changes_with_the_table_has_changed(tree, scanned, table):
    """Same size, header and last voxels: only the time tells, and it must not get lost."""

    def source():
        (stack,) = [s for s in scanned(tree, nifti_ids=ids).stacks if s.key == "a"]
        return stack.slices[0].source

    ids = table(ALL)
    before = source()
    data = bytearray((tree / "a.nii").read_bytes())
    data[400] ^= 1
    (tree / "a.nii").write_bytes(data)
    table(ALL.replace("c.nii,p2", "c.nii,p1"))
    after = source()
    assert after != before
    table(ALL)
    assert source() == after


def test_files_that_come_and_go_are_found_in_the_same_table(tree, scanned, table, write_nifti):
    ids = table(ALL)
    away = tree.parent / "c.nii"
    (tree / "d/c.nii").rename(away)
    assert scanned(tree, nifti_ids=ids).account.reasons["warning", ROW_WITHOUT_FILE] == 1
    (tree / "e").mkdir()
    away.rename(tree / "e/c.nii")
    assert patients(scanned(tree, nifti_ids=ids))["e/c"] == "p2"
    write_nifti(tree / "f/c.nii", voxels(9))
    with pytest.raises(UsageError, match=r"c\.nii is the name of 2 files"):
        scanned(tree, nifti_ids=ids)


@pytest.mark.parametrize("step", ["_Scan.run", "_assemble_all", "decide_values"])
def test_a_scan_killed_after_the_table_changed_is_finished_by_the_next(
    tree, tmp_path, scanned, table, content, step
):
    scanned(tree, nifti_ids=table(ALL.replace("p2", "p9")))
    ids = table(ALL)
    program = textwrap.dedent(
        f"""
        import os, signal, sys; sys.path[:] = {sys.path!r}
        from pathlib import Path
        from featurecache import scan
        def die(*_, **options): os.kill(os.getpid(), signal.SIGKILL)
        scan.{step} = die
        root, index, ids = map(Path, {[str(tree), str(tmp_path / "index.sqlite"), str(ids)]!r})
        scan.scan(root, index, workers=1, nifti_ids=ids)
        """
    )
    died = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    after = scanned(tree, nifti_ids=ids)
    assert patients(after) == {"a": "p1", "d/b": "p2", "d/c": "p2"}
    clean = scanned(tree, "clean.sqlite", nifti_ids=ids)
    assert content(after.path) == content(clean.path)


def test_a_series_of_dicom_files_is_none_for_a_nifti_file(tree, scanned, table, write_series):
    write_series(tree / "dicom", 3, uid="1.7")
    header = "path,PatientID,SeriesInstanceUID\n"
    result = scanned(tree, nifti_ids=table(header + "a.nii,p1,1.7\nb.nii.gz,p2,\nc.nii,p1,\n"))
    assert result.account.reasons["failed", NIFTI_OF_DICOM] == 1
    (dicom,) = [stack for stack in result.stacks if stack.key == "1.7"]
    assert len(dicom.slices) == 3


def test_a_patient_that_is_corrected_is_corrected_in_the_store(
    tree, tmp_path, scanned, table, split_options
):
    """Else the scan would stay in the split of the wrong patient."""
    features, how = split_options(
        backbone="squeezenet1_1", weights="random:0", size=64, precision="fp32", batch_size=4,
        workers=1, compile="off",
    )  # fmt: skip
    store = tmp_path / "cache.zarr"

    def run(text):
        path = scanned(tree, nifti_ids=table(text)).path
        report = extract(path, store, features, how, Identifiers(None))
        series = FeatureStore.open(store)["squeezenet1_1"].series
        assert report.missing_series == 0
        return series["patient"].to_dict(), report.timing.slices

    assert run(ALL) == ({"a": "p1", "d/b": "p2", "d/c": "p2"}, 9)
    assert run(ALL.replace("c.nii,p2", "c.nii,p1")) == ({"a": "p1", "d/b": "p2", "d/c": "p1"}, 3)
    assert run(ALL.replace("c.nii,p2", "c.nii,p1"))[1] == 0
