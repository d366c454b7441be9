"""A stop at any write leaves a store that says what is missing, and that the next run completes."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurecache import arrays
from featurecache.errors import (
    StoreCorruptError,
    StoreError,
    StoreIncompleteError,
    UsageError,
)
from featurecache.feature_array import FeatureArray
from featurecache.local_storage import LocalStorage
from featurecache.store import FeatureStore, describe

N, D = 10, 3
SLICES = [*(f"s0.{k}" for k in range(3)), *(f"s1.{k}" for k in range(7))]
VALUES = np.arange(N * D, dtype="float32").reshape(N, D) + 1
CLEAN = np.ones(N, "uint8")
FAILED = CLEAN.copy()
FAILED[[1, 5]] = 8, 2


def tree(folder):
    """Everything in a folder: name -> bytes, None for folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def consistent(storage):
    """Reads everything: what is returned is right, or StoreError says what is wrong."""
    features = FeatureStore.open(storage)["toy"]
    rows = dict(zip(features.slices["slice"], features.to_numpy(), strict=True))
    assert len(rows) + len(features.failed) == N
    for number, name in enumerate(SLICES):
        if name in rows:
            np.testing.assert_array_equal(rows[name], VALUES[number])
    return features


def test_a_kill_at_every_write_is_continued_to_the_same_bytes(tmp_path, faults):
    counting = faults.FaultyLocalStorage(tmp_path / "whole" / "c.zarr")
    faults.small_extract(counting, VALUES, FAILED)
    whole = tree(tmp_path / "whole")
    assert len(counting.steps) > 50
    for n in range(1, len(counting.steps) + 1):
        folder = tmp_path / f"{n}" / "c.zarr"
        with pytest.raises(faults.Killed):
            faults.small_extract(
                faults.FaultyLocalStorage(folder, at=n, how="torn"), VALUES, FAILED
            )
        with pytest.raises((StoreError, UsageError)):
            consistent(LocalStorage(folder))
        faults.small_extract(LocalStorage(folder), VALUES, FAILED)
        assert tree(tmp_path / f"{n}") == whole, counting.steps[n - 1]
    consistent(LocalStorage(folder))


def test_a_kill_at_every_write_of_a_retry_is_continued_to_the_same_bytes(tmp_path, faults):
    def failed_store(name):
        faults.small_extract(LocalStorage(tmp_path / name), VALUES, FAILED)
        return tmp_path / name

    counting = faults.FaultyLocalStorage(failed_store("whole"))
    faults.small_extract(counting, VALUES, CLEAN)
    assert [step.partition(" ")[0] for step in counting.steps] == ["put", "move"] * 3
    for n in range(1, 7):
        folder = failed_store(f"{n}")
        before = tree(folder)
        with pytest.raises(faults.Killed):
            faults.small_extract(faults.FaultyLocalStorage(folder, at=n), VALUES, CLEAN)
        if n <= 2:
            assert len(consistent(LocalStorage(folder)).failed) == 2
        else:
            with pytest.raises(StoreIncompleteError, match="were being tried again"):
                consistent(LocalStorage(folder))
        faults.small_extract(LocalStorage(folder), VALUES, CLEAN, retry=())
        if n > 2:
            assert tree(folder) == tree(tmp_path / "whole")
        else:
            assert {k: v for k, v in tree(folder).items() if ".partial" not in k} == before


def test_an_error_while_writing_is_passed_on_and_leaves_no_debris(tmp_path, faults):
    counting = faults.FaultyLocalStorage(tmp_path / "whole")
    faults.small_extract(counting, VALUES, FAILED)
    whole = tree(tmp_path / "whole")
    for n in [1, 2, 3, 30, *range(len(counting.steps) - 18, len(counting.steps) + 1)]:
        folder, number = tmp_path / f"{n}", (faults.ENOSPC, faults.EIO)[n % 2]
        with pytest.raises(OSError) as caught:
            faults.small_extract(
                faults.FaultyLocalStorage(folder, at=n, how=number), VALUES, FAILED
            )
        assert caught.value.errno == number
        assert set(tree(folder)) <= set(whole)
        faults.small_extract(LocalStorage(folder), VALUES, FAILED)
        assert tree(folder) == whole


