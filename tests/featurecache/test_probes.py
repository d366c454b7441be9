"""What values mean is decided from slices that can be read; until then a series is not used."""

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from featurecache import probes, repeats
from featurecache.chosen import choose
from featurecache.explain import explain
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.probes import Answers
from featurecache.reasons import REPEAT_UNDECIDED, VALUES_UNDECIDED
from featurecache.scan_document import scan_document
from featurecache.select import Selection
from featurecache.store import FeatureStore
from featurecache.worker import Failure

RNG = np.random.default_rng(0)


def wrapped_head(outside_hu=-1000.0):
    y, x = np.mgrid[:64, :64] - 31.5
    hu = np.where(np.hypot(x, y) < 26, 35.0, outside_hu) + RNG.normal(0, 6, (64, 64))
    return (np.rint(hu).astype(np.int32) % 4096).astype(np.uint16)


@pytest.fixture
def tree(tmp_path, write_series, write_ct, request):
    """A series of two slices that is wrapped (or as many as asked for), and one without doubt."""
    root = tmp_path / "root"
    write_series(root, 3, uid="1.1", PatientID="p1")
    for number in range(getattr(request, "param", 2)):
        write_ct(
            root / f"w{number}.dcm", wrapped_head(), SeriesInstanceUID="1.2", PatientID="p2",
            SOPInstanceUID=f"1.2.{number}", RescaleIntercept=0, StudyInstanceUID="1.9",
            ImagePositionPatient=[0, 0, 5 * number],
        )  # fmt: skip
    return root


