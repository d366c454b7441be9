"""Draw what is wrong with a head: first the findings, then lesions that show them.

Prevalences are those of a set enriched for training (about half the patients bleed), not of an
emergency department. The smallest lesions measure 6 mm across and reach over 16 mm in height, so
that each lies in two slices at least whatever the gap.
"""

import numpy as np

from featurecache.phantom.findings import (
    HAEMORRHAGES,
    Displacement,
    Extradural,
    Fracture,
    Hypodensity,
    Intraparenchymal,
    Intraventricular,
    Lesion,
    Pathology,
    ScalpSwelling,
    Subarachnoid,
    Subdural,
    Vector,
)

_P_ICH = 0.48
_P_KIND = {"IPH": 0.42, "IVH": 0.26, "SDH": 0.34, "EDH": 0.24, "SAH": 0.38}
_IPH_SITES = (
    ((26.0, -2.0, 10.0), (5.0, 8.0, 5.0), 0.35),
    ((12.0, 16.0, 10.0), (3.0, 4.0, 3.0), 0.12),
    ((32.0, -38.0, 26.0), (9.0, 12.0, 10.0), 0.18),
    ((36.0, 28.0, 30.0), (8.0, 14.0, 10.0), 0.17),
    ((40.0, -8.0, -8.0), (5.0, 10.0, 4.0), 0.09),
    ((22.0, 52.0, -22.0), (8.0, 6.0, 3.0), 0.09),
)


def draw_pathology(rng: np.random.Generator) -> Pathology:
    """Draw findings, and the lesions and displacement that show them.

    Parameters
    ----------
    rng : numpy.random.Generator
        The case's stream for findings, used for nothing else.

    Returns
    -------
    Pathology
    """
    kinds = _draw_kinds(rng)
    mass, shift = _draw_mass(rng, kinds)
    side = int(rng.choice([-1, 1]))
    fracture = rng.uniform() < _fracture_chance(kinds)
    lesions: list[Lesion] = []
    for kind in HAEMORRHAGES:
        if kind in kinds:
            lesions += _draw_haemorrhage(rng, kind, side, mass or shift)
    lesions += _draw_skull(rng, fracture, lesions, side)
    lesions += _draw_dark(rng, lesions, side, mass, shift)
    displacement = _draw_displacement(rng, lesions, side, mass, shift)
    present = set(kinds) | ({"ICH"} if kinds else set())
    present |= {"CalvarialFracture"} if fracture else set()
    present |= {"MassEffect"} if mass else set()
    present |= {"MidlineShift"} if shift else set()
    return Pathology(frozenset(present), tuple(lesions), displacement)


def _draw_kinds(rng: np.random.Generator) -> frozenset[str]:
    """Any haemorrhage at all, then which kinds: at least one."""
    bleeds = rng.uniform() < _P_ICH
    while True:
        kinds = frozenset(k for k in HAEMORRHAGES if rng.uniform() < _P_KIND[k])
        if kinds or not bleeds:
            return kinds if bleeds else frozenset()


def _draw_mass(rng: np.random.Generator, kinds: frozenset[str]) -> tuple[bool, bool]:
    """Mass effect, mostly from large lesions, and midline shift, mostly with mass effect.

    Mass effect without blood is a tumour or an infarct; a shift without mass effect is a brain
    that an old defect draws to its side.
    """
    chance = 0.10
    for kind, more in (("IPH", 0.28), ("SDH", 0.35), ("EDH", 0.3), ("SAH", 0.06), ("IVH", 0.06)):
        chance += more * (kind in kinds)
    mass = rng.uniform() < min(chance, 0.8)
    shift = rng.uniform() < ((0.72 if "SDH" in kinds else 0.55) if mass else 0.025)
    return bool(mass), bool(shift)


def _fracture_chance(kinds: frozenset[str]) -> float:
    if "EDH" in kinds:
        return 0.6
    return 0.24 if kinds & {"SDH", "SAH"} else 0.12


def _acute_hu(rng: np.random.Generator) -> float:
    """Fresh clot: 50 to 90 HU, mostly 58 to 75."""
    return float(np.clip(rng.normal(66.0, 7.0), 50.0, 90.0))


def _draw_haemorrhage(
    rng: np.random.Generator, kind: str, side: int, large: bool
) -> tuple[Lesion, ...]:
    draw = {
        "IPH": _draw_iph,
        "IVH": _draw_ivh,
        "SDH": _draw_sdh,
        "EDH": _draw_edh,
        "SAH": _draw_sah,
    }[kind]
    return draw(rng, side, large)


