"""The whole scan: every file accounted for, restartable, the same result whatever the order."""

import json
import math
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

from featurecache import scan as scan_module
from featurecache.errors import FeatureCacheError, UsageError
from featurecache.index import Index
from featurecache.pixels import decode_slice, job_for, to_hu
from featurecache.scan import explain, scan, scan_document


def reasons(account, kind):
    return {text: count for (of, text), count in account.reasons.items() if of == kind}


@pytest.fixture
def tree(tmp_path, write_series, write_ct):
    """A folder with two series, a localizer and a text file."""
    root = tmp_path / "root"
    write_series(root / "a", 5, uid="1.2.10")
    write_series(root / "b", 3, uid="1.2.20", PatientID="p2", StudyInstanceUID="1.2.2")
    write_ct(
        root / "a" / "scout", SeriesInstanceUID="1.2.10", SOPInstanceUID="1.2.10.99",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )  # fmt: skip
    (root / "notes.txt").write_text("x")
    return root


def test_every_file_is_accounted_for(tree, scanned):
    """Case 18: the localizer is skipped, the rest of its series used."""
    result = scanned(tree)
    account = result.account
    assert (account.seen, account.used, account.skipped, account.failed) == (10, 8, 2, 0)
    assert reasons(account, "skipped") == {"localizer": 1, "text, not DICOM": 1}
    assert [(stack.key, len(stack.slices)) for stack in result.stacks] == [
        ("1.2.10", 5),
        ("1.2.20", 3),
    ]


def test_stacks_come_by_patient_study_and_key(tree, write_series, scanned):
    write_series(tree / "c", 2, uid="1.2.15", PatientID="p2", StudyInstanceUID="1.2.2")
    assert [stack.key for stack in scanned(tree).stacks] == ["1.2.10", "1.2.15", "1.2.20"]


def test_shuffled_names_and_numbers_give_the_same_stacks(tmp_path, write_series, scanned):
    """Cases 20, 21 and 22: names, InstanceNumber and the tags that lie do not matter."""
    plain = write_series(tmp_path / "plain", 8, uid="1.2.3")
    names = [f"x{number}" for number in range(8)]
    random.Random(3).shuffle(names)
    (tmp_path / "shuffled").mkdir()
    for number, (path, name) in enumerate(zip(plain, names, strict=True)):
        ds = pydicom.dcmread(path)
        ds.InstanceNumber = 8 - number
        ds.SliceLocation = random.Random(number).random()
        ds.SpacingBetweenSlices = 99
        ds.SliceThickness = 0.1 * (number + 1)
        ds.save_as(tmp_path / "shuffled" / name)
    first = scanned(tmp_path / "plain", "a.sqlite")
    second = scanned(tmp_path / "shuffled", "b.sqlite")
    for one, other in zip(first.stacks, second.stacks, strict=True):
        assert [s.sop_uid for s in one.slices] == [s.sop_uid for s in other.slices]
        assert [s.z_mm for s in one.slices] == [s.z_mm for s in other.slices]
        assert one.median_gap_mm == other.median_gap_mm == 5
        for a, b in zip(one.slices, other.slices, strict=True):
            hu_a = to_hu(decode_slice(job_for(first.index.root, one, a)))
            hu_b = to_hu(decode_slice(job_for(second.index.root, other, b)))
            np.testing.assert_array_equal(hu_a, hu_b)


def test_a_one_slice_series_is_skipped_unless_wanted(tmp_path, write_series, scanned):
    """Case 19."""
    write_series(tmp_path / "root", 1)
    result = scanned(tmp_path / "root")
    assert reasons(result.account, "skipped") == {"fewer than 2 slices": 1}
    assert result.stacks == []
    assert result.all_stacks[0].reason == "fewer than 2 slices"
    again = scanned(tmp_path / "root", min_slices=1)
    assert again.account.used == 1
    assert len(again.stacks) == 1


