"""Compressed frames inside a pixel data element: where they lie, and whether they are whole.

References
----------
DICOM PS3.5 section A.4 (encapsulation), ITU-T T.81 B.2.2 (JPEG frame header), T.87, T.800 A.5.1.
"""

from collections.abc import Callable
from dataclasses import dataclass

from featurecache.errors import ReadError
from featurecache.reasons import PIXELS_MALFORMED, PIXELS_SHORT

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
_MOST_FRAGMENTS = 1 << 20
_RLE = "1.2.840.10008.1.2.5"
_JPEG_END = b"\xff\xd9"

Read = Callable[[int, int], bytes]


@dataclass(slots=True)
class Fragments:
    """Fragments of a pixel data element, as (offset, length) in the file.

    ``offsets`` is the basic offset table, relative to the first fragment's item tag; ``closed``
    says whether the sequence delimiter was reached.
    """

    spans: list[tuple[int, int]]
    offsets: tuple[int, ...]
    closed: bool


def find_fragments(read: Read, position: int) -> Fragments:
    """Walk over the items of encapsulated pixel data.

    Parameters
    ----------
    read : callable
        ``read(start, length)`` returns bytes of the file, fewer at its end.
    position : int
        Start of the pixel data element's value.

    Returns
    -------
    Fragments
        Without the first item, which is the basic offset table.

    Raises
    ------
    ReadError
        If something else than items stands there, or no item at all.
    """
    spans: list[tuple[int, int]] = []
    while len(spans) < _MOST_FRAGMENTS:
        head = read(position, 8)
        if head[:4] == _SEQUENCE_END:
            return _with_table(spans, read, closed=True)
        if len(head) < 8:
            return _with_table(spans, read, closed=False)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM or length == 0xFFFFFFFF:
            raise ReadError(PIXELS_MALFORMED, f"no item of a compressed frame at byte {position}")
        spans.append((position + 8, length))
        position += 8 + length
    raise ReadError(PIXELS_MALFORMED, f"more than {_MOST_FRAGMENTS} fragments")


def _with_table(spans: list[tuple[int, int]], read: Read, *, closed: bool) -> Fragments:
    """The first item is the basic offset table, empty or not."""
    if not spans:
        raise ReadError(PIXELS_SHORT, "compressed pixel data without any item")
    start, length = spans[0]
    table = read(start, min(length, 4 * _MOST_FRAGMENTS))
    usable = len(table) // 4 * 4
    offsets = tuple(int.from_bytes(table[at : at + 4], "little") for at in range(0, usable, 4))
    return Fragments(spans[1:], offsets, closed)


def frame_bytes(fragments: Fragments, read: Read, frame: int, n_frames: int) -> bytes:
    """Return the compressed bytes of one frame.

    Parameters
    ----------
    fragments : Fragments
        As found by `find_fragments`.
    read : callable
        As for `find_fragments`.
    frame, n_frames : int
        0-based frame number, NumberOfFrames.

    Returns
    -------
    bytes
        The frame's fragments, joined.

    Raises
    ------
    ReadError
        If the frame is cut, absent, or its boundaries are unknown.
    """
    chosen = _fragments_of(fragments, frame, n_frames)
    if not chosen:
        raise ReadError(PIXELS_SHORT, f"no fragment for frame {frame + 1} of {n_frames}")
    parts = []
    for start, length in chosen:
        part = read(start, length)
        if len(part) < length:
            raise ReadError(
                PIXELS_SHORT, f"a compressed fragment has {len(part)} of {length} bytes"
            )
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _fragments_of(fragments: Fragments, frame: int, n_frames: int) -> list[tuple[int, int]]:
    spans = fragments.spans
    if n_frames == 1:
        return spans
    if len(spans) == n_frames:
        return spans[frame : frame + 1]
    if len(fragments.offsets) == n_frames and spans:
        origin = spans[0][0] - 8
        bounds = [*fragments.offsets, 1 << 62]
        return [span for span in spans if bounds[frame] <= span[0] - 8 - origin < bounds[frame + 1]]
    if not fragments.closed:
        return []
    raise ReadError(
        PIXELS_MALFORMED,
        f"{len(spans)} fragments for {n_frames} frames and no offset table to tell them apart",
    )


def check_whole(data: bytes, syntax: str, closed: bool, rows: int, columns: int) -> list[str]:
    """Check that a compressed frame ends where its format says and has the header's matrix.

    Parameters
    ----------
    data : bytes
        One compressed frame.
    syntax : str
        Transfer syntax UID.
    closed : bool
        Whether the file's sequence delimiter was reached.
    rows, columns : int
        Of the DICOM header.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    ReadError
        If the frame is cut or its own matrix differs: a decoder would return garbage or crash.
    """
    if syntax == _RLE:
        return []
    size = _codestream_size(data)
    if size is not None and size != (rows, columns):
        raise ReadError(
            PIXELS_MALFORMED,
            f"the compressed frame is {size[0]} x {size[1]}, the header says {rows} x {columns}",
        )
    if data.rstrip(b"\x00").endswith(_JPEG_END):
        return []
    if not closed:
        raise ReadError(PIXELS_SHORT, "the compressed frame has no end marker")
    return ["compressed frame without an end marker"]


def _codestream_size(data: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG, JPEG-LS or JPEG 2000 frame; None where unreadable."""
    if data.startswith(b"\xff\x4f\xff\x51") and len(data) >= 24:
        x1, y1, x0, y0 = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16, 20))
        return y1 - y0, x1 - x0
    if not data.startswith(b"\xff\xd8"):
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}) or marker == 0xF7:
            return (
                int.from_bytes(data[position + 5 : position + 7], "big"),
                int.from_bytes(data[position + 7 : position + 9], "big"),
            )
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
