"""Shards share the units of a store and the plan that one of them made."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.errors import StoreIncompleteError, StoreLockedError, UsageError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.job import Job
from featurecache.locks import shard_lock
from featurecache.options import FeatureOptions, RunOptions, Shard
from featurecache.scan import scan

KEEP = Identifiers(None)
TINY = FeatureOptions(
    "tiny", "random:0", size=32, precision="fp32", dtype="float32", batch_size=4, compile="off"
)
FLAT = replace(TINY, backbone="flat")
RUN = RunOptions(workers=1, unit_slices=4)


@pytest.fixture
def run(tiny, small_index, tmp_path):
    """run(shard, *features, **options) -> report; shard as ``I/N`` or None."""

    def call(shard=None, *features, store="cache.zarr", index=small_index, refresh=None, **options):
        how = replace(RUN, shard=shard and Shard.parse(shard), **options)
        return extract(index, tmp_path / store, features or [TINY], how, KEEP, refresh=refresh)

    return call


@given(
    counts=st.lists(st.integers(1, 4), max_size=3), unit=st.integers(0, 400),
    part=st.integers(0, 20),
)  # fmt: skip
def test_every_unit_is_in_exactly_one_share_of_shares(counts, unit, part):
    plain = Job(Path("i"), Path("s"), (TINY,), RUN, KEEP)
    jobs = [plain]
    for count in counts:
        jobs = [one for job in jobs for one in job.on(["cpu"] * count)]
    assert sum(job.has(unit, part) for job in jobs) == 1
    assert plain.has(unit, part)


def test_shards_one_after_the_other_give_the_bytes_of_one_run(run, tmp_path, store_content):
    run(None, TINY, FLAT, store="plain.zarr")
    for number in (2, 3, 1):
        report = run(f"{number}/3", TINY, FLAT)
        assert report.exit_code == 0
        assert report.shard.units == report.shard.units_done == report.timing.units
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "plain.zarr")
    assert run().timing.units == 0, "nothing is left for a plain run"


def test_a_shard_says_that_it_did_its_part_and_what_is_left(run):
    first = run("1/2")
    document = first.document()
    assert document["shard"]["number"] == 1
    assert document["shard"]["of"] == 2
    assert document["shard"]["units"] == document["shard"]["units_done"]
    left = document["units"] - document["units_done"]
    assert 0 < left < document["units"]
    assert f"{left} of all {document['units']} are left" in first.text()
    assert "the store is complete" in run("2/2").text()


@pytest.fixture
def damaged(small_phantom, tmp_path):
    """The index of a tree whose very first slice in the store cannot be decoded."""
    tree = shutil.copytree(small_phantom, tmp_path / "dicom")
    images = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    images = [path for path in images if "LOCALIZER" not in pydicom.dcmread(path).ImageType]
    folder = images[0].parent
    mine = [path for path in images if path.parent == folder]
    victim = min(mine, key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    victim.write_bytes(victim.read_bytes()[:-1000])
    scan(tree, tmp_path / "index.sqlite", workers=1)
    return tmp_path / "index.sqlite"


def test_only_the_shard_with_a_failed_slice_ends_with_3(run, damaged):
    second = run("2/2", index=damaged)
    first = run("1/2", index=damaged)
    assert [second.exit_code, first.exit_code] == [0, 3]
    assert [second.failed_rows, first.failed_rows] == [0, 1]
    assert first.document()["files"]["failed"] == 1
    assert run(index=damaged).exit_code == 3, "a plain run reports on all of them"


def test_a_shard_that_joins_others_neither_scans_nor_plans(run, tmp_path):
    scans = []
    run("1/2", refresh=lambda: scans.append("first"))
    with shard_lock(tmp_path / "cache.zarr", Shard(1, 2)) as lock:
        lock.enter()
        lock.share()
        report = run("2/2", refresh=lambda: scans.append("joined"))
        assert report.units_done == report.units
        with pytest.raises(StoreIncompleteError, match="no plan for features flat"):
            run("2/2", FLAT)
    assert scans == ["first"]


def test_a_plain_run_and_other_numbers_are_refused_meanwhile(run, tmp_path):
    with shard_lock(tmp_path / "cache.zarr", Shard(1, 2)):
        with pytest.raises(StoreLockedError, match=r"shard 1/2, process .*same N"):
            run("2/3")
        with pytest.raises(StoreLockedError, match="shard 1/2, process"):
            run("1/2")


def test_shards_started_at_once_in_an_empty_folder(small_phantom, tmp_path, store_content):
    """Through the command line: one scans and plans, the others wait for it."""
    arguments = [
        sys.executable, "-m", "featurecache", "extract", small_phantom, "--backbone",
        "squeezenet1_1", "--weights", "random:0", "--size", "64", "--precision", "fp32",
        "--batch-size", "4", "--unit-slices", "8", "--workers", "1", "--keep-ids", "--json",
    ]  # fmt: skip
    shards = [
        subprocess.Popen(
            [*arguments, "--shard", f"{number}/3"], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    documents = []
    for shard in shards:
        output, errors = shard.communicate(timeout=300)
        assert shard.returncode == 0, errors
        documents.append(json.loads(output))
    assert sum(one["units_this_run"] for one in documents) == documents[0]["units"]
    assert sum(one["slices_this_run"] for one in documents) == documents[0]["slices"]
    whole = [*arguments, "--store", "whole.zarr"]
    subprocess.run(whole, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "whole.zarr")


def test_a_wrong_shard_is_refused_in_words():
    with pytest.raises(UsageError, match="--shard 5/4: expected I/N"):
        Shard.parse("5/4")