def test_special_files_do_not_hang_the_scan(tree, scanned):
    """Cases 10 and 11."""
    os.mkfifo(tree / "pipe")
    (tree / "loop").symlink_to(".")
    (tree / "out").symlink_to("/etc/hostname")
    (tree / "twin").symlink_to(tree / "a")
    result = scanned(tree)
    assert result.account.used == 8
    assert reasons(result.account, "skipped") == {
        "localizer": 1,
        "text, not DICOM": 1,
        "special file: pipe": 1,
        "symbolic link loop": 1,
        "symbolic link out of the root": 1,
        "symbolic link: its target is read where it lies": 1,
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_and_folders_are_named(tree, scanned):
    """Case 12."""
    (tree / "notes.txt").chmod(0)
    (tree / "b").chmod(0)
    try:
        result = scanned(tree)
        assert reasons(result.account, "skipped") == {
            "localizer": 1,
            "unreadable file": 1,
            "unreadable folder": 1,
        }
        assert "unreadable folder" in explain(result.path, tree / "b")
    finally:
        (tree / "b").chmod(0o755)


def test_permission_denied_is_a_skip_that_is_named(tree, monkeypatch):
    """Case 12, also for root: the reader meets EACCES."""
    from featurecache import files
    from featurecache.intake import read_file

    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "_open", denied)
    record = read_file((b"notes.txt", 1, 1), root=os.fsencode(tree), assume_hu=False)
    assert (record.status, record.reason) == ("skipped", "unreadable file")


def test_a_file_that_vanishes_between_walk_and_reading_fails(tree):
    """Case 13."""
    from featurecache.intake import read_file

    record = read_file((b"gone.dcm", 1, 1), root=os.fsencode(tree), assume_hu=False)
    assert (record.status, record.reason) == ("failed", "file vanished")


def test_a_file_that_changes_between_walk_and_reading_fails_and_is_read_next_time(
    tree, scanned, monkeypatch
):
    """Case 14."""
    real = scan_module.walk_tree

    def late(root, excluded):
        for entry in real(root, excluded):
            if entry.path.endswith(b"000.dcm") and entry.path.startswith(b"a"):
                with open(os.path.join(root, entry.path), "ab") as file:
                    file.write(b"\0\0")
            yield entry

    monkeypatch.setattr(scan_module, "walk_tree", late)
    result = scanned(tree)
    assert reasons(result.account, "failed") == {"file changed since the scan": 1}
    assert len(result.stacks[0].slices) == 4
    monkeypatch.undo()
    assert scanned(tree).account.failed == 0


def test_names_of_any_bytes_are_stored_and_explained(tree, scanned):
    """Case 15."""
    source = tree / "a" / "1.2.10-000.dcm"
    os.rename(source, os.fsencode(tree) + b"/a/\xff\n\xfe.dcm")
    result = scanned(tree)
    assert result.account.used == 8
    path = result.stacks[0].slices[0].path
    assert os.fsencode(path) == b"a/\xff\n\xfe.dcm"
    told = explain(result.path, tree / path)
    assert "used" in told
    assert "\\n" in told.splitlines()[0]


def test_a_dicomdir_is_skipped_and_its_entries_not_followed(tree, scanned, make_ct):
    """Case 16: also with ../ entries."""
    ds = make_ct()
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.SOPClassUID = "1.2.840.10008.1.3.10"
    record = pydicom.Dataset()
    record.add(
        pydicom.DataElement(0x00041500, "CS", ["..", "..", "etc", "passwd"], validation_mode=0)
    )
    ds.DirectoryRecordSequence = [record]
    ds.save_as(tree / "DICOMDIR")
    assert reasons(scanned(tree).account, "skipped")["DICOMDIR"] == 1


def test_one_uid_with_the_same_image_is_kept_once(tree, scanned):
    """Case 25: a repeated file."""
    shutil.copy(tree / "a" / "1.2.10-001.dcm", tree / "zz-copy.dcm")
    result = scanned(tree)
    assert reasons(result.account, "skipped")["duplicate of another file"] == 1
    assert len(result.stacks[0].slices) == 5
    assert "same image as a/1.2.10-001.dcm" in explain(result.path, tree / "zz-copy.dcm")


def test_one_uid_with_the_same_image_compressed_is_kept_once(tree, scanned):
    ds = pydicom.dcmread(tree / "a" / "1.2.10-001.dcm")
    ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    ds.save_as(tree / "zz-copy.dcm")
    assert reasons(scanned(tree).account, "skipped")["duplicate of another file"] == 1


def test_one_uid_with_different_images_fails(tree, scanned, write_ct):
    """Case 46: neither is trusted."""
    write_ct(
        tree / "zz.dcm",
        np.full((64, 64), 7, np.uint16),
        SOPInstanceUID="1.2.10.2",
        SeriesInstanceUID="1.2.10",
    )
    result = scanned(tree)
    assert reasons(result.account, "failed") == {"one SOPInstanceUID, different pixels": 2}
    assert len(result.stacks[0].slices) == 4
    (tree / "zz.dcm").unlink()
    again = scanned(tree)
    assert again.account.failed == 0
    assert len(again.stacks[0].slices) == 5


