"""One head: its size, its tissues and what is normally calcified in it.

Head coordinates are millimetres in a head of standard size: X to the patient's left, Y to the
back, Z to the top, the origin above the dorsum sellae between the thalami. A head's own size
enters through `Anatomy.scale` only, so every shape is written down once, for the standard head.
"""

from dataclasses import dataclass

import numpy as np

INNER_SKULL_MM = (66.0, 82.0, 73.0)
"""Semi-axes of the inner table of the standard skull (left-right, front-back, up)."""


@dataclass(frozen=True, slots=True)
class Calcification:
    """A physiological calcification: dense, sharp, and no haemorrhage.

    Parameters
    ----------
    center : tuple of float
        Head coordinates, mm.
    axes : tuple of float
        Semi-axes, mm.
    hu : float
        Density in the middle, 80 to 500 HU.
    """

    center: tuple[float, float, float]
    axes: tuple[float, float, float]
    hu: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Everything about a head that has nothing to do with its findings.

    Parameters
    ----------
    scale : tuple of float
        Size relative to the standard head along X, Y, Z.
    egg : float
        How much wider the back of the skull is than its front, 0.04 to 0.12.
    skull_mm, scalp_mm : float
        Mean thickness of the vault and of the scalp.
    cortical_hu, diploe_hu : float
        Bone of the two tables and between them.
    grey_hu, white_hu, csf_hu : float
        Brain tissues.
    ventricle : float
        Size of the ventricles relative to a middle-aged adult, 0.75 to 1.5.
    asymmetry_mm : float
        How far the ventricles lie to one side normally, below 1.5 mm.
    sulcus_mm : float
        Half width of a sulcus at the surface.
    leukoaraiosis_hu : float
        How much darker the white matter is around the horns, 0 to 7 HU.
    folds : tuple
        Wave vectors (rad/mm) and phases of the folding of the cortex: rows (kx, ky, kz, phase).
    calcifications : tuple of Calcification
    frontal_sinus : float
        Size of the frontal sinus, 0 (none) to 1.3.
    suture_mm : float
        Width of the skull's sutures.
    """

    scale: tuple[float, float, float]
    egg: float
    skull_mm: float
    scalp_mm: float
    cortical_hu: float
    diploe_hu: float
    grey_hu: float
    white_hu: float
    csf_hu: float
    ventricle: float
    asymmetry_mm: float
    sulcus_mm: float
    leukoaraiosis_hu: float
    folds: tuple[tuple[float, float, float, float], ...]
    calcifications: tuple[Calcification, ...]
    frontal_sinus: float
    suture_mm: float


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a head.

    Parameters
    ----------
    rng : numpy.random.Generator
        The case's stream for anatomy, used for nothing else.

    Returns
    -------
    Anatomy
    """
    age = rng.uniform()
    size = rng.normal(0.97, 0.03)
    scale = np.clip(size * rng.normal(1.0, 0.02, 3), 0.88, 1.07)
    grey = rng.uniform(35.5, 39.0)
    return Anatomy(
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        egg=rng.uniform(0.04, 0.12),
        skull_mm=rng.uniform(5.2, 8.0),
        scalp_mm=rng.uniform(3.5, 6.5),
        cortical_hu=rng.uniform(1200, 1650),
        diploe_hu=rng.uniform(450, 800),
        grey_hu=grey,
        white_hu=grey - rng.uniform(7.0, 9.5),
        csf_hu=rng.uniform(3.0, 8.0),
        ventricle=0.78 + 0.55 * age**1.5 + rng.uniform(0.0, 0.15),
        asymmetry_mm=rng.uniform(-1.4, 1.4),
        sulcus_mm=0.35 + 1.0 * age**1.3 + rng.uniform(0.0, 0.2),
        leukoaraiosis_hu=max(0.0, 9.0 * (age - 0.4) * rng.uniform()),
        folds=_draw_folds(rng),
        calcifications=_draw_calcifications(rng),
        frontal_sinus=rng.uniform(0.0, 1.3),
        suture_mm=rng.uniform(0.4, 1.1),
    )


def _draw_folds(
    rng: np.random.Generator, waves: int = 6
) -> tuple[tuple[float, float, float, float], ...]:
    """Plane waves of nearly one length in random directions: their zeros meander like sulci."""
    directions = rng.normal(size=(waves, 3)) * (1.0, 1.0, 0.75)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wavelength_mm = rng.uniform(21.0, 29.0, (waves, 1))
    phases = rng.uniform(0, 2 * np.pi, (waves, 1))
    rows = np.hstack([directions * 2 * np.pi / wavelength_mm, phases])
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in rows)


def _draw_calcifications(rng: np.random.Generator) -> tuple[Calcification, ...]:
    """Pineal, choroid plexus, basal ganglia and falx, each in the share of adults that has it."""
    found = []
    if rng.uniform() < 0.65:
        found.append(_spot(rng, (0.0, 31.0, 6.0), 1.5, (1.2, 3.0), (150, 450)))
    if rng.uniform() < 0.6:
        sides = [side for side in (-1, 1) if rng.uniform() < 0.85]
        found += [_spot(rng, (s * 23.0, 33.0, 14.0), 2.5, (1.5, 4.0), (110, 400)) for s in sides]
    if rng.uniform() < 0.2:
        found += [_spot(rng, (s * 21.0, 0.0, 6.0), 1.5, (1.2, 3.5), (80, 180)) for s in (-1, 1)]
    if rng.uniform() < 0.25:
        center = (0.0, rng.uniform(-62, -40), rng.uniform(20, 45))
        found.append(_spot(rng, center, 1.0, (1.2, 3.0), (180, 500)))
    return tuple(found)


def _spot(
    rng: np.random.Generator,
    center: tuple[float, float, float],
    scatter_mm: float,
    radius_mm: tuple[float, float],
    hu: tuple[float, float],
) -> Calcification:
    """One calcification near a place, irregular in size."""
    x, y, z = (float(c + rng.normal(0, scatter_mm) * 0.6) for c in center)
    a, b, c = (float(r) for r in rng.uniform(*radius_mm) * rng.uniform(0.7, 1.3, 3))
    return Calcification((x, y, z), (a, b, c), rng.uniform(*hu))
