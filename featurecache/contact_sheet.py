"""Many small images with captions -> one PNG, pixel for pixel."""

import os
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featurecache.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP, _MARGIN, _CAPTION = 8, 16, 20
_TITLE_PX, _LINE_PX, _CAPTION_PX = 17, 13, 12
_LEAST_TILE, _LEAST_WIDTH = 128, 560
_MOST_A_SIDE, _MOST_PIXELS = (1 << 16) - 1, 1 << 28
_GROUND, _EMPTY = 43, 58
_TEXT, _MUTED, _ALARM = "#f2f2f2", "#b4b8bd", "#ffb454"
_DPI = 100
_GLYPH = 0.56  # mean width of a character over its height, in matplotlib's default font


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of a sheet.

    Parameters
    ----------
    image : ndarray (H, W, 3), uint8, or None
        What is shown; None leaves the tile empty.
    label, note : str
        Below it, at the left and at the right.
    reason : str
        Why it is empty, written into the tile.
    """

    image: np.ndarray | None
    label: str
    note: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are, in pixels from the upper left corner."""

    columns: int
    side: int
    head: tuple[tuple[str, int, str], ...]
    width: int
    height: int

    def corner(self, number: int) -> tuple[int, int]:
        row, column = divmod(number, self.columns)
        x = _MARGIN + column * (self.side + _GAP)
        return x, _above(self.head) + row * (self.side + _CAPTION + _GAP)


def check_size(count: int, side: int, columns: int | None = None) -> None:
    """Refuse a sheet that no viewer would open.

    Parameters
    ----------
    count : int
        Tiles.
    side : int
        Height and width of their images.
    columns : int, optional
        Tiles of a row.

    Raises
    ------
    UsageError
        It would have over 65,535 pixels a side, or over 2**28.
    """
    layout = _layout(count, side, columns, [])
    width, height = layout.width, layout.height
    if max(width, height) > _MOST_A_SIDE or width * height > _MOST_PIXELS:
        raise UsageError(
            f"a sheet of {width} x {height} pixels is too large: expected at most {_MOST_A_SIDE} "
            f"a side and {_MOST_PIXELS:,} altogether. Ask for a smaller --size"
        )


def draw_sheet(
    path: Path, tiles: Sequence[Tile], title: str, lines: Iterable[str] = (), *,
    alarms: Iterable[str] = (), side: int, columns: int | None = None,
) -> None:  # fmt: skip
    """Draw a contact sheet and write it as PNG, whole or not at all.

    Small images are enlarged by a whole factor, none is resampled, so that every pixel of the
    sheet is one that was given.

    Parameters
    ----------
    path : Path
        The PNG.
    tiles : sequence of Tile
        Row by row.
    title : str
        Above all.
    lines : iterable of str
        Below the title.
    alarms : iterable of str
        Below these, in colour.
    side : int
        Height and width of the images.
    columns : int, optional
        Tiles of a row; by default as many as make the sheet a little wider than high.

    Raises
    ------
    UsageError
        The sheet would be too large, or the file cannot be written.
    """
    check_size(len(tiles), side, columns)
    texts = [([title], _TITLE_PX, _TEXT), (lines, _LINE_PX, _MUTED), (alarms, _LINE_PX, _ALARM)]
    layout = _layout(len(tiles), side, columns, texts)
    figure = _figure(layout, tiles)
    _write_head(figure, layout)
    for number, tile in enumerate(tiles):
        _write_caption(figure, layout, number, tile)
    _save(figure, path)


def _layout(
    count: int, side: int, columns: int | None, texts: Sequence[tuple[Iterable[str], int, str]]
) -> _Layout:
    side *= max(ceil(_LEAST_TILE / side), 1)
    columns = columns or ceil(sqrt(count * 4 / 3))
    width = max(2 * _MARGIN + columns * (side + _GAP) - _GAP, _LEAST_WIDTH)
    head = tuple(
        (part, size_px, colour)
        for lines, size_px, colour in texts
        for part in _wrapped(lines, width, size_px)
    )
    height = _above(head) + ceil(count / columns) * (side + _CAPTION + _GAP) + _MARGIN - _GAP
    return _Layout(columns, side, head, width, height)


def _above(head: Iterable[tuple[str, int, str]]) -> int:
    return _MARGIN + sum(_line_height(size_px) for _, size_px, _ in head) + _GAP


def _figure(layout: _Layout, tiles: Sequence[Tile]) -> "Figure":
    from matplotlib.figure import Figure

    sheet = np.full((layout.height, layout.width, 3), _GROUND, np.uint8)
    for number, tile in enumerate(tiles):
        x, y = layout.corner(number)
        place = sheet[y : y + layout.side, x : x + layout.side]
        if tile.image is None:
            place[:] = _EMPTY
        else:
            zoom = layout.side // len(tile.image)
            place[:] = tile.image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    # A hundredth of a pixel more, since Agg cuts off the fraction.
    size = ((layout.width + 0.01) / _DPI, (layout.height + 0.01) / _DPI)
    figure = Figure(figsize=size, dpi=_DPI)
    figure.figimage(sheet, origin="upper")
    return figure


def _write_head(figure: "Figure", layout: _Layout) -> None:
    y = _MARGIN
    for text, size, colour in layout.head:
        _write(figure, layout, text, (_MARGIN, y), size, colour, va="top")
        y += _line_height(size)


def _write_caption(figure: "Figure", layout: _Layout, number: int, tile: Tile) -> None:
    x, y = layout.corner(number)
    below, right, middle = y + layout.side + 3, x + layout.side, layout.side // 2
    _write(figure, layout, tile.label, (x, below), _CAPTION_PX, _TEXT, va="top", weight="bold")
    _write(figure, layout, tile.note, (right, below), _CAPTION_PX, _MUTED, va="top", ha="right")
    if tile.image is None:
        reason = "\n".join(_wrapped([tile.reason], layout.side, _LINE_PX))
        where = (x + middle, y + middle)
        _write(figure, layout, reason, where, _LINE_PX, _ALARM, va="center", ha="center")


def _write(
    figure: "Figure", layout: _Layout, text: str, at: tuple[int, int], size_px: int, colour: str,
    **how: Any,
) -> None:  # fmt: skip
    x, y = at[0] / layout.width, 1 - at[1] / layout.height
    size = size_px * 72 / _DPI
    figure.text(x, y, text, fontsize=size, color=colour, parse_math=False, **how)


def _wrapped(lines: Iterable[str], width_px: int, size_px: int) -> list[str]:
    characters = int((width_px - 2 * _GAP) / (size_px * _GLYPH))
    return [part for line in lines for part in textwrap.wrap(line, characters)]


def _line_height(size_px: int) -> int:
    return round(size_px * 1.5)


def _save(figure: "Figure", path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        FigureCanvasAgg(figure).print_png(draft, metadata={"Software": None})
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