def test_one_uid_in_two_series_fails_if_the_images_differ(tree, scanned, write_ct):
    """Case 46, across series, also when the second comes later."""
    assert scanned(tree).account.failed == 0
    write_ct(tree / "b" / "x.dcm", SOPInstanceUID="1.2.10.2", SeriesInstanceUID="1.2.20",
             PatientID="p2", StudyInstanceUID="1.2.2", ImagePositionPatient=[0, 0, 99])  # fmt: skip
    result = scanned(tree)
    assert reasons(result.account, "failed") == {"one SOPInstanceUID, different pixels": 2}
    (tree / "b" / "x.dcm").unlink()
    assert scanned(tree).account.failed == 0


def test_one_image_in_two_series_is_kept_in_both_with_a_warning(tree, scanned):
    ds = pydicom.dcmread(tree / "a" / "1.2.10-001.dcm")
    ds.SeriesInstanceUID, ds.PatientID, ds.StudyInstanceUID = "1.2.20", "p2", "1.2.2"
    ds.ImagePositionPatient = [0, 0, 77]
    ds.save_as(tree / "b" / "again.dcm")
    result = scanned(tree)
    assert (result.account.used, result.account.failed) == (9, 0)
    assert "SOPInstanceUID in several series" in result.stacks[1].warnings


def test_two_kernels_under_one_uid_are_two_stacks(tmp_path, write_series, scanned):
    """Cases 25 and 26."""
    root = tmp_path / "root"
    write_series(root / "s", 4, uid="1.2.3", ConvolutionKernel="H30")
    for number, path in enumerate(write_series(root / "b", 3, uid="1.2.4")):
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID, ds.ConvolutionKernel = "1.2.3", "H60"
        ds.SOPInstanceUID = f"1.9.{number}"
        ds.save_as(path)
    result = scanned(root)
    assert [(s.key, s.kernel, len(s.slices)) for s in result.stacks] == [
        ("1.2.3", "H30", 4),
        ("1.2.3#2", "H60", 3),
    ]
    assert result.index.find("1.2.3#2").kernel == "H60"


def test_frames_of_a_shuffled_enhanced_ct_are_put_in_order(tmp_path, make_ct, item, scanned):
    """Case 27."""
    volume = np.stack([np.full((16, 16), 1000 + z, np.uint16) for z in (8, 0, 4)])
    ds = make_ct(volume, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=3)
    ds.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])]) for z in (8, 0, 4)
    ]
    (tmp_path / "root").mkdir()
    ds.save_as(tmp_path / "root" / "a.dcm")
    result = scanned(tmp_path / "root")
    (stack,) = result.stacks
    assert result.account.used == 1
    assert [(s.frame, s.z_mm) for s in stack.slices] == [(1, 0), (2, 4), (0, 8)]
    stored = [decode_slice(job_for(result.index.root, stack, s)).stored for s in stack.slices]
    assert [int(array[0, 0]) for array in stored] == [1000, 1004, 1008]


def test_assumed_hounsfield_units_come_and_go_with_the_option(
    tmp_path, write_series, scanned, content
):
    """Case 31."""
    write_series(tmp_path / "root", 3, RescaleSlope=None, RescaleIntercept=None)
    first = scanned(tmp_path / "root")
    assert reasons(first.account, "failed") == {"rescale slope or intercept missing": 3}
    second = scanned(tmp_path / "root", assume_hu=True)
    assert second.account.used == 3
    assert second.stacks[0].assume_hu
    assert {slice_.source for slice_ in second.stacks[0].slices}
    slice_ = second.stacks[0].slices[0]
    assert decode_slice(job_for(second.index.root, second.stacks[0], slice_)).slope == 1
    third = scanned(tmp_path / "root")
    assert reasons(third.account, "failed") == {"rescale slope or intercept missing": 3}
    assert content(third.path)["files"] == content(first.path)["files"]


def test_monochrome1_is_counted(tmp_path, write_series, scanned):
    """Case 34."""
    write_series(tmp_path / "root", 3, PhotometricInterpretation="MONOCHROME1")
    warned = reasons(scanned(tmp_path / "root").account, "warning")
    assert warned == {"MONOCHROME1: for display only, Hounsfield units are not inverted": 3}


