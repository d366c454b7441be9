"""How a slice comes to fill the square that a network takes: squashed, padded, cropped, in mm."""

from dataclasses import dataclass
from math import isfinite

from featurecache.errors import UsageError
from featurecache.reasons import SPACING_IMPLAUSIBLE, SPACING_UNKNOWN

_HOW = "bilinear, antialiased, after windowing"
_WORDS = {
    "squash": f"squash, {_HOW}",
    "pad": f"pad to a square with air, {_HOW}",
    "crop": f"crop to the central square, {_HOW}",
}
FITS = tuple(_WORDS)
"""What ``--fit`` takes; ``squash`` is the default."""

_MOST_PIXELS, _MOST_MM = 4096, 2000
_PLAUSIBLE_MM = (
    0.01,
    100.0,
)  # of a pixel; metres and micrometres lie outside, and would be all air


@dataclass(frozen=True, slots=True)
class Framing:
    """Which part of a slice is shown to the network, and on how many pixels.

    Where `spacing_mm` and `fov_mm` are None, the whole slice is brought to ``size`` x ``size``
    pixels as `fit` says, whatever its pixels measure. Otherwise the square of `fov_mm` a side
    around the centre of the image is resampled to pixels of `spacing_mm` (air where the slice
    ends before it does), and then resized to ``size`` x ``size``. Always within the plane.

    Parameters
    ----------
    size : int
        Pixels a side of what the network takes.
    fit : {"squash", "pad", "crop"}
        What is done to an image that is not square: aspect ratio not kept, air added on both
        sides, or its longer side cut on both sides. Nothing is to be done in a field of view.
    spacing_mm, fov_mm : float or None
        Both or neither.
    """

    size: int
    fit: str = "squash"
    spacing_mm: float | None = None
    fov_mm: float | None = None

    @property
    def grid(self) -> int | None:
        """Pixels a side of the resampled field of view; None where nothing is resampled."""
        if self.spacing_mm is None or self.fov_mm is None:
            return None
        return max(round(self.fov_mm / self.spacing_mm), 1)

    @property
    def words(self) -> str:
        """What a recipe calls the last step, e.g. ``"squash, bilinear, ..."``."""
        return _WORDS[self.fit]

    def refusal(self, row_spacing_mm: float, column_spacing_mm: float) -> str | None:
        """Say why a slice of this pixel spacing cannot be framed so; None where it can."""
        lengths = (row_spacing_mm, column_spacing_mm)
        if self.grid is None:
            return None
        if not all(isfinite(length) and length > 0 for length in lengths):
            return SPACING_UNKNOWN
        least, most = _PLAUSIBLE_MM
        return None if all(least <= length <= most for length in lengths) else SPACING_IMPLAUSIBLE

    def text(self) -> str:
        """The framing in a few words, for titles."""
        pixels = f"{self.size} x {self.size} pixels"
        if self.grid is None:
            return f"{self.fit} to {pixels}"
        resampled = f"central {self.fov_mm:g} mm at {self.spacing_mm:.4g} mm"
        joint = ":" if self.grid == self.size else ", resized to"
        return f"{resampled}{joint} {pixels}"


def parse_framing(
    size: int, fit: str = "squash", spacing_mm: float | None = None, fov_mm: float | None = None
) -> Framing:
    """Framing from what a user asks for.

    Parameters
    ----------
    size : int
        Pixels a side.
    fit : str
        One of `FITS`. Without effect in a field of view, which is square already.
    spacing_mm : float, optional
        Pixel spacing. Alone, the field of view is that of `size` such pixels.
    fov_mm : float, optional
        Field of view. Alone, it is resampled straight to `size` pixels. With a spacing it is
        rounded to whole pixels.

    Returns
    -------
    Framing
        With both lengths or none, so that equal images come from equal framings.

    Raises
    ------
    UsageError
        The fit is unknown, a length is not positive, they ask for no pixel or over 4,096, or for
        more than 2,000 mm.
    """
    if fit not in _WORDS:
        raise UsageError(f"--fit {fit}: expected one of {', '.join(FITS)}")
    for option, length in (("--spacing", spacing_mm), ("--fov", fov_mm)):
        if length is not None and not (isfinite(length) and length > 0):
            raise UsageError(f"{option} {length:g}: expected a positive number of mm")
    if spacing_mm is None and fov_mm is None:
        return Framing(size, fit)
    wanted_mm = float(size * (spacing_mm or 0) if fov_mm is None else fov_mm)
    if wanted_mm > _MOST_MM:
        raise UsageError(
            f"a field of view of {wanted_mm:g} mm is wider than any scanner: expected at most "
            f"{_MOST_MM:,} mm from --fov, or from --spacing times --size"
        )
    if spacing_mm is None:
        return Framing(size, "squash", wanted_mm / size, wanted_mm)
    return _whole_pixels(size, float(spacing_mm), wanted_mm)


def fit_of(words: str) -> str:
    """The fit that a recipe's ``resize`` names.

    Parameters
    ----------
    words : str
        `Framing.words`.

    Returns
    -------
    str
        One of `FITS`.

    Raises
    ------
    ValueError
        These are not the words of any.
    """
    for fit, said in _WORDS.items():
        if said == words:
            return fit
    raise ValueError(f"resize must be one of {list(_WORDS.values())}. Got {words!r}.")


def _whole_pixels(size: int, spacing_mm: float, fov_mm: float) -> Framing:
    pixels = fov_mm / spacing_mm
    if not 0.5 < pixels <= _MOST_PIXELS:
        raise UsageError(
            f"--fov {fov_mm:g} at --spacing {spacing_mm:g} would be {pixels:.3g} pixels a side: "
            f"expected 1 to {_MOST_PIXELS:,}"
        )
    return Framing(size, "squash", spacing_mm, round(max(round(pixels), 1) * spacing_mm, 9))