def _draw_iph(rng: np.random.Generator, side: int, large: bool) -> tuple[Lesion, ...]:
    """One clot at a usual site; at times small further ones (contusions)."""
    weights = np.array([site[2] for site in _IPH_SITES])
    count = 1 + int(rng.uniform() < 0.2) + int(rng.uniform() < 0.08)
    lesions: list[Lesion] = []
    for i in range(count):
        mean, scatter, _ = _IPH_SITES[rng.choice(len(_IPH_SITES), p=weights / weights.sum())]
        x, y, z = rng.normal(mean, np.array(scatter) * 0.7)
        big = large and i == 0
        radius = rng.uniform(12, 24) if big else rng.uniform(3.6, 12) if i == 0 else 4.0
        a, b, c = radius * rng.uniform(0.9, 1.3, 3)
        lesions.append(
            Intraparenchymal(
                center=(float(side * abs(x)), float(y), float(z)),
                axes=(float(a), float(b), max(float(c), 8.5)),
                hu=_acute_hu(rng),
                oedema_mm=float(rng.uniform(1.5, 3.0 + 0.35 * radius)),
                wobble=_phases(rng),
            )
        )
    return tuple(lesions)


def _phases(rng: np.random.Generator) -> Vector:
    a, b, c = rng.uniform(0, 2 * np.pi, 3)
    return float(a), float(b), float(c)


def _draw_ivh(rng: np.random.Generator, side: int, large: bool) -> tuple[Lesion, ...]:
    """A fluid level in the occipital horns, now and then a cast of a ventricle."""
    cast = int(rng.choice([-1, 1])) if rng.uniform() < 0.35 else 0
    level = rng.uniform(26.0, 40.0)
    return (
        Intraventricular(
            hu=_acute_hu(rng),
            level_y_mm=float(level),
            cast_side=cast,
            midline=bool(rng.uniform() < 0.35),
            swell=float(rng.uniform(1.05, 1.35)),
        ),
    )


def _draw_sdh(rng: np.random.Generator, side: int, large: bool) -> tuple[Lesion, ...]:
    """A crescent; one in six is as dense as brain (hard), some settle into layers."""
    isodense = rng.uniform() < 0.16
    hu = rng.uniform(38, 46) if isodense else _acute_hu(rng) - 3.0
    return (
        Subdural(
            side=side,
            y_mm=float(rng.uniform(-18, 22)),
            z_mm=float(rng.uniform(16, 34)),
            reach_y_mm=float(rng.uniform(42, 75)),
            reach_z_mm=float(rng.uniform(26, 45)),
            thickness_mm=float(rng.uniform(10, 20) if large else rng.uniform(6.6, 11)),
            hu=float(max(hu, 38.0)),
            settled_hu=float(rng.uniform(5, 20) if rng.uniform() < 0.3 else 0.0),
        ),
    )


def _draw_edh(rng: np.random.Generator, side: int, large: bool) -> tuple[Lesion, ...]:
    """A lens, most often temporal or parietal."""
    thickness = rng.uniform(13, 28) if large else rng.uniform(6.6, 14)
    return (
        Extradural(
            side=side,
            y_mm=float(rng.normal(0, 24)),
            z_mm=float(rng.uniform(-2, 38)),
            radius_mm=float(max(thickness * rng.uniform(1.25, 2.0), 16.0)),
            thickness_mm=float(thickness),
            hu=_acute_hu(rng),
            swirl_hu=float(rng.uniform(8, 20) if rng.uniform() < 0.25 else 0.0),
        ),
    )


def _draw_sah(rng: np.random.Generator, side: int, large: bool) -> tuple[Lesion, ...]:
    """Aneurysmal (cisterns and Sylvian fissures) or traumatic (sulci of one region)."""
    hu = float(np.clip(rng.normal(63.0, 6.0), 50.0, 78.0))
    share = float(rng.uniform(0.75, 1.0))
    if rng.uniform() < 0.45:
        x = float(side * rng.uniform(0, 25))
        reach = (float(rng.uniform(26, 55)), float(rng.uniform(26, 50)), float(rng.uniform(20, 30)))
        return (Subarachnoid((x, -6.0, -2.0), reach, hu, share),)
    y, z = rng.uniform(-45, 45), rng.uniform(16, 50)
    center = (float(side * rng.uniform(34, 50)), float(y), float(z))
    a, b, c = rng.uniform(18, 38, 3)
    return (Subarachnoid(center, (float(a), float(b), float(c)), hu, share),)


