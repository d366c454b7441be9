"""Labelled synthetic head CT, written as real DICOM.

A case is *drawn* (anatomy, geometry and findings from three independent streams of random
numbers, no pixels) and then *rendered* slice by slice in Hounsfield units. In reading order::

    anatomy.py       one head: sizes, tissues, calcifications
    findings.py      what can be wrong with it: lesions, fractures, displacement
    pathology.py     which of that is, drawn
    study.py         how it was scanned: series, positions, pose
    case.py          the three together, from a seed and an index
    grid.py          pixels of one slice -> head coordinates
    skull.py base.py brain.py displacement.py lesions.py noise.py    what is at a point
    render.py        one slice in HU, and the share of it that each lesion fills
    truth.py         lesion masks, and which findings a slice shows
    dicom.py         one slice -> one DICOM file
    write.py         a tree of patients, with labels.csv and slices.csv

It stands alone: nothing else in featurecache imports it, and it imports only `errors`.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Case": "case",
    "FINDINGS": "findings",
    "Series": "study",
    "Study": "study",
    "draw_case": "case",
    "draw_study": "study",
    "lesion_masks": "truth",
    "render_slice": "render",
    "visible_findings": "truth",
    "write_phantom": "write",
}

__all__ = [
    "FINDINGS",
    "Case",
    "Series",
    "Study",
    "draw_case",
    "draw_study",
    "lesion_masks",
    "render_slice",
    "visible_findings",
    "write_phantom",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``--help`` stays quick."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
