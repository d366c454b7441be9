"""Frames of one series -> ordered stacks of slices, with findings about them.

Position and orientation decide; InstanceNumber, SliceLocation, SpacingBetweenSlices and file
names do not. Nothing is resampled: gaps and tilt are recorded.

The rules, in order:

1. Frames of different patients, studies, matrices, kernels or orientations (any direction cosine
   off by more than 0.001) go to different stacks.
2. Where frames share a position, acquisition number, image type, echo, and combinations of them,
   are tried in this order; the first that leaves no shared position and no stack of fewer than
   two slices splits the stack. If none does, all frames are kept, with a warning.
3. Slices are ordered by increasing projection of ImagePositionPatient on the slice normal, turned
   so that its largest component is positive; equal positions by SOPInstanceUID.
4. Without positions InstanceNumber gives the order, with a warning; if that is absent or repeated,
   the stack is refused.

References
----------
DICOM PS3.3 C.7.6.2.1.1 (image position and orientation).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import median, median_low

from featurecache.stacks import Frame, Slice, Stack, Vector

__all__ = ["Frame", "Slice", "Stack", "build_stacks", "slice_normal"]

_SAME_POSITION_MM = 0.01
_SAME_COSINE = 1e-3
_UNIT_TOLERANCE = 0.01
_TILT_WORTH_SAYING_DEG = 0.5
_OFF_LINE_MM = 1.0
_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_AXES = ("sagittal", "coronal", "axial")

_DISTINCTIONS: tuple[Callable[[Frame], tuple[str, ...]], ...] = (
    lambda frame: (frame.acquisition,),
    lambda frame: (frame.image_type,),
    lambda frame: (frame.echo,),
    lambda frame: (frame.acquisition, frame.image_type),
    lambda frame: (frame.acquisition, frame.image_type, frame.echo),
)


def build_stacks(frames: Sequence[Frame], *, min_slices: int = 2) -> list[Stack]:
    """Put the frames of one SeriesInstanceUID into ordered stacks.

    The result does not depend on the order of `frames`, on file names or on InstanceNumber
    (unless there are no positions).

    Parameters
    ----------
    frames : sequence of Frame
        All frames with this SeriesInstanceUID, repeats of one image already removed.
    min_slices : int
        A stack with fewer slices is not usable.

    Returns
    -------
    list of Stack
        The stack with the most slices first; it has the SeriesInstanceUID as its key, the others
        add "#2", "#3", ...

    References
    ----------
    DICOM PS3.3 C.7.6.2.1.1.
    """
    groups = [part for group in _by_kind(frames) for part in _by_distinction(group)]
    groups.sort(key=lambda group: (-len(group), _first_uid(group)))
    stacks = []
    for number, group in enumerate(groups, start=1):
        series_uid = group[0].series_uid
        key = series_uid if number == 1 else f"{series_uid}#{number}"
        split = ("series split into several stacks",) if len(groups) > 1 else ()
        stacks.append(_stack(key, group, split, min_slices))
    return stacks


def slice_normal(orientation: Vector) -> Vector:
    """Return the unit normal of a slice, turned so that its largest component is positive.

    Parameters
    ----------
    orientation : tuple of 6 float
        ImageOrientationPatient: direction cosines of the rows, then of the columns.

    Returns
    -------
    tuple of 3 float
        Where two components are equally large, the last of them decides.

    References
    ----------
    DICOM PS3.3 C.7.6.2.1.1.
    """
    normal = _cross(orientation[:3], orientation[3:])
    length = math.hypot(*normal)
    largest = max(range(3), key=lambda axis: (round(abs(normal[axis]), 6), axis))
    turned = math.copysign(length, normal[largest])
    return tuple(component / turned + 0.0 for component in normal)


def _first_uid(group: Sequence[Frame]) -> tuple[str, int]:
    return min((frame.sop_uid, frame.frame) for frame in group)


def _by_kind(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Rule 1: what can never be one volume."""
    representatives = _orientations(frames)
    groups: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        orientation = _usable_orientation(frame)
        place = None if orientation is None else representatives[orientation]
        kind = (frame.patient_id, frame.study_uid, frame.rows, frame.columns, frame.kernel, place)
        groups[kind].append(frame)
    return list(groups.values())


def _usable_orientation(frame: Frame) -> Vector | None:
    """Return the orientation to project on; None where the frame cannot be placed in space.

    A position without orientation is read as axial, which `_findings` reports.
    """
    if frame.position is None:
        return None
    if frame.orientation is None or not _is_orthonormal(frame.orientation):
        return _AXIAL
    return frame.orientation


