"""What no header says, asked of a few slices of a series and remembered in the index.

Are the values of a DICOM series wrapped (`wrap`)? Can those of a NIfTI file be Hounsfield units
(`hounsfield`)? A series whose slices cannot be read for a passing reason has no answer: it is not
used, its files count as failed, and the next scan asks again (`outdated`).
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

from featurecache.crew import Workers
from featurecache.hounsfield import Look, is_mask, look_at, why_not_hu
from featurecache.index import Index
from featurecache.nifti import is_nifti
from featurecache.pixels import DecodeJob, decode_slice, stored_values
from featurecache.pool import Failure, isolated_map
from featurecache.reasons import MASK, NOT_HU, RETRIED_REASONS, VALUES_UNDECIDED
from featurecache.words import plural
from featurecache.wrap import has_air_peak

WRAPPED = "RSNA 12-bit wrap undone"
NOT_WRAPPED = "unsigned, intercept near 0, no air peak: left as it is"
HU_ASSUMED = "NIfTI values do not look like Hounsfield units: taken as such"
_PROBES = 8
_BATCH = 256

_PLACED = """
SELECT frame, path, size, mtime_ns, assumed_hu FROM frames JOIN files ON files.id = file
JOIN stacks ON stacks.id = stack WHERE frames.series_uid = ? AND usable
AND (may_be_wrapped OR image_type = 'NIFTI') ORDER BY key, place
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What slices of one series said.

    Parameters
    ----------
    peaks : tuple of bool
        Of DICOM slices: whether there is the air peak of a wrapped one.
    looks : tuple of Look
        Of NIfTI slices: what was seen.
    passing : tuple of str
        Why slices could not be read, where the reason may pass.
    n_damaged : int
        Slices that can never be read.
    """

    peaks: tuple[bool, ...]
    looks: tuple[Look, ...]
    passing: tuple[str, ...]
    n_damaged: int

    @classmethod
    def of(cls, results: Sequence[bool | Look | Failure]) -> Self:
        """Sort the results of workers."""
        failures = [result for result in results if isinstance(result, Failure)]
        passing = [failure for failure in failures if failure.reason in RETRIED_REASONS]
        return cls(
            tuple(result for result in results if isinstance(result, bool)),
            tuple(result for result in results if isinstance(result, Look)),
            tuple(f"{failure.reason}: {failure.detail}" for failure in passing),
            len(failures) - len(passing),
        )

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(
            self.peaks + other.peaks,
            self.looks + other.looks,
            self.passing + other.passing,
            self.n_damaged + other.n_damaged,
        )

    @property
    def n_given(self) -> int:
        """Slices that were read."""
        return len(self.peaks) + len(self.looks)

    @property
    def n_asked(self) -> int:
        """All slices."""
        return self.n_given + len(self.passing) + self.n_damaged

    @property
    def wrapped(self) -> bool:
        """One slice with air is proof."""
        return any(self.peaks)

    @property
    def need_more(self) -> bool:
        """Whether the other slices may say what these do not.

        Where each of these is damaged for good, others may not be; where some were read and some
        could not be, the others decide. Where none could be read now, none is asked.
        """
        return not self.wrapped and bool(self.passing) == bool(self.n_given)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the slices of a series say.

    Parameters
    ----------
    wrapped : bool
        The wrap is to be undone.
    finding : str or None
        A warning.
    status, reason, detail : str or None
        "skipped" or "failed" where the series is not to be used, and why.
    look : str or None
        Of a NIfTI file: equal for equal voxels.
    """

    wrapped: bool = False
    finding: str | None = None
    status: str | None = None
    reason: str | None = None
    detail: str | None = None
    look: str | None = None


def decide_values(index: Index, workers: Workers, timeout_s: float, *, assume_hu: bool) -> None:
    """Decide for every series in the ``probes`` table what its values mean.

    Parameters
    ----------
    index : Index
        Open for writing, with its stacks built; a series decided leaves the table.
    workers : int or Crew
        Reader processes.
    timeout_s : float
        Seconds a slice may take.
    assume_hu : bool
        Use NIfTI files whose values do not look like Hounsfield units, with a warning.
    """
    database = index.database
    while rows := database.execute("SELECT series_uid FROM probes LIMIT ?", (_BATCH,)).fetchall():
        answers = _ask(index, [name for (name,) in rows], workers, timeout_s, spread=True)
        again = [name for name, given in answers.items() if given.need_more]
        for name, given in _ask(index, again, workers, timeout_s, spread=False).items():
            answers[name] = answers[name] + given
        database.execute("BEGIN")
        for name, given in answers.items():
            _settle(index, name, _verdict(given, assume_hu))
        database.executemany("DELETE FROM probes WHERE series_uid = ?", rows)
        database.execute("COMMIT")


