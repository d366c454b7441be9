"""One writer at a time, or shards side by side; a dead one leaves nothing to clean up."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from featurecache.errors import StoreError, StoreLockedError, UsageError
from featurecache.locks import shard_lock, store_lock
from featurecache.options import Shard

HOLD = """
import sys, pathlib, time
from featurecache.locks import shard_lock, store_lock
from featurecache.options import Shard
store = pathlib.Path(sys.argv[1])
if sys.argv[2] == "all":
    with store_lock(store):
        print("held", flush=True)
        sys.stdin.read()
else:
    with shard_lock(store, Shard.parse(sys.argv[2])) as lock:
        lock.enter()
        if lock.alone and sys.argv[3] == "plans":
            print("held", flush=True)
            sys.stdin.readline()
        if lock.alone:
            lock.share()
        print("held", flush=True)
        sys.stdin.read()
"""


@contextmanager
def held(store, what="all", how="shares"):
    """Another process that holds the store until the end, or until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store), what, how],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def store(tmp_path):
    return tmp_path / "cache.zarr"


def enter(store, text):
    with shard_lock(store, Shard.parse(text)) as lock:
        lock.enter()
        return lock.alone


def test_second_writer_is_refused_with_the_name_of_the_first_and_a_dead_one_is_forgotten(store):
    with (
        held(store) as holder,
        pytest.raises(StoreLockedError, match=f"process {holder.pid} on "),
        store_lock(store),
    ):
        pass
    with store_lock(store):
        pass


def test_lock_leaves_nothing_in_the_store_and_can_be_taken_again(store):
    store.mkdir()
    for _ in range(2):
        with store_lock(store):
            assert list(store.iterdir()) == []


def test_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match="cannot write beside"),
        store_lock(tmp_path / "file" / "x"),
    ):
        pass


def test_different_shards_of_one_number_run_side_by_side(store):
    with held(store, "1/3"), shard_lock(store, Shard(2, 3)) as mine:
        mine.enter()
        assert not mine.alone, "another shard is at work, so the plan is not ours to change"
        with shard_lock(store, Shard(3, 3)) as third:
            third.enter()
            assert not third.alone


def test_a_shard_that_comes_first_holds_the_store_alone_until_it_shares(store):
    with shard_lock(store, Shard(1, 2)) as lock:
        lock.enter()
        assert lock.alone
        lock.share()
        assert not lock.alone
        assert not enter(store, "2/2")


@pytest.mark.parametrize(
    ("holds", "comes", "why"),
    [("2/3", "2/3", "shard 2/3, process"), ("2/3", "1/4", "shard 2/3, process.*same N"),
     ("all", "1/4", "written by process")],
)  # fmt: skip
def test_a_shard_is_refused_and_told_who_is_there(store, holds, comes, why):
    with held(store, holds), pytest.raises(StoreLockedError, match=why):
        enter(store, comes)
    assert enter(store, comes)


def test_a_plain_run_is_refused_while_shards_are_at_work(store):
    with (
        held(store, "2/3"),
        pytest.raises(StoreLockedError, match=r"shard 2/3, process \d+ on "),
        store_lock(store),
    ):
        pass
    with store_lock(store):
        assert not list(store.parent.glob(".cache.zarr.lock.*")), "what a killed shard left is gone"


def test_a_shard_waits_for_the_one_that_makes_the_plan(store):
    told = []
    with held(store, "1/3", "plans") as planner:
        threading.Timer(1.0, lambda: (planner.stdin.write("\n"), planner.stdin.flush())).start()
        with shard_lock(store, Shard(2, 3)) as lock:
            lock.enter(told.append)
            assert not lock.alone
    assert [text.partition(" on ")[0] for text in told] == [f"shard 1/3, process {planner.pid}"]


def test_a_shard_takes_over_from_a_planner_that_dies(store):
    with held(store, "1/3", "plans") as planner:
        threading.Timer(0.5, lambda: os.kill(planner.pid, signal.SIGKILL)).start()
        assert enter(store, "2/3")


def test_a_lock_that_is_handed_to_a_child_outlives_its_holder(store):
    with store_lock(store) as descriptor:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE,
            pass_fds=(descriptor,),
        )  # fmt: skip
    with child:
        with pytest.raises(StoreLockedError), store_lock(store):
            pass
        child.kill()
        child.wait()
        with store_lock(store):
            pass


def test_many_shards_started_at_once_all_get_in(store):
    errors, alone = [], []

    def one(number):
        try:
            with shard_lock(store, Shard(number, 6)) as lock:
                lock.enter()
                alone.append(lock.alone)
                if lock.alone:
                    time.sleep(0.1)
                    lock.share()
                time.sleep(0.5)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(alone) == 6
    assert any(alone)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", ""])
def test_shards_are_numbered_from_one(text):
    with pytest.raises(UsageError, match="I from 1 to N"):
        Shard.parse(text)
