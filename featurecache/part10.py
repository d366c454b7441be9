"""A DICOM file opened: preamble, meta information, transfer syntax, and the data set behind them.

References
----------
DICOM PS3.10 section 7.1 (file meta information), PS3.5 section A.5 (deflated data sets).
"""

import zlib
from dataclasses import dataclass, field

from featurecache.elements import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED,
    Elements,
    value_of,
    walk,
)
from featurecache.reasons import SkipFileError
from featurecache.sniff import foreign_kind, has_prefix
from featurecache.values import uid

WINDOW_BYTES = 64 << 10
INFLATED_LIMIT_BYTES = 16 << 20


class MoreBytesNeeded(Exception):  # noqa: N818  not an error: ask again with more bytes
    """The window ends before the header does; ``wanted`` bytes should suffice."""

    def __init__(self, wanted: int) -> None:
        super().__init__(wanted)
        self.wanted = wanted


@dataclass(slots=True)
class OpenFile:
    """An opened file while it is examined.

    Parameters
    ----------
    elements : Elements
        The data set.
    transfer_syntax : str
        As declared, or guessed from the first element.
    meta : Elements
        Group 0002.
    prefixed : bool
        Whether preamble and "DICM" are there.
    warnings : list of str
        Collects findings.
    """

    elements: Elements
    transfer_syntax: str
    meta: Elements
    prefixed: bool
    warnings: list[str] = field(default_factory=list)


def open_dataset(data: bytes, size: int, wanted: frozenset[int]) -> OpenFile:
    """Find the data set behind preamble and meta information, and walk over it.

    Parameters
    ----------
    data : bytes
        The beginning of the file, or all of it.
    size : int
        Size of the whole file.
    wanted : frozenset of int
        Tags to note.

    Returns
    -------
    OpenFile
        Its elements end at the pixel data, or where `data` ends: `elements.walk` says which.

    Raises
    ------
    SkipFileError
        If it is not DICOM, or damaged before the pixel data.
    MoreBytesNeeded
        If `data` ends before the meta information does.
    """
    if size == 0:
        raise SkipFileError("empty file", "0 bytes")
    prefixed = has_prefix(data)
    if prefixed and size <= 132 + 8:
        raise SkipFileError("preamble only", f"{size} bytes")
    if not prefixed and (kind := foreign_kind(data)) is not None:
        raise SkipFileError(kind, "no DICOM prefix at byte 128")
    meta = _meta(data)
    if meta.end > len(data) - 8:
        if len(data) < size:
            raise MoreBytesNeeded(meta.end + WINDOW_BYTES)
        raise SkipFileError("cut in the header", f"the file ends at byte {size}")
    syntax = uid(meta, 0x00020010)
    if syntax == DEFLATED:
        if len(data) < size:
            raise MoreBytesNeeded(size)
        data = inflate(data, INFLATED_LIMIT_BYTES)
    implicit, little = _encoding(data, meta.end, syntax)
    elements = Elements(data, little, implicit)
    walk(elements, meta.end, len(data), wanted)
    return OpenFile(elements, syntax or _guessed_syntax(implicit, little), meta, prefixed)


def _meta(data: bytes) -> Elements:
    """Walk over group 0002, which is explicit little endian whatever follows (PS3.10 7.1)."""
    position = 132 if has_prefix(data) else 0
    meta = Elements(data, little=True, implicit=False)
    while data[position : position + 2] == b"\x02\x00" and position + 12 <= len(data):
        tag = int.from_bytes(data[position + 2 : position + 4], "little") | 0x00020000
        start, length = value_of(data, position, little=True, implicit=False)
        if length == UNDEFINED:
            break
        position = start + length
        meta.spans[tag] = (start, min(position, len(data)))
    meta.end = position
    return meta


def _encoding(data: bytes, position: int, syntax: str) -> tuple[bool, bool]:
    """Return (implicit, little): what the first element shows overrules what was declared."""
    vr = data[position + 4 : position + 6]
    lettered = len(vr) == 2 and all(0x40 < letter < 0x5B for letter in vr)
    little = syntax != EXPLICIT_BIG
    if not syntax and lettered:
        little = int.from_bytes(data[position : position + 2], "little") < 1024
    return not lettered, little


def _guessed_syntax(implicit: bool, little: bool) -> str:
    if implicit:
        return IMPLICIT_LITTLE
    return EXPLICIT_LITTLE if little else EXPLICIT_BIG


def inflate(data: bytes, limit: int) -> bytes:
    """Return a deflated file with its data set inflated, at most `limit` bytes of it.

    Parameters
    ----------
    data : bytes
        The whole file.
    limit : int
        Bytes of data set to produce at most; a deflate bomb stops there.

    Returns
    -------
    bytes
        Preamble and meta information as they are, then the inflated data set.

    Raises
    ------
    SkipFileError
        If the data set is no deflate stream, or damaged before the limit.

    References
    ----------
    DICOM PS3.5 section A.5.
    """
    meta = _meta(data)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return data[: meta.end] + inflater.decompress(data[meta.end :], limit)
    except zlib.error as error:
        raise SkipFileError("deflated data set is damaged", str(error)) from None
