"""What ``seqhead evaluate`` prints."""

from collections.abc import Sequence
from typing import Any

from featurecache.words import plural
from seqhead.evaluation import Evaluation
from seqhead.text import interval, number, table

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
_AT_THRESHOLD = {
    "recall": "recall",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
    "accuracy": "accuracy",
}
_OF_PROBABILITIES = {"average_precision": "AP", "log_loss": "log loss", "brier": "Brier"}
_WORDS = {**_AT_THRESHOLD, **_OF_PROBABILITIES}
_WILSON = ("recall", "specificity")
_RULES = {
    "youden": "Youden index",
    "max-sensitivity": "maximal sensitivity",
}


def evaluation_text(evaluation: Evaluation, run: str, *, details: bool = False) -> list[str]:
    """Tables of an evaluation.

    Parameters
    ----------
    evaluation : Evaluation
        The numbers.
    run : str
        Name of the run.
    details : bool
        Operating points, calibration and folds too.

    Returns
    -------
    list of str
    """
    model, baseline = evaluation.model, evaluation.baseline
    rule = evaluation.judged.rule
    return [
        f"{run}, {_split_words(evaluation)}: {_sizes(evaluation)}",
        *(f"WARNING: {text}" for text in evaluation.warnings),
        *_view_lines(evaluation.views),
        f"baseline: logistic regression on {_words(baseline['features'])}",
        f"95 % intervals: 2,000 resamples of patients; thresholds: {_RULES.get(rule, rule)} on "
        f"validation{', the mean of the folds is shown' if evaluation.folds else ''}",
        "",
        *_auc_table(model, baseline),
        "",
        *_rate_tables(model),
        *_without_interval(model),
        *_aggregation(evaluation),
        *_combination(evaluation.combine),
        *_fold_lines(evaluation.folds),
        *(_detail_lines(model) if details else []),
        *_subgroup_lines(evaluation.subgroups),
    ]


def _view_lines(views: int) -> list[str]:
    if not views:
        return []
    return [f"mean over the images as they are and {plural(views, 'augmented view')}"]


def _split_words(evaluation: Evaluation) -> str:
    if evaluation.split == "out of fold":
        folds = {fold for _, fold in evaluation.judged.folds}
        repeats = evaluation.judged.repeats
        again = f", {repeats} times" if repeats > 1 else ""
        return f"each patient by the model that never saw it ({len(folds)} folds{again})"
    return {"test": "held-out test"}.get(evaluation.split, f"{evaluation.split} test")


def _sizes(evaluation: Evaluation) -> str:
    patients, series = plural(evaluation.patients, "patient"), f"{evaluation.series} series"
    rows = {"patient": "", "series": f" ({series})"}
    return patients + rows.get(
        evaluation.level, f" ({series}, {plural(evaluation.n, evaluation.level)})"
    )


