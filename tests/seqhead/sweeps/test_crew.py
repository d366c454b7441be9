"""Several processes on one sweep; some of them are killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqhead.errors import SeqHeadError
from seqhead.sweeps import crew
from seqhead.sweeps.folder import SweepFolder
from seqhead.sweeps.queue import Queue

TIMED = ("seconds", "interrupted")


def standings(report) -> list[dict]:
    return [
        {name: value for name, value in row.items() if name not in TIMED}
        for row in report.document()["leaderboard"]
    ]


def test_two_processes_of_which_one_is_killed_find_what_one_finds(
    toy, sweep_in, monkeypatch, caplog
):
    grid = ["rnn=gru,lstm", "hidden=4,6", "epochs=40", "patience=40"]
    alone = sweep_in(toy, grid, out="alone")
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def recorded(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        if len(started) == 3:  # the third one replaces the first
            monkeypatch.undo()
        return started[-1]

    def kill_first(folder: SweepFolder) -> None:
        if len(started) == 2 and any((folder.path / "workers").glob("*")):
            started[0].kill()

    monkeypatch.setattr(crew.subprocess, "Popen", recorded)
    polled = crew.time.sleep
    folder = SweepFolder(toy.folder / "together")

    def sleep(seconds: float) -> None:
        polled(seconds)
        kill_first(folder)

    monkeypatch.setattr(crew.time, "sleep", sleep)
    together = sweep_in(toy, grid, out="together", jobs=2)
    assert len(started) == 3
    assert "was ended by signal 9; another takes its place" in caplog.text
    assert standings(together) == standings(alone)
    assert together.document()["winner"]["inner"] == alone.document()["winner"]["inner"]


def test_what_a_child_runs_into_reaches_the_parent(toy, sweep_in, small_grid, monkeypatch):
    boot = (
        "import sys, json; job = json.loads(sys.stdin.readline())\n"
        "sys.path[:] = job['search_path']\n"
        "from seqhead.sweeps import crew; from seqhead.errors import FitError\n"
        "def fail(job): raise FitError('the disk is full')\n"
        "crew._serve = fail; crew.serve(job)"
    )
    monkeypatch.setattr(crew, "_BOOT", boot)
    with pytest.raises(SeqHeadError, match="the disk is full"):
        sweep_in(toy, small_grid, jobs=2)


def test_children_that_die_before_they_try_anything_are_not_replaced_for_ever(
    toy, sweep_in, small_grid, monkeypatch
):
    monkeypatch.setattr(crew, "_BOOT", "import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr(crew, "_DEATHS_IN_A_ROW", 3)
    with pytest.raises(SeqHeadError, match="3 processes in a row was ended by signal 9"):
        sweep_in(toy, small_grid, jobs=2)


class Command:
    """`seqhead sweep` as a process group of its own."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self.arguments = [sys.executable, "-m", "seqhead", "sweep", *arguments]
        self.folder = folder
        self.start()

    def start(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                                    "OMP_NUM_THREADS": "1"}  # fmt: skip
        self.process = subprocess.Popen(
            self.arguments, cwd=self.folder, env=environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return [int(word) for word in path.read_text().split()]
        except FileNotFoundError:
            return []

    def kill(self, who: str) -> None:
        """The parent, one of its workers, or all of them."""
        if who == "group":
            os.killpg(self.process.pid, signal.SIGKILL)
        elif who == "parent":
            self.process.kill()
        elif children := self.children():
            os.kill(random.choice(children), signal.SIGKILL)
        if who != "worker":
            self.process.communicate()
            self.start()


def queue_of(folder: SweepFolder) -> Queue:
    return Queue(folder.journal, folder.signs, folder.settings())


def settled(folder: SweepFolder) -> int:
    if not folder.is_sweep or not folder.journal.exists():
        return 0
    try:
        return sum(entry.settled for entry in queue_of(folder).entries())
    except KeyError:  # killed before there was a study
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("pruning", [False, True])
def test_a_sweep_killed_at_random_moments_ends_with_every_trial_done_once(
    toy, sweep_in, monkeypatch, pruning
):
    monkeypatch.chdir(toy.folder)
    grid = ["rnn=gru,lstm", "hidden=4,6,8", "epochs=60", "patience=60", "learning-rate=0.01,0.003"]
    arguments = ["cache.zarr", "--labels", "labels.csv", "--device", "cpu", "--jobs", "2",
                 "--out", "killed", "--json", *(w for one in grid for w in ("--grid", one)),
                 "--pruning" if pruning else "--no-pruning"]  # fmt: skip
    folder = SweepFolder(toy.folder / "killed")
    random.seed(int(pruning))
    command = Command(toy.folder, arguments)
    for who in ("group", "parent", "worker", "worker", "parent", "group"):
        began, before = time.monotonic(), settled(folder)
        while settled(folder) <= before and time.monotonic() - began < 60:
            time.sleep(0.05)
        time.sleep(random.uniform(0, 0.3))
        command.kill(who)
    printed, _ = command.process.communicate(timeout=240)
    document = json.loads(printed)
    assert document["trials"]["complete"] + document["trials"]["given_up"] == 12
    assert sorted(one["trial"] for one in document["leaderboard"]) == list(range(1, 13))
    done = [t for t in queue_of(folder)._trials(None) if t.state.name in ("COMPLETE", "PRUNED")]
    assert sorted(t.user_attrs["candidate"] for t in done) == list(range(12))
    if not pruning:
        alone = sweep_in(toy, grid, out="alone", pruning=False)
        mine = {one["trial"]: one["score"] for one in document["leaderboard"]}
        assert mine == {o["trial"]: o["score"] for o in alone.document()["leaderboard"]}
        assert document["winner"]["trial"] == alone.document()["winner"]["trial"]
        model = Path("winner") / "model.safetensors"
        assert (folder.path / model).read_bytes() == (alone.folder.path / model).read_bytes()


@pytest.mark.slow
def test_two_commands_at_once_work_on_one_sweep(toy):
    arguments = ["cache.zarr", "--labels", "labels.csv", "--device", "cpu", "--jobs", "1",
                 "--out", "shared", "--json", "--grid", "rnn=gru,lstm", "--grid", "hidden=4,6,8,10",
                 "--grid", "epochs=60", "--grid", "patience=60"]  # fmt: skip
    commands = [Command(toy.folder, arguments) for _ in range(2)]
    documents = [json.loads(c.process.communicate(timeout=240)[0]) for c in commands]
    assert documents[0] == documents[1]
    assert documents[0]["trials"]["complete"] == 8
    queue = Queue(
        *(lambda f: (f.journal, f.signs, f.settings()))(SweepFolder(toy.folder / "shared"))
    )
    trials = queue._trials(None)
    assert len(trials) == 8
    assert len({t.user_attrs["taken_by"] for t in trials}) == 2
