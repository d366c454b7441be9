"""A series as the backbone sees it, on one sheet: people look before they trust."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from featurecache.chosen import choose
from featurecache.contact_sheet import Tile, check_size, draw_sheet
from featurecache.errors import UsageError
from featurecache.framing import Framing
from featurecache.identifiers import Identifiers
from featurecache.index import Index
from featurecache.pixels import Decoded, decode_slice, job_for
from featurecache.pool import Failure, default_workers, isolated_map
from featurecache.recipe import WINDOWS
from featurecache.select import NOT_SELECTED, Selection
from featurecache.stacks import Slice, Stack
from featurecache.transforms import to_grey
from featurecache.words import plural

_MOST_WORKERS, _MOST_NAMED = 4, 8
_COLOURS = ("red", "green", "blue")
Windows = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Shown:
    """What went onto a sheet.

    Parameters
    ----------
    slices : int
        Tiles, failed ones included.
    failed : mapping of str to int
        Reason -> how many slices have it.
    warnings : mapping of str to int
        Finding about pixels -> how many slices have it.
    """

    slices: int
    failed: dict[str, int]
    warnings: dict[str, int]


def show(
    index: Index, series: str, out: Path, identifiers: Identifiers | None, *, windows: Windows,
    framing: Framing, columns: int | None = None, selection: Selection | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Shown:  # fmt: skip
    """Draw a contact sheet of a series: what an extraction feeds, but for the normalisation.

    Every slice has its position (0-based place in the series, as in a store) and its z in mm. One
    that fails is an empty tile with the reason. What was found about headers and pixels stands
    above, and why an extraction would leave the series out. The sheet holds no name, date or
    description, and no identifier but the id that the store has.

    Parameters
    ----------
    index : Index
        What the scan found.
    series : str
        Id in the store, SeriesInstanceUID, or folder of its files.
    out : Path
        The PNG to write.
    identifiers : Identifiers or None
        Turns UIDs into store ids; without them the sheet has no id.
    windows : sequence of (level_hu, width_hu)
        One, shown in grey, or three, shown as red, green and blue.
    framing : Framing
        Size, fit, and field of view.
    columns : int, optional
        Tiles of a row.
    selection : Selection, optional
        Says whether an extraction would use the series; it is shown either way.
    progress : callable, optional
        Called with (slices done, slices to do).

    Returns
    -------
    Shown

    Raises
    ------
    UsageError
        There is no such series, the sheet would be too large, or `out` is not a PNG that can be
        written.
    """
    if out.suffix.lower() != ".png" or not out.parent.is_dir():
        raise UsageError(f"--out {out}: expected the name of a .png file in a folder that exists")
    stack = find_stack(index, series, identifiers)
    if not stack.slices:
        raise UsageError(f"{series!r} has no slices: {stack.reason}")
    check_size(len(stack.slices), framing.size, columns)
    tiles: list[Tile] = []
    found: dict[str, list[int]] = defaultdict(list)
    for tile, warnings in _tiles(index.root, stack, windows, framing):
        for warning in warnings:
            found[warning].append(len(tiles))
        tiles.append(tile)
        if progress is not None:
            progress(len(tiles), len(stack.slices))
    name = identifiers.series(stack.key) if identifiers is not None else "without an id (no key)"
    lines = [_geometry_text(stack), _windows_text(windows), framing.text()]
    left_out = stack.reason or choose(index, selection).series.get(stack.key)
    draw_sheet(
        out, tiles, f"Series {name}", lines, alarms=_alarms(stack, left_out, found),
        side=framing.size, columns=columns,
    )  # fmt: skip
    return Shown(
        len(tiles),
        dict(Counter(tile.reason for tile in tiles if tile.image is None)),
        {warning: len(positions) for warning, positions in found.items()},
    )


def find_stack(index: Index, series: str, identifiers: Identifiers | None) -> Stack:
    """Find one stack by its id in the store, its SeriesInstanceUID or its folder.

    Parameters
    ----------
    index : Index
        What the scan found.
    series : str
        One of the three.
    identifiers : Identifiers or None
        Turns UIDs into store ids; needed to find by a hashed id.

    Returns
    -------
    Stack

    Raises
    ------
    UsageError
        There is none, a folder holds several, or a hashed id came without the key.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", series) or Path(series).exists():
        return index.find(series)
    if identifiers is None or identifiers.key is None:
        raise UsageError(
            f"{series} looks like an id of a store; to find its files, point --key at the key that "
            "the store was made with, or name the SeriesInstanceUID or the folder"
        )
    for (key,) in index.database.execute("SELECT key FROM stacks"):
        if identifiers.series(key) == series:
            return index.find(key)
    raise UsageError(
        f"no series in {index.path} has the id {series} under this key. "
        "`featurecache info --series` lists the ids"
    )


