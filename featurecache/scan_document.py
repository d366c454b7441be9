"""The document that ``featurecache scan --json`` prints."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from featurecache.chosen import Chosen
from featurecache.errors import FeatureCacheError
from featurecache.index import Index
from featurecache.stacks import Stack

SCHEMA_VERSION = 1


class _Naming(Protocol):
    def series(self, uid: str) -> str: ...
    def patient(self, patient_id: str) -> str: ...


def scan_document(
    index: Index,
    identifiers: _Naming | None = None,
    chosen: Chosen | None = None,
    *,
    with_texts: bool = False,
) -> dict[str, Any]:
    """Return what a scan found, ready for JSON.

    Parameters
    ----------
    index : Index
        Open index.
    identifiers : Identifiers, optional
        Turns the user's ids into a store's; without it they are given as they are.
    chosen : Chosen, optional
        What a selection leaves out: files of such series count as skipped, their warnings do not.
    with_texts : bool
        Also give what is free text: SeriesDescription, ConvolutionKernel, and rows of the table of
        NIfTI files. For the eyes of the one who writes rules and tables, not for logs.

    Returns
    -------
    dict
        ``schema_version``, ``files`` (seen, used, skipped, failed), ``reasons``, ``selection``
        (its rules) and ``series``; numbers that are unknown are None. Warnings are those of files
        and series in use.

    Raises
    ------
    FeatureCacheError
        The files do not add up.
    """
    chosen = chosen or Chosen()
    account = chosen.settle(index.account(chosen.series))
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
        "selection": list(chosen.texts),
        **({"nifti_rows_without_file": index.nifti_rows_without_file()} if with_texts else {}),
        "series": [
            _series(stack, identifiers, chosen.series.get(stack.key)) | _texts(stack, with_texts)
            for stack in index.stacks(usable_only=False)
        ],
    }


def move_to_failed(
    document: dict[str, Any], failed: Mapping[str, str], warnings: Counter[str]
) -> None:
    """Count files that could not be decoded as failed, and add what was found in pixels.

    Parameters
    ----------
    document : dict
        From `scan_document`; changed in place.
    failed : mapping
        Path of each such file, counted as used until now -> reason.
    warnings : Counter
        Findings about slices.

    Raises
    ------
    FeatureCacheError
        The files do not add up.
    """
    counts, reasons = document["files"], document["reasons"]
    counts["used"] -= len(failed)
    counts["failed"] += len(failed)
    if counts["seen"] != counts["used"] + counts["skipped"] + counts["failed"]:
        raise FeatureCacheError(f"files do not add up: {counts}; this is a bug")
    for kind, found in (("failed", Counter(failed.values())), ("warning", warnings)):
        reasons += [
            {"kind": kind, "reason": reason, "count": count}
            for reason, count in sorted(found.items())
        ]


def _series(stack: Stack, identifiers: _Naming | None, left_out: str | None) -> dict[str, Any]:
    series, patient = stack.key, stack.patient_id
    if identifiers is not None:
        series, patient = identifiers.series(series), identifiers.patient(patient)
    return {
        "series": series,
        "patient": patient,
        "n_slices": len(stack.slices),
        "usable": stack.usable,
        "selected": stack.usable and left_out is None,
        "reason": stack.reason or left_out,
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


def _texts(stack: Stack, wanted: bool) -> dict[str, str]:
    return {"description": stack.description, "kernel": stack.kernel} if wanted else {}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
