"""Files that kill readers, sick disks, full memory: the run goes on, and says what failed."""

import errno
import os
import sys

import numpy as np
import pytest

from featurecache import files, pipeline
from featurecache.errors import ReadError, StoreError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.index import Index
from featurecache.options import FeatureOptions, RunOptions
from featurecache.store import FeatureStore

KEEP = Identifiers(None)
TINY = FeatureOptions(
    "tiny", "random:0", size=32, precision="fp32", dtype="float32", batch_size=4, compile="off"
)
RUN = RunOptions(workers=2, unit_slices=8)

POISON = '''
"""What readers do to some files, told by the environment: FAULT=how:end of the path."""
import errno, os
from featurecache import files, pixels

HOW, _, VICTIM = os.environ["FAULT"].partition(":")
files.time.sleep = lambda pause_s: None

def decode(job):
    if job.path.endswith(VICTIM):
        if HOW == "abort":
            os.abort()
        if HOW == "exit":
            os._exit(3)
        if HOW == "memory":
            bytearray(64 << 30)
        if HOW == "exit once" and not os.path.exists(os.environ["FLAG"]):
            open(os.environ["FLAG"], "w").close()
            os._exit(3)
        if HOW in ("EIO", "ESTALE"):
            return sick(job)
    return pixels.decode_slice(job)

def sick(job):
    """Every open and every read fails once."""
    open(os.environ["FLAG"], "w").close()
    healthy = os.open, os.pread
    turn = [0]
    def ill(real):
        def call(*arguments):
            turn[0] += 1
            if turn[0] % 2:
                raise OSError(getattr(errno, HOW), "sick disk")
            return real(*arguments)
        return call
    os.open, os.pread = map(ill, healthy)
    try:
        return pixels.decode_slice(job)
    finally:
        os.open, os.pread = healthy
'''


@pytest.fixture
def run(tiny, small_index, tmp_path):
    def call(store, **options):
        return extract(small_index, tmp_path / store, [TINY], RUN, KEEP, **options)

    return call


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """faulty(how, end of path): from now on, readers do that."""
    (tmp_path / "poison.py").write_text(POISON)
    monkeypatch.syspath_prepend(str(tmp_path))

    def begin(how, victim=""):
        monkeypatch.setenv("FAULT", f"{how}:{victim}")
        monkeypatch.setenv("FLAG", str(tmp_path / "flag"))
        import poison

        monkeypatch.setattr(pipeline, "decode_slice", poison.decode)

    yield begin
    sys.modules.pop("poison", None)


@pytest.fixture
def victim(small_index):
    """End of the path of one image."""
    with Index.open(small_index, readonly=True) as index:
        return next(index.stacks()).slices[5].path


@pytest.mark.parametrize(
    ("how", "reason"),
    [("abort", "killed the reader"), ("exit", "killed the reader"), ("memory", "memory limit")],
)
def test_a_file_that_kills_or_fills_its_reader_is_one_failed_row(
    run, faulty, victim, tmp_path, how, reason
):
    run("clean.zarr")
    faulty(how, victim)
    report = run("cache.zarr")
    assert (report.exit_code, report.failed_rows) == (3, 1)
    assert report.units_done == report.units
    features = FeatureStore.open(tmp_path / "cache.zarr")["tiny"]
    assert features.failed["reason"].tolist() == [reason]
    whole = FeatureStore.open(tmp_path / "clean.zarr")["tiny"]
    kept = ~whole.slices["slice"].isin(features.failed["slice"]).to_numpy()
    np.testing.assert_array_equal(features.to_numpy(), whole.to_numpy()[kept])


def test_a_reader_that_dies_by_chance_costs_nothing(run, faulty, victim, tmp_path, store_content):
    run("clean.zarr")
    faulty("exit once", victim)
    assert run("cache.zarr").exit_code == 0
    assert (tmp_path / "flag").exists()
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "clean.zarr")


@pytest.mark.parametrize("error", ["EIO", "ESTALE"])
def test_every_open_and_read_may_fail_once(run, faulty, tmp_path, store_content, error):
    run("clean.zarr")
    faulty(error)
    assert run("cache.zarr").exit_code == 0
    assert (tmp_path / "flag").exists()
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "clean.zarr")


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE])
def test_the_nth_open_or_read_that_keeps_failing_fails_the_slice(
    write_ct, tmp_path, decode, monkeypatch, error
):
    """For every n there is; three failures in a row still pass."""
    path = write_ct(tmp_path / "a.dcm")
    expected = decode(path).stored
    monkeypatch.setattr(files.time, "sleep", lambda pause_s: None)
    healthy = {"open": os.open, "pread": os.pread}
    done, sick = 0, {"from": 0, "times": 0}

    def ill(name):
        def call(*arguments):
            nonlocal done
            if done + 1 >= sick["from"] and sick["times"]:
                sick["times"] -= 1
                raise OSError(error, "sick disk")
            done += 1
            return healthy[name](*arguments)

        return call

    for name in healthy:
        monkeypatch.setattr(files.os, name, ill(name))
    decode(path)
    n_calls = done
    assert n_calls >= 2, "it is opened, and read"
    for number in range(1, n_calls + 1):
        done, sick = 0, {"from": number, "times": 3}
        np.testing.assert_array_equal(decode(path).stored, expected)
        done, sick = 0, {"from": number, "times": 4}
        with pytest.raises(ReadError, match="read error: sick disk"):
            decode(path)


def test_where_device_memory_is_short_batches_are_halved(run, monkeypatch, tmp_path):
    run("clean.zarr")
    monkeypatch.setenv("TINY_LIMIT", "1")
    assert run("cache.zarr").exit_code == 0
    halved, whole = (
        FeatureStore.open(tmp_path / name)["tiny"].to_numpy()
        for name in ("cache.zarr", "clean.zarr")
    )
    np.testing.assert_allclose(halved, whole, rtol=1e-4, atol=1e-5)


def test_a_network_too_large_for_one_image_stops_the_run_and_keeps_what_is_there(
    run, monkeypatch, tmp_path, store_content
):
    import torch

    run("cache.zarr")
    before = store_content(tmp_path / "cache.zarr")
    lost = tmp_path / "cache.zarr/part-0000/features/tiny/c.2.0"
    lost.unlink()
    with pytest.raises(torch.OutOfMemoryError):
        run("cache.zarr", refresh=lambda: monkeypatch.setenv("TINY_LIMIT", "0"))
    assert not lost.exists()
    monkeypatch.delenv("TINY_LIMIT")
    run("cache.zarr")
    assert store_content(tmp_path / "cache.zarr") == before


def test_a_store_that_cannot_be_written_is_refused_before_any_work(run, monkeypatch, tmp_path):
    run("cache.zarr")
    work = []
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StoreError, match="cannot be written: check its owner"):
        run("cache.zarr", refresh=lambda: work.append("scan"))
    assert work == []