def test_durable_writes_reach_the_disk_before_anything_depends_on_them(
    tmp_path, faults, monkeypatch
):
    """Before a rename all that it moves is synced, and after it the folder that got the name."""
    synced, waiting, wrong, moved = set(), set(), [], []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.add(path)
        waiting.discard(path)
        fsync(descriptor)

    def recorded_replace(source, target):
        moving = {str(source), *map(str, Path(source).rglob("*"))}
        wrong.extend(moving - synced)
        wrong.extend(waiting)  # a rename that came before is not on the disk yet
        replace(source, target)
        moved.append(str(target))
        waiting.add(str(Path(target).parent))

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    faults.small_extract(LocalStorage(tmp_path / "c.zarr", durable=True), VALUES, FAILED)
    monkeypatch.undo()
    assert (wrong, waiting) == ([], set())
    root = str(tmp_path / "c.zarr")
    part = f"{root}/part-0000"
    units = [f"{part}/{kind}" for u in range(3) for kind in
             (f"status/toy/c.{u}", f"features/toy/c.{u}.0")]  # fmt: skip
    assert moved == [root, part, f"{part}/status/toy", f"{part}/features/toy", *units]
    other = LocalStorage(tmp_path / "other.zarr")
    faults.small_extract(other, VALUES, FAILED)
    assert tree(tmp_path / "other.zarr") == tree(tmp_path / "c.zarr")


def test_nothing_is_synced_unless_asked_for(tmp_path, faults, monkeypatch):
    def fsync(descriptor):
        raise AssertionError("fsync")

    monkeypatch.setattr(os, "fsync", fsync)
    faults.small_extract(LocalStorage(tmp_path / "c.zarr"), VALUES, FAILED)
    consistent(LocalStorage(tmp_path / "c.zarr"))


def rewrite(storage, unit, values, status):
    """Write a unit's chunks one by one, whatever they say."""
    array = FeatureArray(storage, 0, "toy", writable=True)
    for where, rows in ((array.where, values), (array._status_where, status)):
        storage.write(*array._chunk(where, unit, rows))


@pytest.mark.parametrize(
    ("row_status", "row_value", "words"),
    [(1, np.nan, "calls row 2 ok, but it has no features"),
     (2, 5.0, "calls row 2 failed, but it has features")],
)  # fmt: skip
def test_a_status_that_does_not_fit_the_features_is_corrupt(
    tmp_path, faults, row_status, row_value, words
):
    storage = LocalStorage(tmp_path / "c.zarr")
    faults.small_extract(storage, VALUES, CLEAN)
    values, status = VALUES[:4].copy(), CLEAN[:4].copy()
    values[2], status[2] = row_value, row_status
    rewrite(storage, 0, values, status)
    features = FeatureStore.open(storage)["toy"]
    with pytest.raises(StoreCorruptError, match=words):
        features.to_numpy()
    with pytest.raises(StoreCorruptError, match=words):
        features["s0"]
    np.testing.assert_array_equal(features["s1"], VALUES[3:])


class Turns:
    """Lets two threads make one request each in a given order, then both run on."""

    def __init__(self, order):
        self.order, self.place = order, 0
        self.free = {"a": False, "b": False}
        self.condition = threading.Condition()

    def gate(self, who):
        def wait(_):
            with self.condition:
                self.condition.wait_for(lambda: self._may_go(who), timeout=30)
                self.place += self.place < len(self.order)
                self.condition.notify_all()

        return wait

    def _may_go(self, who):
        while self.place < len(self.order) and self.free[self.order[self.place]]:
            self.place += 1  # that one has finished
        return self.place >= len(self.order) or self.order[self.place] == who

    def finished(self, who):
        with self.condition:
            self.free[who] = True
            self.condition.notify_all()


