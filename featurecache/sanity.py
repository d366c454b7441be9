"""Are the decoded values of a slice plausible? Noise below some row, constant, out of range."""

import numpy as np

from featurecache.errors import ReadError
from featurecache.reasons import NOISE

AIR_HU = -1024
TOP_HU = 3071

_IMPOSSIBLE_HU = 1 << 15
_SUSPECT_HU = 300.0
_LEAST_ROWS = 8
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
    columns = stored[:, ::4].astype(np.int32), stored[:, 1::4].astype(np.int32)
    width = min(columns[0].shape[1], columns[1].shape[1])
    if width < 8 or len(stored) < 2 * _LEAST_ROWS:
        return
    steps = np.abs(columns[1][:, :width] - columns[0][:, :width])
    mean_step_hu = steps.mean(axis=1) * abs(slope)
    if (mean_step_hu > _SUSPECT_HU).sum() < _LEAST_ROWS:
        return
    first = _first_noisy_row(stored, mean_step_hu)
    if first is not None:
        raise ReadError(
            NOISE, f"neighbouring pixels are unrelated from row {first} of {len(stored)} on"
        )


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