def _tiles(
    root: Path, stack: Stack, windows: Windows, framing: Framing
) -> Iterator[tuple[Tile, tuple[str, ...]]]:
    """Yield the tile of every slice and the findings about its pixels."""
    jobs = [job_for(root, stack, slice_) for slice_ in stack.slices]
    workers = min(default_workers(), _MOST_WORKERS, len(jobs))
    outcomes = isolated_map(decode_slice, jobs, workers=workers)
    for position, (slice_, (_, outcome)) in enumerate(zip(stack.slices, outcomes, strict=True)):
        label, note = str(position), _z_text(slice_)
        reason = _reason(outcome, framing)
        image = _image(outcome, windows, framing) if reason is None else None
        warnings = () if isinstance(outcome, Failure) else outcome.warnings
        yield Tile(image, label, note, reason or ""), warnings


def _reason(outcome: Decoded | Failure, framing: Framing) -> str | None:
    if isinstance(outcome, Failure):
        return outcome.reason
    return framing.refusal(outcome.row_spacing_mm, outcome.column_spacing_mm)


def _image(decoded: Decoded, windows: Windows, framing: Framing) -> np.ndarray:
    """What a backbone is shown, as (size, size, 3) uint8."""
    spacing_mm = (decoded.row_spacing_mm, decoded.column_spacing_mm)
    grey = to_grey(
        torch.from_numpy(decoded.stored[None]),
        torch.tensor([decoded.slope], dtype=torch.float64),
        torch.tensor([decoded.intercept], dtype=torch.float64),
        windows,
        framing,
        torch.tensor([spacing_mm], dtype=torch.float64),
    )
    image = grey[0].expand(3, -1, -1).permute(1, 2, 0)
    return (image * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def _z_text(slice_: Slice) -> str:
    if not isfinite(slice_.z_mm):
        return "z unknown"
    return f"z {round(slice_.z_mm, 1) + 0.0:.1f} mm"  # + 0.0: no "-0.0"


def _geometry_text(stack: Stack) -> str:
    first = stack.slices[0]
    count = len(stack.slices)
    parts = [f"{plural(count, 'slice')} of {first.rows} x {first.columns} pixels"]
    if isfinite(stack.row_spacing_mm):
        parts.append(f"pixels {stack.row_spacing_mm:.3g} x {stack.column_spacing_mm:.3g} mm")
    else:
        parts.append("pixel spacing unknown")
    if isfinite(stack.median_gap_mm):
        parts.append(f"median gap {stack.median_gap_mm:.3g} mm")
    if isfinite(stack.tilt_deg) and abs(stack.tilt_deg) >= 0.1:
        parts.append(f"tilt {stack.tilt_deg:.1f} degrees")
    return ", ".join(parts)


def _windows_text(windows: Windows) -> str:
    names = {tuple(map(float, window)): name for name, window in WINDOWS.items()}
    texts = []
    for level, width in windows:
        name = names.get((float(level), float(width)))
        numbers = f"{level:g}/{width:g} HU"
        texts.append(f"{name} ({numbers})" if name else numbers)
    if len(texts) == 1:
        return f"window {texts[0]}"
    return ", ".join(f"{colour}: {text}" for colour, text in zip(_COLOURS, texts, strict=True))


def _alarms(stack: Stack, left_out: str | None, found: Mapping[str, list[int]]) -> list[str]:
    alarms = []
    if left_out is not None:
        alarms.append(f"left out of extractions: {left_out.removeprefix(NOT_SELECTED)}")
    if stack.warnings:
        alarms.append(f"warnings: {'; '.join(stack.warnings)}")
    for warning, positions in sorted(found.items()):
        alarms.append(f"{_positions_text(positions, len(stack.slices))}: {warning}")
    return alarms


def _positions_text(positions: Sequence[int], count: int) -> str:
    if len(positions) == count:
        return "every slice"
    named = ", ".join(map(str, positions[:_MOST_NAMED]))
    more = len(positions) - _MOST_NAMED
    return f"slice{'s' * (len(positions) > 1)} {named}" + (f" and {more} more" if more > 0 else "")
