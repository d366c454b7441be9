"""Human readers beside the model, as tables."""

from typing import Any

from seqhead.text import number, table

_HEADER = ["label", "who", "n", "positives", "sensitivity", "specificity", "precision", "accuracy",
           "F1", "kappa"]  # fmt: skip


def reader_lines(readers: dict[str, Any], *, of_labels: bool) -> list[str]:
    """Tables of readers.

    Parameters
    ----------
    readers : dict
        What `seqhead.reader_figures.reader_figures` gave.
    of_labels : bool
        Whether the label is made from these very reads.

    Returns
    -------
    list of str
    """
    lines = ["", "readers, each beside the model on the rows that this reader read:"]
    lines += table(_HEADER, _rows(readers, None))
    lines.append("kappa: agreement with the label; sensitivity, specificity: Wilson over patients")
    if of_labels:
        lines.append(
            "WARNING: the label is the majority of these readers, so each is judged by a vote of "
            "its own and looks too good"
        )
    against = _rows(readers, "against_others")
    if against:
        lines += ["", "the same against what all other readers agree on:", *table(_HEADER, against)]
    lines += ["", "agreement (kappa):"]
    for label, found in readers.items():
        agreement = found["agreement"]
        parts = [f"{names} {number(kappa)}" for names, kappa in agreement["readers"].items()]
        parts += [f"model and {name} {number(k)}" for name, k in agreement["model"].items()]
        parts.append(f"all readers (Fleiss) {number(agreement['fleiss'])}")
        lines.append(f"  {label}: {', '.join(parts)}")
    return lines


def _rows(readers: dict[str, Any], part: str | None) -> list[list[str]]:
    rows = []
    for label, found in readers.items():
        for name, figures in found["readers"].items():
            shown = figures if part is None else figures[part]
            if shown is None:
                continue
            counts = [str(shown["n"]), str(shown["positives"])]
            rows.append([label, name, *counts, *_cells(shown)])
            rows.append(["", "model", "", "", *_cells(shown["model"])])
    return rows


def _cells(figures: dict[str, Any]) -> list[str]:
    return [
        *(f"{number(figures[key])}{_wilson(figures[f'{key}_wilson'])}"
          for key in ("recall", "specificity")),
        *(number(figures[key]) for key in ("precision", "accuracy", "f1", "kappa")),
    ]  # fmt: skip


def _wilson(ends: list[float] | None) -> str:
    return "" if ends is None else f" ({ends[0]:.2f}-{ends[1]:.2f})"
