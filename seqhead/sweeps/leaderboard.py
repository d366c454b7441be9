"""All candidates of a sweep, the best first."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seqhead.stats import percentile_interval
from seqhead.sweeps.candidates import model_name, varied_text
from seqhead.sweeps.folder import SweepFolder
from seqhead.sweeps.queue import Entry
from seqhead.sweeps.settings import SweepSettings
from seqhead.sweeps.space import Space

_LAST = 1 << 62


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a candidate stands.

    Parameters
    ----------
    rank : int or None
        From 1; None of what was not scored.
    entry : Entry
        The candidate.
    model : str
        Its kind.
    varied : str
        What of it could have been otherwise.
    difference : [low, high] or None
        95 % interval of its score minus the first one's, on the same patients.
    """

    rank: int | None
    entry: Entry
    model: str
    varied: str
    difference: list[float] | None = None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        outcome = self.entry.outcome
        return {
            "rank": self.rank,
            "trial": self.entry.number + 1,
            "state": self.entry.state,
            "model": self.model,
            "settings": self.varied,
            "values": dict(self.entry.candidate.values) if self.entry.candidate else {},
            "score": outcome.get("score"),
            "score_ci": outcome.get("score_ci"),
            "difference_to_first_ci": self.difference,
            "labels": outcome.get("labels", {}),
            "parameters": outcome.get("parameters"),
            "seconds": outcome.get("seconds"),
            "epochs": outcome.get("epochs", []),
            "best_epochs": outcome.get("best_epochs", []),
            "interrupted": self.entry.deaths,
            "error": outcome.get("error"),
        }


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All candidates, the best first.

    Parameters
    ----------
    metric : str
        What they are compared by.
    standings : list of Standing
        Those that were scored, by score; then the others.
    """

    metric: str
    standings: list[Standing]

    @property
    def first(self) -> Standing | None:
        """The best candidate; None while none is scored."""
        return next((one for one in self.standings if one.rank == 1), None)

    def count(self, state: str) -> int:
        """How many candidates are in a state.

        Parameters
        ----------
        state : str
            See `Entry`.

        Returns
        -------
        int
        """
        return sum(one.entry.state == state for one in self.standings)

    @property
    def settled(self) -> int:
        """How many candidates were tried to their end."""
        return sum(one.entry.settled for one in self.standings)

    @property
    def within_noise(self) -> int:
        """How many others the first is not clearly better than."""
        return sum(
            one.difference is not None and one.difference[0] <= 0 <= one.difference[1]
            for one in self.standings
            if one.rank != 1
        )

    def csv(self) -> str:
        """``leaderboard.csv``: a line for each candidate, a column for each value and label."""
        lines = []
        for document in (one.document() for one in self.standings):
            low, high = document.pop("score_ci") or (None, None)
            below, above = document.pop("difference_to_first_ci") or (None, None)
            values, labels = document.pop("values"), document.pop("labels")
            del document["settings"]
            for name, column in (("epochs", "epochs_run"), ("best_epochs", "best_epoch")):
                document[column] = " ".join(map(str, document.pop(name)))
            lines.append(
                document
                | {"score_low": low, "score_high": high}
                | {"difference_low": below, "difference_high": above}
                | {f"{self.metric}:{name}": value for name, value in labels.items()}
                | {name.replace("_", "-"): value for name, value in values.items()}
            )
        columns = list(dict.fromkeys(name for line in lines for name in line))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return text.getvalue()


def make_leaderboard(
    entries: Sequence[Entry], settings: SweepSettings, folder: SweepFolder, space: Space
) -> Leaderboard:
    """Put candidates in order.

    Parameters
    ----------
    entries : sequence of Entry
        All candidates.
    settings : SweepSettings
        What the sweep is told.
    folder : SweepFolder
        Has their resamples.
    space : Space
        Where they are from.

    Returns
    -------
    Leaderboard
        Equal scores stand by their number of parameters, fewer first, then by their own number.
    """
    sign = -1 if settings.maximise else 1

    def key(entry: Entry) -> tuple[float, int, int]:
        outcome = entry.outcome
        return sign * outcome["score"], outcome.get("parameters") or _LAST, entry.number

    scored = sorted((one for one in entries if one.state == "complete"), key=key)
    others = sorted(
        (one for one in entries if one.state != "complete"), key=lambda one: (one.state, one.number)
    )
    first = folder.resamples(scored[0].number) if scored else None
    standings = []
    for rank, entry in enumerate(scored, start=1):
        difference = None
        if rank > 1 and first is not None:
            difference = percentile_interval(folder.resamples(entry.number) - first)
        standings.append(_standing(rank, entry, space, difference))
    standings += [_standing(None, entry, space, None) for entry in others]
    return Leaderboard(settings.metric, standings)


def _standing(
    rank: int | None, entry: Entry, space: Space, difference: list[float] | None
) -> Standing:
    if entry.candidate is None:
        return Standing(rank, entry, "", "", difference)
    model, varied = model_name(entry.candidate), varied_text(entry.candidate, space)
    return Standing(rank, entry, model, varied, difference)
