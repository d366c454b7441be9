"""An extraction that is stopped while it writes is continued by the next one."""

import os
import shutil

import numpy as np
import pytest

from featurecache.errors import StoreIncompleteError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.store import FeatureStore, describe

KEEP = Identifiers(None)
OPTIONS = {
    "backbone": "squeezenet1_1", "weights": "random:0", "size": 64, "precision": "fp32",
    "dtype": "float32", "batch_size": 4, "unit_slices": 16, "workers": 1, "device": "cpu",
}  # fmt: skip


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def run(small_index, split_options):
    """run(store, **options) -> report."""

    def call(store, **options):
        return extract(small_index, store, *split_options(**{**OPTIONS, **options}), KEEP)

    return call


def test_killed_while_it_plans_and_while_it_commits(run, faults, tmp_path):
    whole = faults.FaultyLocalStorage(tmp_path / "whole.zarr")
    report = run(whole)
    plan = len(whole.steps) - 4 * report.units
    for n in (2, plan // 2, plan, plan + 1, plan + 4, len(whole.steps) - 1):
        folder = tmp_path / f"{n}.zarr"
        with pytest.raises(faults.Killed):
            run(faults.FaultyLocalStorage(folder, at=n, how="torn"))
        assert run(folder).exit_code == 0
        assert content(folder) == content(tmp_path / "whole.zarr")
        shutil.rmtree(folder)


def test_a_durable_run_syncs_every_unit_and_leaves_the_same_bytes(run, tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def recorded(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    report = run(tmp_path / "c.zarr", durable=True)
    monkeypatch.undo()
    written = [path for path in synced if "/features/squeezenet1_1/c." in path]
    assert len(written) == report.units_done > 1
    run(tmp_path / "plain.zarr")
    assert content(tmp_path / "c.zarr") == content(tmp_path / "plain.zarr")


def test_disk_full_ends_the_run_and_the_next_one_goes_on(run, faults, tmp_path):
    whole, folder = tmp_path / "whole.zarr", tmp_path / "c.zarr"
    run(whole)
    full = faults.FaultyLocalStorage(folder, at=60, how=faults.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        run(full)
    done = describe(folder)["features"]["squeezenet1_1"]["units_done"]
    report = run(folder)
    assert report.timing.units == report.units - done
    assert content(folder) == content(whole)


def test_a_retry_that_is_killed_is_finished_by_any_later_run(run, small_phantom, faults, tmp_path):
    folder = tmp_path / "c.zarr"
    run(tmp_path / "clean.zarr")
    victim = max(small_phantom.rglob("*.dcm"))
    away = victim.rename(victim.with_suffix(".away"))
    assert run(folder).failed_rows == 1
    away.rename(victim)
    for at in (3, 4, 5):  # the features; the status that comes last
        copy = shutil.copytree(folder, tmp_path / f"{at}.zarr")
        with pytest.raises(faults.Killed):
            run(faults.FaultyLocalStorage(copy, at=at), retry_failed=True)
        assert not describe(copy)["features"]["squeezenet1_1"]["complete"]
        with pytest.raises(StoreIncompleteError, match="it finishes them"):
            FeatureStore.open(copy)["squeezenet1_1"]
        report = run(copy)
        assert (report.failed_rows, report.timing.slices, report.exit_code) == (0, 1, 0)
        assert content(copy) == content(tmp_path / "clean.zarr")
        features = FeatureStore.open(copy)["squeezenet1_1"]
        assert np.isfinite(features.to_numpy()).all()
