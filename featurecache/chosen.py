"""A selection applied to an index: which series and files are left out, and by which rule."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from featurecache.account import Account
from featurecache.errors import UsageError
from featurecache.index import Index
from featurecache.select import Candidate, Selection

_CANDIDATES = """
SELECT key, patient_id, study_uid, thickness_mm, median_gap_mm,
    (SELECT count(*) FROM frames WHERE frames.stack = stacks.id), description, kernel
FROM stacks WHERE usable ORDER BY patient_id, study_uid, key
"""
_USED_FILES = """
SELECT path, key FROM files JOIN frames ON files.id = file JOIN stacks ON stacks.id = stack
WHERE status = 'used' AND usable ORDER BY file, key
"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a selection leaves out of an index.

    Parameters
    ----------
    texts : tuple of str
        The rules.
    series : mapping of str to str
        Key of each usable stack that is not used -> reason.
    files : mapping of str to str
        Path of each file that is in no series used, as in `Slice` -> reason.
    last_taker : str or None
        Where nothing is left: the rule that took the last series.
    """

    texts: tuple[str, ...] = ("all",)
    series: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    last_taker: str | None = None

    def check(self) -> None:
        """Raise unless some series is left, or there was none.

        Raises
        ------
        UsageError
            The rule that took the last series is named.
        """
        if self.last_taker is not None:
            raise UsageError(
                f"the selection leaves no series: {self.last_taker}. Change --select, or `select` "
                "in featurecache.toml; `featurecache scan --select all` shows every series"
            )

    def settle(self, account: Account) -> Account:
        """Move the files that are left out from used to skipped.

        Parameters
        ----------
        account : Account
            Of the scan.

        Returns
        -------
        Account
            Another one; it balances.

        Raises
        ------
        FeatureCacheError
            It does not balance.
        """
        moved = Account(
            account.seen, account.used - len(self.files), account.skipped + len(self.files),
            account.failed, dict(account.reasons),
        )  # fmt: skip
        for reason in self.files.values():
            moved.reasons["skipped", reason] = moved.reasons.get(("skipped", reason), 0) + 1
        moved.check()
        return moved


def choose(index: Index, selection: Selection | None) -> Chosen:
    """Apply a selection.

    Parameters
    ----------
    index : Index
        What the scan found.
    selection : Selection or None
        None: every usable series is used.

    Returns
    -------
    Chosen
        Use `Chosen.check` before work.
    """
    if selection is None or selection == Selection():
        return Chosen()
    series = list(_candidates(index))
    left_out = selection.left_out(series)
    files = dict(_files(index, left_out)) if left_out else {}
    return Chosen(selection.texts, left_out, files, selection.last_taker(series))


def _candidates(index: Index) -> Iterator[Candidate]:
    for key, patient, study, thickness, gap, *rest in index.database.execute(_CANDIDATES):
        yield Candidate(key, patient, study, _nan(thickness), _nan(gap), *rest)


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _files(index: Index, left_out: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A file with frames in several stacks is left out if all of them are."""
    for path, rows in groupby(index.database.execute(_USED_FILES), key=lambda row: row[0]):
        reasons = [left_out.get(key) for _, key in rows]
        if reasons[0] is not None and None not in reasons:
            yield os.fsdecode(path), reasons[0]
