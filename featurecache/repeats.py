"""Files with one SOPInstanceUID: are their images the same? Remembered in the index.

An interrupted scan does not ask twice. A file that cannot be read for a passing reason has no
answer: its image is not used, and the next scan asks again.
"""

import hashlib
import json
import os
from typing import Any

from featurecache.crew import Workers
from featurecache.errors import ReadError
from featurecache.files import opened, read_range
from featurecache.index import Index
from featurecache.pixels import DecodeJob, decode_slice, to_hu
from featurecache.pool import Failure, isolated_map
from featurecache.reasons import RETRIED_REASONS

UNREAD = "unread: "
"""How the content of a frame begins that could not be compared for a passing reason."""

_REPEATED = """
SELECT files.id, frame, path, size, mtime_ns, assumed_hu FROM frames JOIN files ON files.id = file
WHERE (sop_uid, frame) IN (
    SELECT sop_uid, frame FROM frames GROUP BY sop_uid, frame HAVING count(*) > 1
) AND json_extract(coalesce(content, '{}'), '$."' || frame || '"') IS NULL
AND sop_uid IN (SELECT sop_uid FROM frames JOIN dirty USING (series_uid))
LIMIT 20000
"""


def compare_repeats(index: Index, workers: Workers, timeout_s: float) -> None:
    """Note a digest of the image of every frame whose SOPInstanceUID occurs more than once.

    Parameters
    ----------
    index : Index
        Open for writing.
    workers : int or Crew
        Reader processes.
    timeout_s : float
        Seconds a file may take.
    """
    while rows := index.database.execute(_REPEATED).fetchall():
        _note_contents(index, rows, workers, timeout_s)


def _note_contents(
    index: Index, rows: list[tuple[Any, ...]], workers: Workers, timeout_s: float
) -> None:
    root = os.fspath(index.root)
    jobs = ((row[0], DecodeJob.of(root, *row[1:])) for row in rows)
    results = isolated_map(image_digest, jobs, workers=workers, timeout_s=timeout_s, chunk=4)
    index.database.execute("BEGIN")
    for (file, job), result in results:
        index.database.execute(
            "UPDATE files SET content = json_set(coalesce(content, '{}'), ?, ?) WHERE id = ?",
            (f'$."{job.frame}"', _content(file, result), file),
        )
    index.database.execute("COMMIT")


def _content(file: int, result: str | Failure) -> str:
    """What cannot be decoded is the same image only if it is the same file."""
    if not isinstance(result, Failure):
        return result
    if result.reason in RETRIED_REASONS:
        return f"{UNREAD}{result.reason}: {result.detail}"
    return f"undecodable {file}"


def forget_unread(index: Index) -> None:
    """Let the next comparison ask again what could not be read.

    Parameters
    ----------
    index : Index
        Open for writing.
    """
    index.database.execute(
        "UPDATE files SET content = NULL WHERE content LIKE ?", (f'%"{UNREAD}%',)
    )


def known_content(index: Index, file: int, frame: int) -> str:
    """Return what `compare_repeats` noted for a frame.

    Parameters
    ----------
    index : Index
        Open.
    file, frame : int
        Number in the ``files`` table, 0-based frame number.

    Returns
    -------
    str
        Equal for equal images and, where they cannot be decoded, for equal files. `UNREAD` and
        the reason where neither is known. Where nothing was noted, a text that equals that of no
        other file.
    """
    row = index.database.execute("SELECT content FROM files WHERE id = ?", (file,)).fetchone()
    return str(json.loads(row[0] or "{}").get(str(frame), f"unknown {file}"))


def image_digest(item: tuple[int, DecodeJob]) -> str:
    """Digest the Hounsfield units of a slice, or the file if it is damaged; runs in a worker.

    Parameters
    ----------
    item : tuple of int and DecodeJob
        Number of the file, and what to decode.

    Returns
    -------
    str
        32 hex digits.

    Raises
    ------
    ReadError
        If the file cannot be read for a reason that may pass.
    """
    _, job = item
    try:
        hu = to_hu(decode_slice(job))
    except MemoryError:
        raise
    except Exception as error:  # whatever a decoder says of damaged bytes
        if isinstance(error, ReadError) and error.reason in RETRIED_REASONS:
            raise
        return _file_digest(job)
    return hashlib.blake2b(hu.tobytes() + repr(hu.shape).encode(), digest_size=16).hexdigest()


def _file_digest(job: DecodeJob) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with opened(job.path, job.size, job.mtime_ns) as fd:
        for start in range(0, job.size, 1 << 22):
            digest.update(read_range(fd, start, 1 << 22))
    return digest.hexdigest()
