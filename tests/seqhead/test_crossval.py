import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load
from sklearn.metrics import roc_auc_score

from featurecache.store import FeatureStore
from seqhead.compare import compare_runs
from seqhead.crossval import cross_validate
from seqhead.errors import LeakError, RunError
from seqhead.evaluate import evaluate_run
from seqhead.evaluation_text import evaluation_text
from seqhead.options import parse_fit_options
from seqhead.predict import predict_store
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splits import fold_patients
from seqhead.splitting import Splitting
from seqhead.text import crossval_text


def crossed(toy, name="cv", folds=3, repeats=1, file=None, **options):
    slice_labels = options.pop("slice_labels", None)
    quick = {} if options.get("head") == "svm" else {"hidden": 4, "epochs": 2}
    return cross_validate(
        Sources(toy.store, toy.labels, slice_labels=slice_labels),
        parse_fit_options(device="cpu", **{**quick, **options}),
        splitting=Splitting(folds=None if file else folds, repeats=repeats, file=file),
        out=toy.folder / name, project=toy.folder,
    )  # fmt: skip


def test_every_patient_is_tested_once_by_a_model_that_never_saw_it(crossed_run, planted):
    run = Run.open(crossed_run)
    folds, predictions = run.folds, run.predictions
    tested = predictions[predictions["split"] == "test"]
    assert sorted(tested["series"]) == sorted(planted.matrices)
    for fold, rows in folds.groupby("fold"):
        sides = {side: set(part["patient"]) for side, part in rows.groupby("split")}
        assert not sides["train"] & sides["test"]
        assert not sides["validation"] & (sides["test"] | sides["train"])
        member = run.members[fold - 1]
        mine = tested[tested["fold"] == fold].reset_index(drop=True)
        of_member = member.predictions.query("split == 'test'").reset_index(drop=True)
        assert mine["p:ICH"].tolist() == of_member["p:ICH"].tolist()
        assert set(member.folds.query("split == 'test'")["patient"]) == sides["test"]
    assert "train" not in set(predictions["split"])


def test_folds_are_stratified_by_all_labels():
    rng = np.random.default_rng(0)
    patients = [f"p{k}" for k in range(491)]
    y = (rng.random((491, 9)) < [0.4, 0.27, 0.05, 0.1, 0.05, 0.1, 0.08, 0.25, 0.13]).astype(float)
    fold = fold_patients(patients, y, folds=10, seed=3)
    assert sorted(np.unique(fold)) == list(range(1, 11))
    assert np.bincount(fold)[1:].max() - np.bincount(fold)[1:].min() <= 4
    for k in range(9):
        positives = np.bincount(fold, y[:, k])[1:]
        assert abs(positives - y[:, k].sum() / 10).max() <= max(2, 0.25 * y[:, k].sum() / 10)


@pytest.mark.parametrize("patients", [3, 5, 9, 10, 12])
def test_no_fold_is_empty_however_few_patients(patients):
    y = np.zeros((patients, 1))
    y[0] = 1
    fold = fold_patients([f"p{k}" for k in range(patients)], y, folds=3)
    assert set(fold) == {1, 2, 3}


def test_the_folder_pools_what_its_folds_say(crossed_run):
    run = Run.open(crossed_run)
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "fold-1", "fold-2", "fold-3", "config.toml", "folds.csv", "history.csv",
        "predictions.csv", "metrics.json", "log.txt",
    }  # fmt: skip
    history = pd.read_csv(run.path / "history.csv")
    assert history.groupby("fold").size().tolist() == [2, 2, 2]
    thresholds = np.mean([member.config.thresholds for member in run.members], axis=0)
    np.testing.assert_allclose(run.config.thresholds, thresholds)
    evaluation = evaluate_run(run)
    tested = run.predictions.query("split == 'test'")
    expected = roc_auc_score(tested["y:ICH"], tested["p:ICH"])
    assert evaluation.model["labels"]["ICH"]["auc"] == pytest.approx(expected)
    assert evaluation.document() == json.loads((run.path / "metrics.json").read_text())
    assert evaluation.document()["split"] == "out of fold"


def test_each_fold_is_called_by_the_threshold_of_its_own_validation_patients(crossed_run):
    run = Run.open(crossed_run)
    evaluation = evaluate_run(run)
    right = total = 0
    for member in run.members:
        rows = member.predictions.query("split == 'test'")
        called = rows["p:ICH"] >= member.config.thresholds[0]
        right, total = right + (called == (rows["y:ICH"] == 1)).sum(), total + len(rows)
    assert evaluation.model["labels"]["ICH"]["accuracy"] == pytest.approx(right / total)
    assert [fold["labels"]["ICH"]["threshold"] for fold in evaluation.folds] == [
        pytest.approx(member.config.thresholds[0]) for member in run.members
    ]


