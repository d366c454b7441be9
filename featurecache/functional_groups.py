"""Position, spacing, rescale and kernel of each frame, from functional groups or a plain header.

References
----------
DICOM PS3.3 C.7.6.16 (multi-frame functional groups), C.8.15.3 (enhanced CT).
"""

import math
from dataclasses import dataclass

from featurecache.elements import Elements
from featurecache.errors import ReadError
from featurecache.reasons import RESCALE_MISSING, RESCALE_UNUSABLE
from featurecache.values import decimals, integer, text, vector

_SHARED = 0x52009229
_PER_FRAME = 0x52009230
_PLANE_POSITION = 0x00209113
_PLANE_ORIENTATION = 0x00209116
_PIXEL_MEASURES = 0x00289110
_PIXEL_VALUE_TRANSFORMATION = 0x00289145
_CT_RECONSTRUCTION = 0x00189314
_CT_FRAME_TYPE = 0x00189329
_FRAME_CONTENT = 0x00209111


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What the header says about one frame; units and absent values as in `stacks.Frame`.

    ``localizer`` marks a frame that is a scout and no slice. ``slope`` and ``intercept`` turn
    stored values into Hounsfield units.
    """

    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    row_spacing_mm: float
    column_spacing_mm: float
    thickness_mm: float
    slope: float
    intercept: float
    kernel: str
    acquisition: str
    image_type: str
    instance_number: int | None
    localizer: bool = False


def single_frame(
    elements: Elements, slope: float, intercept: float, image_type: str
) -> FrameHeader:
    """Return the one frame of a plain CT image.

    Parameters
    ----------
    elements : Elements
        The data set.
    slope, intercept : float
        As `rescale_of` gives them.
    image_type : str
        ImageType (0008,0008), values joined by backslashes.

    Returns
    -------
    FrameHeader
        InstanceNumber (0020,0013) as it stands in the header.
    """
    return _frame([elements], slope, intercept, image_type, integer(elements, 0x00200013))


def frame_headers(
    elements: Elements, n_frames: int, image_type: str, assume_hu: bool
) -> tuple[tuple[FrameHeader, ...], bool]:
    """Return every frame of an enhanced CT, and whether any rescale was assumed.

    Per-frame groups come before shared ones, and those before elements outside of any group.

    Parameters
    ----------
    elements : Elements
        The data set.
    n_frames : int
        NumberOfFrames (0028,0008).
    image_type : str
        ImageType (0008,0008) of the file, for frames without a FrameType of their own.
    assume_hu : bool
        Take stored values as Hounsfield units where rescale is absent.

    Returns
    -------
    frames : tuple of FrameHeader
        In the order of the file; ``instance_number`` is the 1-based frame number.
    assumed : bool
        Whether the rescale of any frame was assumed.

    Raises
    ------
    ReadError
        If the per-frame groups do not match NumberOfFrames, or a frame's rescale is unusable.
    """
    per_frame = list(elements.items(_PER_FRAME))
    if len(per_frame) != n_frames:
        raise ReadError(
            "functional groups do not match NumberOfFrames",
            f"{len(per_frame)} groups, NumberOfFrames {n_frames}",
        )
    shared = next(elements.items(_SHARED), None)
    frames = []
    any_assumed = False
    for number, groups in enumerate(per_frame):
        scopes = [groups] if shared is None else [groups, shared]
        macros = [*_macros(scopes), elements]
        slope, intercept, assumed = rescale_of(macros, assume_hu)
        any_assumed = any_assumed or assumed
        frames.append(_frame(macros, slope, intercept, image_type, number + 1))
    return tuple(frames), any_assumed


def rescale_of(places: list[Elements], assume_hu: bool) -> tuple[float, float, bool]:
    """Return RescaleSlope, RescaleIntercept and whether they were assumed.

    Parameters
    ----------
    places : list of Elements
        Where to look, in this order: the first that has a value counts.
    assume_hu : bool
        Take an absent slope as 1 and an absent intercept as 0.

    Returns
    -------
    slope, intercept : float
        Hounsfield units are ``stored * slope + intercept``; the slope is not 0.
    assumed : bool
        Whether either was absent.

    Raises
    ------
    ReadError
        If one is absent and `assume_hu` is not given, or is no finite number, or the slope is 0.

    References
    ----------
    DICOM PS3.3 C.11.1.1.2.
    """
    slope = _rescale_value(places, 0x00281053, "RescaleSlope")
    intercept = _rescale_value(places, 0x00281052, "RescaleIntercept")
    if slope == 0:
        raise ReadError(RESCALE_UNUSABLE, "RescaleSlope (0028,1053) is 0")
    if slope is not None and intercept is not None:
        return slope, intercept, False
    if not assume_hu:
        missing = "RescaleSlope (0028,1053)" if slope is None else "RescaleIntercept (0028,1052)"
        raise ReadError(
            RESCALE_MISSING,
            f"{missing} is absent; if the stored values are Hounsfield units, give --assume-hu",
        )
    return (1.0 if slope is None else slope), (0.0 if intercept is None else intercept), True


def _rescale_value(places: list[Elements], tag: int, name: str) -> float | None:
    for place in places:
        try:
            values = decimals(place, tag)
        except ValueError as error:
            raise ReadError(RESCALE_UNUSABLE, f"{name} is {error}, expected a number") from None
        if values is not None:
            if len(values) != 1:
                raise ReadError(RESCALE_UNUSABLE, f"{name} has {len(values)} values, expected 1")
            return values[0]
    return None


def _macros(scopes: list[Elements]) -> list[Elements]:
    """Return the first item of every group we read, per-frame groups before shared ones."""
    wanted = (
        _PLANE_POSITION,
        _PLANE_ORIENTATION,
        _PIXEL_MEASURES,
        _PIXEL_VALUE_TRANSFORMATION,
        _CT_RECONSTRUCTION,
        _CT_FRAME_TYPE,
        _FRAME_CONTENT,
    )
    return [
        item
        for scope in scopes
        for tag in wanted
        for item in [next(scope.items(tag), None)]
        if item is not None
    ]


def _frame(
    places: list[Elements],
    slope: float,
    intercept: float,
    image_type: str,
    instance_number: int | None,
) -> FrameHeader:
    frame_type = _first_text(places, 0x00089007) or image_type
    spacing = _first_vector(places, 0x00280030, 2) or (math.nan, math.nan)
    thickness = (_first_vector(places, 0x00180050, 1) or (math.nan,))[0]
    return FrameHeader(
        position=_first_vector(places, 0x00200032, 3),
        orientation=_first_vector(places, 0x00200037, 6),
        row_spacing_mm=_positive(spacing[0]),
        column_spacing_mm=_positive(spacing[1]),
        thickness_mm=_positive(thickness),
        slope=slope,
        intercept=intercept,
        kernel=_first_text(places, 0x00181210),
        acquisition=_first_text(places, 0x00200012) or _frame_acquisition(places),
        image_type=frame_type,
        instance_number=instance_number,
        localizer="LOCALIZER" in frame_type.upper().split("\\"),
    )


def _first_vector(places: list[Elements], tag: int, length: int) -> tuple[float, ...] | None:
    for place in places:
        if tag in place.spans:
            return vector(place, tag, length)
    return None


def _first_text(places: list[Elements], tag: int) -> str:
    for place in places:
        if tag in place.spans:
            return text(place, tag)
    return ""


def _frame_acquisition(places: list[Elements]) -> str:
    for place in places:
        raw = place.raw(0x00209156)
        if raw:
            return str(int.from_bytes(raw[:2], "little" if place.little else "big"))
    return ""


def _positive(value: float) -> float:
    return value if value > 0 else math.nan
