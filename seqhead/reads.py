"""Reads of human readers, brought to the test rows of a run."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache.identifiers import Identifiers
from seqhead.errors import LabelError
from seqhead.judged import Judged
from seqhead.labels.file import ID_COLUMNS, LabelFile
from seqhead.labels.join import label_rows
from seqhead.labels.statistics import any_of

_USER = {"patient": "user_patient", "series": "user_series"}


@dataclass(frozen=True, slots=True)
class Reads:
    """What M readers say of n rows.

    Parameters
    ----------
    readers : tuple of str
        Their names.
    labels : tuple of str
        Labels of the run that the readers speak of.
    answers : float array (M, n, K')
        1, 0, or NaN for no answer.
    """

    readers: tuple[str, ...]
    labels: tuple[str, ...]
    answers: np.ndarray


def read_rows(
    files: Mapping[str, LabelFile],
    judged: Judged,
    series: pd.DataFrame,
    owners: pd.DataFrame,
    *,
    identifiers: Identifiers | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Reads:
    """Find what each reader says of each test row.

    Scans are matched by the user's own identifiers where the run has them, else through the key
    of the store. A patient has what a reader saw in any of its scans.

    Parameters
    ----------
    files : mapping of str to LabelFile
        Reader -> reads.
    judged : Judged
        Test rows.
    series : DataFrame
        Series of the run by id: ``patient``, ``study``, ``series_of``, ``user_patient``,
        ``user_series``.
    owners : DataFrame
        ``id`` (of a row of `judged`) and ``series``.
    identifiers : Identifiers or None
        Key of the store.
    renamed : mapping of str to str or None
        Label of the run -> label of the readers.

    Returns
    -------
    Reads

    Raises
    ------
    LabelError
        Nothing matches, or the readers speak of none of the run's labels.
    """
    wanted = {name: (renamed or {}).get(name, name) for name in judged.test.names}
    spoken = {label for file in files.values() for label in file.names}
    labels = tuple(name for name, theirs in wanted.items() if theirs in spoken)
    source = next(iter(files.values())).source
    if not labels:
        raise LabelError(
            f"{source} has reads of {', '.join(sorted(spoken))}, none of which the run predicts "
            f"({', '.join(wanted)}). --map RUN_LABEL=READ_LABEL,... says which is which"
        )
    answers, matched = [], False
    owners = owners[owners["id"].isin(judged.test.ids)]
    for file in files.values():
        row = _rows(file, series, identifiers)
        matched |= bool((row[series.index.isin(owners["series"])] >= 0).any())
        values = _columns(file, [wanted[name] for name in labels])[row]
        place = series.index.get_indexer(pd.Index(owners["series"]))
        of_row = any_of(values[place], owners["id"].to_numpy(), judged.test.ids)
        answers.append(of_row)
    if not matched:
        raise LabelError(
            f"{source} matches none of the {len(judged.test)} test rows: its "
            f"{ID_COLUMNS[next(iter(files.values())).level]} values are neither those of the "
            "labels nor, through --key, those of the store"
        )
    return Reads(tuple(files), labels, np.stack(answers))


def _columns(file: LabelFile, labels: list[str]) -> np.ndarray:
    """Values of some labels, and a last row of unknowns for -1."""
    values = [
        file.values[:, file.names.index(name)]
        if name in file.names
        else np.full(len(file.values), np.nan)
        for name in labels
    ]
    table = np.stack(values, axis=1)
    return np.vstack([table, np.full((1, len(labels)), np.nan)])


def _rows(file: LabelFile, series: pd.DataFrame, identifiers: Identifiers | None) -> np.ndarray:
    """Row of the file that speaks of each series, -1 where none does."""
    column = _USER.get(file.level)
    if column is not None:
        spelt = series[column].map(file.patient_name) if file.level == "patient" else series[column]
        found = pd.Index(file.ids[file.level]).get_indexer(pd.Index(spelt))
        found[(series[column] == "").to_numpy()] = -1
        if (found >= 0).any():
            return np.asarray(found)
    if identifiers is None:
        return np.full(len(series), -1)
    return label_rows(file, identifiers, series, pd.DataFrame({"slice": []}))