def test_hostile_text_stays_text(tmp_path, write_series, scanned):
    """Cases 44 and 45: HTML is escaped where pages are made; ids never become paths."""
    write_series(
        tmp_path / "root", 2, PatientID="../../x", SeriesDescription="<script>alert(1)</script>"
    )
    before = set(tmp_path.parent.iterdir())
    result = scanned(tmp_path / "root")
    assert result.stacks[0].patient_id == "../../x"
    assert json.loads(json.dumps(scan_document(result.index)))["series"][0]["patient"] == "../../x"
    assert set(tmp_path.parent.iterdir()) == before


def test_a_reader_that_dies_costs_one_file(tree, scanned, monkeypatch):
    """Case 41, in the scan: the file is set aside, and tried again by the next scan."""
    module = Path(tree).parent / "deadly.py"
    module.write_text(
        "import os\nfrom featurecache.intake import read_file as read\n"
        "def read_file(item, **options):\n"
        "    if item[0].endswith(b'001.dcm'):\n        os.abort()\n"
        "    return read(item, **options)\n"
    )
    monkeypatch.syspath_prepend(str(module.parent))
    import deadly

    monkeypatch.setattr(scan_module, "read_file", deadly.read_file)
    result = scanned(tree)
    assert reasons(result.account, "skipped")["killed the reader"] == 2
    assert (result.account.used, result.account.failed) == (6, 0)
    monkeypatch.undo()
    assert scanned(tree).account.used == 8


def test_a_reader_that_hangs_costs_one_file(tree, scanned, monkeypatch):
    """Case 42, in the scan: the file is set aside, and tried again by the next scan."""
    module = Path(tree).parent / "stuck.py"
    module.write_text(
        "import time\nfrom featurecache.intake import read_file as read\n"
        "def read_file(item, **options):\n"
        "    if item[0].endswith(b'20-001.dcm'):\n        time.sleep(1000)\n"
        "    return read(item, **options)\n"
    )
    monkeypatch.syspath_prepend(str(module.parent))
    import stuck

    monkeypatch.setattr(scan_module, "read_file", stuck.read_file)
    result = scanned(tree, timeout_s=2.0)
    assert reasons(result.account, "skipped")["time-out"] == 1
    assert (result.account.used, result.account.failed) == (7, 0)
    monkeypatch.undo()
    assert scanned(tree).account.used == 8


def test_a_file_that_was_unreadable_is_tried_again(tree, scanned):
    """A permission that is given later changes neither size nor time."""
    from featurecache import files

    result = scanned(tree)
    with sqlite3.connect(result.path) as database:
        database.execute(
            "UPDATE files SET status = 'skipped', reason = ? WHERE path LIKE '%10-001.dcm'",
            (files.UNREADABLE,),
        )
    assert scanned(tree).account.used == 8


def test_a_second_scan_opens_only_what_changed(tree, scanned, monkeypatch, write_ct, content):
    scanned(tree)
    before = content(scanned(tree).path)
    read = []
    real = scan_module.isolated_map

    def recording(function, items, **options):
        def tapped():
            for item in items:
                if isinstance(item, tuple):
                    read.append(item[0])
                yield item

        return real(function, tapped(), **options)

    monkeypatch.setattr(scan_module, "isolated_map", recording)
    assert content(scanned(tree).path) == before
    assert read == []
    write_ct(tree / "a" / "new.dcm", SOPInstanceUID="1.2.10.50", SeriesInstanceUID="1.2.10",
             ImagePositionPatient=[0, 0, 50])  # fmt: skip
    os.unlink(tree / "b" / "1.2.20-002.dcm")
    result = scanned(tree)
    assert read == [b"a/new.dcm"]
    assert [len(stack.slices) for stack in result.stacks] == [6, 2]
    fresh = content(scanned(tree, "fresh.sqlite").path)
    assert content(result.path) == fresh


def test_a_change_in_place_changes_the_source(tree, scanned):
    path = tree / "a" / "1.2.10-000.dcm"
    first = {s.path: s.source for s in scanned(tree).stacks[0].slices}
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # a pixel: header and size stay
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    second = {s.path: s.source for s in scanned(tree).stacks[0].slices}
    changed = {key for key in first if first[key] != second[key]}
    assert changed == {"a/1.2.10-000.dcm"}
    assert all(len(source) == 32 for source in second.values())
    third = {s.path: s.source for s in scanned(tree).stacks[0].slices}
    assert third == second


