"""A URL stays a URL, and what is none says what was expected."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.errors import UsageError
from featurecache.local_storage import LocalStorage
from featurecache.location import bucket_and_prefix, parse_location
from featurecache.open_storage import open_storage


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("cache.zarr", Path("cache.zarr")),
        ("/data/a b/cache.zarr", Path("/data/a b/cache.zarr")),
        ("s3", Path("s3")),
        ("c3://x", None),
        ("s3://lab/head-ct/cache.zarr", "s3://lab/head-ct/cache.zarr"),
        ("S3://lab/head-ct/cache.zarr/", "s3://lab/head-ct/cache.zarr"),
        ("s3://lab", "s3://lab"),
        ("s3://lab/größe 1", "s3://lab/größe 1"),
    ],
)
def test_tells_a_url_from_a_path(text, location):
    if location is None:
        with pytest.raises(UsageError, match=r"c3:// is no place for a store; expected s3://"):
            parse_location(text)
    else:
        assert parse_location(text) == location


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gs://lab/x", "gs:// is no place"),
        ("https://lab.s3.amazonaws.com/x", "https:// is no place"),
        ("s3:/lab/x", "lacks a slash"),
        (Path("s3://lab/x"), "a pathlib.Path drops one"),
        ("s3://", "expected s3://BUCKET/PREFIX"),
        ("s3:///x", "expected s3://BUCKET/PREFIX"),
        ("s3://lab//x", "no place"),
        ("s3://lab/../x", "no place"),
        ("s3://lab/x\n", "no place"),
        ("s3://l_b ad/x", "no place"),
        ("s3://lab/x?versionId=3", "no user, password, query"),
    ],
)
def test_refuses_what_names_no_bucket(text, words):
    with pytest.raises(UsageError, match=words):
        parse_location(text)


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="AWS_ACCESS_KEY_ID") as caught:
        open_storage("s3://me:very-secret@lab/x")
    assert "very-secret" not in str(caught.value)


@given(st.from_regex(r"[a-z0-9][a-z0-9.-]{1,62}(/[A-Za-z0-9 äß._-]*[a-z]){0,3}", fullmatch=True))
def test_a_url_is_parsed_to_itself_and_taken_apart(rest):
    url = parse_location(f"s3://{rest}")
    assert url == f"s3://{rest}" == parse_location(url)
    bucket, prefix = bucket_and_prefix(url)
    assert f"{bucket}/{prefix}".rstrip("/") == rest


def test_storages_stay_what_they_are_and_paths_become_folders(tmp_path):
    storage = open_storage(tmp_path / "c.zarr", durable=True)
    assert isinstance(storage, LocalStorage)
    assert (storage.folder, storage.durable, storage.name) == (tmp_path / "c.zarr", True, "c.zarr")
    assert open_storage(storage) is storage
    assert open_storage(str(storage)).folder == storage.folder
