"""The document that ``featurecache scan --json`` prints."""

import math
from typing import Any, Protocol

from featurecache.index import Index
from featurecache.stacks import Stack

SCHEMA_VERSION = 1


class _Naming(Protocol):
    def series(self, uid: str) -> str: ...
    def patient(self, patient_id: str) -> str: ...


def scan_document(index: Index, identifiers: _Naming | None = None) -> dict[str, Any]:
    """Return what a scan found, ready for JSON.

    Parameters
    ----------
    index : Index
        Open index.
    identifiers : Identifiers, optional
        Turns the user's ids into a store's; without it they are given as they are.

    Returns
    -------
    dict
        ``schema_version``, ``files`` (seen, used, skipped, failed), ``reasons`` and ``series``;
        numbers that are unknown are None.
    """
    account = index.account()
    return {
        "schema_version": SCHEMA_VERSION,
        "files": {
            "seen": account.seen,
            "used": account.used,
            "skipped": account.skipped,
            "failed": account.failed,
        },
        "reasons": [
            {"kind": kind, "reason": reason, "count": count}
            for (kind, reason), count in sorted(account.reasons.items())
        ],
        "series": [_series(stack, identifiers) for stack in index.stacks(usable_only=False)],
    }


def _series(stack: Stack, identifiers: _Naming | None) -> dict[str, Any]:
    series, patient = stack.key, stack.patient_id
    if identifiers is not None:
        series, patient = identifiers.series(series), identifiers.patient(patient)
    return {
        "series": series,
        "patient": patient,
        "n_slices": len(stack.slices),
        "usable": stack.usable,
        "reason": stack.reason,
        "warnings": list(stack.warnings),
        "tilt_deg": _number(stack.tilt_deg),
        "spacing_mm": [_number(stack.row_spacing_mm), _number(stack.column_spacing_mm)],
        "thickness_mm": _number(stack.thickness_mm),
        "median_gap_mm": _number(stack.median_gap_mm),
        "z_extent_mm": _number(stack.z_extent_mm),
        "fov_mm": _number(stack.fov_mm),
        "wrapped": stack.wrapped,
        "assume_hu": stack.assume_hu,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
