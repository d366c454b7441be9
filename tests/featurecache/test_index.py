"""The index file itself: its version, and what is said about one that does not fit."""

import hashlib
import os
import sqlite3
from contextlib import closing

import pytest

from featurecache.errors import UsageError
from featurecache.index import SCHEMA_VERSION, Index
from featurecache.scan import scan
from featurecache.schema import SCHEMA


@pytest.fixture
def changed(tmp_path, scanned, write_series):
    """changed(*statements) -> path of a finished index, then changed by these SQL statements."""

    def run(*statements):
        write_series(tmp_path / "root", 3)
        path = scanned(tmp_path / "root", index="made.sqlite").path
        copy = tmp_path / "index.sqlite"
        copy.write_bytes(path.read_bytes())
        with closing(sqlite3.connect(copy)) as database, database:
            for statement in statements:
                database.execute(statement)
        return copy

    return run


def test_an_index_from_before_the_probes_table_is_refused_with_a_way_out(changed, tmp_path):
    path = changed("DROP TABLE probes", "UPDATE meta SET value = 1 WHERE key = 'schema_version'")
    before = path.read_bytes()

    for use in (lambda: Index.open(path, readonly=True), lambda: scan(tmp_path / "root", path)):
        with pytest.raises(UsageError) as caught:
            use()

        message = str(caught.value)
        assert str(path) in message
        assert f"an older featurecache: index version 1, expected {SCHEMA_VERSION}" in message
        assert "Delete it and run `featurecache scan` again, or use another --index" in message
    assert path.read_bytes() == before, "a refused index stays as it is"


def test_an_index_of_a_later_version_is_refused(changed):
    path = changed("UPDATE meta SET value = value + 1 WHERE key = 'schema_version'")

    with pytest.raises(UsageError, match="made by a newer featurecache"):
        Index.open(path)


@pytest.mark.parametrize(
    "statements",
    [
        [],
        ["CREATE TABLE meta (key TEXT, value)"],
        ["CREATE TABLE meta (key TEXT, value)", "INSERT INTO meta VALUES ('schema_version', 'x')"],
        ["CREATE TABLE songs (title TEXT)"],
    ],
    ids=["empty", "no version", "version is text", "other tables"],
)
def test_another_database_is_not_taken_for_an_index(tmp_path, statements):
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)

    with pytest.raises(UsageError, match="not an index of featurecache"):
        Index.open(path, readonly=True)


def test_a_new_index_has_the_version_of_its_tables(tmp_path):
    with Index.open(tmp_path / "index.sqlite") as index:
        assert index.meta("schema_version") == SCHEMA_VERSION


def test_a_change_of_the_tables_raises_the_version():
    digest = hashlib.blake2b(" ".join(SCHEMA.split()).encode(), digest_size=8).hexdigest()

    assert (SCHEMA_VERSION, digest) == (3, "4fbf16f4ed807d0a"), (
        "the tables changed: raise index.SCHEMA_VERSION, then note version and digest here"
    )


def test_a_series_is_found_by_its_folder_whatever_its_bytes(tmp_path, write_series, scanned):
    folder = tmp_path / "tree" / os.fsdecode(b"k\xe4se\n\xff")
    write_series(folder, n=2)
    assert scanned(tmp_path / "tree").index.find(str(folder)).key == "1.2.2"


def test_a_folder_may_be_named_from_the_root_as_info_prints_it(
    tmp_path, write_series, scanned, monkeypatch
):
    write_series(tmp_path / "tree" / "p1" / "s1", n=2, uid="1.1")
    write_series(tmp_path / "tree" / "p1" / "s2", n=2, uid="1.2")
    index = scanned(tmp_path / "tree").index
    assert index.find("p1/s2").key == "1.2"
    monkeypatch.chdir(tmp_path / "tree" / "p1")
    assert index.find("s1").key == index.find("p1/s1").key == "1.1"
    with pytest.raises(UsageError, match="No series"):
        index.find("p1/s3")


def test_a_folder_of_many_series_names_some_and_counts_the_rest(tmp_path, write_series, scanned):
    for number in range(7):
        write_series(tmp_path / "tree" / f"{number}", n=2, uid=f"1.{number}")
    with pytest.raises(UsageError) as error:
        scanned(tmp_path / "tree").index.find(str(tmp_path / "tree"))
    assert str(error.value).endswith("holds 7 series; name one: 1.0, 1.1, 1.2, 1.3, 1.4 and 2 more")
