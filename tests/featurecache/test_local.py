"""Several devices of one machine: a process each, which share the units."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from featurecache.backbones import register_backbone
from featurecache.devices import resolve_devices
from featurecache.errors import FeatureCacheError, MissingResourceError, StoreError, UsageError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.job import Job
from featurecache.options import FeatureOptions, RunOptions, Shard
from featurecache.timing import FeatureTiming, Timing, together

KEEP = Identifiers(None)
TINY = FeatureOptions(
    "tiny", "random:0", size=32, precision="fp32", dtype="float32", batch_size=4, compile="off"
)
FLAT = replace(TINY, backbone="flat")
RUN = RunOptions(workers=1, unit_slices=4)


@pytest.fixture
def run(tiny, small_index, tmp_path):
    """run(device, *features, **options) -> report."""

    def call(device, *features, store="cache.zarr", progress=None, **options):
        how = replace(RUN, device=device, **options)
        features = features or [TINY]
        return extract(small_index, tmp_path / store, features, how, KEEP, progress=progress)

    return call


@pytest.fixture
def one(run):
    """The report of one process that follows the plan of two: threads are a matter of the plan."""
    run("cpu,cpu", TINY, FLAT, store="one.zarr", plan_only=True)
    return run("cpu", TINY, FLAT, store="one.zarr")


def test_two_processes_give_the_bytes_of_one(run, one, tmp_path, store_content):
    told = []
    both = run("cpu,cpu", TINY, FLAT, progress=lambda done, total: told.append((done, total)))
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "one.zarr")
    assert both.timing.slices == one.timing.slices == both.rows
    assert both.timing.units == one.timing.units == both.units
    assert told[-1] == (both.rows, both.rows)
    assert both.timing.wall_s > 0
    assert both.bound_by is not None


def children():
    """Processes that compute for this one: (pid, command line)."""
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        for pid in (task / "children").read_text().split():
            if b"engines.local" in Path(f"/proc/{pid}/cmdline").read_bytes():
                yield int(pid)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_a_process_that_dies_is_reported_and_the_next_run_continues(
    run, one, tmp_path, store_content
):
    run("cpu,cpu", TINY, FLAT, plan_only=True)

    def kill_one():
        while not (found := list(children())):
            time.sleep(0.01)
        os.kill(found[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(FeatureCacheError, match=r"device cpu ended with signal 9.*it continues"):
        run("cpu,cpu", TINY, FLAT)
    killer.join()
    assert list(children()) == []
    done = run("cpu", TINY, FLAT)
    assert done.units_done == done.units
    assert 0 < done.timing.units < done.units, "the other process finished its part"
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "one.zarr")


def test_what_a_process_says_is_raised_here_as_it_was_there(run, monkeypatch, tiny, small_index):
    """A feature that float16 cannot hold is an error of the store."""
    huge = replace(TINY, name="huge", dtype="float16")
    run("cpu", huge, plan_only=True)
    monkeypatch.setenv("TINY_SCALE", "1e9")
    with pytest.raises(StoreError, match=r"cpu: .*float16 cannot hold.*--dtype float32"):
        run("cpu,cpu", huge)


def test_a_job_survives_its_way_to_another_process(tiny):
    job = Job(
        Path("i"), Path("s"), (TINY, replace(FLAT, fov_mm=200.0, spacing_mm=1.0)),
        replace(RUN, shard=Shard(2, 3)), Identifiers(bytes(range(32))), (Shard(2, 3), Shard(1, 2)),
    )  # fmt: skip
    document = job.document()
    assert Job.read(document) == job
    assert document["modules"] == ["tiny_backbones"]


def test_a_backbone_of_a_script_cannot_be_had_in_other_processes(tiny):
    def mine():
        raise NotImplementedError

    mine.__module__ = "__main__"
    register_backbone("scripted", mine)
    job = Job(Path("i"), Path("s"), (replace(TINY, backbone="scripted"),), RUN, KEEP)
    with pytest.raises(UsageError, match="'scripted' is registered in a script"):
        job.document()


def test_devices_of_one_kind_only(monkeypatch):
    assert [str(device) for device in resolve_devices("cpu,cpu")] == ["cpu", "cpu"]
    assert [str(device) for device in resolve_devices("cpu")] == ["cpu"]
    with pytest.raises(UsageError, match="expected auto, cpu"):
        resolve_devices("cpu,gpu")
    with pytest.raises(MissingResourceError, match="cuda:7 is not there"):
        resolve_devices("cpu,cuda:7")
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for text in ("auto", "cuda"):
        assert [str(one) for one in resolve_devices(text)] == ["cuda:0", "cuda:1", "cuda:2"]
    assert [str(one) for one in resolve_devices("cuda:1")] == ["cuda:1"]
    with pytest.raises(UsageError, match="devices of one kind"):
        resolve_devices("cpu,cuda:1")


def test_times_of_processes_side_by_side_are_summed_but_for_the_clock():
    one = Timing(read_s=1, decode_s=2, wait_s=3, write_s=4, compile_s=5, wall_s=6, slices=7)
    one.features = [FeatureTiming(1.0, 2.0, 7, 1, 10.0), FeatureTiming(1.0, 1.0, 7, 1, None)]
    one.warnings["odd"] += 2
    both = together([one, Timing.read(one.document())])
    assert (both.read_s, both.decode_s, both.wait_s, both.write_s) == (2, 4, 6, 8)
    assert (both.compile_s, both.wall_s, both.slices, both.units) == (5, 6, 14, 4)
    assert both.warnings == {"odd": 4}
    assert both.features[0].bare_slices_per_s == 20
    assert both.bare_s is None, "one of the speeds is not known"
    both.features[1].bare_slices_per_s = 40.0
    assert both.bare_s == pytest.approx(14 / 20 + 14 / 40)
