"""Every file is accounted for, or it is an error."""

import pytest

from featurecache.account import Account
from featurecache.errors import FeatureCacheError


def test_an_account_that_balances_passes():
    Account(3, 1, 1, 1, {("skipped", "a"): 1, ("failed", "b"): 1, ("warning", "c"): 9}).check()


@pytest.mark.parametrize(
    "account",
    [
        Account(4, 1, 1, 1, {("skipped", "a"): 1, ("failed", "b"): 1}),
        Account(3, 1, 1, 1, {("skipped", "a"): 2, ("failed", "b"): 1}),
        Account(3, 1, 1, 1, {("skipped", "a"): 1}),
    ],
)
def test_a_lost_file_or_a_lost_reason_is_an_error(account):
    with pytest.raises(FeatureCacheError, match="does not balance"):
        account.check()


def test_the_text_names_every_reason_with_its_count():
    text = Account(3, 1, 1, 1, {("skipped", "localizer"): 1, ("failed", "short"): 1}).text()
    assert "3 files seen = 1 used + 1 skipped + 1 failed" in text
    assert "localizer" in text
    assert "short" in text
