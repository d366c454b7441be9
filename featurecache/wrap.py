"""The RSNA 2019 wrap: Hounsfield units stored modulo 4096 in 12 unsigned bits.

Some series of that set say BitsStored 12, PixelRepresentation 0 and an intercept near 0: air at
-1000 HU is stored as 3096. Modulo 4096 from -1024 on gives the Hounsfield units exactly; the
published fix (add 1000, subtract 4096) is wrong below -1000. Whether a series is wrapped cannot be
told from one slice, so it is decided for the whole series by its air peak.
"""

import numpy as np

_MODULUS = 4096
_FIRST_HU = -1024
_AIR = slice(2900, 3201)
_NEVER = slice(2048, 2900)  # -2048 to -1197 HU if wrapped: no such tissue
_LEAST_SHARE = 0.02


def histogram(stored: np.ndarray) -> np.ndarray:
    """Count stored values.

    Parameters
    ----------
    stored : ndarray (H, W) of int
        Stored values.

    Returns
    -------
    ndarray (4096,) of int64
        Of the values 0 to 4095; what lies outside counts as the nearer end.
    """
    return np.bincount(np.clip(stored.ravel(), 0, _MODULUS - 1), minlength=_MODULUS)


def has_air_peak(counts: np.ndarray) -> bool:
    """Say whether stored values peak where air lies in a wrapped series.

    Parameters
    ----------
    counts : ndarray (4096,)
        Histograms of several slices, added.

    Returns
    -------
    bool
        True if at least 2 % of the pixels lie at 2900 to 3200 (-1196 to -896 HU if wrapped) and
        more than twice as many as at 2048 to 2899, where a wrapped series has nothing.
    """
    total = counts.sum()
    air, never = counts[_AIR].sum(), counts[_NEVER].sum()
    return bool(total and air >= _LEAST_SHARE * total and air > 2 * never)


def unwrap(stored: np.ndarray, intercept: float) -> np.ndarray:
    """Undo the wrap.

    Parameters
    ----------
    stored : ndarray (H, W) of uint16
        Values 0 to 4095.
    intercept : float
        RescaleIntercept; the slope is 1.

    Returns
    -------
    ndarray (H, W) of int16
        Such that adding the intercept gives -1024 to 3071 HU.
    """
    offset = round(intercept) - _FIRST_HU
    wrapped = (stored.astype(np.int32) + offset) % _MODULUS
    return (wrapped - offset).astype(np.int16)