@lru_cache(maxsize=256)
def _is_orthonormal(orientation: Vector) -> bool:
    row, column = orientation[:3], orientation[3:]
    return (
        abs(math.hypot(*row) - 1) < _UNIT_TOLERANCE
        and abs(math.hypot(*column) - 1) < _UNIT_TOLERANCE
        and abs(_dot(row, column)) < _UNIT_TOLERANCE
    )


def _orientations(frames: Sequence[Frame]) -> dict[Vector, Vector]:
    """Map every orientation to the first, in sorted order, that is the same within rounding."""
    usable = (_usable_orientation(frame) for frame in frames)
    found = {orientation for orientation in usable if orientation is not None}
    representatives: dict[Vector, Vector] = {}
    heads: list[Vector] = []
    for orientation in sorted(found):
        for head in heads:
            if max(abs(a - b) for a, b in zip(head, orientation, strict=True)) < _SAME_COSINE:
                representatives[orientation] = head
                break
        else:
            heads.append(orientation)
            representatives[orientation] = orientation
    return representatives


def _by_distinction(group: list[Frame]) -> list[list[Frame]]:
    """Rule 2: two passes over the same positions are two stacks, if a tag tells them apart."""
    if not _shares_positions(group):
        return [group]
    for distinction in _DISTINCTIONS:
        parts: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
        for frame in group:
            parts[distinction(frame)].append(frame)
        fits = len(parts) > 1 and min(map(len, parts.values())) >= 2
        if fits and not any(map(_shares_positions, parts.values())):
            return list(parts.values())
    return [group]


def _shares_positions(group: Sequence[Frame]) -> bool:
    heights = _heights(group)
    return heights is not None and any(
        after - before < _SAME_POSITION_MM for before, after in pairwise(sorted(heights))
    )


def _common_orientation(group: Sequence[Frame]) -> Vector | None:
    found = [_usable_orientation(frame) for frame in group]
    known = [orientation for orientation in found if orientation is not None]
    return min(known) if len(known) == len(group) and known else None


def _heights(group: Sequence[Frame]) -> list[float] | None:
    """Return each frame's position along the common normal, mm; None without positions."""
    orientation = _common_orientation(group)
    if orientation is None:
        return None
    normal = slice_normal(orientation)
    return [_dot(frame.position, normal) + 0.0 for frame in group if frame.position is not None]


def _stack(key: str, group: list[Frame], split: tuple[str, ...], min_slices: int) -> Stack:
    ordered, heights, reason = _ordered(group)
    known = heights is not None
    z_mm = heights or [math.nan] * len(ordered)
    gaps = [math.nan, *(after - before for before, after in pairwise(z_mm))]
    if len(ordered) < min_slices:
        reason = f"fewer than {min_slices} slices"
    first = ordered[0]
    tilt_deg = _tilt_deg(ordered) if known else math.nan
    column_spacing_mm = _median([frame.column_spacing_mm for frame in ordered])
    return Stack(
        key=key,
        series_uid=first.series_uid,
        study_uid=first.study_uid,
        patient_id=first.patient_id,
        slices=tuple(map(_slice, ordered, z_mm, gaps)),
        usable=reason is None,
        reason=reason,
        warnings=tuple(sorted({*split, *_findings(ordered, gaps, tilt_deg, known)})),
        tilt_deg=tilt_deg,
        row_spacing_mm=_median([frame.row_spacing_mm for frame in ordered]),
        column_spacing_mm=column_spacing_mm,
        thickness_mm=_median([frame.thickness_mm for frame in ordered]),
        median_gap_mm=_median([gap for gap in gaps if gap >= _SAME_POSITION_MM]),
        z_extent_mm=z_mm[-1] - z_mm[0],
        fov_mm=first.columns * column_spacing_mm,
        wrapped=False,
        assume_hu=any(frame.assumed_hu for frame in ordered),
        description=first.description,
        kernel=first.kernel,
        manufacturer=first.manufacturer,
    )


