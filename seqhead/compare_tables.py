"""A comparison as text, Markdown, CSV or LaTeX: labels x runs x metrics, with positives."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from featurecache.words import plural
from seqhead.compare import Comparison
from seqhead.measures import FEW_POSITIVES
from seqhead.text import interval, number, table

TABLE_METRICS = {
    "auc": "AUC",
    "average_precision": "AP",
    "recall": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
    "accuracy": "accuracy",
}
"""Columns of the tables for reading; the CSV has every metric."""

FORMATS = ("text", "md", "csv", "latex")
"""Ways to write a comparison."""

_WILSON = ("recall", "specificity")
_MINUS = "\u2212"
_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def comparison_text(comparison: Comparison, form: str = "text") -> str:
    """Write a comparison.

    Parameters
    ----------
    comparison : Comparison
        The figures.
    form : str
        One of `FORMATS`.

    Returns
    -------
    str
        Ends without a line break.
    """
    if form == "csv":
        return _csv(comparison)
    return {"text": _text, "md": _markdown, "latex": _latex}[form](comparison)


def _figure_rows(comparison: Comparison) -> list[list[str]]:
    """Label, positives, run, and every metric with its interval."""
    rows = []
    for label in comparison.labels:
        for k, (name, document) in enumerate(comparison.figures.items()):
            figures = document["labels"][label]
            rows.append([
                label if k == 0 else "", _positives(figures) if k == 0 else "", name,
                *(_figure(figures, metric) for metric in TABLE_METRICS),
            ])  # fmt: skip
    if len(comparison.labels) > 1:
        for k, (name, document) in enumerate(comparison.figures.items()):
            macro = document["macro"]
            covered = f"{macro['covers']['auc']} of {macro['labels']} labels"
            rows.append([
                "macro" if k == 0 else "", covered if k == 0 else "", name,
                *(_figure(macro, metric) for metric in TABLE_METRICS),
            ])  # fmt: skip
    return rows


def _figure(figures: dict[str, Any], metric: str) -> str:
    kind = "wilson" if metric in _WILSON and f"{metric}_wilson" in figures else "ci"
    return number(figures[metric]) + interval(figures.get(f"{metric}_{kind}"), ".2f")


def _positives(figures: dict[str, Any]) -> str:
    count = f"{figures['positives']}/{figures['n']}"
    if figures["positives"] != figures["positive_patients"]:
        count += f" in {plural(figures['positive_patients'], 'patient')}"
    return count + ("*" if figures["positives"] < FEW_POSITIVES else "")


def _pair_rows(comparison: Comparison) -> list[list[str]]:
    rows = []
    for pair in comparison.pairs:
        names = f"{pair['one']} {_MINUS} {pair['other']}"
        for label, figures in pair["labels"].items():
            auc, delong, mcnemar = (
                figures["differences"]["auc"], figures["delong"], figures["mcnemar"]
            )  # fmt: skip
            rows.append([
                names, label, _positives(figures), _signed(auc["difference"], auc["ci"]),
                _p(delong["p"] if delong else None), _p(figures["p_holm"]["delong"]),
                _p(auc["p"]), _p(figures["p_holm"]["bootstrap"]),
                _p(mcnemar["p_mid"] if mcnemar else None), _p(figures["p_holm"]["mcnemar_mid"]),
            ])  # fmt: skip
        macro = pair["macro"]["differences"]["auc"]
        rows.append([names, "macro", "", _signed(macro["difference"], macro["ci"]), "", "",
                     _p(macro["p"]), "", "", ""])  # fmt: skip
    return rows


_PAIR_HEADER = ["runs", "label", "positives", "AUC difference", "DeLong p", "(Holm)",
                "bootstrap p", "(Holm)", "McNemar mid-p", "(Holm)"]  # fmt: skip


def _fold_rows(comparison: Comparison) -> list[list[str]]:
    """Tests over folds, of macro figures."""
    rows = []
    for pair in comparison.pairs:
        for metric, word in TABLE_METRICS.items():
            tests = (pair["folds"] or {}).get(metric)
            if tests and tests["paired_t"]:
                plain, corrected = tests["paired_t"], tests["corrected_t"]
                rows.append([
                    f"{pair['one']} {_MINUS} {pair['other']}", word, str(plain["folds"]),
                    _signed(plain["difference"], corrected["ci"]), _p(plain["p"]),
                    _p(corrected["p"]),
                ])  # fmt: skip
    return rows


_FOLD_HEADER = ["runs", "macro", "folds", "difference", "paired t p", "corrected p"]


def _caption(comparison: Comparison) -> str:
    first = comparison.entries[0].evaluation
    rows = "" if comparison.level == "patient" else f", {first.series} series"
    rows += f", {plural(first.n, 'slice')}" if comparison.level == "slice" else ""
    how = "out of fold" if first.split == "out of fold" else "held-out test"
    return (
        f"{how}, {comparison.level} level: {plural(first.patients, 'patient')}{rows}. 95 % "
        "intervals: bootstrap of 2,000 resamples of patients; sensitivity and specificity of "
        "labels: Wilson over patients. Thresholds chosen on validation patients "
        f"({first.judged.rule})."
    )


def _notes(comparison: Comparison) -> list[str]:
    notes = list(comparison.notes)
    few = [
        label
        for label in comparison.labels
        if comparison.first["labels"][label]["positives"] < FEW_POSITIVES
    ]
    if few:
        notes.append(
            f"* fewer than {FEW_POSITIVES} positives: {', '.join(few)}. Such figures are anecdotes"
        )
    if comparison.pairs:
        notes.append(
            "p values are two-sided; Holm: corrected for all labels and pairs of runs. n/a: the "
            "test cannot be made of these rows"
        )
    if _fold_rows(comparison):
        notes.append(
            "paired t: folds taken as independent, which they are not; corrected: Nadeau and "
            "Bengio. Intervals are the corrected ones"
        )
    return notes


def _text(comparison: Comparison) -> str:
    header = ["label", "positives", "run", *TABLE_METRICS.values()]
    lines = [_caption(comparison), "", *table(header, _figure_rows(comparison))]
    if comparison.pairs:
        lines += ["", *table(_PAIR_HEADER, _pair_rows(comparison))]
    if _fold_rows(comparison):
        lines += ["", *table(_FOLD_HEADER, _fold_rows(comparison))]
    return "\n".join([*lines, "", *_notes(comparison)]).rstrip()


def _markdown(comparison: Comparison) -> str:
    header = ["label", "positives", "run", *TABLE_METRICS.values()]
    blocks = [_caption(comparison), _md_table(header, _figure_rows(comparison))]
    if comparison.pairs:
        blocks.append(_md_table(_PAIR_HEADER, _pair_rows(comparison)))
    if _fold_rows(comparison):
        blocks.append(_md_table(_FOLD_HEADER, _fold_rows(comparison)))
    blocks += [note.replace("*", r"\*") for note in _notes(comparison)]
    return "\n\n".join(blocks)


def _md_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )


def _csv(comparison: Comparison) -> str:
    """One line for each figure, in full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = ["n", "positives", "patients", "positive_patients"]
    writer.writerow(["run", "level", "label", *columns, "metric", "value", "low", "high",
                     "wilson_low", "wilson_high"])  # fmt: skip
    for name, model in comparison.figures.items():
        of_labels = [(label, model["labels"][label]) for label in comparison.labels]
        for label, figures in [*of_labels, ("macro", model["macro"]), ("micro", model["micro"])]:
            counts = [figures.get(column, "") for column in columns]
            for metric in (key.removesuffix("_ci") for key in figures if key.endswith("_ci")):
                ends = [*(figures[f"{metric}_ci"] or ["", ""]),
                        *(figures.get(f"{metric}_wilson") or ["", ""])]  # fmt: skip
                value = "" if figures[metric] is None else figures[metric]
                writer.writerow([name, comparison.level, label, *counts, metric, value, *ends])
    return file.getvalue().rstrip("\n")


