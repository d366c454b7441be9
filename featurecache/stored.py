"""Stored values as they are meant: unused bits, values outside BitsStored, padding.

pydicom masks unused bits by default, so that with BitsStored 12 a pixel of -3024 becomes +1072
without a word. Here the whole container is read, and what lies outside the range is looked at.

References
----------
DICOM PS3.5 section 8.1.1 (pixel cells), PS3.3 C.7.5.1.1.2 (pixel padding).
"""

import math
from dataclasses import dataclass

import numpy as np

from featurecache.errors import ReadError
from featurecache.header import FileHeader
from featurecache.reasons import PIXEL_FORMAT
from featurecache.sanity import AIR_HU, TOP_HU

_OUTSIDE = "values outside BitsStored"
_NOT_EXTENDED = "negative values are not sign-extended"
_PADDING_IN_RANGE = "padding value within the CT range: taken as air"


def meant_values(
    cells: np.ndarray, header: FileHeader, *, compressed: bool, warnings: list[str]
) -> np.ndarray:
    """Return stored values from pixel cells.

    Parameters
    ----------
    cells : ndarray (H, W)
        The whole container, signed if PixelRepresentation is 1; native byte order.
    header : FileHeader
        BitsStored, HighBit, PixelRepresentation.
    compressed : bool
        Whether a decoder made the cells: then missing sign extension is normal.
    warnings : list of str
        Receives what was found.

    Returns
    -------
    ndarray (H, W) of int16, uint16, int32 or uint32
        The same array where nothing was wrong.
    """
    bits = header.bits_stored
    container = cells.dtype.itemsize * 8
    if bits >= container:
        return cells
    shift = header.high_bit + 1 - bits
    if shift or header.overlay_bits:
        return _cut_out(cells, shift, bits)
    low, high = int(cells.min()), int(cells.max())
    if header.pixel_representation == 0:
        if high < 1 << bits:
            return cells
        warnings.append(_OUTSIDE)
        # Beyond half the container lie negative numbers whose sign was declared away.
        return cells if high < 1 << (container - 1) else _as_signed(cells)
    if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
        return cells
    if low >= 0 and high < 1 << bits:
        if not compressed:
            warnings.append(_NOT_EXTENDED)
        return _cut_out(cells, 0, bits)
    warnings.append(_OUTSIDE)
    return cells


def _cut_out(cells: np.ndarray, shift: int, bits: int) -> np.ndarray:
    """Return `bits` bits above `shift`, sign-extended if the cells are signed."""
    left = cells.dtype.itemsize * 8 - bits - shift
    return (cells << left) >> (left + shift)


def _as_signed(cells: np.ndarray) -> np.ndarray:
    return cells.view(np.dtype(f"i{cells.dtype.itemsize}"))


@dataclass(frozen=True, slots=True)
class Padding:
    """Where pixels are padding, and the least and greatest value that means so.

    Parameters
    ----------
    mask : ndarray (H, W) of bool
        True where a pixel is padding; at least one is.
    low, high : int
        Cell values, equal unless there is a PixelPaddingRangeLimit.
    """

    mask: np.ndarray
    low: int
    high: int


def find_padding(
    cells: np.ndarray, header: FileHeader, slope: float, intercept: float, *, wrapped: bool
) -> Padding | None:
    """Return the padding that must be turned into air; None where there is none.

    Padding that means air or less anyway is left alone: the clamp takes care of it.

    Parameters
    ----------
    cells : ndarray (H, W)
        The whole container.
    header : FileHeader
        PixelPaddingValue and PixelPaddingRangeLimit are compared bit by bit, so that -2000 in an
        unsigned tag (63536) means the same in either direction.
    slope, intercept : float
        To Hounsfield units.
    wrapped : bool
        Whether the values are wrapped, so that the rescale says nothing yet.

    Returns
    -------
    Padding or None

    References
    ----------
    DICOM PS3.3 C.7.5.1.1.2.
    """
    if not header.padding:
        return None
    limits = sorted(_as_cell(raw, cells.dtype, header.little) for raw in header.padding)
    low, high = limits[0], limits[-1]
    unused = cells.dtype.itemsize * 8 > header.bits_stored
    top_hu = max(low * slope + intercept, high * slope + intercept)
    if top_hu <= AIR_HU and not unused and not wrapped:
        return None
    mask = cells == low if low == high else (cells >= low) & (cells <= high)
    return Padding(mask, low, high) if mask.any() else None


