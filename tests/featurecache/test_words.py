import pytest

from featurecache.account import Account
from featurecache.words import plural


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (0, "slice", "0 slices"),
        (1, "slice", "1 slice"),
        (2, "slice", "2 slices"),
        (1234, "file", "1,234 files"),
        (1, "series", "1 series"),
        (2, "series", "2 series"),
    ],
)
def test_one_is_one_and_more_are_more(count, noun, words):
    assert plural(count, noun) == words


def test_one_file_is_seen():
    assert Account(seen=1, used=1).text() == "1 file seen = 1 used + 0 skipped + 0 failed"
    assert Account(seen=1200, used=1200).text().startswith("1,200 files seen = 1,200 used")
