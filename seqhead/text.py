"""Results as lines of text, aligned for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featurecache.words import plural
from seqhead.labels.statistics import LabelStatistics
from seqhead.splits import SPLITS

if TYPE_CHECKING:
    from seqhead.crossval import CrossValidationReport
    from seqhead.fit import FitReport

_SHOWN = 5  # ids listed before "..."


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right.

    Parameters
    ----------
    header : sequence of str
        Column names.
    rows : sequence of sequence of str
        Cells.

    Returns
    -------
    list of str
        One line each.
    """
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]


def labels_text(statistics: LabelStatistics) -> list[str]:
    """What ``seqhead labels`` prints.

    Parameters
    ----------
    statistics : LabelStatistics
        The counts.

    Returns
    -------
    list of str
    """
    totals = statistics.totals
    rows = [
        [name, *(_share(counts[level]) for level in ("patients", "series", "slices"))]
        for name, counts in statistics.counts.items()
    ]
    lines = [
        f"{plural(totals['patients'], 'patient')}, {totals['series']} series, "
        f"{plural(totals['slices'], 'slice')}; positives of known:",
        "",
        *table(["label", "patients", "series", "slices"], rows),
        "",
    ]
    for joined in statistics.joined:
        level = joined.level
        lines += [
            _listed(f"{level} label", "without a match in the store", joined.unmatched_labels),
            _listed("series", f"without {level} labels", joined.unmatched_series),
        ]
        if joined.unknown_series:
            unknown = joined.unknown_series
            lines.append(_listed("series", f"whose {level} labels are all unknown", unknown))
        lines += [f"note: {note}" for note in joined.notes]
    return lines


def fit_text(report: "FitReport") -> list[str]:
    """What ``seqhead fit`` prints.

    Parameters
    ----------
    report : FitReport
        What it did.

    Returns
    -------
    list of str
    """
    document = report.document()
    left_out = document["left_out"]
    split = ", ".join(
        f"{document['patients'][s]} {s} ({document['series'][s]} series)" for s in SPLITS
    )
    lines = [
        f"{document['model']} on {document['features']}, {document['level']} level, "
        f"{plural(len(document['labels']), 'label')}: {', '.join(document['labels'])}",
        f"patients: {split}",
    ]
    lines += _left_out(left_out)
    lines += [f"WARNING: {report.leak.sentence}"] if report.leak else []
    lines += [f"note: {note}" for note in report.notes]
    if document["epochs"]:
        best = report.history.epochs[document["best_epoch"] - 1]
        lines.append(
            f"{plural(document['epochs'], 'epoch')} in {document['precision']}, best "
            f"{document['best_epoch']}: training loss "
            f"{best['train_loss']:.4f}, validation loss {best['validation_loss']:.4f}"
        )
    macro, patients = report.validation["macro"], report.validation["patients"]
    optimistic = "" if not document["epochs"] else "; optimistic, since fitting stopped on them"
    lines.append(
        f"validation AUC {number(macro['auc'])} on {plural(patients, 'patient')}"
        f" (mean of {macro['covers']['auc']} of {plural(macro['labels'], 'label')}{optimistic})"
    )
    return [*lines, f"run: {document['run']}"]


def crossval_text(report: "CrossValidationReport") -> list[str]:
    """What ``seqhead fit --folds K`` prints.

    Parameters
    ----------
    report : CrossValidationReport
        What it did.

    Returns
    -------
    list of str
    """
    document = report.document()
    repeats = f", {document['repeats']} times" if document["repeats"] > 1 else ""
    lines = [
        f"{document['model']} on {document['features']}, {document['level']} level, "
        f"{plural(len(document['labels']), 'label')}: {', '.join(document['labels'])}",
        f"{document['folds']} folds{repeats} of {plural(document['patients'], 'patient')} "
        f"({document['series']} series)",
        *_left_out(document["left_out"]),
        *(f"note: {note}" for note in report.notes),
    ]
    rows = [
        [str(one["repeat"]), str(one["fold"]),
         *(str(one["patients"][side]) for side in SPLITS),
         f"{one['best_epoch']} of {one['epochs']}" if one["epochs"] else "-"]
        for one in document["members"]
    ]  # fmt: skip
    lines += table(["repeat", "fold", *(f"{side} patients" for side in SPLITS), "epoch"], rows)
    lines.append("pooled figures of patients whom the model of their fold never saw: evaluate")
    return [*lines, f"run: {document['run']}"]


def _left_out(left_out: dict[str, Any]) -> list[str]:
    return [
        _listed(noun, text, left_out[key])
        for noun, text, key in (
            ("label", "without a match in the store", "unmatched_labels"),
            ("series", "without labels, not used", "unlabelled_series"),
            ("series", "without any readable slice, left out", "empty_series"),
            ("series", "used without their failed slices", "partial_series"),
            ("series", "not in the split file, left out", "unsplit_series"),
        )
        if left_out[key]
    ]


def _share(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "-"
    known = counts["positives"] + counts["negatives"]
    return f"{counts['positives']} of {known}"


def _listed(noun: str, text: str, ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")
    return f"{plural(len(ids), noun)} {text}" + (f": {shown}" if ids else "")


def number(value: float | None) -> str:
    """Give a figure to three decimals.

    Parameters
    ----------
    value : float or None
        The figure.

    Returns
    -------
    str
        ``"n/a"`` for None.
    """
    return "n/a" if value is None else f"{value:.3f}"


def interval(ends: Sequence[float] | None, form: str = ".3f") -> str:
    """Give an interval to stand behind a figure.

    Parameters
    ----------
    ends : [low, high] or None
        The interval.
    form : str
        Format of both.

    Returns
    -------
    str
        For example ``" (0.812 to 0.934)"``; empty for None.
    """
    return "" if ends is None else f" ({ends[0]:{form}} to {ends[1]:{form}})"
