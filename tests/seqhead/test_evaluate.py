import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from seqhead.errors import FitError
from seqhead.evaluate import evaluate_predictions, evaluate_run
from seqhead.evaluation_text import evaluation_text
from seqhead.measures import WILSON
from seqhead.metrics import METRICS
from seqhead.operating_points import STANDARD_RULES, choose_threshold, parse_rule
from seqhead.run import Run
from seqhead.scores import scores_at

FIXED = {  # what scripts of users rely on
    "n", "positives", "threshold", "auc", "auc_ci", "accuracy",
    "precision", "recall", "specificity", "f1", "average_precision", "log_loss",
}  # fmt: skip
KEYS = (
    FIXED
    | {"threshold_chosen", "patients", "positive_patients", "auc_ci_delong"}
    | {*METRICS, *(f"{name}_ci" for name in METRICS), *(f"{name}_wilson" for name in WILSON)}
)


def predictions_of(seed=0, n=240, per_patient=2, slices=False):
    """Series (or slices, 4 a series) of which A shows, B is guessed and C is never there."""
    rng = np.random.default_rng(seed)
    patient = np.arange(n) // per_patient
    table = pd.DataFrame(
        {
            "series": [f"s{k}" for k in (np.arange(n) // 4 if slices else np.arange(n))],
            "patient": [f"p{k // 4 * 4 if slices else k}" for k in patient],
            "split": np.array(["train", "validation", "test"])[(patient // 4) % 3],
        }
    )
    table["group"] = table["patient"]
    if slices:
        table["slice"] = [f"i{k}" for k in range(n)]
    y = {"A": rng.random(n) < 0.4, "B": rng.random(n) < 0.3, "C": np.zeros(n, bool)}
    for name, truth in y.items():
        table[f"y:{name}"] = truth.astype(float)
        table[f"p:{name}"] = np.clip(rng.normal(0.4 + 0.3 * truth * (name == "A"), 0.15), 0, 1)
        table[f"baseline:{name}"] = rng.random(n)
    table.loc[::17, "y:B"] = np.nan
    return table


def series_of(table):
    """``series.csv`` of slice predictions, with a baseline that no slice has."""
    found = table.groupby("series", sort=False)[["y:A", "y:B", "y:C"]].max().reset_index()
    return found.assign(**{"baseline:A": 0.25, "baseline:B": 0.25, "baseline:C": 0.25})


def test_the_document_has_the_fixed_keys():
    document = evaluate_predictions(predictions_of(), ("A", "B", "C"), "series").document()
    assert {"schema_version", "level", "n", "labels", "macro", "micro", "rsna_loss",
            "baseline"} <= set(document)  # fmt: skip
    for metrics in document["labels"].values():
        assert set(metrics) == KEYS | {"operating_points", "calibration"}
    assert set(document["baseline"]["labels"]["A"]) >= KEYS | {"auc_difference_ci"}


def test_only_test_rows_are_scored():
    table = predictions_of()
    got = evaluate_predictions(table, ("A", "B", "C"), "series")
    test = table[table["split"] == "test"]
    assert got.n == len(test)
    assert got.patients == test["patient"].nunique()
    assert got.model["labels"]["A"]["auc"] == roc_auc_score(test["y:A"], test["p:A"])
    assert got.baseline["labels"]["A"]["auc"] == roc_auc_score(test["y:A"], test["baseline:A"])


def test_thresholds_come_from_validation_alone():
    table = predictions_of()
    before = evaluate_predictions(table, ("A", "B", "C"), "series")
    table.loc[table["split"] == "test", ["p:A", "y:A"]] = 0.0
    after = evaluate_predictions(table, ("A", "B", "C"), "series")
    assert before.model["labels"]["A"]["threshold"] == after.model["labels"]["A"]["threshold"]


def test_a_signal_has_a_difference_above_zero_and_a_guess_has_not():
    got = evaluate_predictions(predictions_of(seed=1), ("A", "B", "C"), "series")
    low, high = got.baseline["labels"]["A"]["auc_difference_ci"]
    assert 0 < low < got.baseline["labels"]["A"]["auc_difference"] < high
    low, high = got.baseline["labels"]["B"]["auc_difference_ci"]
    assert low < 0 < high
    low, high = got.model["labels"]["B"]["auc_ci"]
    assert low < 0.5 < high


def test_a_label_without_positives_is_not_a_number_and_not_in_the_mean():
    got = evaluate_predictions(predictions_of(), ("A", "B", "C"), "series")
    label = got.model["labels"]["C"]
    assert label["auc"] is label["auc_ci"] is label["recall"] is None
    assert got.model["macro"]["covers"]["auc"] == 2
    assert got.model["macro"]["auc"] == pytest.approx(
        (got.model["labels"]["A"]["auc"] + got.model["labels"]["B"]["auc"]) / 2
    )
    text = "\n".join(evaluation_text(got, "runs/x"))
    assert "n/a (0 positives)" in text
    assert "macro (2 of 3 labels)" in text


def test_a_label_that_nobody_knows_is_said_to_be_so_and_its_threshold_to_be_no_choice():
    table = predictions_of()
    table["y:C"] = np.nan
    got = evaluate_predictions(table, ("A", "B", "C"), "series")
    text = "\n".join(evaluation_text(got, "r"))
    assert "n/a (none known)" in text
    assert "0.500*" in text
    assert "* 0.5 for want of a choice" in text
    assert got.model["labels"]["A"]["threshold_chosen"]


def test_patients_of_two_spellings_are_resampled_and_averaged_as_one():
    table = predictions_of()
    first, second = table["patient"].unique()[8:10]
    table.loc[table["patient"] == second, "group"] = first
    got = evaluate_predictions(table, ("A", "B"), "patient")
    assert got.patients == table[table["split"] == "test"]["patient"].nunique() - 1
    assert got.n == got.patients


def test_the_baseline_stands_beside_the_model_in_the_text():
    lines = evaluation_text(evaluate_predictions(predictions_of(), ("A", "B", "C"), "series"), "r")
    header = next(line for line in lines if line.startswith("label"))
    assert "baseline AUC" in header
    assert "difference" in header


def test_a_patient_is_the_mean_of_its_series_and_has_what_any_has():
    table = predictions_of()
    scores = scores_at(table, ("A", "B"), "patient")
    for k, patient in enumerate(scores.patients):
        rows = table[table["patient"] == patient]
        assert scores.probability[k, 0] == pytest.approx(rows["p:A"].mean())
        assert scores.y[k, 0] == rows["y:A"].max()
    assert len(scores) == table["patient"].nunique()


def test_a_series_is_its_most_suspicious_slice():
    table = predictions_of(slices=True)
    scores = scores_at(table, ("A", "B"), "series", series_of(table))
    names = table["series"].unique()
    assert len(scores) == len(names)
    for k, series in enumerate(names):
        rows = table[table["series"] == series]
        assert scores.probability[k, 0] == rows["p:A"].max()
        assert scores.y[k, 0] == rows["y:A"].max()


def test_slices_that_failed_change_no_label_of_a_series_and_the_baseline_is_that_of_series():
    table = predictions_of(slices=True)
    series = series_of(table)
    positive = series["series"][series["y:A"] == 1].iloc[0]
    gone = table[~((table["series"] == positive) & (table["y:A"] == 1))]
    assert gone.loc[gone["series"] == positive, "y:A"].max() == 0
    scores = scores_at(gone, ("A", "B"), "series", series)
    place = gone["series"].unique().tolist().index(positive)
    assert scores.y[place, 0] == 1.0
    assert (scores.baseline == 0.25).all()


def test_series_cannot_be_judged_as_slices():
    with pytest.raises(FitError, match="--level slice"):
        evaluate_predictions(predictions_of(), ("A",), "slice")


def test_every_rule_is_chosen_on_validation_and_counted_on_test():
    table = predictions_of()
    got = evaluate_predictions(table, ("A", "B", "C"), "series", rule=parse_rule("specificity=0.8"))
    points = got.model["labels"]["A"]["operating_points"]
    assert set(points) == {*STANDARD_RULES, "specificity=0.8"}
    validation, test = (table[table["split"] == side] for side in ("validation", "test"))
    for name, point in points.items():
        cut = choose_threshold(
            validation["y:A"].to_numpy(), validation["p:A"].to_numpy(), parse_rule(name)
        )
        assert point["threshold"] == pytest.approx(cut)
        found = (test.loc[test["y:A"] == 1, "p:A"] >= cut).mean()
        assert point["recall"] == pytest.approx(found)
    assert got.model["labels"]["A"]["threshold"] == points["specificity=0.8"]["threshold"]
    assert points["max-sensitivity"]["recall"] >= points["youden"]["recall"]


def test_calibration_is_learnt_on_validation_alone():
    table = predictions_of()
    for name in "AB":  # far too sure
        p = table[f"p:{name}"].clip(0.01, 0.99)
        table[f"p:{name}"] = 1 / (1 + (1 / p - 1) ** 30)
    before = evaluate_predictions(table, ("A", "B"), "series")
    ours = before.model["labels"]["A"]["calibration"]
    assert ours["temperature"]["log_loss"] < before.model["labels"]["A"]["log_loss"]
    assert sum(row["n"] for row in ours["reliability"]) == before.model["labels"]["A"]["n"]
    test = table["split"] == "test"
    table.loc[test, "y:A"] = 1 - table.loc[test, "y:A"]
    after = evaluate_predictions(table, ("A", "B"), "series")
    assert (before.judged.calibrated["isotonic"] == after.judged.calibrated["isotonic"]).all()


def test_fewer_than_ten_positives_are_warned_of():
    table = predictions_of()
    test = table.index[table["split"] == "test"]
    table.loc[test, "y:A"] = 0.0
    table.loc[test[:4], "y:A"] = 1.0
    got = evaluate_predictions(table, ("A", "B", "C"), "series")
    warning = "fewer than 10 positives: A (4)"
    assert any(warning in text for text in got.document()["warnings"])
    assert any(f"WARNING: {warning}" in line for line in evaluation_text(got, "r"))


def test_details_show_operating_points_and_calibration():
    got = evaluate_predictions(predictions_of(), ("A", "B", "C"), "series")
    lines = evaluation_text(got, "r", details=True)
    assert any(line.split()[:2] == ["A", "youden"] for line in lines)
    assert any("ECE temperature" in line for line in lines)
    assert not any("ECE temperature" in line for line in evaluation_text(got, "r"))


def test_kinds_of_scans_are_judged_apart_and_printed(crossed_run):
    got = evaluate_run(Run.open(crossed_run), "patient", by=["thickness", "tilt"])
    assert [kind["kind"] for kind in got.document()["subgroups"]["thickness"]] == ["over 4 mm"]
    lines = evaluation_text(got, "r")
    assert any(line.split()[:4] == ["over", "4", "mm", "ICH"] for line in lines)