def test_sources_do_not_depend_on_time_or_place(tree, tmp_path, scanned):
    shutil.copytree(tree, tmp_path / "elsewhere")
    first = scanned(tree, "a.sqlite").stacks
    second = scanned(tmp_path / "elsewhere", "b.sqlite").stacks
    assert [[s.source for s in t.slices] for t in first] == [
        [s.source for s in t.slices] for t in second
    ]


def test_a_folder_that_vanishes_is_forgotten(tree, scanned):
    scanned(tree)
    shutil.rmtree(tree / "b")
    result = scanned(tree)
    assert result.account.seen == 7
    assert [stack.key for stack in result.all_stacks] == ["1.2.10"]


def killed_scan(root, index, steps, delay_s=0.0):
    """Scan in another process and kill it at a step of its progress; its workers die too."""
    program = textwrap.dedent(
        f"""
        import sys; sys.path[:] = {sys.path!r}
        from pathlib import Path
        from featurecache import scan
        scan._COMMIT_EVERY_S = 0.0
        scan._CHUNK = 4
        print("go", flush=True)
        scan.scan(Path({str(root)!r}), Path({str(index)!r}), workers=1,
                  progress=lambda *_: print("on", flush=True))
        """
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"go\n"
        for _ in range(steps):
            process.stdout.readline()
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)


def is_half_done(index) -> bool:
    """Whether a killed scan left some of its work, and not all of it."""
    if not index.exists():
        return False
    with sqlite3.connect(index) as database:
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        files = tables and database.execute("SELECT count(*) FROM files").fetchone()[0]
        finished = tables and database.execute("SELECT value FROM meta WHERE key = 'complete'")
        return bool(files) and finished.fetchone() != (1,)


def test_a_killed_scan_continues_and_ends_with_the_same_index(
    tmp_path, write_series, write_ct, scanned, content
):
    root = tmp_path / "root"
    for number in range(24):
        write_series(root / f"s{number}", 8, uid=f"1.2.{number}")
    shutil.copy(root / "s1" / "1.2.1-000.dcm", root / "copy.dcm")
    clean = content(scanned(root, "clean.sqlite").path)
    rng = random.Random(0)
    killed = tmp_path / "killed.sqlite"
    half_done = 0
    for _ in range(20):
        if half_done == 4:
            break
        killed_scan(root, killed, rng.randint(1, 4), rng.uniform(0, 0.02))
        if is_half_done(killed):
            half_done += 1
        elif killed.exists():
            killed.unlink()  # it was killed too early or too late to learn from
    assert half_done >= 2
    assert content(scanned(root, "killed.sqlite").path) == clean


def test_a_scan_killed_while_files_change_ends_as_if_it_had_not_been(
    tmp_path, write_series, scanned, content
):
    root = tmp_path / "root"
    for number in range(16):
        write_series(root / f"s{number}", 8, uid=f"1.2.{number}")
    killed, clean = tmp_path / "killed.sqlite", tmp_path / "clean.sqlite"
    scanned(root, "killed.sqlite")
    shutil.copy(killed, clean)
    shutil.rmtree(root / "s3")
    for path in (root / "s5").iterdir():
        os.utime(path, ns=(1, 1))
    write_series(root / "new", 40, uid="1.2.99")
    rng = random.Random(1)
    for _ in range(5):
        killed_scan(root, killed, rng.randint(0, 2), rng.uniform(0, 0.3))
    assert content(scanned(root, "killed.sqlite").path) == content(
        scanned(root, "clean.sqlite").path
    )


def test_an_interrupted_index_is_refused_until_the_scan_is_finished(tree, scanned):
    result = scanned(tree)
    with Index.open(result.path) as index:
        index.set_meta("complete", 0)
    with pytest.raises(UsageError, match="interrupted"):
        Index.open(result.path, readonly=True)
    scanned(tree)


def test_the_index_is_private_and_no_part_of_the_tree(tree):
    index = tree / "featurecache.sqlite"
    account = scan(tree, index, workers=1)
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    assert scan(tree, index, workers=1).seen == account.seen == 10


def test_an_index_has_one_root(tree, scanned, tmp_path):
    scanned(tree)
    with pytest.raises(UsageError, match="--index"):
        scanned(tmp_path)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_only_a_folder_can_be_scanned(tree, scanned, kind):
    with pytest.raises(UsageError, match="Expected a folder"):
        scanned(tree / ("nowhere" if kind == "missing" else "notes.txt"))