def race(faults, objects, order, jobs):
    """Run one job a thread, their requests in this order; the error of each, or None."""
    turns, errors = Turns(order), {}

    def run(who, job):
        storage = faults.MemoryStorage(objects, turns.gate(who))
        try:
            job(storage)
            errors[who] = None
        except StoreError as error:
            errors[who] = error
        finally:
            turns.finished(who)

    threads = [threading.Thread(target=run, args=item) for item in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


ORDERS = st.lists(st.sampled_from("ab"), max_size=60)


@pytest.fixture(scope="module")
def planned(faults):
    """Objects of a store whose plan is made, without any unit."""
    objects = {}
    faults.small_extract(faults.MemoryStorage(objects), VALUES, CLEAN)
    return {key: data for key, data in objects.items() if "/toy/c." not in key}


def statuses():
    """Statuses of two rivals for unit 0: 1 ok, 8 I/O error."""
    return st.lists(st.sampled_from([1, 1, 8]), min_size=4, max_size=4)


@settings(max_examples=60)
@given(ORDERS, statuses(), statuses())
def test_of_two_rivals_for_a_unit_one_commits_and_status_and_features_fit(
    planned, faults, order, mine, theirs
):
    objects = dict(planned)

    def job(status):
        def write(storage):
            array = FeatureArray(storage, 0, "toy", writable=True)
            array.write_unit(0, VALUES[:4], np.array(status, "uint8"))

        return write

    errors = race(faults, objects, order, {"a": job(mine), "b": job(theirs)})
    assert list(errors.values()).count(None) >= 1
    for error in errors.values():
        assert error is None or "another run has begun unit 0" in str(error)
    array = FeatureArray(faults.MemoryStorage(objects), 0, "toy")
    assert array.units_done() == {0}
    values, status = array.read(0, 4), array.read_status()[:4]
    array.check_gaps(values, status)
    assert status.tolist() in (mine, theirs)
    np.testing.assert_array_equal(values[status == 1], VALUES[:4][status == 1])


@settings(max_examples=60)
@given(ORDERS, statuses(), statuses())
def test_of_two_rivals_that_try_a_unit_again_one_at_a_time_does(
    planned, faults, order, mine, theirs
):
    objects = dict(planned)
    faults.small_extract(faults.MemoryStorage(objects), VALUES, FAILED)

    def job(status):
        def update(storage):
            array = FeatureArray(storage, 0, "toy", writable=True)
            status_now = array.read_status()
            again = array.interrupted_rows(status_now, array.units_done()) | (status_now == 8)
            wanted = again[:4]
            array.update_unit(0, VALUES[:4], np.array(status, "uint8"), wanted)

        return update

    errors = race(faults, objects, order, {"a": job(mine), "b": job(theirs)})
    assert list(errors.values()).count(None) >= 1
    features = consistent(faults.MemoryStorage(objects))
    assert ("s0.1" in set(features.failed["slice"])) == (
        FeatureArray(features._store.storage, 0, "toy").read_status()[1] == 8
    )


@settings(max_examples=20)
@given(ORDERS)
def test_two_runs_at_once_leave_what_one_leaves(faults, order):
    alone, together = {}, {}
    faults.small_extract(faults.MemoryStorage(alone), VALUES, FAILED)

    def job(storage):
        faults.small_extract(storage, VALUES, FAILED, retry=())

    errors = race(faults, together, order, {"a": job, "b": job})
    assert errors == {"a": None, "b": None}
    assert together == alone


@settings(max_examples=20)
@given(ORDERS, st.integers(1, 6), st.integers(1, 6))
def test_tables_of_two_rivals_never_mix(faults, order, mine, theirs):
    objects = {}

    def job(n_slices):
        return lambda storage: arrays.create_part(storage, faults.small_tables([3, n_slices]))

    errors = race(faults, objects, order, {"a": job(mine), "b": job(theirs)})
    storage = faults.MemoryStorage(objects)
    parts = arrays.list_parts(storage)
    lengths = [arrays.read_table(storage, part, "series")["n_slices"].tolist() for part in parts]
    written = [[3, n] for who, n in (("a", mine), ("b", theirs)) if errors[who] is None]
    assert sorted(lengths) in (sorted(written), [[3, mine]] if mine == theirs else None)
    for part in parts:
        assert len(arrays.read_table(storage, part, "slices")) == sum(lengths[part])


@settings(max_examples=60)
@given(ORDERS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_two_rivals_follow_one_plan(planned, faults, order, unit, other_unit, plan, other_plan):
    objects = {key: data for key, data in planned.items() if "/toy/" not in key}
    seen = {}

    def job(who, unit_slices, batch_size):
        def create(storage):
            seen[who] = arrays.create_features(
                storage, 0, "toy", n_slices=N, dim=D, dtype="float32", unit_slices=unit_slices,
                attributes={**faults.ATTRIBUTES, "plan": {"batch_size": batch_size}},
            )  # fmt: skip
            FeatureArray(storage, 0, "toy")

        return create

    errors = race(
        faults, objects, order, {"a": job("a", unit, plan), "b": job("b", other_unit, other_plan)}
    )
    assert errors == {"a": None, "b": None}
    assert seen["a"] == seen["b"]
    assert seen["a"]["plan"]["batch_size"] in (plan, other_plan)


def test_a_part_that_is_being_written_is_not_there_yet_and_one_that_lost_its_metadata_is_corrupt(
    planned, faults
):
    begun = {key: data for key, data in planned.items() if key != "part-0000/zarr.json"}
    with pytest.raises(StoreCorruptError, match=r"part-0000/zarr\.json is missing"):
        describe(faults.MemoryStorage(begun))
    begun = {key: data for key, data in begun.items() if "/toy/" not in key}
    assert FeatureStore.open(faults.MemoryStorage(begun)).part_count == 0


def test_every_object_that_is_damaged_or_gone_is_reported(faults):
    objects = {}
    faults.small_extract(faults.MemoryStorage(objects), VALUES, FAILED)
    silent = []
    for key, data in list(objects.items()):
        if key.endswith(("/series/zarr.json", "/slices/zarr.json")):
            continue  # metadata of a group hold nothing that a reader uses
        if key.endswith(("/features/zarr.json", "/status/zarr.json")):
            continue
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 4
        for damage in (bytes(flipped), None):
            damaged = {**objects, key: damage}
            if damage is None:
                del damaged[key]
            try:
                features = FeatureStore.open(faults.MemoryStorage(damaged))["toy"]
                features.to_numpy(), features.slices, features.series, features.failed
                silent.append((key, damage is None))
            except StoreError:
                pass
    assert silent == []
