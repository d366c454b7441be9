"""Are the decoded values of a slice plausible? Noise below some row, constant, out of range."""

import numpy as np

from featurecache.errors import ReadError
from featurecache.reasons import NOISE

AIR_HU = -1024
TOP_HU = 3071

_IMPOSSIBLE_HU = 1 << 15
_SUSPECT_HU = 300.0
_LEAST_ROWS = 8
_LEAST_COLUMNS = 30  # 8 of every fourth, with a neighbour
_WHITENESS = 0.5
_JUMP = 4.0


def check_noise(stored: np.ndarray, slope: float) -> None:
    """Refuse a slice that turns from image into noise at some row.

    A truncated or damaged file often decodes into random values from some row on. In random
    values neighbouring pixels are as different as any two pixels, which no tissue, metal or
    reconstruction noise comes near: there the difference of neighbours is small against the
    spread of the row. A slice that is noise from its first row on is not refused: that is no
    damage but content.

    Parameters
    ----------
    stored : ndarray (H, W) of int
        Stored values.
    slope : float
        RescaleSlope, so that thresholds are in HU.

    Raises
    ------
    ReadError
        Reason "noise below some row"; the detail names the row.
    """
    if len(stored) < 2 * _LEAST_ROWS or stored.shape[1] < _LEAST_COLUMNS:
        return
    # Noise counts where it reaches the last row, so the last few rows settle it for most slices.
    if not (_mean_step_hu(stored[-_LEAST_ROWS:], slope) > _SUSPECT_HU).all():
        return
    first = _first_noisy_row(stored, _mean_step_hu(stored, slope))
    if first is not None:
        raise ReadError(
            NOISE, f"neighbouring pixels are unrelated from row {first} of {len(stored)} on"
        )


def _mean_step_hu(stored: np.ndarray, slope: float) -> np.ndarray:
    """Mean difference of neighbours in each row, from every fourth column."""
    left, right = stored[:, ::4].astype(np.int32), stored[:, 1::4].astype(np.int32)
    steps: np.ndarray = np.abs(right - left[:, : right.shape[1]])
    return steps.mean(axis=1) * abs(slope)


def _first_noisy_row(stored: np.ndarray, mean_step_hu: np.ndarray) -> int | None:
    """Return where the noise that reaches the last row begins, None if there is no jump."""
    values = stored.astype(np.float64)
    median_step = np.median(np.abs(np.diff(values, axis=1)), axis=1)
    spread = values.std(axis=1)
    white = (median_step > _WHITENESS * spread) & (mean_step_hu > _SUSPECT_HU)
    clean_rows = np.flatnonzero(~white)
    first = 0 if not len(clean_rows) else int(clean_rows[-1]) + 1
    if not _LEAST_ROWS <= first <= len(stored) - _LEAST_ROWS:
        return None
    above, below = np.median(mean_step_hu[:first]), np.median(mean_step_hu[first:])
    return first if below > _JUMP * above else None


def findings(low: int, high: int, slope: float, intercept: float) -> list[str]:
    """Return warnings about the range of a slice.

    Parameters
    ----------
    low, high : int
        Least and greatest stored value.
    slope, intercept : float
        To Hounsfield units.

    Returns
    -------
    list of str
        "constant slice", "no pixel within the CT range" (-1024 to 3071 HU), and values that no
        scanner writes, as a negative number is read whose sign the header denies; mostly empty.
    """
    found = []
    if low == high:
        found.append("constant slice")
    ends = sorted((low * slope + intercept, high * slope + intercept))
    if low != high and (ends[1] <= AIR_HU or ends[0] >= TOP_HU):
        found.append("no pixel within the CT range")
    if ends[1] >= _IMPOSSIBLE_HU:
        found.append("values far above the CT range")
    return found
