"""One writer at a time; a dead one leaves nothing to clean up."""

import os
import signal
import subprocess
import sys

import pytest

from featurecache.errors import StoreError, StoreLockedError
from featurecache.locks import store_lock

HOLD = """
import sys, pathlib, time
from featurecache.locks import store_lock
with store_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_second_writer_is_refused_with_the_name_of_the_first_and_a_dead_one_is_forgotten(tmp_path):
    store = tmp_path / "cache.zarr"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLockedError, match=f"process {holder.pid} on "), store_lock(store):
            pass
        os.kill(holder.pid, signal.SIGKILL)
    with store_lock(store):
        pass


def test_lock_leaves_nothing_in_the_store_and_can_be_taken_again(tmp_path):
    store = tmp_path / "cache.zarr"
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
