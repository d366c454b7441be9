"""What the headers cannot say, asked of the pixels: are two files one image, is a series wrapped.

Both look at few files, in one stream through the workers, and remember the answers in the index,
so that an interrupted scan does not ask twice.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from featurecache.files import read_range
from featurecache.index import Index
from featurecache.pixels import DecodeJob, decode_slice, to_hu
from featurecache.pool import Failure, isolated_map
from featurecache.wrap import has_air_peak, histogram

WRAPPED = "RSNA 12-bit wrap undone"
NOT_WRAPPED = "unsigned, intercept near 0, no air peak: left as it is"
_PROBES = 8
_BATCH = 256

_REPEATED = """
SELECT files.id, frame, path, size, mtime_ns, assumed_hu FROM frames JOIN files ON files.id = file
WHERE (sop_uid, frame) IN (
    SELECT sop_uid, frame FROM frames GROUP BY sop_uid, frame HAVING count(*) > 1
) AND json_extract(coalesce(content, '{}'), '$."' || frame || '"') IS NULL
AND sop_uid IN (SELECT sop_uid FROM frames JOIN dirty USING (series_uid))
LIMIT 20000
"""
_PLACED = """
SELECT frame, path, size, mtime_ns, assumed_hu FROM frames JOIN files ON files.id = file
JOIN stacks ON stacks.id = stack WHERE frames.series_uid = ? AND usable ORDER BY key, place
"""


def compare_repeats(index: Index, workers: int, timeout_s: float) -> None:
    """Note a digest of the image of every frame whose SOPInstanceUID occurs more than once.

    Parameters
    ----------
    index : Index
        Open for writing.
    workers : int
        Reader processes.
    timeout_s : float
        Seconds a file may take.
    """
    while rows := index.database.execute(_REPEATED).fetchall():
        _note_contents(index, rows, workers, timeout_s)


def _note_contents(
    index: Index, rows: list[tuple[Any, ...]], workers: int, timeout_s: float
) -> None:
    root = os.fspath(index.root)
    jobs = ((row[0], _job(root, row[1:])) for row in rows)
    results = isolated_map(_hu_digest, jobs, workers=workers, timeout_s=timeout_s, chunk=4)
    index.database.execute("BEGIN")
    for (file, job), result in results:
        # What cannot be decoded is the same image only if it is the same file.
        content = f"undecodable {file}" if isinstance(result, Failure) else result
        index.database.execute(
            "UPDATE files SET content = json_set(coalesce(content, '{}'), ?, ?) WHERE id = ?",
            (f'$."{job.frame}"', content, file),
        )
    index.database.execute("COMMIT")


def known_content(index: Index, file: int, frame: int) -> str:
    """Return the digest that `compare_repeats` noted for a frame.

    Parameters
    ----------
    index : Index
        Open.
    file, frame : int
        Number in the ``files`` table, 0-based frame number.

    Returns
    -------
    str
        Equal for equal images and, where they cannot be decoded, for equal files. Where nothing
        was noted, a text that equals that of no other file.
    """
    row = index.database.execute("SELECT content FROM files WHERE id = ?", (file,)).fetchone()
    return str(json.loads(row[0] or "{}").get(str(frame), f"unknown {file}"))


def decide_wraps(index: Index, workers: int, timeout_s: float) -> None:
    """Decide for every series in the ``probes`` table whether its stored values are wrapped.

    Parameters
    ----------
    index : Index
        Open for writing, with its stacks built; a series decided leaves the table.
    workers : int
        Reader processes.
    timeout_s : float
        Seconds a slice may take; one that takes longer is left out.
    """
    database = index.database
    while names := database.execute("SELECT series_uid FROM probes LIMIT ?", (_BATCH,)).fetchall():
        jobs = [(name, job) for (name,) in names for job in _probe_jobs(index, name)]
        results = isolated_map(_histogram, jobs, workers=workers, timeout_s=timeout_s, chunk=4)
        database.execute("BEGIN")
        for series_uid, found in groupby(results, key=lambda pair: pair[0][0]):
            counts = [result for _, result in found if not isinstance(result, Failure)]
            _settle(index, series_uid, has_air_peak(np.sum(counts, axis=0)) if counts else False)
        database.executemany("DELETE FROM probes WHERE series_uid = ?", names)
        database.execute("COMMIT")


def _probe_jobs(index: Index, series_uid: str) -> Iterator[DecodeJob]:
    """Yield jobs for a few slices spread over a series."""
    rows = index.database.execute(_PLACED, (series_uid,)).fetchall()
    root = os.fspath(index.root)
    count = min(_PROBES, len(rows))
    for number in range(count):
        yield _job(root, rows[(2 * number + 1) * len(rows) // (2 * count)])


def _settle(index: Index, series_uid: str, wrapped: bool) -> None:
    database = index.database
    database.execute("UPDATE stacks SET wrapped = ? WHERE series_uid = ?", (wrapped, series_uid))
    database.execute(
        "INSERT OR IGNORE INTO findings SELECT id, ? FROM stacks WHERE series_uid = ?",
        (WRAPPED if wrapped else NOT_WRAPPED, series_uid),
    )


def _job(root: str, row: tuple[Any, ...]) -> DecodeJob:
    frame, path, size, mtime_ns, assumed_hu = row
    full = os.path.join(root, os.fsdecode(path))  # noqa: PTH118
    return DecodeJob(full, frame, size, mtime_ns, wrapped=False, assume_hu=bool(assumed_hu))


def _hu_digest(item: tuple[int, DecodeJob]) -> str:
    """Digest of the Hounsfield units of a slice, or of the file; runs in a worker."""
    _, job = item
    try:
        hu = to_hu(decode_slice(job))
    except Exception:
        return _file_digest(job)
    return hashlib.blake2b(hu.tobytes() + repr(hu.shape).encode(), digest_size=16).hexdigest()


def _file_digest(job: DecodeJob) -> str:
    digest = hashlib.blake2b(digest_size=16)
    fd = os.open(job.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for start in range(0, job.size, 1 << 22):
            digest.update(read_range(fd, start, 1 << 22))
    finally:
        os.close(fd)
    return digest.hexdigest()


def _histogram(item: tuple[str, DecodeJob]) -> np.ndarray:
    """Histogram of the stored values of a slice; runs in a worker."""
    return histogram(decode_slice(item[1]).stored)
