"""`seqhead sweep` as a user types it."""

import json
import tomllib

import numpy as np
import pytest
from click.testing import CliRunner

from cli.seqhead import main
from seqhead.sweeps.search_file import default_search

SMALL = ["--grid", "rnn=gru,lstm", "--grid", "hidden=4", "--grid", "epochs=2"]


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems on a shared machine: threads that wait for each other cost tenfold."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def project(tmp_path, make_store, monkeypatch):
    """A working folder with a store of 30 patients and labels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    ill = {f"2.{k}": k % 2 for k in range(30)}
    matrices = {s: rng.normal(size=(6, 8)).astype(np.float32) + y for s, y in ill.items()}
    make_store(tmp_path / "cache.zarr", matrices)
    lines = ["SeriesInstanceUID,ICH", *(f"{series},{y}" for series, y in ill.items())]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(main, ["sweep", *arguments], catch_exceptions=True)


def test_a_sweep_prints_its_winner_and_evaluate_reads_it(project):
    done = run("cache.zarr", "--labels", "labels.csv", *SMALL)
    assert done.exit_code == 0, done.output
    assert "test AUC of the winner, fitted again" in done.stdout
    assert "sweep: sweeps/toy-1" in done.stdout
    judged = CliRunner().invoke(main, ["evaluate", "sweeps/toy-1/winner", "--json"])
    assert judged.exit_code == 0
    again = run("sweeps/toy-1", "--json")
    document = json.loads(again.stdout)
    found = json.loads(judged.stdout)["macro"]
    assert document["winner"]["test"]["score"] == found["auc"]


def test_the_command_of_the_winner_fits_the_same(project):
    import shlex

    document = json.loads(run("cache.zarr", "--labels", "labels.csv", *SMALL, "--json").stdout)
    words = shlex.split(document["winner"]["command"])
    assert words[:2] == ["seqhead", "fit"]
    again = CliRunner().invoke(main, [*words[1:], "--out", "hand"])
    assert again.exit_code == 0, again.output
    mine, hand = (project / where / "model.safetensors" for where in
                  ("sweeps/toy-1/winner", "hand"))  # fmt: skip
    assert mine.read_bytes() == hand.read_bytes()


def test_a_search_file_is_swept(project):
    (project / "search.toml").write_text(
        "epochs = 2\nhidden = 4\nlearning-rate = { low = 0.001, high = 0.1, log = true }\n"
        '[model.gru]\nrnn = "gru"\n[model.svm]\nhead = "svm"\n'
    )
    done = run("cache.zarr", "--labels", "labels.csv", "--search", "search.toml",
               "--trials", "5", "--json", "--out", "s")  # fmt: skip
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["trials"]["asked"] == 5
    assert {one["model"] for one in document["leaderboard"]} <= {"gru", "svm"}


def test_the_default_search_is_printed_and_can_be_read_again(project):
    for level in ("series", "slice"):
        printed = run("--print-search", "--level", level)
        assert printed.exit_code == 0
        assert tomllib.loads(printed.stdout) == tomllib.loads(default_search(level))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "hidden=4", "--search", "x.toml"], "leave one out"),
        (["--grid", "hidden=4", "--sampler", "tpe"], "--sampler tpe draws"),
        (["--grid", "hidden=4", "--trials", "3"], "--trials has no effect on a grid"),
        (["--grid", "hiden=4"], "Did you mean hidden?"),
        (["--grid", "features=toy", "--features", "toy"], "--features says which"),
        (["--features", "other"], "other"),
        (["--search", "nothing.toml"], "No such file"),
    ],
)
def test_contradictions_are_refused(project, arguments, message):
    done = run("cache.zarr", "--labels", "labels.csv", *arguments)
    assert done.exit_code in (2, 5)
    assert message in done.output


def test_a_sweep_has_its_settings(project):
    run("cache.zarr", "--labels", "labels.csv", *SMALL, "--out", "s")
    done = run("s", "--metric", "brier")
    assert done.exit_code == 2
    assert "s is a sweep, which has its settings: leave --metric out" in done.output
    other = run("cache.zarr", "--labels", "labels.csv", *SMALL[2:], "--grid", "rnn=gru",
                "--out", "s")  # fmt: skip
    assert other.exit_code == 2
    assert "search.rnn is ['gru'], and was ['gru', 'lstm']" in other.output
