"""Garbage goes; what readers see stays the same, whenever gc is killed."""

import shutil
import sys
import threading

import numpy as np
import pytest

from featurecache import arrays
from featurecache.errors import StoreCorruptError, StoreError, StoreLockedError
from featurecache.housekeeping.gc import gc
from featurecache.housekeeping.verify import verify
from featurecache.locks import store_lock
from featurecache.open_storage import open_storage
from featurecache.store import FeatureStore, describe


def matrices(seed, **rows):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(n, 3)).astype("float32") for name, n in rows.items()}


@pytest.fixture
def store(tmp_path, make_store):
    """Three parts: `b` is superseded once, `c` twice, with a failed slice at the end."""
    path = tmp_path / "cache.zarr"
    make_store(path, matrices(0, a=70, b=3, c=5), failed={"a": [3]}, dtype="float16")
    make_store(path, matrices(1, c=9), unit_slices=4, dtype="float16")
    return make_store(path, matrices(2, b=66, c=2), failed={"c": [1]}, dtype="float16")


def seen(path):
    """Everything that a reader can get."""
    features = FeatureStore.open(path)["toy"]
    tables = [features.slices, features.failed, features.series.reset_index()]
    return (
        features.to_numpy().tobytes(),
        [(series, matrix.tobytes()) for series, matrix in features.items()],
        [table.to_csv(index=False) for table in tables],
        features.recipe,
    )


def content(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_superseded_rows_go_and_readers_see_the_same_bits(store):
    before = seen(store)
    report = gc(store)
    assert (report.superseded_rows, report.parts, report.exit_code) == (3 + 5 + 9, [0, 1, 2], 0)
    assert seen(store) == before
    assert sorted(path.name for path in store.iterdir()) == ["part-0003", "zarr.json"]
    assert describe(store)["slices"] == describe(store)["features"]["toy"]["shape"][0] == 138
    assert verify(store).state == "sound"
    again = gc(store)
    assert (again.parts, again.superseded_rows, again.freed_bytes) == ([], 0, 0)
    assert "nothing to remove" in again.text()


def test_later_parts_come_after_the_new_one_and_can_be_dropped_too(store, make_store):
    gc(store)
    make_store(store, matrices(3, a=4), dtype="float16")
    before = seen(store)
    assert arrays.list_parts(open_storage(store)) == [3, 4]
    assert gc(store).parts == [3, 4]
    assert arrays.list_parts(open_storage(store)) == [5]
    assert seen(store) == before


def test_a_dry_run_says_the_same_and_changes_nothing(store):
    (store / "part-0000/features/toy/c.0.0.0123.partial").write_bytes(b"x")
    before = content(store)
    report = gc(store, dry_run=True)
    assert content(store) == before
    assert (report.superseded_rows, report.parts) == (17, [0, 1, 2])
    assert report.debris == ["cache.zarr/part-0000/features/toy/c.0.0.0123.partial"]
    assert "would be removed" in report.text()


def test_debris_of_killed_runs_goes_and_nothing_else(store):
    gc(store)
    clean = content(store)
    (store / ".part-0004.0123.partial/series").mkdir(parents=True)
    (store / ".part-0004.0123.partial/zarr.json").write_bytes(b"x")
    (store / f"part-0003/features/toy/c.0.0.{'0' * 32}.partial").write_bytes(b"x")
    (store.parent / f".cache.zarr.{'0' * 32}.partial").mkdir()
    (store / "part-0003/status/late").mkdir()
    (store / "part-0003/status/late/zarr.json").write_bytes(b"{}")
    (store / "notes.txt").write_text("mine")
    assert len(gc(store).debris) == 4
    assert content(store) == {**clean, "notes.txt": b"mine"}
    assert {path.name for path in store.parent.iterdir()} == {"cache.zarr", ".cache.zarr.lock"}


def test_status_of_a_unit_that_was_not_committed_goes(tmp_path, make_store):
    store = make_store(tmp_path / "c.zarr", matrices(0, a=70))
    (store / "part-0000/features/toy/c.1.0").unlink()
    report = gc(store)
    assert report.debris == ["c.zarr/part-0000/status/toy/c.1"]
    assert not (store / "part-0000/status/toy/c.1").exists()
    assert verify(store).state == "unfinished"


def test_rows_of_a_set_that_is_unfinished_stay(store, make_store):
    (store / "part-0001/features/toy/c.1.0").unlink()
    kept = content(store / "part-0000")
    report = gc(store)
    assert report.exit_code == 5
    assert "features 'toy' are unfinished" in report.text()
    assert content(store / "part-0000") == kept
    make_store(store, matrices(3, a=4), name="other")
    assert gc(store, dry_run=True).refused is not None


def test_a_damaged_store_is_left_alone(store):
    chunk = store / "part-0000/features/toy/c.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    before = content(store)
    with pytest.raises(StoreCorruptError):
        gc(store)
    assert content(store) == before


def test_a_store_that_is_written_to_is_left_alone(store):
    with store_lock(store), pytest.raises(StoreLockedError):
        gc(store)
    gc(store, dry_run=True)


def test_a_reader_that_was_open_says_that_the_store_changed(store):
    features = FeatureStore.open(store)["toy"]
    assert len(features["a"]) == 69
    gc(store)
    for read in (features.to_numpy, lambda: features["a"], lambda: features.slices):
        with pytest.raises(StoreError):
            read()


# ------------------------------------------------------------------ killed at every step


class Killed(BaseException):
    """Nothing that a process does after SIGKILL reaches the disk."""


class Killer:
    """Stops this thread at its n-th change of the disk, and every change after that."""

    EVENTS = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "open"}  # noqa: RUF012

    def __init__(self):
        self.armed, self.count, self.at, self.log = False, 0, None, []
        self.thread = threading.get_ident()
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if not self.armed or event not in self.EVENTS or threading.get_ident() != self.thread:
            return
        if event == "open" and (not isinstance(arguments[1], str) or arguments[1][0] not in "wxa"):
            return
        self.log.append(event)
        self.count += 1
        if self.at is not None and self.count > self.at:
            raise Killed(event)

    def run(self, function, at=None):
        """Run, and say whether it came to its end."""
        self.count, self.at, self.log, self.armed = 0, at, [], True
        try:
            function()
        except Killed:
            return False
        finally:
            self.armed = False
        return True


