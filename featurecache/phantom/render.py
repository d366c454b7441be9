"""One slice of a case in Hounsfield units, and how much of it each lesion fills."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from featurecache.phantom.base import below_floor_hu, cavity_floor
from featurecache.phantom.brain import Tissue, brain_tissue
from featurecache.phantom.case import Case
from featurecache.phantom.displacement import displacement_field, sulcus_opening
from featurecache.phantom.findings import (
    Extradural,
    Fracture,
    Intraparenchymal,
    Intraventricular,
    ScalpSwelling,
    Subarachnoid,
    Subdural,
)
from featurecache.phantom.grid import SliceGrid, ramp, slice_grid, upsample
from featurecache.phantom.lesions import (
    add_calcification,
    add_lesion,
    collection_mm,
    subarachnoid_reach,
)
from featurecache.phantom.noise import background, noise
from featurecache.phantom.skull import bone, scalp_mm, skull_mm, vault_distance, vault_share
from featurecache.phantom.study import NOISE_STREAM, Series, stream

_KIND = {
    Intraparenchymal: "IPH",
    Intraventricular: "IVH",
    Subdural: "SDH",
    Extradural: "EDH",
    Subarachnoid: "SAH",
}
SHOWN_SHARE = 0.3
"""A point shows a lesion where the lesion fills at least this share of it."""
SHOWN_MOVE_MM = 3.0
"""Brain that has moved less is not said to be displaced."""
_BASE_TOP_MM = 14.0


@dataclass
class Rendered:
    """A slice before noise, and what it shows.

    Parameters
    ----------
    hu : numpy.ndarray
        float32 (H, W).
    shares : dict of str to numpy.ndarray
        For each lesion present, its share of each grid point, float32 (h, w).
    grid : SliceGrid
    shown_mm2 : dict of str to float
        Area of visible lesion, for MassEffect of displaced brain.
    shift_mm : float
        How far the midline is displaced in this slice.
    """

    hu: np.ndarray
    grid: SliceGrid
    shares: dict[str, np.ndarray] = field(default_factory=dict)
    shown_mm2: dict[str, float] = field(default_factory=dict)
    shift_mm: float = 0.0


def render_slice(case: Case, series: Series, k: int) -> np.ndarray:
    """Render one slice with its noise.

    Parameters
    ----------
    case : Case
    series : Series
        One of ``case.study.series``.
    k : int
        Slice, counted from the feet.

    Returns
    -------
    numpy.ndarray
        int16 (H, W), Hounsfield units, -1024 to 3071.
    """
    return finish(case, series, k, render(case, series, k))


def finish(case: Case, series: Series, k: int, rendered: Rendered) -> np.ndarray:
    """Add kernel and noise to a rendered slice and round it.

    Parameters
    ----------
    case : Case
    series : Series
    k : int
    rendered : Rendered

    Returns
    -------
    numpy.ndarray
        int16 (H, W), Hounsfield units, -1024 to 3071.
    """
    hu = rendered.hu
    if series.kind == "bone":
        hu = hu + 0.9 * (hu - ndimage.uniform_filter(hu, 3))
    rng = stream(case.seed, case.index, NOISE_STREAM, series.number, k)
    grain = noise(rng, series.size, series.kind)
    grain *= series.noise_hu
    grain += hu
    return np.clip(np.rint(grain, out=grain), -1024, 3071, out=grain).astype(np.int16)


def render(case: Case, series: Series, k: int) -> Rendered:
    """Render one slice without noise.

    Parameters
    ----------
    case : Case
    series : Series
    k : int

    Returns
    -------
    Rendered
    """
    anatomy = case.anatomy
    grid = slice_grid(anatomy, case.study.pose, series, k)
    hu = background(series)[0].copy()
    rendered = Rendered(hu, grid)
    m = grid.middle
    distance, slope = vault_distance(anatomy, grid.x[m], grid.y[m], grid.z[m])
    soft = _soft(case, grid, distance, slope, rendered)
    hu[grid.box] = _over(
        hu[grid.box], upsample(soft[0], grid.factor), upsample(soft[1], grid.factor)
    )
    _add_bone(case, grid, distance, rendered)
    return rendered


def _over(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    return below + (above - below) * share


def _soft(
    case: Case, grid: SliceGrid, distance: np.ndarray, slope: np.ndarray, rendered: Rendered
) -> tuple[np.ndarray, np.ndarray]:
    """Everything but the vault: its HU, and how much of each point is head rather than air."""
    m = grid.middle
    x, y, z = grid.x[m], grid.y[m], grid.z[m]
    edge = grid.step_mm + np.abs(slope) * grid.thickness_mm
    inside = _cavity(case, grid, distance + (grid.z - z) * slope, rendered)
    thick = skull_mm(case.anatomy, x, y, z)
    swellings = [s for s in case.pathology.lesions if isinstance(s, ScalpSwelling)]
    scalp, swollen = scalp_mm(case.anatomy, swellings, x, y, z)
    beyond = distance - thick
    outer = np.where(swollen > 0.3, np.float32(_swelling_hu(swellings)), np.float32(-80))
    outer += (52 - outer) * np.maximum(ramp(beyond - scalp + 2.4, 1.2), _muscle(y, z, beyond))
    face = (1 - vault_share(y, z)) * (0.5 * thick + scalp - 2.0)
    hu = _over(inside, outer, ramp(beyond + thick * 0.5 - face, 1.5))
    return hu, ramp(scalp - beyond, edge)


def _swelling_hu(swellings: list[ScalpSwelling]) -> float:
    return swellings[0].hu if swellings else 0.0


def _muscle(y: np.ndarray, z: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """Temporal muscle, and the muscles of the neck."""
    temporal = 26 - np.sqrt((y + 20) ** 2 + 1.6 * (z + 4) ** 2)
    neck = np.minimum(y - 32, -z - 22)
    return ramp(np.maximum(temporal, neck), 10.0) * ramp(7 - beyond + np.maximum(neck, 0) * 4, 2.0)


def _cavity(case: Case, grid: SliceGrid, distance: np.ndarray, rendered: Rendered) -> np.ndarray:
    """What is inside the vault: brain, and below the cavity's floor the base of the skull."""
    m = grid.middle
    low = float(grid.z.min()) < _BASE_TOP_MM
    if low:
        floor, base_mm = cavity_floor(grid.x[m], grid.y[m])
        above = grid.z - floor
        depth = np.minimum(-distance, above * 0.8)
    else:
        depth = -distance
    brain = _brain(case, grid, depth, rendered)
    if not low:
        return brain
    below = below_floor_hu(grid.x[m], grid.y[m], grid.z[m], floor, base_mm, grid.thickness_mm)
    return _over(below, brain, ramp(above, 1.0).mean(0))