def _as_cell(raw: bytes, dtype: np.dtype, little: bool) -> int:
    """Read a padding value with the width and sign of the pixels."""
    width = dtype.itemsize
    number = int.from_bytes(raw[: max(2, min(width, len(raw)))], "little" if little else "big")
    number &= (1 << 8 * width) - 1
    signed = dtype.kind == "i" and number >= 1 << (8 * width - 1)
    return number - (1 << 8 * width) if signed else number


def padding_findings(padding: Padding, slope: float, intercept: float) -> list[str]:
    """Return a warning where padding may look like tissue, because then it changes an image.

    Parameters
    ----------
    padding : Padding
        As found in the cells.
    slope, intercept : float
        To Hounsfield units.

    Returns
    -------
    list of str
        One warning, or none.
    """
    ends = (padding.low * slope + intercept, padding.high * slope + intercept)
    return [_PADDING_IN_RANGE] if max(ends) > AIR_HU and min(ends) <= TOP_HU else []


def without_padding(cells: np.ndarray, padding: Padding) -> np.ndarray:
    """Return the cells with padding replaced by their least other value.

    So padding counts neither as a value outside BitsStored nor as noise.

    Parameters
    ----------
    cells : ndarray (H, W) of int
        The whole container.
    padding : Padding
        As found in the cells.

    Returns
    -------
    ndarray (H, W)
        Of the type of `cells`; 0 everywhere if every pixel is padding.
    """
    if padding.mask.all():
        return np.zeros_like(cells)
    top = np.iinfo(cells.dtype).max
    return np.where(padding.mask, np.where(padding.mask, top, cells).min(), cells)


def fill_with_air(
    stored: np.ndarray, mask: np.ndarray, slope: float, intercept: float
) -> np.ndarray:
    """Return stored values with padding replaced by a value that means air or less.

    Parameters
    ----------
    stored : ndarray (H, W) of int
        Stored values.
    mask : ndarray (H, W) of bool
        Where padding is.
    slope, intercept : float
        To Hounsfield units.

    Returns
    -------
    ndarray (H, W)
        Of the type of `narrow`, or int32 where that cannot hold the value for air.

    Raises
    ------
    ReadError
        If the slope is so small that no 32-bit value means air, or a value exceeds 31 bits.
    """
    exact = (AIR_HU - intercept) / slope
    if not abs(exact) < 1 << 31:
        raise ReadError(PIXEL_FORMAT, f"air cannot be stored with slope {slope}")
    air = math.floor(exact) if slope > 0 else math.ceil(exact)
    stored = narrow(np.where(mask, stored.dtype.type(0), stored))  # padding may need 32 bits
    limits = np.iinfo(stored.dtype)
    if not limits.min <= air <= limits.max:
        stored = stored.astype(np.int32)
        air = max(air, -(1 << 31))
    return np.where(mask, stored.dtype.type(air), stored)


def narrow(stored: np.ndarray) -> np.ndarray:
    """Return the values as int16, uint16 or int32, whichever holds their type exactly.

    Parameters
    ----------
    stored : ndarray (H, W) of int or unsigned int
        8, 16 or 32 bits wide.

    Returns
    -------
    ndarray (H, W) of int16, uint16 or int32
        The same array if it has one of these types already.

    Raises
    ------
    ReadError
        If unsigned 32-bit values do not fit.
    """
    if stored.dtype in (np.int16, np.uint16, np.int32):
        return stored
    if stored.dtype.itemsize == 1:
        return stored.astype(np.int16)
    if int(stored.max()) >= 1 << 31:
        raise ReadError(PIXEL_FORMAT, f"stored value {int(stored.max())} exceeds 31 bits")
    return stored.astype(np.int32)