FAULTS = {
    "read error": "raise ReadError('read error', 'Input/output error')",
    "killed the reader": "os.abort()",
    "time-out": "time.sleep(1000)",
    "memory limit": "raise MemoryError",
}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """broken(fault, names="") -> scan options: pixels of these files cannot be read, until undo."""

    def run(fault, names=""):
        (tmp_path / "flaky.py").write_text(
            textwrap.dedent(
                f"""
                import os, time
                from featurecache.errors import ReadError
                from featurecache.probes import ask as really_ask
                from featurecache.repeats import image_digest as really_digest
                def fail(job):
                    if {names!r} in os.path.basename(job.path):
                        {FAULTS.get(fault, fault)}
                def ask(item):
                    fail(item[1])
                    return really_ask(item)
                def image_digest(item):
                    fail(item[1])
                    return really_digest(item)
                """
            )
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop("flaky", None)
        import flaky

        monkeypatch.setattr(probes, "ask", flaky.ask)
        monkeypatch.setattr(repeats, "image_digest", flaky.image_digest)
        return {"timeout_s": 2.0} if fault == "time-out" else {}

    return run


def files(account):
    return account.used, account.skipped, account.failed


@pytest.mark.parametrize("fault", FAULTS)
def test_a_series_that_cannot_be_read_now_waits_and_is_decided_when_it_can(
    tree, scanned, broken, monkeypatch, content, fault
):
    options = broken(fault, "" if fault == "read error" else "w")
    first = scanned(tree, **options)
    assert files(first.account) == (3, 0, 2)
    assert first.account.reasons["failed", VALUES_UNDECIDED] == 2
    assert [stack.key for stack in first.stacks] == ["1.1"]
    (waiting,) = [stack for stack in first.all_stacks if not stack.usable]
    assert (waiting.key, waiting.reason) == ("1.2", VALUES_UNDECIDED)
    assert fault in explain(first.path, tree / "w1.dcm")
    if fault == "read error":
        assert files(scanned(tree).account) == (3, 0, 2), "still so, and counted again"
    monkeypatch.undo()
    healed = scanned(tree)
    assert files(healed.account) == (5, 0, 0)
    assert [stack.wrapped for stack in healed.stacks] == [False, True]
    assert content(healed.path) == content(scanned(tree, "clean.sqlite").path)


KILLS = {
    "before the walk": "scan._Scan.run = die",
    "before series are put together": "scan._assemble_all = die",
    "before values are asked": "scan.decide_values = die",
    "while values are settled": "probes._settle = die",
}


@pytest.mark.parametrize("moment", KILLS)
def test_a_scan_killed_in_between_changes_nothing(
    tree, tmp_path, scanned, broken, monkeypatch, content, moment
):
    first = scanned(tree, **broken("read error"))
    assert files(first.account) == (3, 0, 2)
    monkeypatch.undo()
    program = textwrap.dedent(
        f"""
        import os, signal, sys; sys.path[:] = {sys.path!r}
        from pathlib import Path
        from featurecache import probes, scan
        def die(*_, **options): os.kill(os.getpid(), signal.SIGKILL)
        {KILLS[moment]}
        scan.scan(Path({str(tree)!r}), Path({str(first.path)!r}), workers=1)
        """
    )
    died = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    after = scanned(tree)
    assert files(after.account) == (5, 0, 0)
    assert content(after.path) == content(scanned(tree, "clean.sqlite").path)


def test_an_extraction_leaves_a_waiting_series_out_and_takes_it_when_it_is_decided(
    tree, tmp_path, scanned, broken, monkeypatch, split_options
):
    features, how = split_options(
        backbone="squeezenet1_1", weights="random:0", size=64, precision="fp32", batch_size=4,
        workers=1, compile="off",
    )  # fmt: skip

    def run():
        path = scanned(tree).path
        report = extract(path, tmp_path / "cache.zarr", features, how, Identifiers(None))
        return report, set(FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"])

    broken("read error")
    report, series = run()
    assert series == {"1.1"}
    assert report.exit_code == 3
    assert report.scan["files"] == {"seen": 5, "used": 3, "skipped": 0, "failed": 2}
    monkeypatch.undo()
    report, series = run()
    assert series == {"1.1", "1.2"}
    assert report.exit_code == 0


@pytest.mark.parametrize(("names", "used"), [("w1", 5), ("w", 3)])
def test_one_slice_with_air_is_enough_whatever_the_others_do(tree, scanned, broken, names, used):
    result = scanned(tree, **broken("read error", names))
    assert result.account.used == used
    assert [stack.wrapped for stack in result.stacks] == [False, True][: len(result.stacks)]


@pytest.mark.parametrize("tree", [10], indirect=True)
def test_slices_that_are_damaged_for_good_leave_the_decision_to_the_others(tree, scanned):
    for number in range(9):
        path = tree / f"w{number}.dcm"
        path.write_bytes(path.read_bytes()[:-100])
    result = scanned(tree)
    assert [stack.wrapped for stack in result.stacks] == [False, True]


def test_a_series_of_damaged_slices_only_is_left_to_the_extraction(tree, scanned):
    for path in tree.glob("w*"):
        path.write_bytes(path.read_bytes()[:-100])
    result = scanned(tree)
    (_, damaged) = result.stacks
    assert not damaged.wrapped
    assert damaged.warnings == ("pixel data is short",)


@pytest.mark.parametrize(
    ("results", "need_more", "status"),
    [
        ([True, Failure("read error", "")], False, None),
        ([False, False], False, None),
        ([Failure("read error", "")], False, "failed"),
        ([Failure("pixel data is short", "")], True, None),
        ([False, Failure("read error", "")], True, "failed"),
        ([False, False, Failure("read error", "")], True, None),
        ([Failure("pixel data is short", ""), Failure("killed the reader", "")], False, "failed"),
    ],
)
def test_most_slices_must_be_read_to_say_that_there_is_no_air(results, need_more, status):
    answers = Answers.of(results)
    assert answers.need_more is need_more
    assert probes._verdict(answers, assume_hu=False).status == status


def test_files_of_a_series_that_waits_add_up_with_a_selection_too(tree, scanned, broken):
    index = scanned(tree, **broken("read error")).index
    document = scan_document(index, chosen=choose(index, Selection.parse(["slices>=3"])))
    assert document["files"] == {"seen": 5, "used": 3, "skipped": 0, "failed": 2}
    (waiting,) = [one for one in document["series"] if not one["usable"]]
    assert (waiting["selected"], waiting["reason"]) == (False, VALUES_UNDECIDED)


def test_repeated_images_that_cannot_be_compared_wait_too(
    tree, scanned, broken, monkeypatch, content
):
    copy = tree / "copy of 1.dcm"
    copy.write_bytes((tree / "1.1-001.dcm").read_bytes())
    first = scanned(tree, **broken("read error", "copy"))
    assert first.account.reasons["failed", REPEAT_UNDECIDED] == 2
    assert files(first.account) == (4, 0, 2)
    monkeypatch.undo()
    healed = scanned(tree)
    assert healed.account.reasons["skipped", "duplicate of another file"] == 1
    assert content(healed.path) == content(scanned(tree, "clean.sqlite").path)
