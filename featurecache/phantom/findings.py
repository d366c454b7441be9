"""What is wrong with a head: lesions, fractures and the displacement they cause.

Everything is drawn from one stream of random numbers that knows neither the head nor the
scan. Lengths are millimetres in the standard head (see `anatomy`).
"""

from dataclasses import dataclass

FINDINGS = (
    "ICH",
    "IPH",
    "IVH",
    "SDH",
    "EDH",
    "SAH",
    "CalvarialFracture",
    "MassEffect",
    "MidlineShift",
)
"""The nine series-level findings, named as CQ500 names them."""

HAEMORRHAGES = ("IPH", "IVH", "SDH", "EDH", "SAH")
"""The five kinds of intracranial haemorrhage; ICH is any of them."""

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Intraparenchymal:
    """A blob of blood inside the brain with oedema around it (IPH).

    Parameters
    ----------
    center, axes : tuple of float
        Middle and semi-axes, mm.
    hu : float
        Density of the clot.
    oedema_mm : float
        Width of the dark rim.
    wobble : tuple of float
        Phases that make the outline irregular.
    """

    center: Vector
    axes: Vector
    hu: float
    oedema_mm: float
    wobble: Vector


@dataclass(frozen=True, slots=True)
class Intraventricular:
    """Blood in the ventricles (IVH): a fluid level, a cast of one side, or both.

    Parameters
    ----------
    hu : float
    level_y_mm : float
        Blood lies behind this Y (the patient lies on the back); 90 for none.
    cast_side : int
        -1 or 1: that lateral ventricle is full in front of the level too; 0: neither.
    midline : bool
        The third and fourth ventricles are full.
    swell : float
        Factor on the size of the ventricles, 1 or more (hydrocephalus).
    """

    hu: float
    level_y_mm: float
    cast_side: int
    midline: bool
    swell: float


@dataclass(frozen=True, slots=True)
class Extradural:
    """A lens between skull and dura (EDH).

    Parameters
    ----------
    side : int
        -1 or 1.
    y_mm, z_mm : float
        Where its middle touches the skull.
    radius_mm, thickness_mm : float
        Half its length along the skull, and its greatest thickness.
    hu, swirl_hu : float
        Density, and how much darker its fresh, unclotted part is.
    """

    side: int
    y_mm: float
    z_mm: float
    radius_mm: float
    thickness_mm: float
    hu: float
    swirl_hu: float


@dataclass(frozen=True, slots=True)
class Subdural:
    """A crescent along the convexity of one side (SDH).

    Parameters
    ----------
    side : int
    y_mm, z_mm : float
        Its middle.
    reach_y_mm, reach_z_mm : float
        Half its extent.
    thickness_mm : float
    hu : float
    settled_hu : float
        How much denser the dependent (back) part is.
    """

    side: int
    y_mm: float
    z_mm: float
    reach_y_mm: float
    reach_z_mm: float
    thickness_mm: float
    hu: float
    settled_hu: float


@dataclass(frozen=True, slots=True)
class Subarachnoid:
    """Blood that replaces cerebrospinal fluid in sulci or cisterns (SAH).

    Parameters
    ----------
    center : tuple of float
    reach : tuple of float
        Half extents of the region, mm.
    hu : float
    share : float
        How much of the fluid is replaced, 0.6 to 1.
    """

    center: Vector
    reach: Vector
    hu: float
    share: float


@dataclass(frozen=True, slots=True)
class Fracture:
    """A crack across the vault.

    Parameters
    ----------
    side : int
    y_mm, z_mm : float
        Its middle.
    half_length_mm, width_mm : float
    lean : float
        How far its plane leans from upright, slope.
    bend_mm : float
        How far it strays from a plane.
    step_mm : float
        How far one side is pressed in; 0 for a linear fracture.
    """

    side: int
    y_mm: float
    z_mm: float
    half_length_mm: float
    width_mm: float
    lean: float
    bend_mm: float
    step_mm: float


@dataclass(frozen=True, slots=True)
class Hypodensity:
    """A dark region that is no haemorrhage: infarct, tumour oedema or an old defect.

    Parameters
    ----------
    center, axes : tuple of float
    hu : float
    """

    center: Vector
    axes: Vector
    hu: float


@dataclass(frozen=True, slots=True)
class ScalpSwelling:
    """A subgaleal haematoma, with or without a fracture under it.

    Parameters
    ----------
    side : int
    y_mm, z_mm : float
    radius_mm, thickness_mm : float
    hu : float
    """

    side: int
    y_mm: float
    z_mm: float
    radius_mm: float
    thickness_mm: float
    hu: float


Lesion = (
    Intraparenchymal
    | Intraventricular
    | Extradural
    | Subdural
    | Subarachnoid
    | Fracture
    | Hypodensity
    | ScalpSwelling
)


@dataclass(frozen=True, slots=True)
class Displacement:
    """How the brain has moved: a push away from a place, and a shift of the midline.

    Parameters
    ----------
    center : tuple of float
        Where the push comes from.
    inward : tuple of float
        Its direction, unit length; zeros for a push in all directions.
    push_mm, sigma_mm : float
        Greatest displacement, and how far it reaches.
    shift_mm : float
        Displacement of the midline, positive to the left (X).
    shift_y_mm, shift_z_mm : float
        Where the midline is displaced most.
    effacement : float
        How far sulci on that side are closed, 0 to 1.
    """

    center: Vector
    inward: Vector
    push_mm: float
    sigma_mm: float
    shift_mm: float
    shift_y_mm: float
    shift_z_mm: float
    effacement: float


@dataclass(frozen=True, slots=True)
class Pathology:
    """All that is wrong with a head, and the findings a reader would tick.

    Parameters
    ----------
    present : frozenset of str
        Names out of `FINDINGS`.
    lesions : tuple of Lesion
    displacement : Displacement or None
    """

    present: frozenset[str]
    lesions: tuple[Lesion, ...]
    displacement: Displacement | None

    def labels(self) -> dict[str, int]:
        """Return 1 or 0 for each of `FINDINGS`.

        Returns
        -------
        dict of str to int
        """
        return {name: int(name in self.present) for name in FINDINGS}
