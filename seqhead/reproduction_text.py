"""A reproduction as a document, and as a table: the paper's row beside ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqhead.differences import SPLIT_WORDS, differences
from seqhead.reported import Ours, Reported, not_compared
from seqhead.reproduce import Reproduction
from seqhead.reproduction_inputs import write_whole
from seqhead.text import interval, number, table

_WORDS = {
    "auc": "AUC", "f1": "F1", "average_precision": "AP", "log_loss": "log loss", "brier": "Brier",
}  # fmt: skip


def reproduction_document(
    reproduction: Reproduction, extracted: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the document of ``seqhead reproduce --json``.

    Parameters
    ----------
    reproduction : Reproduction
        Runs and data.
    extracted : mapping
        The document of ``featurecache extract --json``.

    Returns
    -------
    dict
    """
    system, cohort = reproduction.system, reproduction.cohort
    return {
        "schema_version": 1,
        "system": system.name,
        "paper": system.paper,
        "dataset": system.dataset,
        "level": system.level,
        "runs": [
            {
                "split": one.split,
                "run": one.run.path.as_posix(),
                "fitted_now": one.new,
                "patients": one.evaluation.patients,
                "series": one.evaluation.series,
                "n": one.evaluation.n,
                "leak": one.evaluation.leak.document() if one.evaluation.leak else None,
                "warnings": one.evaluation.warnings,
            }
            for one in reproduction.outcomes
        ],
        "rows": [
            {
                "of": reported.of,
                "metric": reported.metric,
                "paper": reported.value,
                "paper_ci": list(reported.interval) if reported.interval else None,
                "ours": [
                    {"split": outcome.split, "value": ours.value,
                     "ci": list(ours.interval) if ours.interval else None, "label": ours.label}
                    for outcome, ours in zip(reproduction.outcomes, every, strict=True)
                ],
            }
            for reported, every in reproduction.rows
        ],
        "not_compared": list(not_compared(system)),
        "differences": [
            {"about": one.about, "paper": one.paper, "here": one.here}
            for one in differences(reproduction)
        ],
        "choices": [
            {"about": choice.about, "paper": choice.paper, "chosen": choice.chosen}
            for choice in system.choices
        ],
        "files": extracted["files"],
        "slices_failed": extracted["slices_failed"],
        "slices_this_run": extracted["slices_this_run"],
        "left_out": cohort.left_out.document(),
        "notes": [*reproduction.opened.labels.notes, *cohort.notes],
    }  # fmt: skip


def write_document(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``reproduction.json``, as a whole.

    Parameters
    ----------
    folder : Path
        Of the reproduction.
    document : mapping
        From `reproduction_document`.
    """
    text = json.dumps(document, indent=2, allow_nan=False)
    write_whole(folder / "reproduction.json", f"{text}\n")


def reproduction_text(reproduction: Reproduction) -> list[str]:
    """What ``seqhead reproduce`` prints.

    Parameters
    ----------
    reproduction : Reproduction
        Runs and data.

    Returns
    -------
    list of str
    """
    system, left_out = reproduction.system, reproduction.cohort.left_out
    lines = [f"{system.name}: {system.title}", "", *_figures(reproduction), ""]
    for outcome in reproduction.outcomes:
        which = f"{SPLIT_WORDS[outcome.split]}: " if len(reproduction.outcomes) > 1 else ""
        lines += [f"WARNING: {which}{text}" for text in outcome.evaluation.warnings]
    lines.append("what differs from the paper:")
    for one in differences(reproduction):
        lines += [f"  {one.about}", f"    paper: {one.paper}", f"    here:  {one.here}"]
    lines.append(f"where the paper is silent (`seqhead describe {system.name}` has what it says, "
                 "and the alternatives):")  # fmt: skip
    lines += [f"  {choice.about}: {choice.chosen}" for choice in system.choices]
    for noun, ids in (
        ("labels without a match in the store", left_out.unmatched_labels),
        ("series without labels, not used", left_out.unlabelled_series),
        ("series without any readable slice, left out", left_out.empty_series),
        ("series used without their failed slices", left_out.partial_series),
    ):
        lines += [f"note: {len(ids)} {noun}"] if ids else []
    lines += [f"note: {note}" for note in (*reproduction.opened.labels.notes,
                                           *reproduction.cohort.notes)]  # fmt: skip
    runs = ", ".join(outcome.run.path.as_posix() for outcome in reproduction.outcomes)
    return [*lines, f"runs: {runs}"]


def _figures(reproduction: Reproduction) -> list[str]:
    """The table itself; a paper without numbers has none."""
    if not reproduction.rows:
        run = reproduction.outcomes[0].run.path.as_posix()
        return [f"the paper reports no such number; `seqhead evaluate {run}` has ours"]
    header = ["figure", "paper", *(f"ours, {SPLIT_WORDS[o.split]}" for o in reproduction.outcomes)]
    rows = [
        [_name(reported, every), _paper(reported), *(_ours(reported, one) for one in every)]
        for reported, every in reproduction.rows
    ]
    lines = table(header, rows)
    if any(one.value is None for _, every in reproduction.rows for one in every):
        lines.append(
            "n/a: no such label here, or undefined: one class only among the test rows, or nothing "
            "called"
        )
    more = not_compared(reproduction.system)
    return [*lines, *([f"reported too, not compared: {', '.join(more)}"] if more else [])]


def _name(reported: Reported, every: list[Ours]) -> str:
    metric = _WORDS.get(reported.metric, reported.metric)
    if reported.of == "model":
        return metric
    of = f"mean of {len(reported.labels)} labels" if reported.of == "mean" else reported.of
    here = next((one.label for one in every if one.label), None)
    return f"{of}{f' (here {here})' if here else ''} {metric}"


def _paper(reported: Reported) -> str:
    if reported.of == "model":
        return f"{reported.value:,}"
    return f"{reported.value:g}{interval(reported.interval, 'g')}"


def _ours(reported: Reported, ours: Ours) -> str:
    if reported.of == "model" and ours.value is not None:
        return f"{ours.value:,}"
    return f"{number(ours.value)}{interval(ours.interval)}"
