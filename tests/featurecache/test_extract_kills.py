"""Killed at any moment, an extraction that is run again gives the store of one that was not.

Runs are forked from a process that has imported everything and computed nothing, since starting
Python and torch would take longer than the runs.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from featurecache.identifiers import Identifiers
from featurecache.job import Job
from featurecache.options import FeatureOptions, RunOptions

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="needs Linux's fork and /proc"
)

KEEP = Identifiers(None)
TINY = FeatureOptions(
    "tiny", "random:0", size=32, precision="fp32", dtype="float32", batch_size=4, compile="off"
)
REAL = FeatureOptions(
    "squeezenet1_1", "random:0", size=64, precision="fp32", batch_size=4, compile="off"
)

NURSERY = """
import json, os, signal, sys, traceback
import torch, zarr, torchvision.models, featurecache.doctor
from featurecache.extract import extract
from featurecache.job import Job

def work(order):
    os.setsid()
    os.environ.update(order["environment"])
    sys.path[:] = order["job"]["search_path"]
    for module in order["job"]["modules"]:
        __import__(module)
    die_at_write(order["die_at_write"])
    if order["command"]:
        command(order["command"], order["errors"])
    job = Job.read(order["job"])
    extract(job.index, job.store, job.features, job.run, job.identifiers)

def leave(status):
    # A forked process takes seconds to tear down torch.
    sys.stderr.flush()
    os._exit(status)

def command(line, errors):
    from cli.featurecache import main
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        main(line)
    except SystemExit as end:
        leave(end.code or 0)

def die_at_write(number):
    count = 0
    def counted(real):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        return call
    os.replace, os.rename = counted(os.replace), counted(os.rename)

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        try:
            work(json.loads(line))
        except BaseException:
            traceback.print_exc()
            leave(1)
        leave(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


class Nursery:
    """Starts runs, each in a process group of its own."""

    def __init__(self, process):
        self._process = process

    def start(self, job, die_at_write=0, command=(), errors="", **environment):
        """Start a run, or a command line of `featurecache` in its stead; gives its process id."""
        order = {
            "job": job.document(), "die_at_write": die_at_write, "command": command,
            "errors": str(errors), "environment": environment,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self):
        """Wait for the run; gives what waitpid gave, 0 for a good end."""
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def nursery(tiny):
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | alone,
    )  # fmt: skip
    with process:
        yield Nursery(process)
        process.stdin.close()


@pytest.fixture
def job_of(small_index, tmp_path):
    """job_of(store, *features) -> Job of many units."""

    def make(store, *features):
        run = RunOptions(workers=1, unit_slices=4)
        return Job(small_index, tmp_path / store, features, run, KEEP)

    return make


@pytest.fixture
def clean(nursery, job_of, store_content):
    """clean(*features) -> content of a store that nobody disturbed."""

    def make(*features):
        job = job_of("clean.zarr", *features)
        nursery.start(job)
        assert nursery.end() == 0
        return store_content(job.store)

    return make


def check_part(content, clean):
    """What a killed run left is a part of the clean store, apart from its drafts."""
    mine = {key: data for key, data in content.items() if ".partial" not in key}
    wrong = [key for key, data in mine.items() if clean.get(key) != data]
    assert wrong == []


def readers(pid):
    """Process ids of a run's readers."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def kill(how, pid):
    """Kill a run, its whole group, or one of its readers; 1 if there was something to kill."""
    try:
        if how == "group":
            os.killpg(pid, signal.SIGKILL)
        elif how == "parent":
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(random.choice(await_readers(pid)), signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return 0  # it had finished
    return 1


def await_readers(pid):
    """Process ids of a run's readers as soon as there are any; an error when the run ends."""
    found = list(readers(pid))
    while not found:
        time.sleep(0.002)
        found = list(readers(pid))
    return found


def files_in(store):
    return sum(len(files) for _, _, files in os.walk(store))


def await_files(store, number, pid):
    """Wait until a run has so many files in its store, or ends: load makes no difference."""
    while files_in(store) < number and Path(f"/proc/{pid}/task").is_dir():
        time.sleep(0.002)


def kill_at_random(nursery, job, clean, n_kills, store_content):
    """Kill runs somewhere in what they write, and let some finish; compare every time."""
    rng = random.Random(7)
    kills = {"group": 0, "parent": 0, "reader": 0}
    finished = 0
    while sum(kills.values()) < n_kills or not finished:
        how = min(kills, key=lambda name: (kills[name], rng.random()))
        there = files_in(job.store)
        pid = nursery.start(job)
        await_files(job.store, there + rng.uniform(0, 1.3) * (len(clean) - there), pid)
        time.sleep(rng.uniform(0, 0.02))
        kills[how] += kill(how, pid)
        status = nursery.end()
        if status:
            assert status == signal.SIGKILL, "a run ends well, or because it was killed"
            if job.store.exists():
                check_part(store_content(job.store), clean)
            continue
        finished += 1
        assert store_content(job.store) == clean, f"after {kills}"
        discard(job.store)
    assert finished >= n_kills / 6
    return kills