def _brain(case: Case, grid: SliceGrid, depth: np.ndarray, rendered: Rendered) -> np.ndarray:
    """Brain with its lesions, averaged over the slice's thickness; (h, w)."""
    flat = np.flatnonzero(depth > -2.0)
    image = np.full(depth.shape, case.anatomy.csf_hu, np.float32)
    if flat.size:
        x, y, z = (a.ravel()[flat] for a in (grid.x, grid.y, grid.z))
        tissue, shares = _points(case, grid, x, y, z, depth.ravel()[flat], rendered)
        image.ravel()[flat] = tissue.hu
        for name, share in shares.items():
            _account(rendered, name, share, flat, depth.shape)
    return image.mean(0)


def _account(
    rendered: Rendered, name: str, share: np.ndarray, flat: np.ndarray, shape: tuple[int, ...]
) -> None:
    """Keep a lesion's share of each grid point and the area where it shows."""
    volume = np.zeros(shape, np.float32)
    volume.ravel()[flat] = share
    mean = volume.mean(0)
    rendered.shares[name] = mean
    rendered.shown_mm2[name] = float((mean > SHOWN_SHARE).sum()) * rendered.grid.step_mm**2


def _points(
    case: Case,
    grid: SliceGrid,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
    rendered: Rendered,
) -> tuple[Tissue, dict[str, np.ndarray]]:
    """Tissue at the points of the cavity, lesions put in, and each lesion's share."""
    anatomy, lesions = case.anatomy, case.pathology.lesions
    outside = [v for v in lesions if isinstance(v, Extradural | Subdural)]
    collected = [collection_mm(anatomy, v, x, y, z) for v in outside]
    below_dura = depth - np.max(collected, axis=0) if collected else depth
    own, opening = _displaced(case, grid, x, y, z, depth, rendered)
    for lesion in lesions:
        if isinstance(lesion, Subarachnoid):
            opening = opening + subarachnoid_reach(lesion, x, y, z) * (1.4 / anatomy.sulcus_mm)
    swell = max((v.swell for v in lesions if isinstance(v, Intraventricular)), default=1.0)
    tissue = brain_tissue(anatomy, *own, below_dura, opening, swell)
    for spot in anatomy.calcifications:
        add_calcification(spot, tissue, *own)
    shares: dict[str, np.ndarray] = {}
    within = ramp(depth, 1.3)
    for lesion in lesions:
        share = add_lesion(anatomy, lesion, tissue, x, y, z, depth)
        if share is not None:
            name = _KIND[type(lesion)]
            share = share * within
            shares[name] = np.maximum(shares[name], share) if name in shares else share
    return tissue, shares


