"""Values of DICOM elements, from their bytes: text, UIDs, decimal and whole numbers.

Strict where pydicom is lenient: ``-1,024`` is no number, nor are ``nan``, ``inf`` and ``1_024``.

References
----------
DICOM PS3.5 section 6.2 (value representations).
"""

import math
import re
import warnings

from featurecache.elements import Elements

_DECIMAL = re.compile(rb"[ \t]*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?[ \t\x00]*")
_TEXT_LIMIT = 1024
_CHARACTER_SET = 0x00080005


def uid(elements: Elements, tag: int) -> str:
    """Return a UID without its padding.

    Parameters
    ----------
    elements : Elements
        The data set that has the element.
    tag : int
        Which element, as 0xGGGGEEEE.

    Returns
    -------
    str
        "" where it is absent or empty; bytes outside ASCII become escapes.
    """
    raw = elements.raw(tag) or b""
    return raw.strip(b" \x00\t\r\n").decode("ascii", errors="backslashreplace")


def text(elements: Elements, tag: int, character_set: bytes | None = None) -> str:
    """Return a text value without padding, multiple values still joined by backslashes.

    Text outside ASCII is decoded by SpecificCharacterSet (0008,0005); bytes that do not fit it
    become escapes, so that equal bytes always give equal text.

    Parameters
    ----------
    elements : Elements
        The data set that has the element.
    tag : int
        Which element, as 0xGGGGEEEE.
    character_set : bytes, optional
        Value of SpecificCharacterSet, where it stands in an outer data set.

    Returns
    -------
    str
        Of the first 1024 bytes of the value; "" where it is absent or empty.
    """
    raw = (elements.raw(tag) or b"")[:_TEXT_LIMIT].strip(b" \x00\t\r\n")
    if raw.isascii():
        return raw.decode("ascii")
    return _decoded(raw, character_set or elements.raw(_CHARACTER_SET) or b"")


def _decoded(raw: bytes, character_set: bytes) -> str:
    from pydicom.charset import convert_encodings, decode_bytes
    from pydicom.valuerep import TEXT_VR_DELIMS

    names = character_set.decode("ascii", errors="replace").strip(" \x00").split("\\")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom falls back to a default, which is fine
            encodings = convert_encodings(list(names))
            return str(decode_bytes(raw, encodings, TEXT_VR_DELIMS | {ord("\\")})).strip()
    except (LookupError, UnicodeError, ValueError):
        return raw.decode("ascii", errors="backslashreplace")


def decimals(elements: Elements, tag: int) -> tuple[float, ...] | None:
    """Return the numbers of a DS element (decimal string).

    Parameters
    ----------
    elements : Elements
        The data set that has the element.
    tag : int
        Which element, as 0xGGGGEEEE.

    Returns
    -------
    tuple of float or None
        None where the element is absent or empty.

    Raises
    ------
    ValueError
        If any value is not a finite decimal number; the message quotes it.
    """
    raw = elements.raw(tag)
    if raw is None or not raw.strip(b" \x00"):
        return None
    return tuple(_decimal(part) for part in raw.split(b"\\"))


def _decimal(part: bytes) -> float:
    value = float(part.strip(b" \t\x00")) if _DECIMAL.fullmatch(part) else math.nan
    if not math.isfinite(value):
        raise ValueError(repr(part[:32].decode("ascii", errors="backslashreplace").strip("\0 ")))
    return value


def vector(elements: Elements, tag: int, length: int) -> tuple[float, ...] | None:
    """Return exactly `length` numbers of a DS element (decimal string).

    Parameters
    ----------
    elements : Elements
        The data set that has the element.
    tag : int
        Which element, as 0xGGGGEEEE.
    length : int
        How many numbers there must be.

    Returns
    -------
    tuple of float or None
        None where the element is absent or empty, has another number of values, or any value is
        not a finite decimal number.
    """
    try:
        values = decimals(elements, tag)
    except ValueError:
        return None
    return values if values is not None and len(values) == length else None


def integer(elements: Elements, tag: int) -> int | None:
    """Return the first number of an IS element (integer string).

    Parameters
    ----------
    elements : Elements
        The data set that has the element.
    tag : int
        Which element, as 0xGGGGEEEE.

    Returns
    -------
    int or None
        Below 2**53 in magnitude, so exact; None where the element is absent or not such a number.
    """
    raw = elements.raw(tag)
    if not raw:
        return None
    try:
        value = _decimal(raw.split(b"\\")[0])
    except ValueError:
        return None
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else None


def unsigned(elements: Elements, tag: int) -> int | None:
    """Return the first number of a US or UL element.

    Parameters
    ----------
    elements : Elements
        The data set that has the element.
    tag : int
        Which element, as 0xGGGGEEEE.

    Returns
    -------
    int or None
        None where the element is absent or cut. A value of 4 bytes is read as one UL number.
    """
    raw = elements.raw(tag)
    if raw is None or len(raw) < 2:
        return None
    width = 4 if len(raw) == 4 else 2
    return int.from_bytes(raw[:width], "little" if elements.little else "big")