def _ordered(group: list[Frame]) -> tuple[list[Frame], list[float] | None, str | None]:
    """Rules 3 and 4: the frames in order, their heights, and why they cannot be ordered."""
    heights = _heights(group)
    guessed = any(
        not frame.orientation or not _is_orthonormal(frame.orientation) for frame in group
    )
    if heights is not None and not (guessed and _shares_positions(group)):
        pairs = sorted(
            zip(heights, group, strict=True),
            key=lambda pair: (pair[0], pair[1].sop_uid, pair[1].frame, pair[1].path),
        )
        return [frame for _, frame in pairs], [height for height, _ in pairs], None
    numbers = [frame.instance_number for frame in group if frame.instance_number is not None]
    if len(set(numbers)) == len(group):
        return sorted(group, key=lambda frame: frame.instance_number or 0), None, None
    fallback = sorted(group, key=lambda frame: (frame.sop_uid, frame.frame, frame.path))
    if len(group) == 1:
        return fallback, None, None
    return fallback, None, "order unknown: no positions, InstanceNumber absent or repeated"


def _slice(frame: Frame, z_mm: float, gap_mm: float) -> Slice:
    return Slice(
        path=frame.path,
        frame=frame.frame,
        sop_uid=frame.sop_uid,
        source=frame.source,
        rows=frame.rows,
        columns=frame.columns,
        z_mm=z_mm,
        gap_mm=gap_mm,
        instance_number=frame.instance_number,
        size=frame.size,
        mtime_ns=frame.mtime_ns,
    )


def _tilt_deg(ordered: Sequence[Frame]) -> float:
    """Return the angle between the normal and the direction in which positions advance.

    Positive as the scanner counts it (GantryDetectorTilt) for a patient lying head first, supine.
    """
    orientation = _common_orientation(ordered)
    advance = _advance(ordered)
    if orientation is None or advance is None:
        return math.nan
    row, column = orientation[:3], orientation[3:]
    along_row, along_column = _dot(advance, row), _dot(advance, column)
    angle = math.atan2(
        math.hypot(along_row, along_column), _dot(advance, slice_normal(orientation))
    )
    return math.degrees(-angle if along_column > 0 else angle) + 0.0


def _advance(ordered: Sequence[Frame]) -> Vector | None:
    """Return the unit vector from the first position to the last."""
    first, last = ordered[0].position, ordered[-1].position
    if first is None or last is None:
        return None
    way = tuple(b - a for a, b in zip(first, last, strict=True))
    length = math.hypot(*way)
    return tuple(part / length for part in way) if length >= _SAME_POSITION_MM else None


def _findings(
    ordered: Sequence[Frame], gaps: Sequence[float], tilt_deg: float, known: bool
) -> set[str]:
    """Return everything about the stack that its user should hear of."""
    found = {warning for frame in ordered for warning in frame.warnings}
    if len({(frame.row_spacing_mm, frame.column_spacing_mm) for frame in ordered}) > 1 and not all(
        math.isnan(frame.row_spacing_mm) for frame in ordered
    ):
        found.add("pixel spacing differs between slices")
    if not known:
        found.add("no positions: ordered by InstanceNumber")
        return found
    if any(not frame.orientation or not _is_orthonormal(frame.orientation) for frame in ordered):
        found.add("no usable orientation: taken as axial")
    if abs(tilt_deg) >= _TILT_WORTH_SAYING_DEG:
        found.add("tilted gantry")
    normal = slice_normal(_common_orientation(ordered) or _AXIAL)
    axis = max(range(3), key=lambda number: abs(normal[number]))
    if axis != 2:
        found.add(f"not axial but {_AXES[axis]}")
    if _off_line_mm(ordered) > _OFF_LINE_MM:
        found.add("positions are not on one line")
    return found | _gap_findings([gap for gap in gaps if not math.isnan(gap)])


def _gap_findings(gaps: Sequence[float]) -> set[str]:
    found = set()
    real = [gap for gap in gaps if gap >= _SAME_POSITION_MM]
    if len(real) < len(gaps):
        found.add("several slices at one position")
    if not real:
        return found
    usual = median(real)
    if any(abs(gap - usual) > max(0.1, 0.05 * usual) for gap in real):
        found.add("uneven slice spacing")
    if any(gap > 1.5 * usual for gap in real):
        found.add("gap between slices")
    return found


def _off_line_mm(ordered: Sequence[Frame]) -> float:
    """Return how far any position lies from the line through the first and the last."""
    advance, start = _advance(ordered), ordered[0].position
    if advance is None or start is None:
        return 0.0
    farthest = 0.0
    for frame in ordered:
        way = tuple(b - a for a, b in zip(start, frame.position or start, strict=True))
        along = _dot(way, advance)
        farthest = max(farthest, math.sqrt(max(0.0, _dot(way, way) - along * along)))
    return farthest


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return median_low(known) if known else math.nan


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )
