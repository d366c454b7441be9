"""Sweeps: many candidates compared on inner folds, the best one tested once on other patients.

::

    files/             the default search spaces, and the page of a leaderboard
    values.py          the values of one field; names.py: which fields there are
    space.py           what is searched; search_file.py: where that comes from
    candidates.py      a point of the space as options of a fit
    settings.py        what a sweep is told; folder.py: where it is kept
    journal.py         Optuna's journal; queue.py: who tries what, and what became of it
    inner.py           what trials learn from and are scored on; trial.py: one of them
    worker.py          one process at work; crew.py: several, on shared.py
    leaderboard.py     all candidates; winner.py: the best one, tested
    sweep.py           everything together
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "Request": "settings",
    "SweepReport": "sweep",
    "continue_sweep": "sweep",
    "parse_request": "settings",
}

__all__ = ["Request", "SweepReport", "continue_sweep", "parse_request"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"seqhead.sweeps.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'seqhead.sweeps' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