def test_something_else_is_not_taken_for_an_index(tmp_path, tree):
    path = tmp_path / "index.sqlite"
    path.write_text("no database, but text that is long enough to be looked at " * 50)
    with pytest.raises(UsageError, match="not an index"):
        scan(tree, path, workers=1)
    with pytest.raises(UsageError, match="No index"):
        Index.open(tmp_path / "absent.sqlite", readonly=True)


def test_two_scans_of_one_index_do_not_mix(tree, scanned):
    path = scanned(tree).path
    with Index.open(path) as index:
        index.database.execute("BEGIN IMMEDIATE")
        index.set_meta("held", 1)
        with pytest.raises(UsageError, match="Another scan"):
            Index.open(path)


def test_the_finished_index_can_be_read_from_a_read_only_folder(tree, scanned):
    path = scanned(tree).path
    folder = path.parent
    path.chmod(0o400)
    folder.chmod(0o500)
    try:
        with Index.open(path, readonly=True) as index:
            assert len(list(index.stacks())) == 2
    finally:
        folder.chmod(0o700)


def test_a_file_that_escapes_the_account_is_an_error(tree, monkeypatch, tmp_path):
    real = scan_module.walk_tree

    def forgetful(root, excluded):
        yield from real(root, excluded)

    monkeypatch.setattr(scan_module, "walk_tree", forgetful)
    monkeypatch.setattr(scan_module._Scan, "_note", lambda self, entry, known, record: None)
    with pytest.raises(FeatureCacheError, match="does not balance"):
        scan(tree, tmp_path / "i.sqlite", workers=1)


def test_find_takes_uid_key_or_folder(tree, scanned):
    index = scanned(tree).index
    assert index.find("1.2.10").key == "1.2.10"
    assert index.find(str(tree / "b")).key == "1.2.20"
    with pytest.raises(UsageError, match="2 series"):
        index.find(str(tree))
    with pytest.raises(UsageError, match="No series"):
        index.find("9.9")


def test_explain_tells_of_files_folders_and_series(tree, scanned):
    path = scanned(tree).path
    assert "skipped: localizer" in explain(path, tree / "a" / "scout")
    assert "slice 2 of 5 of 1.2.10 at 5.00 mm" in explain(path, tree / "a" / "1.2.10-001.dcm")
    assert "5  used" in explain(path, tree / "a")
    assert "series 1.2.20: 3 slices" in explain(path, Path("1.2.20"))
    with pytest.raises(UsageError, match="is not in"):
        explain(path, tree / "nothing")


def test_the_document_has_the_fixed_keys(tree, scanned):
    document = json.loads(json.dumps(scan_document(scanned(tree).index), allow_nan=False))
    assert document["schema_version"] == 1
    assert document["files"] == {"seen": 10, "used": 8, "skipped": 2, "failed": 0}
    assert {"reason": "localizer", "count": 1, "kind": "skipped"} in document["reasons"]
    series = document["series"][0]
    assert {"series", "patient", "n_slices", "usable", "reason", "warnings", "tilt_deg"} <= set(
        series
    )
    assert series["spacing_mm"] == [0.5, 0.5]


def test_progress_ends_with_all_files(tree, tmp_path):
    calls = []
    scan(tree, tmp_path / "i.sqlite", workers=1, progress=lambda *call: calls.append(call))
    assert calls[-1] == (10, 10)


@pytest.mark.real_data
def test_the_real_tree_is_accounted_for(real_scans, scanned):
    result = scanned(real_scans, workers=2)
    account = result.account
    assert account.seen == sum(len(files) for _, _, files in os.walk(real_scans))
    assert (account.used, account.failed) == (64, 0)
    assert reasons(account, "skipped") == {
        "not CT: Secondary Capture Image Storage": 6,
        "DICOMDIR": 4,
        "text, not DICOM": 3,
        "localizer": 1,
    }
    assert sorted(len(stack.slices) for stack in result.stacks) == [4, 4, 28, 28]
    head = result.index.find(str(real_scans / "head-phantom-study" / "S2010"))
    assert (head.tilt_deg, head.median_gap_mm, head.z_extent_mm) == (0, 5, 135)
    assert not any(math.isnan(slice_.z_mm) for slice_ in head.slices)
