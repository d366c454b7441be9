"""``reads.csv`` of CQ500: three radiologists' reads of every scan."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from featurecache.words import plural
from seqhead.errors import LabelError
from seqhead.labels.file import LabelFile, merge_duplicates
from seqhead.labels.lines import Lines, read_lines, require_columns

CQ500_LABELS = (
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
"""The nine findings that the SDLM paper learns, in its order."""

_READERS = ("R1", "R2", "R3")
_NAME = re.compile(r"CQ500[-_ ]?CT[-_ ]?(\d+)\b", re.IGNORECASE)
_PREFIXES = tuple(
    f"CQ500{one}CT{two}" for one in ("", "-", "_", " ") for two in ("", "-", "_", " ")
)
_DIGITS = range(1, 5)  # CQ500 ends at number 490; hashed PatientIDs can only be guessed
_ANSWERS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "": np.nan, "na": np.nan, "nan": np.nan}


def read_cq500(path: Path) -> LabelFile:
    """Read CQ500's ``reads.csv``; the label is the majority of the readers who answered.

    With one reader missing and the other two of different opinion the label is unknown.
    Labels are of a scan: every series of the patient inherits them.

    Parameters
    ----------
    path : Path
        The CSV with columns ``name`` and ``R1:ICH`` ... ``R3:MidlineShift``.

    Returns
    -------
    LabelFile
        Level patient, labels `CQ500_LABELS`.

    Raises
    ------
    LabelError
        A column is missing, a read is neither 0, 1 nor blank, or a name has no number.

    References
    ----------
    Chilamkurthy et al. 2018, The Lancet 392: CQ500's gold standard is the majority vote.
    """
    lines = read_lines(path)
    wanted = [f"{reader}:{label}" for label in CQ500_LABELS for reader in _READERS]
    require_columns(lines, ["name", *wanted], "cq500")
    names = lines.column("name")
    for number, name in zip(lines.numbers, names, strict=True):
        cq500_spellings(name, f"{lines.source} line {number}")
    votes = np.stack([_reads(lines, reader) for reader in _READERS])  # (3, R, K)
    values, notes = _majority(votes)
    ids = pd.DataFrame({"patient": [cq500_name(name) for name in names]}, dtype=object)
    merged = merge_duplicates(
        ids, np.array(lines.numbers, np.int64), values, CQ500_LABELS, lines.source
    )
    return LabelFile(
        lines.source, "cq500", CQ500_LABELS, *merged,
        notes=notes, patient_spellings=cq500_spellings, patient_name=cq500_name,
    )  # fmt: skip


def cq500_spellings(name: str, where: str = "the label file") -> tuple[str, ...]:
    """PatientIDs that a name of ``reads.csv`` may have in DICOM headers and folder names.

    Parameters
    ----------
    name : str
        For example ``"CQ500-CT-0"``.
    where : str
        File and line, for the message.

    Returns
    -------
    tuple of str
        ``CQ500-CT-0``, ``CQ500CT0``, ``CQ500CT0 CQ500CT0``, ``cq500-ct-000``, ...

    Raises
    ------
    LabelError
        The name has no CQ500 number.
    """
    number = _number(name)
    if number is None:
        raise LabelError(
            f"{where}: name is {name!r}; expected a name like 'CQ500-CT-0'. "
            "Another format is chosen with --labels-format table|rsna"
        )
    digits = dict.fromkeys(f"{number:0{width}d}" for width in _DIGITS)
    names = [f"{prefix}{text}" for prefix in _PREFIXES for text in digits]
    names += [name.lower() for name in names]
    return (f"CQ500-CT-{number}", *names, *(f"{name} {name}" for name in names))


def cq500_name(patient_id: str) -> str:
    """Name of a patient, however the PatientID spells its number.

    Parameters
    ----------
    patient_id : str
        For example ``"CQ500CT004 CQ500CT004"``.

    Returns
    -------
    str
        For example ``"CQ500-CT-4"``; another PatientID as it is.
    """
    number = _number(patient_id)
    return patient_id if number is None else f"CQ500-CT-{number}"


def _number(name: str) -> int | None:
    """The one number of a name; None for two different ones."""
    numbers = {int(digits) for digits in _NAME.findall(name)}
    return numbers.pop() if len(numbers) == 1 else None


def _reads(lines: Lines, reader: str) -> np.ndarray:
    """Answers of one reader, (R, K)."""
    columns = [
        [
            _answer(cell, f"{lines.source} line {number}, {reader}:{label}")
            for number, cell in zip(lines.numbers, lines.column(f"{reader}:{label}"), strict=True)
        ]
        for label in CQ500_LABELS
    ]
    return np.array(columns, dtype=np.float32).T


def _answer(cell: str, where: str) -> float:
    answer = _ANSWERS.get(cell.lower())
    if answer is None:
        raise LabelError(f"{where} is {cell!r}; expected 0, 1 or blank")
    return answer


def _majority(votes: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(3, R, K) answers to (R, K) labels, and what was decided on the way."""
    readers = (~np.isnan(votes)).sum(axis=0)
    positive = np.nansum(votes, axis=0)
    values = np.where(2 * positive > readers, 1.0, 0.0).astype(np.float32)
    values[2 * positive == readers] = np.nan
    partial = int(((readers < len(_READERS)) & (readers > 0)).sum())
    tied = int(((2 * positive == readers) & (readers > 0)).sum())
    notes = []
    if partial:
        notes.append(f"{plural(partial, 'label')} of fewer than three readers, {tied} of them tied")
    return values, tuple(notes)
