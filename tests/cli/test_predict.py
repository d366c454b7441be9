"""`seqhead predict RUN DICOM_FOLDER` as a user types it, beside extraction and a store."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from click.testing import CliRunner

from cli.featurecache import main as featurecache
from cli.seqhead import main as seqhead

FIT = ("--hidden", 4, "--epochs", 1, "--device", "cpu", "--out", "run")
EXTRACT = ("--backbone", "squeezenet1_1", "--size", 48, "--precision", "fp32", "--device", "cpu",
           "--workers", 1)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As in an extraction by one process; and small problems gain nothing from a second."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(*arguments, code=0, program=seqhead):
    """Run a command line in this process; returns its outputs."""
    result = CliRunner().invoke(program, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with a fitted run, and the scans of a patient that it does not know."""
    from featurecache.phantom import write_phantom

    folder = tmp_path_factory.mktemp("made")
    phantom, before = folder / "phantom", Path.cwd()
    write_phantom(phantom, patients=10, seed=5, series="thick", size=64)
    write_phantom(folder / "other", patients=1, seed=9, series="thick", size=64)
    shutil.move(folder / "other/dicom", folder / "new")
    os.chdir(folder)
    try:
        run("init", phantom / "dicom", "--labels", phantom / "labels.csv", program=featurecache)
        run("extract", *EXTRACT, "--weights", "random:0", program=featurecache)
        run("fit", "--rnn", "gru", *FIT)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of it, as the working folder."""
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return SimpleNamespace(folder=tmp_path / "project", temporary=tmp_path / "temporary")


PREDICT = ("predict", "run", "new", "--device", "cpu", "--workers", 1)


def test_one_step_prints_what_extract_and_predict_print(project):
    store = ("--weights", "random:0", "--keep-ids", "--store", "new.zarr", "--index", "new.sqlite")
    run("extract", "new", *EXTRACT, *store, program=featurecache)
    expected = run("predict", "run", "new.zarr", "--device", "cpu").stdout
    shown = run(*PREDICT)
    assert shown.stdout == expected
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    known = pydicom.dcmread(next(Path("new").rglob("*.dcm")), stop_before_pixels=True)
    assert [row["patient"] for row in rows] == [known.PatientID]
    assert "files seen = " in shown.stderr
    assert run(*PREDICT, "--out", "p.csv").stdout == "1 row in p.csv\n"
    assert Path("p.csv").read_text() == expected


def test_the_document_has_predictions_and_the_account(project):
    document = json.loads(run(*PREDICT, "--json").stdout)
    assert document["schema_version"] == 1
    files = document["files"]
    assert files["seen"] == files["used"] + files["skipped"] + files["failed"]
    (one,) = document["predictions"]
    assert set(one["probabilities"]) == set(document["labels"])
    assert one["series"] in [series["series"] for series in document["series"]]
    assert document["seconds"]["wall"] > 0
    of_store = json.loads(run("predict", "run", "--device", "cpu", "--json").stdout)
    assert len(of_store["predictions"]) == 10
    assert "files" not in of_store


def test_broken_files_are_counted_and_a_series_without_slices_is_listed(project):
    files = sorted(Path("new").rglob("*.dcm"))
    for path in files:
        path.write_bytes(path.read_bytes()[:-1000])
    (project.folder / "new/notes.txt").write_text("none")
    result = run(*PREDICT, code=3)
    assert "pixel data is short" in result.stderr
    assert "1 series without any readable slice" in result.stderr
    assert result.stdout.splitlines() == [result.stdout.strip()]  # the header alone
    document = json.loads(run(*PREDICT, "--json", code=3).stdout)
    assert document["predictions"] == []
    assert len(document["series_without_prediction"]) == 1
    assert document["files"]["skipped"] == 2  # a localizer and the notes


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("empty",), 2, "no usable CT series. 0 files seen"),
        (("nowhere",), 2, "nowhere does not exist: expected a folder of DICOM files"),
        (("phantom/labels.csv",), 2, "labels.csv is a file: expected a folder of DICOM files"),
        (("new", "--features", "x"), 2, "--features has no effect"),
        (("cache.zarr", "--assume-hu"), 2, "--assume-hu has no effect"),
        (("new", "--select", "kernel!=*"), 2, "leaves no series"),
        (("new", "--weights", "none.pth"), 4, "no such file"),
        (("lost.zarr",), 5, "lost.zarr"),
    ],
)
def test_what_cannot_be_predicted_is_said(project, arguments, code, message):
    (project.folder / "empty").mkdir()
    shutil.copytree(project.folder / "cache.zarr", project.folder / "lost.zarr")
    (project.folder / "lost.zarr/zarr.json").unlink()
    result = run("predict", "run", *arguments, "--device", "cpu", code=code)
    assert message in result.stderr
    assert list(project.temporary.iterdir()) == []


def test_a_run_whose_weights_file_is_not_at_hand_says_what_to_do(project):
    from safetensors.torch import save_file

    from featurecache.options import FeatureOptions
    from featurecache.runner import open_backbone

    body = open_backbone(FeatureOptions("squeezenet1_1", weights="random:0")).module.body
    tensors = {name: value.contiguous() for name, value in body.state_dict().items()}
    save_file(tensors, project.folder / "mine.safetensors")
    config = project.folder / "run/config.toml"
    config.write_text(config.read_text().replace('"random:0"', '"mine.safetensors"'))
    expected = run(*PREDICT).stdout
    (project.folder / "mine.safetensors").rename(project.folder / "moved.safetensors")
    missing = run(*PREDICT, code=4)
    assert "name it with --weights FILE" in missing.stderr
    assert run(*PREDICT, "--weights", "moved.safetensors").stdout == expected


def test_control_characters_in_ids_do_not_reach_the_terminal(project):
    for path in Path("new").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = "a\x1b[31mb"
        dataset.save_as(path)
    assert "a\\x1b[31mb" in run(*PREDICT).stdout


_SLOW = """
import signal, sys, time
from featurecache.embed import Embedder
from cli.seqhead import main

def images(*_):
    print("computing", flush=True)
    time.sleep(60)

Embedder.images = images
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "stop",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_an_interruption_leaves_nothing_behind(project, stop):
    """What is temporary has identifiers in it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, *map(str, PREDICT), "--out", "p.csv"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert process.stdout.readline() == "computing\n"
    assert [path.name for path in project.temporary.rglob("*.sqlite")] == ["index.sqlite"]
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert list(project.temporary.iterdir()) == []
    assert not list(project.folder.glob("*p.csv*"))
