"""Results as lines of text, aligned for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seqhead.evaluate import Evaluation
from seqhead.labels.statistics import LabelStatistics
from seqhead.splits import SPLITS
from seqhead.words import plural

if TYPE_CHECKING:
    from seqhead.fit import FitReport

_SHOWN = 5  # ids listed before "..."
_AUC_HEADER = ["label", "n", "positives", "AUC", "baseline AUC", "difference"]
_FEATURE_WORDS = {
    "n_slices": "number of slices",
    "z_extent_mm": "z extent",
    "median_gap_mm": "median gap",
    "thickness_mm": "thickness",
    "fov_mm": "field of view",
    "tilt_deg": "tilt",
    "relative_position": "relative position",
    "relative_position_squared": "its square",
}
_RATES = {
    "average_precision": "AP",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "f1": "F1",
    "log_loss": "log loss",
}


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
    for noun, text, ids in (
        ("label", "without a match in the store", left_out["unmatched_labels"]),
        ("series", "without labels, not used", left_out["unlabelled_series"]),
        ("series", "without any readable slice, left out", left_out["empty_series"]),
        ("series", "used without their failed slices", left_out["partial_series"]),
    ):
        if ids:
            lines.append(_listed(noun, text, ids))
    lines += [f"note: {note}" for note in report.notes]
    if document["epochs"]:
        best = report.history.epochs[document["best_epoch"] - 1]
        lines.append(
            f"{plural(document['epochs'], 'epoch')}, best {document['best_epoch']}: training loss "
            f"{best['train_loss']:.4f}, validation loss {best['validation_loss']:.4f}"
        )
    macro, patients = report.validation["macro"], report.validation["patients"]
    optimistic = "" if not document["epochs"] else "; optimistic, since fitting stopped on them"
    lines.append(
        f"validation AUC {_number(macro['auc'])} on {plural(patients, 'patient')}"
        f" (mean of {macro['covers']['auc']} of {plural(macro['labels'], 'label')}{optimistic})"
    )
    return [*lines, f"run: {document['run']}"]


def evaluation_text(evaluation: Evaluation, run: str) -> list[str]:
    """What ``seqhead evaluate`` prints.

    Parameters
    ----------
    evaluation : Evaluation
        The numbers.
    run : str
        Name of the run.

    Returns
    -------
    list of str
    """
    model, baseline = evaluation.model, evaluation.baseline
    what = "" if evaluation.level == "patient" else f" ({_rows(evaluation)})"
    return [
        f"{run}, held-out test: {plural(evaluation.patients, 'patient')}{what}",
        f"baseline: logistic regression on {_words(baseline['features'])}",
        "95 % intervals: 2,000 resamples of patients; thresholds: Youden index on validation",
        "",
        *_auc_table(model, baseline),
        "",
        *_rate_table(model),
        *_without_interval(model),
        *_aggregation(evaluation.level),
        *_combination(evaluation.combine),
    ]


def _rows(evaluation: Evaluation) -> str:
    series = f"{evaluation.series} series"
    return series if evaluation.level == "series" else f"{series}, {plural(evaluation.n, 'slice')}"


def _auc_table(model: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    rows = [
        [name, str(m["n"]), str(m["positives"]), _auc(m), _auc(baseline["labels"][name]),
         _difference(baseline["labels"][name])]
        for name, m in model["labels"].items()
    ]  # fmt: skip
    if len(rows) == 1:
        return table(_AUC_HEADER, rows)
    macro = model["macro"]
    covered = f"macro ({macro['covers']['auc']} of {macro['labels']} labels)"
    rows.append(
        [covered, "", "", _auc(macro), _auc(baseline["macro"]), _difference(baseline["macro"])]
    )
    micro = model["micro"]
    rows.append(["micro", str(micro["n"]), str(micro["positives"]), _auc(micro),
                 _auc(baseline["micro"]), ""])  # fmt: skip
    return table(_AUC_HEADER, rows)


def _rate_table(model: dict[str, Any]) -> list[str]:
    rows = [
        [name, _threshold(m), *(_number(m[key]) for key in _RATES)]
        for name, m in model["labels"].items()
    ]
    if len(rows) > 1:
        rows += [
            [name, "", *(_number(model[name][key]) for key in _RATES)]
            for name in ("macro", "micro")
        ]
    lines = table(["label", "threshold", *_RATES.values()], rows)
    if not all(m["threshold_chosen"] for m in model["labels"].values()):
        lines.append("* 0.5 for want of a choice: the validation patients show one class only")
    if model["rsna_loss"] is not None:
        lines.append(f"RSNA 2019 weighted log loss: {model['rsna_loss']:.4f}")
    partial = [
        f"{_RATES[key]} over {covers}"
        for key in _RATES
        if (covers := model["macro"]["covers"][key]) < model["macro"]["labels"]
    ]
    if partial and len(model["labels"]) > 1:
        lines.append(f"macro: {', '.join(partial)} of {model['macro']['labels']} labels")
    return lines


def _without_interval(model: dict[str, Any]) -> list[str]:
    names = [
        name for name, m in model["labels"].items() if m["auc"] is not None and m["auc_ci"] is None
    ]
    if not names:
        return []
    return [f"no interval, since one class comes from a single patient: {', '.join(names)}"]


def _words(features: Sequence[str]) -> str:
    words = [_FEATURE_WORDS.get(name, name) for name in features]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _aggregation(level: str) -> list[str]:
    if level != "patient":
        return []
    return ["", "a patient's probability is the mean of its series', its label that of any series"]


def _combination(rule: str | None) -> list[str]:
    if rule in (None, "max"):
        return []
    return ["", f"a series' probability is made of its slices' by the rule {rule}"]


def _auc(metrics: dict[str, Any]) -> str:
    if metrics["auc"] is None:
        if "positives" not in metrics:
            return "n/a"
        if not metrics["n"]:
            return "n/a (none known)"
        missing = "positives" if not metrics["positives"] else "negatives"
        return f"n/a (0 {missing})"
    return f"{metrics['auc']:.3f}{_interval(metrics.get('auc_ci'))}"


def _difference(metrics: dict[str, Any]) -> str:
    if metrics["auc_difference"] is None:
        return "n/a"
    return f"{metrics['auc_difference']:+.3f}{_interval(metrics['auc_difference_ci'], '+.3f')}"


def _interval(ends: list[float] | None, form: str = ".3f") -> str:
    return "" if ends is None else f" ({ends[0]:{form}} to {ends[1]:{form}})"


def _threshold(metrics: dict[str, Any]) -> str:
    return _number(metrics["threshold"]) + ("" if metrics["threshold_chosen"] else "*")


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _share(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "-"
    known = counts["positives"] + counts["negatives"]
    return f"{counts['positives']} of {known}"


def _listed(noun: str, text: str, ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")
    return f"{plural(len(ids), noun)} {text}" + (f": {shown}" if ids else "")
