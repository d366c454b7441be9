"""Rows of a store find their files, whatever became of the index since."""

import sqlite3
from contextlib import closing

import pytest

from featurecache import arrays
from featurecache.catalogue import read_catalogue
from featurecache.errors import UsageError
from featurecache.identifiers import Identifiers
from featurecache.index import Index
from featurecache.local_storage import LocalStorage
from featurecache.new_part import add_part
from featurecache.rows import RowSource

KEY = Identifiers(bytes(range(32)))
LENGTHS = [3, 7, 2, 5, 4, 6]


@pytest.fixture
def found(tmp_path, scanned, write_series):
    for number, n_slices in enumerate(LENGTHS):
        write_series(tmp_path / "root", n_slices, uid=f"1.{number}")
    return scanned(tmp_path / "root")


@pytest.fixture
def store(tmp_path, found):
    storage = LocalStorage(tmp_path / "c.zarr")
    arrays.create_store(storage, KEY.digest)
    assert add_part(storage, found.index, KEY, read_catalogue(found.index, KEY)) == 0
    return storage


def test_every_row_leads_to_its_slice(found, store):
    source = RowSource(store, found.index, KEY)
    expected = [(s.path, s.frame) for stack in found.stacks for s in stack.slices]
    n = sum(LENGTHS)
    assert arrays.count_slices(store, 0) == n
    assert [source.path(0, row) for row in range(n)] == [path for path, _ in expected]
    jobs = list(source.jobs(0, range(n)))
    root = str(found.index.root)
    assert [(job.path, job.frame) for job in jobs] == [(f"{root}/{p}", f) for p, f in expected]
    assert list(source.jobs(0, range(5, 9))) == jobs[5:9]
    assert not source.missing(0).any()
    assert source.current(0).all()


def test_few_series_are_held_at_a_time(found, store):
    source = RowSource(store, found.index, KEY)
    for _ in source.jobs(0, range(sum(LENGTHS))):
        assert len(source._stacks) <= 4


def test_a_series_that_left_the_index_is_missing_and_one_that_changed_is_too(
    tmp_path, found, store, scanned, write_series
):
    for path in (tmp_path / "root").glob("1.1-*"):
        path.unlink()
    changed = next((tmp_path / "root").glob("1.3-000*"))
    changed.write_bytes(changed.read_bytes() + b"\0\0")
    found.index.close()
    later = scanned(tmp_path / "root")
    source = RowSource(store, later.index, KEY)
    assert source.missing_series() == 2
    missing = source.missing(0)
    assert missing.sum() == LENGTHS[1] + LENGTHS[3]
    outcomes = list(source.jobs(0, range(sum(LENGTHS))))
    assert set(outcomes[3:10]) == {"file vanished"}
    assert set(outcomes[12:17]) == {"file changed since the scan"}
    assert source.path(0, 3) is None
    assert source.count_series([KEY.series("1.0"), KEY.series("1.1"), "other"]) == 2


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM stacks WHERE key = '1.4'", "UPDATE files SET revision = 9",
     "UPDATE stacks SET wrapped = 1 WHERE key = '1.4'"],
)  # fmt: skip
def test_an_index_that_changes_during_a_run_stops_it(found, store, change):
    with Index.open(found.path, readonly=True) as index:
        source = RowSource(store, index, KEY)
        found.index.close()
        with closing(sqlite3.connect(found.path)) as database, database:
            database.execute(change)
        with pytest.raises(UsageError, match="changed during this run: a scan wrote to it"):
            list(source.jobs(0, range(17, 21)))
