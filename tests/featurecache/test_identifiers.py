"""Identifiers are hashed with a key that only its owner can read."""

import stat

import pytest

from featurecache.errors import StoreMismatchError, UsageError
from featurecache.identifiers import Identifiers, create_key


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "featurecache.key"
    assert create_key(path)
    return path


def test_key_is_private_random_and_never_replaced(key, tmp_path):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    content = key.read_bytes()
    assert not create_key(key)
    assert key.read_bytes() == content
    create_key(tmp_path / "other.key")
    assert (tmp_path / "other.key").read_bytes() != content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["featurecache.key", "other.key"]


def test_hashes_are_stable_and_differ_by_key_kind_and_value(key, tmp_path):
    create_key(tmp_path / "other.key")
    mine, other = Identifiers.load(key), Identifiers.load(tmp_path / "other.key")
    assert mine.series("1.2.3") == Identifiers.load(key).series("1.2.3")
    ids = {
        mine.series("1.2.3"), mine.series("1.2.4"), mine.patient("1.2.3"), mine.study("1.2.3"),
        mine.slice("1.2.3"), mine.slice("1.2.3", 1), other.series("1.2.3"),
    }  # fmt: skip
    assert len(ids) == 7
    assert all(len(value) == 32 and "1.2.3" not in value for value in ids)


def test_keeps_identifiers_when_told():
    kept = Identifiers.load(None, keep=True)
    assert kept.patient("../../x") == "../../x"
    assert kept.slice("1.2", 0) == "1.2"
    assert kept.slice("1.2", 1) == "1.2#2"
    assert kept.digest is None


def test_refuses_a_store_of_another_key_or_choice(key, tmp_path):
    create_key(tmp_path / "other.key")
    mine, other = Identifiers.load(key), Identifiers.load(tmp_path / "other.key")
    mine.check(mine.digest)
    with pytest.raises(StoreMismatchError, match="another key"):
        mine.check(other.digest)
    with pytest.raises(StoreMismatchError, match="Add --keep-ids"):
        mine.check(None)
    with pytest.raises(StoreMismatchError, match="Leave out --keep-ids"):
        Identifiers(None).check(mine.digest)


def test_says_what_to_do_without_a_key(tmp_path):
    with pytest.raises(UsageError, match="without it, joining fails"):
        Identifiers.load(tmp_path / "none.key")
    (tmp_path / "bad.key").write_text("hello")
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        Identifiers.load(tmp_path / "bad.key")
    with pytest.raises(UsageError, match="cannot write the key file"):
        create_key(tmp_path / "no folder" / "x.key")