def test_repeats_have_other_folds_and_other_weights_and_count_nobody_twice(toy, planted):
    report = crossed(toy, folds=2, repeats=2)
    tested = report.run.folds.query("split == 'test'")
    fold = tested.pivot(index="series", columns="repeat", values="fold")
    assert (fold[1] != fold[2]).any()
    assert report.run.members[2].path.name == "repeat-2-fold-1"
    seeds = {member.config.training.seed for member in report.run.members}
    assert seeds == {0, 1000}
    evaluation = evaluate_run(report.run)
    assert evaluation.n == len(planted.matrices)
    ich = evaluation.model["labels"]["ICH"]
    assert ich["n"] == len(planted.matrices)
    assert ich["positives"] == sum(ich for ich, _ in planted.series.values())
    assert len(evaluation.folds) == 4
    assert ich["positive_patients"] == 30


def test_predictions_are_the_mean_of_the_models(toy, planted):
    run = crossed(toy, folds=2, head="svm").run
    store = FeatureStore.open(toy.store)
    got = predict_store(run, store, device="cpu").table
    X = list(planted.matrices.values())
    expected = np.mean([member.load_model("cpu").predict_proba(X) for member in run.members], 0)
    np.testing.assert_allclose(got[["ICH", "Fracture"]], expected)
    np.testing.assert_allclose(run.load_model("cpu").predict_proba(X), expected)
    calibrated = predict_store(run, store, device="cpu", calibrate="temperature").table
    each = [
        member.calibration.apply(member.load_model("cpu").predict_proba(X), "temperature")
        for member in run.members
    ]
    np.testing.assert_allclose(calibrated[["ICH", "Fracture"]], np.mean(each, axis=0))


def test_slices_are_cross_validated_and_judged_as_series_and_patients(toy, planted):
    run = crossed(toy, folds=2, level="slice", slice_labels=toy.slices).run
    assert evaluate_run(run).n == len(planted.slices)
    of_series = evaluate_run(run, "series")
    assert of_series.n == len(planted.matrices)
    assert of_series.model["labels"]["ICH"]["positives"] == sum(
        i for i, _ in planted.series.values()
    )
    assert evaluate_run(run, "patient").n == 60
    largest = run.predictions.query("split == 'test'").groupby("series")["p:ICH"].max()
    test = of_series.judged.test
    np.testing.assert_allclose(test.probability[:, 0], largest.loc[test.ids])
    scored = predict_store(run, FeatureStore.open(toy.store), device="cpu").table
    assert len(scored) == len(planted.slices)


def test_the_same_seed_gives_equal_folders(toy):
    folders = [crossed(toy, name, folds=2, dropout=0.2).run.path for name in ("one", "two")]
    files = sorted(p.relative_to(folders[0]) for p in folders[0].rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(folders[1]) for p in folders[1].rglob("*") if p.is_file())
    for file in files:
        if file.name != "log.txt":
            assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes(), file


def noise_instead(toy, planted, series):
    """Labels of some series drawn anew, in a file of their own."""
    rng = np.random.default_rng(5)
    lines = ["PatientID,SeriesInstanceUID,ICH,Fracture"]
    for name, labels in planted.series.items():
        ich, fracture = rng.integers(2, size=2) if name in series else labels
        lines.append(f"{planted.patients[name]},{name},{ich},{fracture}")
    toy.labels = toy.folder / "noise.csv"
    toy.labels.write_text("\n".join(lines))


@pytest.mark.parametrize("head", ["sequence", "svm"])
def test_labels_of_a_fold_influence_nothing_of_its_model(toy, planted, head):
    """Folds are given, since stratified ones are drawn by the labels."""
    first = crossed(toy, folds=2, head=head)
    file = first.run.path / "folds.csv"
    tested = first.run.folds.query("fold == 2 and split == 'test'")["series"]
    noise_instead(toy, planted, set(tested))
    second = crossed(toy, "second", head=head, file=file)
    before, after = (report.run.members[1] for report in (first, second))
    for name in ("model.safetensors", "baseline.json", "calibration.json"):
        assert (before.path / name).read_bytes() == (after.path / name).read_bytes(), name
    assert before.config.thresholds == after.config.thresholds
    if head == "sequence":
        one, other = (path / "history.csv" for path in (before.path, after.path))
        assert one.read_bytes() == other.read_bytes()
    assert first.members[1] == second.members[1]  # epochs, and the best one
    metrics = [json.loads((run.path / "metrics.json").read_text()) for run in (before, after)]
    assert metrics[0]["labels"]["ICH"]["auc"] != metrics[1]["labels"]["ICH"]["auc"]
    others = [load((r.run.members[0].path / "model.safetensors").read_bytes())
              for r in (first, second)]  # fmt: skip
    assert any((others[0][name] != others[1][name]).any() for name in others[0])


