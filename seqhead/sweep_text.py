"""What ``seqhead sweep`` prints."""

from collections import Counter
from typing import Any

from seqhead.sweeps.page import METRIC_WORDS
from seqhead.text import interval, number, table
from seqhead.words import plural

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
    return [
        f"winner: trial {winner['trial']}. Its inner {metric} of {number(inner['score'])} is "
        f"optimistic, being the best of {others + 1};",
        f"{document['within_noise']} of the {plural(others, 'other')} cannot be told from it (the "
        "interval of the difference holds 0)",
        f"test {metric} of the winner, fitted again: {number(test['score'])}"
        f"{interval(test['score_ci'])} on {plural(document['patients']['test'], 'patient')} (mean "
        f"of {test['covers']} of {plural(test['labels'], 'label')})",
        f"the same by hand: {winner['command']}",
        f"run: {winner['run']}",
    ]