def _latex(comparison: Comparison) -> str:
    """Tables for the booktabs package."""
    header = ["", "positives", "run", *TABLE_METRICS.values()]
    blocks = [_tabular(header, _figure_rows(comparison), comparison)]
    if comparison.pairs:
        blocks.append(_tabular(_PAIR_HEADER, _pair_rows(comparison), None))
    if _fold_rows(comparison):
        blocks.append(_tabular(_FOLD_HEADER, _fold_rows(comparison), None))
    notes = "\n".join(f"% {note}" for note in _notes(comparison))
    return "\n\n".join([f"% \\usepackage{{booktabs}}\n{notes}", *blocks])


def _tabular(
    header: Sequence[str], rows: Sequence[Sequence[str]], comparison: Comparison | None
) -> str:
    lines = [f"\\begin{{tabular}}{{ll{'l' if comparison else 'r'}{'r' * (len(header) - 3)}}}",
             r"\toprule", _latex_row(header), r"\midrule"]  # fmt: skip
    for k, row in enumerate(rows):
        if comparison and k and row[0]:
            lines.append(r"\addlinespace")
        lines.append(_latex_row(row))
    lines += [r"\bottomrule", r"\end{tabular}"]
    caption = [f"% caption: {_escaped(_caption(comparison))}"] if comparison else []
    return "\n".join([*caption, *lines])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(_escaped(cell) for cell in cells) + r" \\"


def _escaped(text: str) -> str:
    plain = "".join(_ESCAPES.get(char, char) for char in text)
    plain = re.sub(r"(?<!\w)-(?=\d)", "$-$", plain).replace("<", "$<$")
    return plain.replace(_MINUS, "$-$")


def _signed(value: float | None, ends: Sequence[float] | None) -> str:
    return "n/a" if value is None else f"{value:+.3f}{interval(ends, '+.3f')}"


def _p(value: float | None) -> str:
    if value is None:
        return "n/a"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
