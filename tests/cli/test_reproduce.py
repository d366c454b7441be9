"""`seqhead reproduce` as a user types it: which series, and what a kill leaves."""

import json
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from cli.seqhead import main
from featurecache.project import write_project
from featurecache.select import Selection


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder with scans in name only, and labels of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    (tmp_path / "labels.csv").write_text("PatientID,ICH\na,1\nb,0\n")
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """What extractions are asked for; in their store are 3 series that are not selected."""
    requests = []

    def extract(source, index, store, ids, request, **options):
        requests.append(request)
        return SimpleNamespace(unselected_series=3)

    monkeypatch.setattr("cli.tasks.extract", extract)
    return requests


def refused(*arguments):
    """Standard error of a command that ends with exit code 2."""
    result = CliRunner().invoke(main, ["reproduce", *arguments, "scans", "--labels", "labels.csv"])
    assert result.exit_code == 2, f"{result.output}\n{result.exception!r}"
    return result.stderr


@pytest.mark.usefixtures("work")
def test_series_are_those_of_the_system_unless_the_command_says_otherwise(asked):
    write_project(select=["kernel!=*bone*"])
    said = refused("sdlm")
    assert "as sdlm-vgg16-gru says (all), not by the 1 rule of featurecache.toml" in said
    said = refused("sdlm", "--select", "slices>=9")
    assert "chosen by --select (slices>=9), not as sdlm-vgg16-gru says (all)" in said
    assert [one.selection for one in asked] == [Selection(), Selection.parse(["slices>=9"])]


@pytest.mark.usefixtures("work", "asked")
def test_a_store_with_series_that_are_not_selected_is_refused():
    said = refused("sdlm", "--select", "slices>=9")
    assert "reproduce/cache.zarr has 3 series that the selection leaves out" in said
    assert "give another --store or --out, or a wider --select" in said


@pytest.mark.slow
def test_a_reproduction_that_is_killed_goes_on_to_the_same_table(tmp_path):
    """Killed while it extracts and while it fits, where nothing can be tidied up."""
    from featurecache.phantom import write_phantom

    write_phantom(tmp_path / "phantom", patients=10, seed=5, series="thick", size=64)
    for path in (tmp_path / "phantom/dicom").rglob("*.dcm"):  # six slices a series are enough
        if int(path.stem.removeprefix("IM")) > 6:
            path.unlink()
    quiet, killed = (folder(tmp_path, name) for name in ("quiet", "killed"))
    expected = document(quiet)
    for is_there in (has_features, has_half_a_run, has_paper_run):
        kill_when(killed, is_there)
    found = document(killed)
    assert found["rows"] == expected["rows"]
    assert [one["fitted_now"] for one in found["runs"]] == [False, True]
    assert sorted(p.name for p in (killed / "reproduce/sdlm-densenet121-gru").iterdir()) == [
        "inputs.json", "paper", "patients", "reproduction.json"
    ]  # fmt: skip


COMMAND = (
    sys.executable, "-m", "seqhead", "reproduce", "sdlm-densenet121-gru", "../phantom/dicom",
    "--labels", "../phantom/labels.csv", "--weights", "random:0", "--set", "training.epochs=2",
    "--json",
)  # fmt: skip


def folder(parent, name):
    made = parent / name
    made.mkdir()
    return made


def document(work):
    """Run to the end."""
    done = subprocess.run(COMMAND, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kill_when(work, is_there):
    """Start, and kill as soon as there is something."""
    process = subprocess.Popen(
        COMMAND, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not is_there(work / "reproduce") and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said


def has_features(out):
    return any(out.glob("cache.zarr/part-*/features/*/c.*"))


def has_half_a_run(out):
    return any(out.glob("sdlm-densenet121-gru/.partial-*"))


def has_paper_run(out):
    return (out / "sdlm-densenet121-gru/paper").is_dir()
