"""``featurecache scan --explain PATH``: what became of one file or one series, and why."""

import json
import math
import os
from collections import Counter
from pathlib import Path

from featurecache.chosen import Chosen, choose
from featurecache.errors import UsageError
from featurecache.index import Index
from featurecache.select import Selection
from featurecache.stacks import Stack
from featurecache.words import plural

_SERIES_LISTED = 20


def explain(index_path: Path, path: Path, selection: Selection | None = None) -> str:
    """Say what became of one file, of a folder, or of a series.

    Parameters
    ----------
    index_path : Path
        The index.
    path : Path
        A file or folder under the scanned root, or a SeriesInstanceUID.
    selection : Selection, optional
        What it leaves out counts as skipped.

    Returns
    -------
    str
        Lines for a terminal; no patient names.

    Raises
    ------
    UsageError
        If the index knows nothing of it.
    """
    with Index.open(index_path, readonly=True) as index:
        relative, chosen = index.relative(path), choose(index, selection)
        file = index.database.execute("SELECT id FROM files WHERE path = ?", (relative,)).fetchone()
        if file is not None:
            return _file(index, file[0], chosen)
        found = _folder(index, relative, chosen) or _series(index, str(path), chosen)
        if found:
            return found
        raise UsageError(
            f"{path} is not in {index.path}, which describes {index.root}. "
            "Expected a file or folder below it, or a SeriesInstanceUID; is the scan up to date?"
        )


def _file(index: Index, identity: int, chosen: Chosen) -> str:
    path, size, status, reason, detail, warnings, revision = index.database.execute(
        "SELECT path, size, status, reason, detail, warnings, revision FROM files WHERE id = ?",
        (identity,),
    ).fetchone()
    if os.fsdecode(path) in chosen.files:
        status, reason = "skipped", chosen.files[os.fsdecode(path)]
    lines = [_printable(path), f"  {status}" + (f": {reason}" if reason else "")]
    if detail:
        lines.append(f"  {detail}")
    lines += [f"  warning: {warning}" for warning in json.loads(warnings)]
    if revision:
        times = "once" if revision == 1 else f"{revision} times"
        lines.append(f"  changed {times} since it was first scanned")
    lines.append(f"  {size:,} bytes" if size >= 0 else "  size unknown")
    places = index.database.execute(
        "SELECT frame, key, place, z_mm, "
        "(SELECT count(*) FROM frames AS other WHERE other.stack = stacks.id) "
        "FROM frames JOIN stacks ON stacks.id = stack WHERE file = ? ORDER BY frame",
        (identity,),
    )
    for frame, key, place, z_mm, count in places:
        where = "" if z_mm is None else f" at {z_mm:.2f} mm"
        lines.append(f"  frame {frame + 1}: slice {place + 1} of {count} of {key}{where}")
    return "\n".join(lines)


def _folder(index: Index, folder: bytes, chosen: Chosen) -> str | None:
    below = (folder + b"/", folder + b"0") if folder else (b"", b"\xff" * 8)
    counts: Counter[tuple[str, str]] = Counter()
    for status, reason, count in index.database.execute(
        "SELECT status, coalesce(reason, ''), count(*) FROM files WHERE path >= ? AND path < ? "
        "GROUP BY status, reason",
        below,
    ):
        counts[status, reason] += count
    if not counts:
        return None
    for path, reason in chosen.files.items():
        if below[0] <= os.fsencode(path) < below[1]:
            counts.subtract([("used", "")])
            counts["skipped", reason] += 1
    lines = [_printable(folder) or "the whole tree"]
    for (status, reason), count in (+counts).most_common():
        lines.append(f"  {count:8}  {status}" + (f": {reason}" if reason else ""))
    keys = index.database.execute(
        "SELECT DISTINCT stacks.series_uid FROM stacks JOIN frames ON frames.stack = stacks.id "
        "JOIN files ON files.id = file WHERE path >= ? AND path < ? ORDER BY 1",
        below,
    ).fetchall()
    for (series_uid,) in keys[:_SERIES_LISTED]:
        lines.append(_series(index, series_uid, chosen) or series_uid)
    if len(keys) > _SERIES_LISTED:
        more = len(keys) - _SERIES_LISTED
        lines.append(f"and {more:,} more series: name a folder below, or see `scan --json`")
    return "\n".join(lines)


def _series(index: Index, series: str, chosen: Chosen) -> str | None:
    stacks = [stack for stack in index.stacks_of(series) if series in {stack.key, stack.series_uid}]
    return "\n".join(_stack(stack, chosen.series.get(stack.key)) for stack in stacks) or None


def _stack(stack: Stack, left_out: str | None) -> str:
    count = len(stack.slices)
    lines = [f"series {stack.key}: {plural(count, 'slice')}"]
    reason = stack.reason or left_out
    lines.append("  used" if reason is None else f"  not used: {reason}")
    lines += [f"  warning: {warning}" for warning in stack.warnings]
    measures = (
        _measure("tilt", stack.tilt_deg, ".1f", "degrees"),
        _measure("median gap", stack.median_gap_mm, ".2f", "mm"),
        _measure("thickness", stack.thickness_mm, "g", "mm"),
        _measure("field of view", stack.fov_mm, ".0f", "mm"),
    )
    lines.append(f"  {', '.join(measures)}")
    texts = [" ".join(text.split()) for text in (stack.kernel, stack.description)]
    lines.append(f"  kernel {texts[0] or 'unknown'}, description {texts[1] or 'unknown'}")
    return "\n".join(lines)


def _measure(name: str, value: float, digits: str, unit: str) -> str:
    return f"{name} unknown" if math.isnan(value) else f"{name} {value:{digits}} {unit}"


def _printable(path: bytes) -> str:
    text = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
