"""What ``seqhead sweep`` prints."""

from collections import Counter
from typing import Any

from featurecache.words import plural
from seqhead.sweeps.page import METRIC_WORDS
from seqhead.text import interval, number, table

_SHOWN = 10


def sweep_text(document: dict[str, Any]) -> list[str]:
    """Lines for a terminal.

    Parameters
    ----------
    document : dict
        Of ``seqhead sweep --json``.

    Returns
    -------
    list of str
        The best candidates, the winner with its test, and where the rest is.
    """
    trials, metric = document["trials"], METRIC_WORDS[document["metric"]]
    patients, board = document["patients"], document["leaderboard"]
    lines = [
        f"{plural(trials['asked'], 'candidate')} on {', '.join(document['features'])}, "
        f"{document['level']} level: {trials['complete']} complete, {trials['given_up']} given up, "
        f"{trials['failed']} failed",
        f"patients: {patients['train']} train, {patients['validation']} validation, "
        f"{patients['test']} test, whom no trial saw",
        *(f"note: {note}" for note in document["notes"]),
        *_failures(board),
        "",
        *table(
            ["candidate", f"inner {metric}", "95 % interval", "parameters", "seconds", "trial"],
            [_row(one) for one in board if one["rank"] is not None][:_SHOWN],
        ),
        "",
    ]
    if trials["complete"] > _SHOWN:
        lines.insert(-1, f"... and {trials['complete'] - _SHOWN} more in leaderboard.csv")
    return [*lines, *_winner(document, metric), f"sweep: {document['sweep']}"]


def _row(one: dict[str, Any]) -> list[str]:
    return [
        ", ".join(filter(None, [one["model"], one["settings"]])),
        number(one["score"]),
        interval(one["score_ci"]).strip(" ()") or "n/a",
        f"{one['parameters']:,}" if one["parameters"] else "",
        f"{one['seconds']:.1f}",
        str(one["trial"]),
    ]


def _failures(board: list[dict[str, Any]]) -> list[str]:
    """Why candidates failed, each reason once."""
    failed = [one for one in board if one["state"] == "failed"]
    count = Counter((one["model"], one["error"]) for one in failed)
    return [
        f"failed: {plural(number_of, model + ' candidate')}: {error}"
        for (model, error), number_of in count.items()
    ]


def _winner(document: dict[str, Any], metric: str) -> list[str]:
    winner = document["winner"]
    if winner is None:
        return ["no candidate could be fitted: there is no winner"]
    inner, test = winner["inner"], winner["test"]
    others = document["trials"]["complete"] - 1
    among = [
        f"winner: trial {winner['trial']}. Its inner {metric} of {number(inner['score'])} is "
        f"optimistic, being the best of {others + 1}.",
        *_within_noise(document),
    ]
    alone = [f"winner: trial {winner['trial']}, the only one; inner {metric} "
             f"{number(inner['score'])}{interval(inner['score_ci'])}"]  # fmt: skip
    return [
        *(among if others else alone),
        f"test {metric} of the winner, fitted again: {number(test['score'])}"
        f"{interval(test['score_ci'])} on {plural(document['patients']['test'], 'patient')} (mean "
        f"of {test['covers']} of {plural(test['labels'], 'label')})",
        f"the same by hand: {winner['command']}",
        f"run: {winner['run']}",
    ]


def _within_noise(document: dict[str, Any]) -> list[str]:
    """How far the winner can be told from the others that it can be compared with."""
    compared = [one for one in document["leaderboard"] if one["difference_to_first_ci"]]
    others, near = len(compared), document["within_noise"]
    if not others:
        return []
    if others == 1:
        tell, holds = ("cannot", "holds") if near else ("can", "does not hold")
        return [f"The other one {tell} be told from it: the interval of the difference {holds} 0"]
    if near in (0, others):
        tell, hold = ("All", "no interval of a difference holds 0")
        if near:
            tell, hold = ("None", "the intervals of all differences hold 0")
        return [f"{tell} of the {others} others can be told from it: {hold}"]
    holds = "interval of the difference holds" if near == 1 else "intervals of the differences hold"
    return [f"{near} of the {others} others cannot be told from it: the {holds} 0"]
