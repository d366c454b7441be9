"""Can the values of a volume be Hounsfield units? Air says so, where no header does.

A CT volume of a head has air around and inside of the head, at -1000 HU. Volumes whose air lies
elsewhere were shifted (+1024: stored values without their intercept), windowed, normalised or
standardised, or are masks.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_AIR = (-1100, -850)
_LEAST_AIR = 0.01
_MOST_BELOW_AIR = 0.05
_FEW_VALUES = 32


class Look(NamedTuple):
    """What was seen in a slice.

    Parameters
    ----------
    pixels, air, below : int
        Pixels, those of air, and those below air that do not have the least value of the slice,
        which is padding.
    low, high : float
        Least and greatest value, HU.
    values : tuple of float
        The different values, HU, unless they are more than 32.
    digest : str
        32 hex digits of shape and values.
    """

    pixels: int
    air: int
    below: int
    low: float
    high: float
    values: tuple[float, ...]
    digest: str


def look_at(hu: np.ndarray) -> Look:
    """Count what tells Hounsfield units from other values.

    Parameters
    ----------
    hu : ndarray (H, W) of float
        Not clamped to the CT range.

    Returns
    -------
    Look
    """
    low, high = float(hu.min()), float(hu.max())
    air = int(((hu >= _AIR[0]) & (hu <= _AIR[1])).sum())
    below = int(((hu < _AIR[0]) & (hu > low)).sum())
    values = np.unique(hu)
    few = tuple(values.tolist()) if len(values) <= _FEW_VALUES else ()
    data = np.ascontiguousarray(hu, dtype=np.float64)
    digest = hashlib.blake2b(data.tobytes() + repr(hu.shape).encode(), digest_size=16).hexdigest()
    return Look(hu.size, air, below, low, high, few, digest)


def is_mask(looks: Sequence[Look]) -> bool:
    """Say whether slices have few different values and none of air: a segmentation, no image.

    Parameters
    ----------
    looks : sequence of Look
        Slices of one volume.

    Returns
    -------
    bool
    """
    values = {value for look in looks for value in look.values}
    few = all(look.values for look in looks) and len(values) <= _FEW_VALUES
    return few and not any(look.air for look in looks)


def why_not_hu(looks: Sequence[Look]) -> str | None:
    """Say why values cannot be Hounsfield units of a CT with air in it.

    Parameters
    ----------
    looks : sequence of Look
        Slices spread over one volume.

    Returns
    -------
    str or None
        In words, with the range that was found; None where they can.
    """
    pixels = sum(look.pixels for look in looks)
    span = f"values from {min(look.low for look in looks):g} to {max(k.high for k in looks):g}"
    if sum(look.air for look in looks) < _LEAST_AIR * pixels:
        return f"expected air at -1000, found {span} and hardly any there"
    if sum(look.below for look in looks) > _MOST_BELOW_AIR * pixels:
        return f"expected nothing but padding below air (-1000), found {span} and much there"
    return None