def discard(store):
    import shutil

    shutil.rmtree(store)


def test_sixty_kills_leave_nothing_wrong(nursery, job_of, clean, store_content):
    features = (TINY, replace(TINY, name="other", size=48))
    job = job_of("killed.zarr", *features)
    kills = kill_at_random(nursery, job, clean(*features), 60, store_content)
    assert min(kills.values()) >= 15


@pytest.mark.slow
def test_five_hundred_kills_leave_nothing_wrong(nursery, job_of, clean, store_content):
    job = job_of("killed.zarr", TINY)
    kill_at_random(nursery, job, clean(TINY), 500, store_content)


@pytest.mark.slow
def test_kills_of_a_real_network_leave_nothing_wrong(nursery, job_of, clean, store_content):
    job = job_of("killed.zarr", REAL)
    kill_at_random(nursery, job, clean(REAL), 30, store_content)


def killed_at_writes(nursery, job, clean, numbers, store_content):
    """Kill a run at its n-th write, finish it, compare; for each n until a run has fewer."""
    for number in numbers:
        nursery.start(job, die_at_write=number)
        status = nursery.end()
        if status == 0:
            return number
        assert status == signal.SIGKILL
        check_part(store_content(job.store) if job.store.exists() else {}, clean)
        nursery.start(job)
        assert nursery.end() == 0
        assert store_content(job.store) == clean, f"killed at write {number}"
        discard(job.store)
    return None


def test_a_kill_at_a_write_leaves_nothing_wrong(nursery, job_of, clean, store_content):
    """At some writes of each kind: root, tables, arrays, status and feature chunks."""
    content = clean(TINY)
    job = job_of("killed.zarr", TINY)
    numbers = [1, 2, 3, 4, 5, 6, 7, 18, 19, 32]
    assert killed_at_writes(nursery, job, content, numbers, store_content) is None


@pytest.mark.slow
def test_a_kill_at_each_write_leaves_nothing_wrong(nursery, job_of, clean, store_content):
    content = clean(TINY)
    job = job_of("killed.zarr", TINY)
    last = killed_at_writes(nursery, job, content, range(1, 1000), store_content)
    assert last > 32


# ---- interrupted


@pytest.fixture
def command(nursery, job_of, small_phantom, tmp_path):
    """command(store, **environment) -> process id of `featurecache extract` at work."""

    def start(store, **environment):
        job = job_of(store, TINY)
        line = [
            "extract", small_phantom, "--backbone", "tiny", "--weights", "random:0", "--size", 32,
            "--precision", "fp32", "--batch-size", 4, "--unit-slices", 4, "--workers", 1,
            "--keep-ids", "--store", job.store, "--index", tmp_path / "own.sqlite",
        ]  # fmt: skip
        errors = tmp_path / f"{store}.errors"
        return nursery.start(job, command=list(map(str, line)), errors=errors, **environment)

    return start


def wait_for_a_unit(store):
    while not list(store.glob("part-0000/features/tiny/c.*.0")):
        time.sleep(0.01)


def group_is_left(pid):
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("signals", [["SIGINT"], ["SIGINT", "SIGINT"], ["SIGTERM"]])
def test_an_interrupted_command_ends_with_130_and_the_next_one_continues(
    nursery, command, tmp_path, store_content, signals
):
    command("clean.zarr")
    assert nursery.end() == 0
    clean = store_content(tmp_path / "clean.zarr")
    store = tmp_path / "cache.zarr"
    pid = command("cache.zarr", TINY_SLEEP="0.1")
    wait_for_a_unit(store)
    for name in signals:
        with suppress(ProcessLookupError):  # it may have heeded the first
            os.killpg(pid, getattr(signal, name))  # as a terminal and as Slurm do it
        time.sleep(0.05)
    assert os.waitstatus_to_exitcode(nursery.end()) == 130
    said = (tmp_path / "cache.zarr.errors").read_text()
    assert "Traceback" not in said
    if len(signals) == 1:
        assert "run the same command again to continue" in said
    left = store_content(store)
    check_part(left, clean)
    assert len(left) < len(clean)
    command("cache.zarr")
    assert nursery.end() == 0
    assert store_content(store) == clean
    until = time.monotonic() + 10
    while group_is_left(pid) and time.monotonic() < until:  # orphans are buried by another process
        time.sleep(0.05)
    assert not group_is_left(pid)
