import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from seqhead.crossval import fit_as_split
from seqhead.errors import FeaturesError, FitError, LabelError, LeakError
from seqhead.evaluate import evaluate_run
from seqhead.evaluation_text import evaluation_text
from seqhead.external import evaluate_external, parse_renamed
from seqhead.options import parse_fit_options
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splitting import Splitting

QUICK = parse_fit_options(hidden=4, epochs=3, device="cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_toy):
    """A run on series, one on slices and a cross-validation, of the planted problem."""
    toy = make_toy(tmp_path_factory.mktemp("home"))
    of_series, of_slices = Sources(toy.store, toy.labels), Sources(toy.store, toy.slices)
    return {
        "series": fit_as_split(of_series, QUICK, Splitting(), out=toy.folder / "a").run,
        "slices": fit_as_split(of_slices, QUICK, Splitting(), out=toy.folder / "b").run,
        "crossed": fit_as_split(of_series, QUICK, Splitting(folds=2), out=toy.folder / "c").run,
    }


@pytest.fixture(scope="module")
def other(tmp_path_factory, make_store):
    """Forty other patients in another store, whose labels have other names."""
    folder = tmp_path_factory.mktemp("elsewhere")
    rng = np.random.default_rng(77)
    matrices, patients, rows = {}, {}, []
    for patient in range(40):
        for repeat in range(1 + patient % 2):
            series = f"9.{patient}.{repeat}"
            matrix = rng.normal(size=(8, 12)).astype(np.float32)
            bleeds, broken = patient % 2, int(patient % 3 == 0)
            matrix[2:5, :4] += 3.0 * bleeds
            matrix[:, 8:] += 2.0 * broken
            matrices[series], patients[series] = matrix, f"E{patient}"
            rows.append(f"E{patient},{series},{bleeds},{broken}")
    store = make_store(folder / "other.zarr", matrices, patients=patients)
    header = "PatientID,SeriesInstanceUID,Bleed,Broken"
    (folder / "reads.csv").write_text("\n".join([header, *rows]))
    return Sources(store, folder / "reads.csv")


MAP = {"ICH": "Bleed", "Fracture": "Broken"}


def test_the_model_is_judged_on_the_other_patients_by_its_own_thresholds(runs, other):
    run = runs["series"]
    found, external = evaluate_external(run, other, renamed=MAP, device="cpu")
    assert (found.split, found.n, found.patients) == ("external", 60, 40)
    scored = run.load_model("cpu").predict_proba(external.cohort.X)
    y = external.cohort.series_y
    ich = found.model["labels"]["ICH"]
    assert ich["auc"] == pytest.approx(roc_auc_score(y[:, 0], scored[:, 0]))
    assert ich["threshold"] == pytest.approx(run.config.thresholds[0])
    called = scored[:, 0] >= run.config.thresholds[0]
    assert ich["recall"] == pytest.approx(called[y[:, 0] == 1].mean())
    calibrated = run.calibration.apply(scored, "temperature")
    np.testing.assert_allclose(found.judged.calibrated["temperature"], calibrated)
    assert "external test: 40 patients (60 series)" in evaluation_text(found, "r")[0]


def test_the_baseline_is_the_one_of_the_fit(runs, other):
    run = runs["series"]
    found, external = evaluate_external(run, other, renamed={"Fracture": "Broken"}, device="cpu")
    expected = run.baselines["series"].predict_proba(
        external.cohort.series[list(run.baselines["series"].features)]
    )
    np.testing.assert_allclose(found.judged.test.baseline[:, 0], expected[:, 1])
    assert list(found.model["labels"]) == ["Fracture"]


def test_other_labels_change_no_threshold(runs, other, tmp_path):
    before, _ = evaluate_external(runs["series"], other, renamed=MAP, device="cpu")
    table = pd.read_csv(other.labels, dtype=str)
    table["Bleed"] = np.random.default_rng(0).integers(0, 2, len(table))
    table.to_csv(tmp_path / "noise.csv", index=False)
    noise = Sources(other.store, tmp_path / "noise.csv")
    after, _ = evaluate_external(runs["series"], noise, renamed=MAP, device="cpu")
    one, two = (found.model["labels"]["ICH"] for found in (before, after))
    assert one["threshold"] == two["threshold"]
    assert one["auc"] != two["auc"]


def test_a_run_on_slices_is_judged_by_series_with_the_thresholds_of_series(runs, other):
    run = runs["slices"]
    found, external = evaluate_external(run, other, renamed={"ICH": "Bleed"}, device="cpu")
    assert (found.level, found.n) == ("series", 60)
    own = evaluate_run(run, "series").model["labels"]["ICH"]["threshold"]
    assert found.model["labels"]["ICH"]["threshold"] == pytest.approx(own)
    slices = run.load_model("cpu").predict_proba(external.cohort.X)
    largest = [rows[:, 1].max() for rows in slices]
    np.testing.assert_allclose(found.judged.test.probability[:, 0], largest, rtol=1e-6)


def test_a_cross_validation_says_the_mean_of_its_models(runs, other):
    run = runs["crossed"]
    found, external = evaluate_external(run, other, renamed=MAP, device="cpu")
    expected = np.mean(
        [m.load_model("cpu").predict_proba(external.cohort.X) for m in run.members], axis=0
    )
    np.testing.assert_allclose(found.judged.test.probability, expected)
    assert found.model["labels"]["ICH"]["threshold"] == pytest.approx(run.config.thresholds[0])
    assert found.folds == []


def test_patients_are_judged_and_kinds_of_scans_apart(runs, other):
    found, _ = evaluate_external(
        runs["series"], other, renamed=MAP, level="patient", by=["thickness"], device="cpu"
    )
    assert found.n == 40
    assert [kind["kind"] for kind in found.subgroups["thickness"]] == ["over 4 mm"]


def test_labels_of_the_same_name_need_no_map(runs, other, tmp_path):
    table = pd.read_csv(other.labels, dtype=str).rename(columns={"Bleed": "ICH"})
    table.to_csv(tmp_path / "labels.csv", index=False)
    sources = Sources(other.store, tmp_path / "labels.csv")
    found, _ = evaluate_external(runs["series"], sources, device="cpu")
    assert list(found.model["labels"]) == ["ICH"]


@pytest.mark.parametrize(
    ("renamed", "message"),
    [
        (None, "the run predicts ICH, Fracture, the labels are Bleed, Broken: none"),
        ({"EDH": "Bleed"}, "the run has no label 'EDH'; it has ICH, Fracture"),
        ({"ICH": "Blood"}, "the labels has no label 'Blood'; it has Bleed, Broken"),
    ],
)
def test_labels_that_do_not_meet_are_refused_by_name(runs, other, renamed, message):
    with pytest.raises(LabelError, match=message):
        evaluate_external(runs["series"], other, renamed=renamed, device="cpu")


def test_a_map_is_read_as_written():
    assert parse_renamed("any=ICH, epidural = EDH") == {"any": "ICH", "epidural": "EDH"}
    for text, message in (("any", "'any' is not"), ("any=ICH,any=SDH", "'any' twice")):
        with pytest.raises(LabelError, match=message):
            parse_renamed(text)


def test_the_store_of_the_fit_is_no_external_test(runs):
    run = runs["series"]
    home = run.path.parent
    with pytest.raises(LeakError, match=r"\d+ of 80 series of this store were learnt from"):
        evaluate_external(run, Sources(home / "cache.zarr", home / "labels.csv"), device="cpu")


def test_a_training_scan_under_other_ids_is_found_by_its_features(runs, make_store, planted,
                                                                  tmp_path):  # fmt: skip
    learnt = runs["series"].folds.query("split == 'train'")["series"].iloc[0]
    matrices = {"8.1": planted.matrices[learnt], "8.2": np.ones((4, 12), np.float32)}
    store = make_store(tmp_path / "s.zarr", matrices)
    (tmp_path / "l.csv").write_text("SeriesInstanceUID,ICH\n8.1,1\n8.2,0\n")
    with pytest.raises(LeakError, match=r"1 of 2 series of this store .* for example 8\.1"):
        evaluate_external(runs["series"], Sources(store, tmp_path / "l.csv"), device="cpu")


def test_a_patient_id_that_both_have_is_told(runs, make_store, tmp_path):
    learnt = runs["series"].folds.query("split == 'train'")["patient"].iloc[0]
    rng = np.random.default_rng(0)
    matrices = {f"8.{k}": rng.normal(size=(4, 12)).astype(np.float32) for k in range(4)}
    store = make_store(tmp_path / "s.zarr", matrices, studies={s: s for s in matrices},
                       patients={s: learnt if s == "8.0" else s for s in matrices})  # fmt: skip
    (tmp_path / "l.csv").write_text("SeriesInstanceUID,ICH\n8.0,1\n8.1,0\n8.2,1\n8.3,0\n")
    found, _ = evaluate_external(runs["series"], Sources(store, tmp_path / "l.csv"), device="cpu")
    assert any("1 patient of this store have a PatientID" in text for text in found.warnings)


def test_features_of_another_recipe_are_refused(runs, other, make_store, tmp_path):
    matrices = {"8.1": np.zeros((4, 12), np.float32)}
    store = make_store(tmp_path / "s.zarr", matrices,
                       recipe={"backbone": "toy", "windows": [[80, 200]], "size": 224})  # fmt: skip
    with pytest.raises(FeaturesError, match="windows"):
        evaluate_external(runs["series"], Sources(store, other.labels), device="cpu")


def test_a_run_on_series_cannot_be_judged_by_slices(runs, other):
    with pytest.raises((FitError, LabelError), match="slice"):
        evaluate_external(runs["series"], other, renamed=MAP, level="slice", device="cpu")


def test_an_opened_run_is_enough(runs, other):
    run = Run.open(runs["series"].path)
    assert evaluate_external(run, other, renamed=MAP, device="cpu")[0].n == 60
