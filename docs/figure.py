"""Blocks to a drawing: SVG, written by hand, with every output's shape beside its arrow."""

import textwrap
from html import escape

from composition import KINDS, Block, Composition

_WIDTH, _GAP_X, _GAP_Y, _MARGIN = 264, 30, 30, 16
_TITLE_PX, _NOTE_PX, _LINE = 13, 11, 15
_NOTE_CHARACTERS = 40
_LEGEND = 132
_FILLS = {
    "data": ("#f3f4f6", "#6b7280"),
    "frozen": ("#dbeafe", "#1d4ed8"),
    "fixed": ("#ffffff", "#6b7280"),
    "learnt": ("#ffedd5", "#c2410c"),
    "output": ("#dcfce7", "#15803d"),
}


def draw(composition: Composition, label: str) -> str:
    """Draw a composition.

    Parameters
    ----------
    composition : Composition
        Blocks.
    label : str
        What the figure shows, for those who cannot see it.

    Returns
    -------
    str
        An SVG document.
    """
    blocks = composition.blocks
    tops = _tops(blocks)
    columns = max(block.column for block in blocks) + 1
    width = 2 * _MARGIN + columns * _WIDTH + (columns - 1) * _GAP_X
    bottom = max(top + _height(block) for top, block in zip(tops, blocks, strict=True))
    kinds = [kind for kind in KINDS if any(block.kind == kind for block in blocks)]
    legend = bottom + _GAP_Y + 8
    rows = -(-len(kinds) // max(1, (width - 2 * _MARGIN) // _LEGEND))
    height = legend + 22 * rows + 22 + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="Helvetica, Arial, sans-serif">',
        f"<title>{escape(label)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#374151"/></marker>'
        "</defs>",
        *(_arrow(blocks, tops, source, target) for target, block in enumerate(blocks)
          for source in block.inputs),
        *(_drawn(block, top) for block, top in zip(blocks, tops, strict=True)),
        *_legend(kinds, legend, width),
        f'<text x="{_MARGIN}" y="{height - _MARGIN}" font-size="{_NOTE_PX}" fill="#374151">'
        "beside the arrows: what comes out, of S slices</text>",
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _tops(blocks: list[Block]) -> list[int]:
    """Upper edge of each block: below what it reads, and below its column."""
    tops: list[int] = []
    ends: dict[int, int] = {}
    for block in blocks:
        above = [tops[k] + _height(blocks[k]) for k in block.inputs]
        above += [ends[block.column]] if block.column in ends else []
        tops.append(max(above) + _GAP_Y if above else _MARGIN)
        ends[block.column] = tops[-1] + _height(block)
    return tops


def _notes(block: Block) -> list[str]:
    return textwrap.wrap(block.note, _NOTE_CHARACTERS, break_long_words=False)


def _height(block: Block) -> int:
    return 26 + _LINE * len(_notes(block))


def _centre(block: Block) -> int:
    return _MARGIN + block.column * (_WIDTH + _GAP_X) + _WIDTH // 2


def _drawn(block: Block, top: int) -> str:
    fill, line = _FILLS[block.kind]
    x = _centre(block)
    lines = [
        f'<rect x="{x - _WIDTH // 2}" y="{top}" width="{_WIDTH}" height="{_height(block)}" rx="5" '
        f'fill="{fill}" stroke="{line}"/>',
        f'<text x="{x}" y="{top + 18}" font-size="{_TITLE_PX}" font-weight="bold" '
        f'text-anchor="middle" fill="#111827">{escape(block.title)}</text>',
    ]
    lines += [
        f'<text x="{x}" y="{top + 18 + _LINE * (k + 1)}" font-size="{_NOTE_PX}" '
        f'text-anchor="middle" fill="#374151">{escape(text)}</text>'
        for k, text in enumerate(_notes(block))
    ]
    under = top + _height(block) + 19
    lines.append(
        f'<text x="{x + 10}" y="{under}" font-size="{_NOTE_PX}" fill="#1f2937">'
        f"{escape(block.shape)}</text>"
    )
    return "\n".join(lines)


def _arrow(blocks: list[Block], tops: list[int], source: int, target: int) -> str:
    """Straight down; to another column, across just above the target."""
    x, to = _centre(blocks[source]), _centre(blocks[target])
    start, end = tops[source] + _height(blocks[source]), tops[target]
    path = f"M{x} {start} V{end}"
    if x != to:
        across = start + 8
        path = f"M{x} {start} V{across} H{to} V{end}"
    return (
        f'<path d="{path}" fill="none" stroke="#374151" stroke-width="1.3" marker-end="url(#tip)"/>'
    )


def _legend(kinds: list[str], top: int, width: int) -> list[str]:
    lines = []
    per_row = max(1, (width - 2 * _MARGIN) // _LEGEND)
    for k, kind in enumerate(kinds):
        x, y = _MARGIN + k % per_row * _LEGEND, top + k // per_row * 22
        fill, line = _FILLS[kind]
        lines += [
            f'<rect x="{x}" y="{y}" width="14" height="14" rx="3" fill="{fill}" stroke="{line}"/>',
            f'<text x="{x + 20}" y="{y + 11}" font-size="{_NOTE_PX}" fill="#374151">'
            f"{escape(KINDS[kind])}</text>",
        ]
    return lines