def _ask(
    index: Index, names: Sequence[str], workers: Workers, timeout_s: float, *, spread: bool
) -> dict[str, Answers]:
    """Return what slices of each series say; a series without slices to be asked is left out."""
    jobs = ((name, job) for name in names for job in _jobs(index, name, spread=spread))
    results = isolated_map(ask, jobs, workers=workers, timeout_s=timeout_s, chunk=_PROBES)
    return {
        name: Answers.of([answer for _, answer in found])
        for name, found in groupby(results, key=lambda pair: pair[0][0])
    }


def _jobs(index: Index, series_uid: str, *, spread: bool) -> Iterator[DecodeJob]:
    """Yield jobs for a few slices spread over a series, or for all the others."""
    rows = index.database.execute(_PLACED, (series_uid,)).fetchall()
    root = os.fspath(index.root)
    count = min(_PROBES, len(rows))
    few = {(2 * number + 1) * len(rows) // (2 * count) for number in range(count)}
    for place, row in enumerate(rows):
        if (place in few) is spread:
            yield DecodeJob.of(root, *row)


def ask(item: tuple[str, DecodeJob]) -> bool | Look:
    """Look at one slice; runs in a worker.

    Parameters
    ----------
    item : tuple of str and DecodeJob
        Name of the series, and what to decode.

    Returns
    -------
    bool or Look
        Of DICOM whether it has the air peak of a wrapped slice; of NIfTI what was seen.

    Raises
    ------
    ReadError
        If the slice cannot be read.
    """
    job = item[1]
    if not is_nifti(job.path):
        return has_air_peak(stored_values(job))
    decoded = decode_slice(job)
    return look_at(decoded.stored * decoded.slope + decoded.intercept)


def _verdict(answers: Answers, assume_hu: bool) -> Verdict:
    if answers.wrapped:
        return Verdict(wrapped=True, finding=WRAPPED)
    if answers.passing and len(answers.passing) >= answers.n_given:
        asked = plural(answers.n_asked, "slice")
        detail = f"{len(answers.passing)} of {asked}: {answers.passing[0]}"
        return Verdict(status="failed", reason=VALUES_UNDECIDED, detail=detail)
    if answers.looks:
        return _nifti_verdict(answers.looks, assume_hu)
    return Verdict(finding=NOT_WRAPPED if answers.peaks else None)


def _nifti_verdict(looks: Sequence[Look], assume_hu: bool) -> Verdict:
    why = why_not_hu(looks)
    look = " ".join(one.digest for one in looks)
    look = hashlib.blake2b(look.encode(), digest_size=16).hexdigest()
    if why is None:
        return Verdict(look=look)
    if is_mask(looks):
        return Verdict(status="skipped", reason=MASK, detail=why)
    if assume_hu:
        return Verdict(finding=HU_ASSUMED, look=look)
    return Verdict(status="failed", reason=NOT_HU, detail=why)


def _settle(index: Index, series_uid: str, verdict: Verdict) -> None:
    database = index.database
    if verdict.status is not None:
        database.execute(
            "UPDATE stacks SET usable = 0, reason = ? WHERE series_uid = ? AND usable",
            (verdict.reason, series_uid),
        )
        database.execute(
            "UPDATE files SET status = ?, reason = ?, detail = ? "
            "WHERE series_uid = ? AND status = 'used'",
            (verdict.status, verdict.reason, verdict.detail, series_uid),
        )
        return
    where = (
        "series_uid = ? AND EXISTS (SELECT 1 FROM frames WHERE frames.stack = stacks.id "
        "AND (may_be_wrapped OR image_type = 'NIFTI'))"
    )
    database.execute(
        f"UPDATE stacks SET wrapped = ? WHERE {where}",  # noqa: S608  constants only
        (verdict.wrapped, series_uid),
    )
    if verdict.finding is not None:
        database.execute(
            "INSERT OR IGNORE INTO findings SELECT id, ? "  # noqa: S608  constants only
            f"FROM stacks WHERE {where}",
            (verdict.finding, series_uid),
        )
    if verdict.look is not None:
        database.execute(
            "UPDATE files SET content = json_set(coalesce(content, '{}'), '$.look', ?) "
            "WHERE series_uid = ? AND status = 'used'",
            (verdict.look, series_uid),
        )
