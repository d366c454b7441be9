"""Many small images with captions -> one PNG, pixel for pixel."""

import os
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from featurecache.errors import UsageError

_GAP, _MARGIN, _CAPTION = 8, 16, 20
_TITLE_PX, _LINE_PX, _CAPTION_PX = 17, 13, 12
_LEAST_TILE, _LEAST_WIDTH = 128, 560
_MOST_A_SIDE, _MOST_PIXELS = (1 << 16) - 1, 1 << 28
_GROUND, _EMPTY = "#2b2b2b", "#3a3a3a"
_TEXT, _MUTED, _ALARM = "#f2f2f2", "#b4b8bd", "#ffb454"
_GLYPH = 0.6  # width of a wide letter over its height, in Pillow's own font


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
            f"a sheet of {width} x {height} pixels is too large: expected at most {_MOST_A_SIDE:,} "
            f"a side and {_MOST_PIXELS:,} altogether. Ask for a smaller --size or other --columns"
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
    sheet = Image.new("RGB", (layout.width, layout.height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    _write_head(draw, layout)
    for number, tile in enumerate(tiles):
        _place(sheet, layout, number, tile)
        _write_caption(draw, layout, number, tile)
    _save(sheet, path)


def _layout(
    count: int, side: int, columns: int | None, texts: Sequence[tuple[Iterable[str], int, str]]
) -> _Layout:
    side *= max(ceil(_LEAST_TILE / side), 1)
    columns = min(columns or ceil(sqrt(count * 4 / 3)), count)
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


def _place(sheet: Image.Image, layout: _Layout, number: int, tile: Tile) -> None:
    x, y = layout.corner(number)
    if tile.image is None:
        sheet.paste(_EMPTY, (x, y, x + layout.side, y + layout.side))
        return
    image = Image.fromarray(tile.image)
    sheet.paste(image.resize((layout.side, layout.side), Image.Resampling.NEAREST), (x, y))


def _write_head(draw: ImageDraw.ImageDraw, layout: _Layout) -> None:
    y = _MARGIN
    for text, size_px, colour in layout.head:
        draw.text((_MARGIN, y), text, font=_font(size_px), fill=colour, anchor="la")
        y += _line_height(size_px)


def _write_caption(draw: ImageDraw.ImageDraw, layout: _Layout, number: int, tile: Tile) -> None:
    x, y = layout.corner(number)
    below, right, middle = y + layout.side + 3, x + layout.side, layout.side // 2
    font = _font(_CAPTION_PX)
    draw.text((x, below), tile.label, font=font, fill=_TEXT, anchor="la")
    draw.text((right, below), tile.note, font=font, fill=_MUTED, anchor="ra")
    if tile.image is None:
        reason = "\n".join(_wrapped([tile.reason], layout.side, _LINE_PX))
        at, font = (x + middle, y + middle), _font(_LINE_PX)
        draw.text(at, reason, font=font, fill=_ALARM, anchor="mm", align="center")


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def _wrapped(lines: Iterable[str], width_px: int, size_px: int) -> list[str]:
    characters = int((width_px - 2 * _GAP) / (size_px * _GLYPH))
    return [part for line in lines for part in textwrap.wrap(line, characters)]


def _line_height(size_px: int) -> int:
    return round(size_px * 1.5)


def _save(sheet: Image.Image, path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        sheet.save(draft, format="PNG")
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