def _auc_table(model: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    rows = [
        [name, str(m["n"]), _positives(m), _auc(m), _auc(baseline["labels"][name]),
         _difference(baseline["labels"][name])]
        for name, m in model["labels"].items()
    ]  # fmt: skip
    if len(rows) == 1:
        return _with_key(table(_AUC_HEADER, rows), model)
    macro, micro = model["macro"], model["micro"]
    covered = f"macro ({macro['covers']['auc']} of {macro['labels']} labels)"
    rows.append(
        [covered, "", "", _auc(macro), _auc(baseline["macro"]), _difference(baseline["macro"])]
    )
    rows.append(["micro", str(micro["n"]), str(micro["positives"]), _auc(micro),
                 _auc(baseline["micro"]), ""])  # fmt: skip
    return _with_key(table(_AUC_HEADER, rows), model)


def _with_key(lines: list[str], model: dict[str, Any]) -> list[str]:
    if all(m["positives"] == m["positive_patients"] for m in model["labels"].values()):
        return lines
    return [*lines, "positives in brackets: patients"]


def _positives(metrics: dict[str, Any]) -> str:
    count, patients = metrics["positives"], metrics["positive_patients"]
    return str(count) if count == patients else f"{count} ({patients})"


def _rate_tables(model: dict[str, Any]) -> list[str]:
    labels = model["labels"]
    at_threshold = [
        [name, _positives(m), _threshold(m),
         *(_rate(m, key, "wilson" if key in _WILSON else "ci") for key in _AT_THRESHOLD)]
        for name, m in labels.items()
    ]  # fmt: skip
    of_probabilities = [
        [name, _positives(m), *(_rate(m, key, "ci") for key in _OF_PROBABILITIES)]
        for name, m in labels.items()
    ]
    if len(labels) > 1:
        for name in ("macro", "micro"):
            m = model[name]
            at_threshold.append([name, "", "", *(_rate(m, key, "ci") for key in _AT_THRESHOLD)])
            of_probabilities.append([name, "", *(_rate(m, key, "ci") for key in _OF_PROBABILITIES)])
    lines = table(["label", "positives", "threshold", *_AT_THRESHOLD.values()], at_threshold)
    if not all(m["threshold_chosen"] for m in labels.values()):
        lines.append("* 0.5 for want of a choice: the validation patients show one class only")
    lines.append("recall and specificity of labels: Wilson intervals over patients")
    lines += ["", *table(["label", "positives", *_OF_PROBABILITIES.values()], of_probabilities)]
    if model["rsna_loss"] is not None:
        lines.append(
            f"RSNA 2019 weighted log loss: {model['rsna_loss']:.4f}"
            f"{interval(model['rsna_loss_ci'], '.4f')}"
        )
    partial = [
        f"{_WORDS[key]} over {covers}"
        for key in _WORDS
        if (covers := model["macro"]["covers"][key]) < model["macro"]["labels"]
    ]
    if partial and len(labels) > 1:
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


def _aggregation(evaluation: Evaluation) -> list[str]:
    if evaluation.level != "patient":
        return []
    return ["", "a patient's probability is the mean of its series', its label that of any series"]


def _combination(rule: str | None) -> list[str]:
    if rule in (None, "max"):
        return []
    return ["", f"a series' probability is made of its slices' by the rule {rule}"]


def _fold_lines(folds: list[dict[str, Any]]) -> list[str]:
    """Macro averages over the folds: how far they spread."""
    if not folds:
        return []
    from statistics import mean, stdev

    parts = []
    for key, word in (("auc", "AUC"), *_WORDS.items()):
        values = [fold["macro"][key] for fold in folds if fold["macro"][key] is not None]
        if len(values) > 1:
            parts.append(f"{word} {mean(values):.3f} ± {stdev(values):.3f}")
    return ["", f"macro over {len(folds)} folds, mean ± standard deviation: {', '.join(parts)}"]


def _detail_lines(model: dict[str, Any]) -> list[str]:
    points = [
        [name if k == 0 else "", rule, f"{at['threshold']:.3f}",
         f"{number(at['recall'])}{_short(at['recall_wilson'])}",
         f"{number(at['specificity'])}{_short(at['specificity_wilson'])}",
         number(at["precision"]), number(at["f1"])]
        for name, m in model["labels"].items()
        for k, (rule, at) in enumerate(m["operating_points"].items())
    ]  # fmt: skip
    calibration = [
        [name, _positives(m), number(m["calibration"]["ece"]), number(m["brier"]),
         *(number(m["calibration"][method][key])
           for method in ("temperature", "isotonic") for key in ("ece", "brier"))]
        for name, m in model["labels"].items()
    ]  # fmt: skip
    return [
        "",
        "operating points, chosen on validation:",
        *table(["label", "rule", "threshold", "recall", "specificity", "precision", "F1"], points),
        "",
        "calibration (ECE: 10 bins of equal width), as it is and after calibration on validation:",
        *table(["label", "positives", "ECE", "Brier", "ECE temperature", "Brier temperature",
                "ECE isotonic", "Brier isotonic"], calibration),
    ]  # fmt: skip


def _subgroup_lines(subgroups: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines: list[str] = []
    for by, kinds in subgroups.items():
        rows = [
            [kind["kind"], name, str(m["n"]), _positives(m), _auc(m),
             _rate(m, "recall", "wilson"), _rate(m, "specificity", "wilson")]
            for kind in kinds
            for name, m in kind["labels"].items()
        ]  # fmt: skip
        header = [by, "label", "n", "positives", "AUC", "recall", "specificity"]
        lines += ["", *table(header, rows)]
    return lines


def _auc(metrics: dict[str, Any]) -> str:
    if metrics["auc"] is None:
        if "positives" not in metrics:
            return "n/a"
        if not metrics["n"]:
            return "n/a (none known)"
        missing = "positives" if not metrics["positives"] else "negatives"
        return f"n/a (0 {missing})"
    return f"{metrics['auc']:.3f}{interval(metrics.get('auc_ci'))}"


def _difference(metrics: dict[str, Any]) -> str:
    if metrics["auc_difference"] is None:
        return "n/a"
    return f"{metrics['auc_difference']:+.3f}{interval(metrics['auc_difference_ci'], '+.3f')}"


def _rate(metrics: dict[str, Any], key: str, kind: str) -> str:
    return f"{number(metrics[key])}{_short(metrics.get(f'{key}_{kind}'))}"


def _short(ends: Sequence[float] | None) -> str:
    """An interval that leaves room for others beside it."""
    return "" if ends is None else f" ({ends[0]:.2f}-{ends[1]:.2f})"


def _threshold(metrics: dict[str, Any]) -> str:
    return number(metrics["threshold"]) + ("" if metrics["threshold_chosen"] else "*")
