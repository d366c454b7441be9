"""The RSNA 2019 wrap: Hounsfield units stored modulo 4096 in 12 unsigned bits.

Some series of that set say BitsStored 12, PixelRepresentation 0 and an intercept near 0: air at
-1000 HU is stored as 3096. Modulo 4096 from -1024 on gives the Hounsfield units exactly; the
published fix (add 1000, subtract 4096) is wrong below -1000. Whether an image is wrapped cannot be
told from a slice without air, so it is decided for all images of a series by the air peak that any
of a few slices has.
"""

import numpy as np

_BITS = 12
_MODULUS = 1 << _BITS
_FIRST_HU = -1024
_ABOVE = -100.0
_TOP = 3071  # a scanner's largest HU: metal that is cut off there is no air
_AIR = slice(2900, 3201)
_NEVER = slice(2048, 2900)  # -2048 to -1197 HU if wrapped: no such tissue
_SOFT = slice(0, 151)
_LEAST_AIR, _LEAST_SOFT = 0.02, 0.01


def may_be_wrapped(
    bits_stored: int, pixel_representation: int, slope: float, intercept: float
) -> bool:
    """Say whether a header allows for the wrap.

    Parameters
    ----------
    bits_stored, pixel_representation : int
        BitsStored (0028,0101) and PixelRepresentation (0028,0103).
    slope, intercept : float
        RescaleSlope and RescaleIntercept.

    Returns
    -------
    bool
        12 unsigned bits, slope 1 and an intercept above -100: such a header has no air.
    """
    return bits_stored == _BITS and pixel_representation == 0 and slope == 1 and intercept > _ABOVE


def has_air_peak(stored: np.ndarray) -> bool:
    """Say whether the stored values of a slice peak where air lies in a wrapped series.

    Parameters
    ----------
    stored : ndarray of int
        Stored values without padding. What 12 bits do not hold counts as no air.

    Returns
    -------
    bool
        True if at least 2 % of the pixels lie at 2900 to 3200 (-1196 to -896 HU if wrapped), 3071
        left out, more than twice as many as at 2048 to 2899, where a wrapped slice has nothing,
        and more than 1 % at 0 to 150, where soft tissue is: in an inverted image it is where the
        air is in a wrapped one.
    """
    counts = np.bincount(np.clip(stored.ravel(), 0, _MODULUS - 1), minlength=_MODULUS)
    air, never = counts[_AIR].sum() - counts[_TOP], counts[_NEVER].sum()
    has_air = air >= _LEAST_AIR * stored.size and air > 2 * never
    return bool(has_air and counts[_SOFT].sum() > _LEAST_SOFT * stored.size)


def unwrap(stored: np.ndarray, intercept: float) -> np.ndarray:
    """Undo the wrap.

    Parameters
    ----------
    stored : ndarray (H, W) of int
        Stored values. Those that 12 bits do not hold were not wrapped, and stay.
    intercept : float
        RescaleIntercept; the slope is 1.

    Returns
    -------
    ndarray (H, W) of int16 or int64
        Such that adding the intercept gives -1024 to 3071 HU; 16 bits where they hold it.
    """
    offset = round(intercept) - _FIRST_HU
    values = stored.astype(np.int64)
    wrapped = (values + offset) % _MODULUS - offset
    values = np.where((values >= 0) & (values < _MODULUS), wrapped, values)
    limits = np.iinfo(np.int16)
    fits = limits.min <= values.min() and values.max() <= limits.max
    return values.astype(np.int16) if fits else values
