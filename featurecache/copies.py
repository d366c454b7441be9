"""NIfTI files with the same voxels under other names: one is used, and no two patients are made.

DICOM files that were copied bear one SOPInstanceUID. A NIfTI file has no such thing, and where its
path says whose it is, each copy would count as a patient of its own.
"""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from featurecache.assemble import DUPLICATE
from featurecache.index import Index
from featurecache.nifti import NAMES_SAY_WHO
from featurecache.reasons import COPIES_OF_PATIENTS

_LOOKED_AT = """
SELECT files.id, path, files.series_uid, patient_id, warnings, json_extract(content, '$.look')
FROM files JOIN frames ON file = files.id AND frame = 0
WHERE content LIKE '%"look"%' AND stack IS NOT NULL
AND (status = 'used' OR reason IN (?, ?)) ORDER BY path
"""


@dataclass(frozen=True, slots=True)
class _File:
    identity: int
    path: str
    series_uid: str
    patient_id: str
    is_named: bool  # its patient is in a table or a BIDS name, not made of the path


def settle_copies(index: Index) -> None:
    """Use one of the NIfTI files that have the same voxels, or none if they are of two patients.

    Decided anew by every scan, from what `probes` has noted of each file.

    Parameters
    ----------
    index : Index
        Open for writing.
    """
    groups: dict[str, list[_File]] = defaultdict(list)
    for identity, path, series, patient, warnings, look in index.database.execute(
        _LOOKED_AT, (DUPLICATE, COPIES_OF_PATIENTS)
    ):
        is_named = NAMES_SAY_WHO not in json.loads(warnings)
        groups[look].append(_File(identity, os.fsdecode(path), series, patient, is_named))
    index.database.execute("BEGIN")
    for group in groups.values():
        _settle(index, group)
    index.database.execute("COMMIT")


def _settle(index: Index, group: Sequence[_File]) -> None:
    named = [file for file in group if file.is_named]
    if len({file.patient_id for file in named}) > 1:
        detail = "remove the copies, or correct --nifti-ids: " + ", ".join(f.path for f in named)
        for file in group:
            _note(index, file, "failed", COPIES_OF_PATIENTS, detail)
        return
    first = (named or group)[0]
    for file in group:
        if file is first:
            _note(index, file, "used", None, None)
        else:
            _note(index, file, "skipped", DUPLICATE, f"same voxels as {first.path}")


def _note(index: Index, file: _File, status: str, reason: str | None, detail: str | None) -> None:
    index.database.execute(
        "UPDATE files SET status = ?, reason = ?, detail = ? WHERE id = ? AND reason IS NOT ?",
        (status, reason, detail, file.identity, reason),
    )
    index.database.execute(
        "UPDATE stacks SET usable = ?, reason = ? WHERE series_uid = ? AND reason IS NOT ?",
        (reason is None, reason, file.series_uid, reason),
    )