def _displaced(
    case: Case,
    grid: SliceGrid,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
    rendered: Rendered,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray | float]:
    """Where the tissue at each point came from, and how open its sulci are."""
    moved = case.pathology.displacement
    if moved is None:
        return (x, y, z), 1.0
    ux, uy, uz, push = displacement_field(moved, x, y, z)
    brain = depth > 4.0
    point_mm2 = grid.step_mm**2 / grid.z.shape[0]
    pushed = np.count_nonzero(brain & (push >= SHOWN_MOVE_MM))
    rendered.shown_mm2["MassEffect"] = pushed * point_mm2
    middle = np.abs(ux[brain & (np.abs(x - ux) < 2.0) & (z > -8)])
    rendered.shift_mm = float(middle.max()) if middle.size > 20 / point_mm2 else 0.0
    return (x - ux, y - uy, z - uz), sulcus_opening(moved, x, y, z)


def _add_bone(case: Case, grid: SliceGrid, distance: np.ndarray, rendered: Rendered) -> None:
    """Draw the vault at full resolution, at the points near it only."""
    fractures = [f for f in case.pathology.lesions if isinstance(f, Fracture)]
    reach = 4.0 + grid.thickness_mm * 0.5 + max((f.step_mm for f in fractures), default=0.0)
    near = (distance > -reach) & (distance < case.anatomy.skull_mm * 1.5 + reach)
    rows, columns = np.nonzero(near.repeat(grid.factor, 0).repeat(grid.factor, 1))
    if not rows.size:
        return
    points = _exact(grid, rows, columns)
    share, hu, cracked = bone(
        case.anatomy, fractures, *points, 1.1 * grid.pixel_mm, grid.thickness_mm
    )
    view = rendered.hu[grid.box]
    view[rows, columns] = _over(view[rows, columns], hu, share)
    if fractures:
        _account_crack(grid, rows, columns, cracked, near.shape, rendered)


def _exact(
    grid: SliceGrid, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Head coordinates of full-resolution pixels in the slice's plane: the grid is affine."""
    offset = (grid.factor - 1) / 2
    r = ((rows - offset) / grid.factor).astype(np.float32)
    c = ((columns - offset) / grid.factor).astype(np.float32)
    x, y, z = (
        a[0, 0] + r * (a[1, 0] - a[0, 0]) + c * (a[0, 1] - a[0, 0])
        for a in (grid.x[grid.middle], grid.y[grid.middle], grid.z[grid.middle])
    )
    return x, y, z


def _account_crack(
    grid: SliceGrid,
    rows: np.ndarray,
    columns: np.ndarray,
    cracked: np.ndarray,
    shape: tuple[int, ...],
    rendered: Rendered,
) -> None:
    """Keep the fracture's share; its lines are finer than the grid, so its area is a sum."""
    full = np.zeros((shape[0] * grid.factor, shape[1] * grid.factor), np.float32)
    full[rows, columns] = cracked
    f = grid.factor
    rendered.shares["CalvarialFracture"] = full.reshape(shape[0], f, shape[1], f).max((1, 3))
    rendered.shown_mm2["CalvarialFracture"] = float(cracked.sum()) * grid.pixel_mm**2
