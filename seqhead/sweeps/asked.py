"""What a user asks for, with the files opened: every feature set that a candidate may read."""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featurecache.words import plural
from seqhead.chosen_features import open_for_fit, system_notes
from seqhead.cohort import Cohort, Level
from seqhead.errors import FitError, SweepError
from seqhead.matrices import Matrices
from seqhead.options import FitOptions
from seqhead.sources import Opened, Sources
from seqhead.stored import bytes_of
from seqhead.sweeps.candidates import features_of
from seqhead.sweeps.search_file import default_search
from seqhead.sweeps.settings import Request
from seqhead.sweeps.space import Candidate, Space, parse_space
from seqhead.sweeps.trial_data import features_key, same_series


@dataclass(slots=True)
class Asked:
    """What a user asks for, with the files opened.

    Parameters
    ----------
    request : Request
        What to sweep.
    space : Space
        What is searched.
    opened : list of Opened
        Each feature set, or two side by side.
    cohorts : list of Cohort
        The labelled series of each.
    reads : dict of str to int
        `features_key` of a candidate -> place in these lists.
    notes : list of str
        What a user should know of the data.
    label_files : str
        `label_files_digest` before they were read.
    """

    request: Request
    space: Space
    opened: list[Opened]
    cohorts: list[Cohort]
    reads: dict[str, int]
    notes: list[str]
    label_files: str

    def restrict(self, series: Sequence[str], groups: np.ndarray) -> None:
        """Keep some series, and say who their patients are.

        Parameters
        ----------
        series : sequence of str (B,)
            Ids, in the order that the store has them.
        groups : array of str (B,)
            Patient of each.

        Raises
        ------
        SweepError
            The store has them in another order.
        """
        for place, cohort in enumerate(self.cohorts):
            kept = cohort.only(cohort.series.index.isin(series))
            if list(kept.series.index) != list(series):
                raise SweepError("the store has its series in another order than split.csv")
            self.cohorts[place] = replace(kept, series=kept.series.assign(group=groups))


def open_asked(sources: Sources, request: Request, memory_gb: float | None = None) -> Asked:
    """Open every feature set that a candidate may read, and join each with the labels.

    Parameters
    ----------
    sources : Sources
        Store and labels.
    request : Request
        What to sweep.
    memory_gb : float or None
        Memory that all the features together may take, see `seqhead.sources.Opened.cohort`.

    Returns
    -------
    Asked

    Raises
    ------
    FitError
        The search is wrong, systems are of different levels, or no series is in every set.
    LabelError, StoreError
        Files do not allow it.
    """
    opened: dict[str, Opened] = {}
    labelled = label_files_digest(sources)
    document = request.search
    if document is None or set(document) <= {"features"}:
        keyed = {features_key(Candidate("", one)): one for one in _features_given(document)}
        opened = {key: open_for_fit(sources, FitOptions(**one)) for key, one in keyed.items()}
        level = request.level or _level_of(next(iter(opened.values())))
        document = tomllib.loads(default_search(level)) | (document or {})
    space = parse_space(document, request.level or "series")
    for candidate in space.examples():
        key = features_key(candidate)
        if key not in opened:
            opened[key] = open_for_fit(sources, FitOptions(**features_of(candidate)))
    levels = {request.level or _level_of(one) for one in opened.values()}
    if len(levels) > 1:
        raise FitError("the systems searched are of different levels: sweep them apart")
    space = parse_space(document, levels.pop())
    used = {features_key(candidate) for candidate in space.examples()}
    opened = {key: one for key, one in opened.items() if key in used}
    names = {key: _name(one) for key, one in opened.items()}
    places = {name: place for place, name in enumerate(dict.fromkeys(names.values()))}
    each = [next(o for k, o in opened.items() if names[k] == name) for name in places]
    cohorts, left_out = same_series(_cohorts(each, space.level, memory_gb))
    notes = [*each[0].labels.notes, *(note for cohort in cohorts for note in cohort.notes)]
    notes += [note for one in opened.values() for note in system_notes(one.system)]
    if left_out:
        notes.append(f"{plural(left_out, 'series')} not in every feature set, left out")
    reads = {key: places[name] for key, name in names.items()}
    return Asked(request, space, each, cohorts, reads, list(dict.fromkeys(notes)), labelled)


def label_files_digest(sources: Sources) -> str:
    """Digest the label files, to tell later whether they are still the same.

    Parameters
    ----------
    sources : Sources
        Store and labels.

    Returns
    -------
    str
        Hexadecimal digits; of a file that cannot be read, nothing: whoever reads it says so.
    """
    found = hashlib.sha256()
    for path in (sources.labels, sources.slice_labels):
        if path is not None and path.is_file():
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _cohorts(each: Sequence[Opened], level: Level, memory_gb: float | None) -> list[Cohort]:
    """The series of each set; what one takes of the memory is not there for the next."""
    cohorts, left = [], memory_gb
    for one in each:
        cohort = one.cohort(level, left)
        cohorts.append(cohort)
        if left is not None and not isinstance(cohort.X, Matrices):
            sets = [one.features, *([] if one.second is None else [one.second])]
            left = max(0.0, left - bytes_of(sets) / 1e9)
    return cohorts


def _features_given(document: dict[str, Any] | None) -> list[dict[str, Any]]:
    named = (document or {}).get("features", [])
    named = named if isinstance(named, list) else [named]
    return [{"features": name} for name in named] or [{}]


def _level_of(opened: Opened) -> Level:
    if opened.level is not None:
        return opened.level
    return "slice" if opened.labels.level == "slice" else "series"


def _name(opened: Opened) -> tuple[str, str | None]:
    return opened.features.name, opened.second.name if opened.second else None
