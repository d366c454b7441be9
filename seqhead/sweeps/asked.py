"""What a user asks for, with the files opened: every feature set that a candidate may read."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featurecache.words import plural
from seqhead.chosen_features import open_for_fit, system_notes
from seqhead.cohort import Cohort, Level
from seqhead.errors import FitError, SweepError
from seqhead.options import FitOptions
from seqhead.sources import Opened, Sources
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
    """

    request: Request
    space: Space
    opened: list[Opened]
    cohorts: list[Cohort]
    reads: dict[str, int]
    notes: list[str]

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


def open_asked(sources: Sources, request: Request) -> Asked:
    """Open every feature set that a candidate may read, and join each with the labels.

    Parameters
    ----------
    sources : Sources
        Store and labels.
    request : Request
        What to sweep.

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
    cohorts, left_out = same_series([one.cohort(space.level) for one in each])
    notes = [*each[0].labels.notes, *cohorts[0].notes]
    notes += [note for one in opened.values() for note in system_notes(one.system)]
    if left_out:
        notes.append(f"{plural(left_out, 'series')} not in every feature set, left out")
    reads = {key: places[name] for key, name in names.items()}
    return Asked(request, space, each, cohorts, reads, list(dict.fromkeys(notes)))


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
