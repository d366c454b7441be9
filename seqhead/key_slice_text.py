"""Key-slice tasks as tables."""

from typing import Any

from seqhead.key_slices import TASKS, TOP
from seqhead.text import interval, number, table

_HEADER = ["task", "lesion", "series", "attention", "random", "middle", "above random",
           "above middle"]  # fmt: skip
_WORDS = {"slices": "slices found", "slices_by_own_count": "slices found, own number"}


def key_slice_lines(found: dict[str, Any]) -> list[str]:
    """Tables of the key-slice tasks.

    Parameters
    ----------
    found : dict
        What `seqhead.key_slice_figures.key_slice_figures` gave.

    Returns
    -------
    list of str
    """
    series = found["series"]
    kinds = {"any lesion": found["lesion"]}
    if len(found["labels"]) > 1:
        kinds |= found["labels"]
    rows = [
        _row(task, name, figures[task])
        for task in (*TASKS, *_WORDS)
        for name, figures in kinds.items()
        if task in figures
    ]
    return [
        "",
        f"key slices by attention, lesions from {found['labels_of']}: {series['with_lesion']} of "
        f"{series['tested']} series with a lesion",
        *(f"note: {note}" for note in found["notes"]),
        *table(_HEADER, rows),
        f"easy: share of the top {TOP} that show it, in series where {TOP} slices or more do",
        f"difficult: whether one of the top {TOP} shows it, in series where 1 to {TOP} do",
        "comprehensive: share of the top h that show it, in series where h do",
        "slices found: of all slices that show it, those among the top h, where h slices of the",
        "  series show any lesion (own number: where h show this one)",
        "random: the mean over all choices; middle: the slices nearest to the middle of the series",
    ]


def _row(task: str, name: str, figure: dict[str, Any]) -> list[str]:
    return [
        _WORDS.get(task, task), name, str(figure["series"]),
        f"{number(figure['attention'])}{interval(figure['attention_ci'])}",
        number(figure["random"]), number(figure["middle"]),
        *(_difference(figure, choice) for choice in ("random", "middle")),
    ]  # fmt: skip


def _difference(figure: dict[str, Any], choice: str) -> str:
    above = figure[f"above_{choice}"]
    if above is None:
        return "n/a"
    return f"{above:+.3f}{interval(figure[f'above_{choice}_ci'], '+.3f')}"
