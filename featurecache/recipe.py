"""Everything that changes a feature's value, frozen, with a fingerprint."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from featurecache.errors import UsageError
from featurecache.framing import Framing, fit_of
from featurecache.views import View

VALUES_VERSION = 2
"""Raised only when the same recipe and input give other features than before, if in the last bit.

2: on a CPU, slices are resized by sparse products.
"""

HU_RANGE = (-1024.0, 3071.0)
"""Hounsfield units are clamped to this range: twelve bits from -1024, what scanners store."""

WINDOWS: dict[str, tuple[float, float]] = {
    "brain": (40, 80),
    "subdural": (80, 200),
    "stroke": (40, 40),
    "soft": (40, 380),
    "bone": (600, 2800),
}
"""Window name -> (level, width) in HU."""

_NUMERICS = ("precision", "dtype")
_NOT_COMPARED = ("weights_source",)
_ABSENT_IF_NONE = ("spacing_mm", "fov_mm", "view_number", "view_seed")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a slice becomes a feature vector.

    Two recipes give comparable features when their identity fields are equal; `precision` and
    `dtype` are numerics, which must be equal within one array. `weights_source` tells a reader
    where the weights came from and is not compared, `weights` (their digest) is.

    Parameters
    ----------
    backbone : str
        ``vgg16``, ``timm:legacy_xception``, ...
    weights : str
        SHA-256 of the tensors that are used.
    weights_source : str
        ``imagenet``, ``random:0``, or a file's name.
    layer : str
        Name of the last graph node that is run.
    pool : {"avg", "max", "none"}
        Pooling over the image.
    windows : tuple of (level_hu, width_hu)
        One, repeated to three channels, or three.
    size : int
        Images become ``size`` x ``size`` pixels.
    zoom : int or None
        Then enlarged bilinearly to ``zoom`` x ``zoom`` (DrCT2).
    mean, std : tuple of float
        Normalisation of the three channels, for values in [0, 1].
    precision : {"fp32", "bf16", "fp16"}
        What the backbone computes in.
    dtype : {"float16", "float32"}
        What the store holds.
    resize : str
        How: `Framing.words`. By default squashed, aspect ratio not kept.
    hu_range : tuple of float
        HU are clamped to this range.
    values_version : int
        `VALUES_VERSION`.
    spacing_mm, fov_mm : float or None
        Field of view that is resampled before, see `Framing`. Absent from the document where it
        is None, so that recipes without it keep the fingerprint they had before it existed.
    view_number, view_seed : int or None
        Augmented view, see `View`; absent likewise.
    """

    backbone: str
    weights: str
    weights_source: str
    layer: str
    pool: str
    windows: tuple[tuple[float, float], ...]
    size: int
    zoom: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    precision: str
    dtype: str
    resize: str = "squash, bilinear, antialiased, after windowing"
    hu_range: tuple[float, float] = HU_RANGE
    values_version: int = VALUES_VERSION
    spacing_mm: float | None = None
    fov_mm: float | None = None
    view_number: int | None = None
    view_seed: int | None = None

    @property
    def view(self) -> View | None:
        """The augmented view; None for the images as they are."""
        if self.view_number is None:
            return None
        return View(self.view_number, self.view_seed or 0)

    @property
    def framing(self) -> Framing:
        """How a slice comes to fill the input."""
        return Framing(self.size, fit_of(self.resize), self.spacing_mm, self.fov_mm)

    def document(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {
            name: value
            for name, value in document.items()
            if name not in _ABSENT_IF_NONE or value is not None
        }

    def fingerprint(self) -> dict[str, str]:
        """``identity`` and ``numerics``: SHA-256 digests of the recipe's two parts."""
        return fingerprint_of(self.document())


def fingerprint_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Fingerprint of a recipe's document, as `Recipe.fingerprint`.

    Parameters
    ----------
    document : mapping
        From `Recipe.document`, or read from a store.

    Returns
    -------
    dict
        ``identity`` and ``numerics``.
    """
    return {part: _digest(_part(document, part)) for part in ("identity", "numerics")}


def differences(have: Mapping[str, Any], want: Mapping[str, Any]) -> list[str]:
    """Fields in which two recipe documents differ, in words.

    Parameters
    ----------
    have, want : mapping
        `Recipe.document` of what exists and of what was asked for.

    Returns
    -------
    list of str
        E.g. ``"size is 224, not 256"``; empty when features are interchangeable.
    """
    names = [field.name for field in fields(Recipe)] + sorted(set(have) | set(want))
    names = [name for name in dict.fromkeys(names) if name not in _NOT_COMPARED]
    return [
        f"{name} is {_short(name, have)}, not {_short(name, want)}"
        for name in names
        if have.get(name) != want.get(name)
    ]


def only_numerics(have: Mapping[str, Any], want: Mapping[str, Any]) -> bool:
    """Whether two recipe documents differ in numerics at most.

    Parameters
    ----------
    have, want : mapping
        From `Recipe.document`.

    Returns
    -------
    bool
    """
    return _part(have, "identity") == _part(want, "identity")


def parse_windows(text: str) -> tuple[tuple[float, float], ...]:
    """Windows from their names or numbers.

    Parameters
    ----------
    text : str
        ``brain``, ``brain,subdural,bone``, ``40/80``, ...: one or three, separated by commas,
        each a name in `WINDOWS` or LEVEL/WIDTH in HU.

    Returns
    -------
    tuple of (level_hu, width_hu)
        One or three; one for three equal ones, which are the same images.

    Raises
    ------
    UsageError
        A name is unknown, a width is not positive, or there are two or more than three.
    """
    windows = tuple(_parse_window(part.strip()) for part in text.split(","))
    if len(windows) not in (1, 3):
        raise UsageError(
            f"--windows {text}: a backbone takes three channels, so give one window (repeated) "
            f"or three; got {len(windows)}"
        )
    return windows if len(set(windows)) > 1 else windows[:1]


def _parse_window(text: str) -> tuple[float, float]:
    if text.lower() in WINDOWS:
        level, width = WINDOWS[text.lower()]
        return float(level), float(width)
    try:
        level, width = (float(number) for number in text.split("/"))
    except ValueError:
        raise UsageError(
            f"--windows: {text!r} is neither LEVEL/WIDTH nor one of {', '.join(WINDOWS)}"
        ) from None
    if not (width > 0 and abs(level) < 1e6 and width < 1e6):
        raise UsageError(f"--windows: {text!r} needs a finite level and a positive width in HU")
    return level, width


def _part(document: Mapping[str, Any], part: str) -> dict[str, Any]:
    in_numerics = part == "numerics"
    return {
        name: value
        for name, value in document.items()
        if name not in _NOT_COMPARED and (name in _NUMERICS) == in_numerics
    }


def _digest(document: dict[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _short(name: str, document: Mapping[str, Any]) -> str:
    value = document.get(name, "absent")
    if name == "weights" and isinstance(value, str):
        return f"{document.get('weights_source', 'weights')} ({value[:12]})"
    return str(value)
