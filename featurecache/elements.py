"""The data elements of a DICOM header, found by walking over its bytes.

Why not ``pydicom.dcmread``: it recurses into sequences of undefined length, allocates what a
length field claims, cannot say whether a header ended or was cut, and inflates a deflated file
without a bound. This walk never recurses, allocates nothing, knows where it stopped, and is
about three times as fast. Its rules for odd files (VR missing or unknown, implicit elements in an
explicit header, no file meta information) are pydicom's, and the tests compare the two on every
file and on thousands of damaged ones.

References
----------
DICOM PS3.5 chapter 7 (data elements, sequences), PS3.10 chapter 7 (file meta information).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from featurecache.reasons import SkipFileError

UNDEFINED = 0xFFFFFFFF
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})

_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_LONG_LENGTH = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OW", b"OV", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_LENGTH = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_MOST_LEVELS = 64
_MOST_SEQUENCES = _MOST_LEVELS // 2  # a sequence and its item are a level each
_LEAST_SEQUENCE_BYTES = 16  # header of the element and of its item
_ITEM_BYTES = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}
_EXPLICIT = {True: struct.Struct("<HH2sH"), False: struct.Struct(">HH2sH")}
_IMPLICIT = {True: struct.Struct("<HHL"), False: struct.Struct(">HHL")}
_U32 = {True: struct.Struct("<L"), False: struct.Struct(">L")}


@dataclass(slots=True)
class PixelElement:
    """Where the pixel data element is: its tag and the place and length of its value.

    ``length`` is :data:`UNDEFINED` for encapsulated (compressed) frames.
    """

    tag: int
    start: int
    value: int
    length: int


@dataclass(slots=True)
class Elements:
    """Elements of one data set: ``spans[tag] = (start, end)`` of the value in ``data``.

    Parameters
    ----------
    data : bytes
        The bytes that were walked over.
    little : bool
        Byte order of numbers.
    implicit : bool
        Whether the data set is encoded without VRs.
    """

    data: bytes
    little: bool
    implicit: bool
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    pixel: PixelElement | None = None
    end: int = 0

    def raw(self, tag: int) -> bytes | None:
        """Return the bytes of a value, or None where the element is absent."""
        span = self.spans.get(tag)
        return None if span is None else self.data[span[0] : span[1]]

    def items(self, tag: int) -> Iterator["Elements"]:
        """Yield the items of a sequence, each as its own `Elements`."""
        span = self.spans.get(tag)
        if span is None:
            return
        yield from _items(self.data, *span, self.little, self.implicit)


def _items(
    data: bytes, position: int, end: int, little: bool, implicit: bool
) -> Iterator[Elements]:
    """Yield the items of the sequence whose value lies between `position` and `end`."""
    while position + 8 <= end:
        group, element, length = _IMPLICIT[little].unpack_from(data, position)
        if group << 16 | element != _ITEM:
            return
        position += 8
        item_end = end if length == UNDEFINED else min(position + length, end)
        item = Elements(data, little, _looks_implicit(data, position, implicit))
        walk(item, position, item_end, None)
        yield item
        position = item.end if length == UNDEFINED else item_end


def walk(elements: Elements, position: int, end: int, wanted: frozenset[int] | None) -> None:
    """Walk from `position` to the pixel data or to `end`, noting where wanted elements lie.

    Parameters
    ----------
    elements : Elements
        Receives the spans; afterwards ``elements.end`` is where the walk stopped: at the pixel
        data element, behind an item delimiter, or behind the last element, which is beyond `end`
        if that element is cut.
    position, end : int
        Part of ``elements.data`` to walk over.
    wanted : frozenset of int or None
        Tags to note; None notes all.

    Raises
    ------
    SkipFileError
        If sequences are nested deeper than 32: whatever reads such a header by recursion dies.
    """
    data, little, implicit = elements.data, elements.little, elements.implicit
    spans = elements.spans
    explicit_unpack, implicit_unpack = _EXPLICIT[little].unpack_from, _IMPLICIT[little].unpack_from
    long_unpack = _U32[little].unpack_from
    while position + 8 <= end:
        start = position
        if implicit:
            group, element, length = implicit_unpack(data, position)
            position += 8
        else:
            group, element, vr, short_length = explicit_unpack(data, position)
            position += 8
            length = short_length
            if vr in _LONG_LENGTH:
                if position + 4 > end:
                    position += 4
                    break
                length = long_unpack(data, position)[0]
                position += 4
            elif vr not in _SHORT_LENGTH and not b"AA" <= vr <= b"ZZ":
                length = implicit_unpack(data, start)[2]
        tag = group << 16 | element
        if group == 0x7FE0 and tag in PIXEL_TAGS:
            elements.pixel = PixelElement(tag, start, position, length)
            position = start
            break
        if tag == _ITEM_END:
            break
        value = position
        if length == UNDEFINED:
            position = _skip_undefined(data, position, end, little, implicit)
        else:
            position += length
        if (
            position - value > _MOST_SEQUENCES * _LEAST_SEQUENCE_BYTES
            and wanted is not None
            and data.startswith(_ITEM_BYTES[little], value)
        ):
            _check_depth(data, value, min(position, end), little, implicit)
        if wanted is None or tag in wanted:
            spans[tag] = (value, min(position, end))
    elements.end = position


def _skip_undefined(data: bytes, position: int, end: int, little: bool, implicit: bool) -> int:
    """Return the position behind the delimiter of a value of undefined length, without recursion.

    ``levels`` holds, for each open level, None for a sequence and the encoding for an item.
    """
    levels: list[bool | None] = [None]
    while levels and position + 8 <= end:
        inside = levels[-1]
        group, element, length = _IMPLICIT[little].unpack_from(data, position)
        tag = group << 16 | element
        if inside is None:
            position += 8
            if tag == _SEQUENCE_END:
                levels.pop()
            elif length != UNDEFINED:
                position += length
            else:
                levels.append(_looks_implicit(data, position, implicit))
        elif tag == _ITEM_END:
            position += 8
            levels.pop()
        else:
            position, length = value_of(data, position, little, inside)
            if length == UNDEFINED:
                levels.append(None)
            else:
                position += length
        if len(levels) > _MOST_LEVELS:
            raise _too_deep()
    return position if not levels else max(position, end + 1)


def _too_deep() -> SkipFileError:
    return SkipFileError(
        "sequences nested too deeply", f"more than {_MOST_SEQUENCES} in each other in the header"
    )


def _check_depth(data: bytes, start: int, end: int, little: bool, implicit: bool) -> None:
    """Refuse nested sequences whether or not they state their length, without recursion.

    Only parts that are long enough to hide so many are looked at.
    """
    parts = [(start, end, 1, implicit)]
    while parts:
        start, end, level, implicit = parts.pop()
        if level > _MOST_SEQUENCES:
            raise _too_deep()
        least = (_MOST_SEQUENCES - level) * _LEAST_SEQUENCE_BYTES
        for item in _items(data, start, end, little, implicit):
            parts += [
                (*span, level + 1, item.implicit)
                for span in item.spans.values()
                if span[1] - span[0] > least and data.startswith(_ITEM_BYTES[little], span[0])
            ]


def value_of(data: bytes, position: int, little: bool, implicit: bool) -> tuple[int, int]:
    """Return where the value of the element at `position` begins, and its length.

    Parameters
    ----------
    data : bytes
        At least 12 bytes from `position` on.
    position : int
        Start of the element.
    little, implicit : bool
        Encoding.

    Returns
    -------
    tuple of int
        Offset of the value and its length; :data:`UNDEFINED` for a delimited value.
    """
    if not implicit:
        vr = data[position + 4 : position + 6]
        if vr in _LONG_LENGTH:
            length = data[position + 8 : position + 12]
            return position + 12, int.from_bytes(length, "little" if little else "big")
        if vr in _SHORT_LENGTH or b"AA" <= vr <= b"ZZ":
            return position + 8, int(_EXPLICIT[little].unpack_from(data, position)[3])
    return position + 8, int(_IMPLICIT[little].unpack_from(data, position)[2])


def _looks_implicit(data: bytes, position: int, assumed: bool) -> bool:
    """Guess an item's encoding from its first element; writers switch inside sequences."""
    vr = data[position + 4 : position + 6]
    if assumed or len(vr) < 2:
        return assumed
    return not (0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B)
