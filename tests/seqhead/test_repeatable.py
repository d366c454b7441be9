"""Equal fits give equal run folders, in other processes too and however features are read."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fit_everything.py")
RUNS = runpy.run_path(str(SCRIPT))["RUNS"]
WITH_TIMES = "log.txt"
"""The one file of a run that equal fits do not share."""


@pytest.fixture(scope="module")
def twice(tmp_path_factory, make_toy) -> tuple[Path, Path]:
    """Everything fitted by two processes, whose sets and hashes are in other orders."""
    folder = make_toy(tmp_path_factory.mktemp("repeatable")).folder
    outs = (folder / "one", folder / "two")
    asked = (["resident", "streamed"], ["resident"])
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), str(out), *memory],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE, text=True,
        )
        for seed, out, memory in zip(("1", "2"), outs, asked, strict=True)
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    return outs


def content(folder: Path) -> dict[str, bytes]:
    """Every file under a folder but those with times; the winner of a sweep names its folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().replace(b"two/sweep", b"one/sweep")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != WITH_TIMES
    }


def assert_equal(one: Path, other: Path) -> None:
    first, second = content(one), content(other)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert {"config.toml", "folds.csv", "predictions.csv", "metrics.json"} <= first.keys()


@pytest.mark.parametrize("name", RUNS)
def test_the_same_seed_in_another_process_gives_equal_run_folders(twice, name):
    assert_equal(twice[0] / "resident" / name, twice[1] / "resident" / name)


@pytest.mark.parametrize("name", RUNS)
def test_features_that_stay_in_the_store_give_equal_run_folders(twice, name):
    assert_equal(twice[0] / "resident" / name, twice[0] / "streamed" / name)


def test_the_same_sweep_finds_the_same_winner_with_the_same_bits(twice):
    assert_equal(*(out / "sweep" / "winner" for out in twice))
    first, second = (content(out / "sweep") for out in twice)
    same = ("split.csv", "inner.csv", "sweep.toml")
    assert [first[name] for name in same] == [second[name] for name in same]
    resamples = [name for name in first if name.startswith("resamples/")]
    assert len(resamples) == 4
    assert [name for name in resamples if first[name] != second[name]] == []


def test_every_model_is_there(twice):
    for name, options in RUNS.items():
        models = [
            file
            for file in content(twice[0] / "resident" / name)
            if file.endswith("model.safetensors")
        ]
        splitting = options.get("splitting")
        folds = (splitting.folds or 1) * splitting.repeats if splitting else 1
        assert len(models) == folds