def _draw_skull(
    rng: np.random.Generator, fracture: bool, lesions: list[Lesion], side: int
) -> list[Lesion]:
    """The fracture, over an extradural clot where there is one, and scalp swellings.

    A swelling comes without a fracture too: it is a hint, not a sign.
    """
    lens = next((x for x in lesions if isinstance(x, Extradural)), None)
    own_side = side if lens is not None or rng.uniform() < 0.6 else -side
    y = lens.y_mm + rng.normal(0, 6) if lens is not None else rng.uniform(-50, 50)
    z = lens.z_mm + rng.normal(0, 5) if lens is not None else rng.uniform(10, 45)
    place = (own_side, float(np.clip(y, -58, 58)), float(np.clip(z, 2, 48)))
    found: list[Lesion] = []
    if fracture:
        found.append(_draw_fracture(rng, *place))
    if rng.uniform() < (0.65 if fracture else 0.15):
        radius, thickness = float(rng.uniform(18, 38)), float(rng.uniform(3, 11))
        found.append(ScalpSwelling(*place, radius, thickness, float(rng.uniform(35, 65))))
    return found


def _draw_fracture(rng: np.random.Generator, side: int, y_mm: float, z_mm: float) -> Fracture:
    depressed = rng.uniform() < 0.3
    return Fracture(
        side=side,
        y_mm=y_mm,
        z_mm=z_mm,
        half_length_mm=float(rng.uniform(14, 38)),
        width_mm=float(rng.uniform(0.9, 2.4)),
        lean=float(rng.normal(0, 0.45)),
        bend_mm=float(rng.uniform(0.0, 2.0)),
        step_mm=float(rng.uniform(2.0, 5.5) if depressed else 0.0),
    )


def _draw_dark(
    rng: np.random.Generator, lesions: list[Lesion], side: int, mass: bool, shift: bool
) -> list[Lesion]:
    """Regions darker than brain: the cause of a mass without blood, an old defect, or chance."""
    bulky = any(isinstance(x, Intraparenchymal | Subdural | Extradural) for x in lesions)
    if mass and not bulky:
        return [_dark_region(rng, side, rng.uniform(16, 28), rng.uniform(19, 25))]
    if shift and not mass:
        return [_dark_region(rng, -side, rng.uniform(14, 24), rng.uniform(7, 14))]
    if rng.uniform() < 0.15:
        return [_dark_region(rng, -side, rng.uniform(6, 20), rng.uniform(10, 26))]
    return []


def _dark_region(rng: np.random.Generator, side: int, radius: float, hu: float) -> Hypodensity:
    center = (side * rng.uniform(30, 44), rng.uniform(-35, 38), rng.uniform(12, 34))
    a, b, c = radius * rng.uniform(0.8, 1.25, 3)
    x, y, z = (float(v) for v in center)
    return Hypodensity((x, y, z), (float(a), float(b), float(c)), float(hu))


def _draw_displacement(
    rng: np.random.Generator, lesions: list[Lesion], side: int, mass: bool, shift: bool
) -> Displacement | None:
    """A smooth field from the bulkiest lesion; small lesions move little or nothing."""
    source = _source(lesions)
    if source is None:
        return None
    center, inward, away = source
    if mass:
        push, effacement = rng.uniform(6.0, 10.0), rng.uniform(0.6, 1.0)
        shift_mm = rng.uniform(5.5, 14.0) if shift else rng.uniform(0.0, 1.8)
    elif shift:
        push, effacement, shift_mm = 0.0, 0.0, rng.uniform(5.5, 9.0)
        away = -away
    else:
        push, effacement, shift_mm = rng.uniform(0.0, 1.8), rng.uniform(0, 0.3), 0.0
    return Displacement(
        center=center,
        inward=inward,
        push_mm=float(push),
        sigma_mm=float(max(rng.uniform(22, 32), 3.2 * push)),
        shift_mm=float(away * shift_mm),
        shift_y_mm=float(rng.uniform(-15, 10)),
        shift_z_mm=float(rng.uniform(10, 22)),
        effacement=float(effacement),
    )


def _source(lesions: list[Lesion]) -> tuple[Vector, Vector, int] | None:
    """Where the push comes from: its place, its direction, and the side it pushes to."""
    for lesion in lesions:
        if isinstance(lesion, Subdural | Extradural):
            center = (lesion.side * 52.0, lesion.y_mm * 0.75, lesion.z_mm)
            return center, (-float(lesion.side), 0.0, 0.0), -lesion.side
    for lesion in lesions:
        if isinstance(lesion, Intraparenchymal | Hypodensity):
            return lesion.center, (0.0, 0.0, 0.0), -int(np.sign(lesion.center[0]) or 1)
    return None
