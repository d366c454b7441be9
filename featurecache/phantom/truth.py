"""What a slice shows: lesion masks, and the findings that are visible in it."""

import numpy as np

from featurecache.phantom.case import Case
from featurecache.phantom.findings import FINDINGS, HAEMORRHAGES
from featurecache.phantom.grid import upsample
from featurecache.phantom.render import SHOWN_MOVE_MM, SHOWN_SHARE, Rendered, render
from featurecache.phantom.study import Series

_SHOWN_MM2 = dict.fromkeys(HAEMORRHAGES, 12.0) | {"CalvarialFracture": 3.0}
_SHOWN_PUSH_MM2 = 200.0


def lesion_masks(case: Case, series: Series, k: int) -> dict[str, np.ndarray]:
    """Return where the lesions of a slice are.

    Parameters
    ----------
    case : Case
    series : Series
    k : int

    Returns
    -------
    dict of str to numpy.ndarray
        bool (H, W) for each haemorrhage and the fracture, if the case has it.
    """
    rendered = render(case, series, k)
    masks = {}
    for name, share in rendered.shares.items():
        full = np.zeros((series.size, series.size), bool)
        full[rendered.grid.box] = upsample(share, rendered.grid.factor) > SHOWN_SHARE
        masks[name] = full
    return masks


def visible_findings(case: Case, series: Series, k: int) -> dict[str, int]:
    """Return which findings a slice shows.

    A lesion shows where it fills at least 12 mm2 (a fracture 3 mm2) of the slice; mass effect
    where 2 cm2 of brain have moved by 3 mm; midline shift where the midline has.

    Parameters
    ----------
    case : Case
    series : Series
    k : int

    Returns
    -------
    dict of str to int
        1 or 0 for each of `FINDINGS`.
    """
    return shown(case, render(case, series, k))


def shown(case: Case, rendered: Rendered) -> dict[str, int]:
    """Return which findings a rendered slice shows; see `visible_findings`.

    Parameters
    ----------
    case : Case
    rendered : Rendered

    Returns
    -------
    dict of str to int
    """
    areas = rendered.shown_mm2
    seen = {name for name, least in _SHOWN_MM2.items() if areas.get(name, 0.0) >= least}
    if seen & set(HAEMORRHAGES):
        seen.add("ICH")
    if areas.get("MassEffect", 0.0) >= _SHOWN_PUSH_MM2:
        seen.add("MassEffect")
    if rendered.shift_mm >= SHOWN_MOVE_MM:
        seen.add("MidlineShift")
    return {name: int(name in seen & case.pathology.present) for name in FINDINGS}