@pytest.fixture(scope="module")
def killer():
    return Killer()


def steps(log):
    """The first changes, each rename, what comes right before and after it, some of the rest."""
    renames = [number for number, event in enumerate(log) if event == "os.rename"]
    near = {number + offset for number in renames for offset in (-1, 0, 1)}
    return sorted({n for n in near if 0 <= n < len(log)} | set(range(0, len(log), 47)))


def test_killed_at_any_step_and_run_again_it_gives_what_it_would_have_given(
    tmp_path, make_store, killer
):
    store, trial = tmp_path / "store", tmp_path / "trial.zarr"
    make_store(store, matrices(0, a=70, b=3))
    make_store(store, matrices(1, b=66), failed={"b": [1]})
    before = seen(store)
    shutil.copytree(store, trial)
    assert killer.run(lambda: gc(trial))
    clean, log = content(trial), killer.log
    assert log.count("os.rename") >= 6
    for step in steps(log):
        shutil.rmtree(trial)
        shutil.copytree(store, trial)
        assert not killer.run(lambda: gc(trial), at=step)
        assert seen(trial) == before, f"killed at step {step}, {log[step]}"
        assert verify(trial).state in ("sound", "stray")
        gc(trial)
        assert content(trial) == clean, f"after a kill at step {step}, {log[step]}"
    assert {path.name for path in tmp_path.iterdir()} == {"store", "trial.zarr", ".trial.zarr.lock"}