def test_a_patient_in_two_folds_of_a_run_folder_is_noticed(crossed_copy):
    run = Run.open(crossed_copy)
    folds = pd.read_csv(run.path / "folds.csv", dtype=str, keep_default_na=False)
    rows = (folds["fold"] == "1") & (folds["split"] == "test")
    train = folds[(folds["fold"] == "1") & (folds["split"] == "train")].iloc[0]
    folds.loc[folds.index[rows][0], ["patient"]] = train["patient"]
    folds.to_csv(run.path / "folds.csv", index=False)
    with pytest.raises(LeakError, match=f"patient {train['patient']} .*of repeat 1, fold 1"):
        evaluate_run(Run.open(run.path))


def test_a_prediction_that_is_gone_is_noticed(crossed_copy):
    run = Run.open(crossed_copy)
    table = pd.read_csv(run.path / "predictions.csv", dtype=str, keep_default_na=False)
    table.drop(table.index[table["split"] == "test"][0]).to_csv(
        run.path / "predictions.csv", index=False
    )
    with pytest.raises(RunError, match=r"has 0 row\(s\) in predictions\.csv"):
        evaluate_run(Run.open(run.path))


def test_a_cross_validation_that_fails_leaves_nothing(toy, monkeypatch):
    calls = []

    def fail_second(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return original(*arguments, **options)

    from seqhead import crossval

    original = crossval.fit_split
    monkeypatch.setattr(crossval, "fit_split", fail_second)
    with pytest.raises(OSError, match="No space"):
        crossed(toy, "runs/x")
    assert not (toy.folder / "runs").exists()


def test_the_text_names_each_fold_and_the_spread_over_them(toy):
    report = crossed(toy)
    lines = crossval_text(report)
    assert any("3 folds of 60 patients (80 series)" in line for line in lines)
    assert sum(line.split()[:1] == ["1"] for line in lines) == 3
    shown = evaluation_text(evaluate_run(report.run), "runs/cv")
    assert "each patient by the model that never saw it (3 folds)" in shown[0]
    assert any(
        line.startswith("macro over 3 folds, mean ± standard deviation: AUC") for line in shown
    )


@pytest.mark.parametrize("head", ["sequence", "svm"])
def test_labels_that_nobody_everybody_or_no_one_known_has_are_told_and_undefined(toy, head):
    lines = toy.labels.read_text().splitlines()
    rows = [f"{line},0,1," for line in lines[1:]]
    rows[::7] = [f"{row[:-4]},1," for row in rows[::7]]
    toy.labels.write_text("\n".join([f"{lines[0]},Nobody,Everybody,Unknown", *rows]))
    report = crossed(toy, folds=2, head=head)
    found = evaluate_run(report.run)
    json.dumps(found.document(), allow_nan=False)
    labels = found.model["labels"]
    assert [labels[n]["auc"] for n in ("Nobody", "Everybody", "Unknown")] == [None] * 3
    assert (labels["Nobody"]["recall"], labels["Everybody"]["specificity"]) == (None, None)
    assert labels["Everybody"]["recall"] is not None
    assert labels["Unknown"]["n"] == 0
    assert not labels["Nobody"]["threshold_chosen"]
    assert found.model["macro"]["covers"]["auc"] == 2
    assert "no known Unknown in any series" in report.notes
    text = "\n".join(evaluation_text(found, "r", details=True))
    for words in ("n/a (0 positives)", "n/a (0 negatives)", "n/a (none known)"):
        assert words in text
    pair = compare_runs([report.run, crossed(toy, "again", folds=2, head=head).run]).pairs[0]
    assert pair["labels"]["Nobody"]["delong"] is None
    assert pair["labels"]["Unknown"]["differences"]["accuracy"]["difference"] is None
    assert pair["folds"]["auc"]["paired_t"]["difference"] == 0
