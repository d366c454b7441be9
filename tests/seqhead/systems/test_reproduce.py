"""A paper's numbers beside ours; what is there already is not fitted again."""

import json
import shutil

import pytest

from featurecache import FeatureStore
from seqhead.differences import differences
from seqhead.errors import LabelError, RunError
from seqhead.evaluate import evaluate_run
from seqhead.options import parse_fit_options
from seqhead.reported import Reported, not_compared, ours_beside, reported_numbers
from seqhead.reproduce import fitted_system, reproduce
from seqhead.reproduction_inputs import check_labels
from seqhead.reproduction_text import reproduction_document, reproduction_text
from seqhead.sources import Sources
from seqhead.systems import load_system, system_names
from seqhead.systems.describe import describe

SMALL = ("head.hidden=8", "head.mlp=[4, 4]", "training.epochs=2")
EXTRACTED = {"files": {"failed": 0}, "slices_failed": 0, "slices_this_run": 0}


def run_of(given, name, *, settings=SMALL, progress=None, seed=0, features=None, select=None):
    fitted = fitted_system(name)
    options = parse_fit_options(
        system=fitted.name, seed=seed, **({"settings": settings} if settings else {}),
        **({"device": "cpu"} if fitted.kind == "sequence" else {}),
        **({"any_recipe": True, "features": features} if features else {}),
    )  # fmt: skip
    return reproduce(
        name, Sources(given.store, given.labels), options, given.folder / name,
        project=given.folder, progress=progress, select=select,
    )  # fmt: skip


@pytest.mark.parametrize("name", system_names())
def test_every_reported_number_is_compared_or_named(name):
    system = load_system(name)
    compared = reported_numbers(system)
    ends = [key for key in system.reported if key.endswith("_interval")]
    tables = {key: table for key, table in system.reported.items() if isinstance(table, dict)}
    single = [key for key in system.reported if key not in (*tables, *ends, "readers")]
    expected = [key for key in single if key != "seconds_per_scan"]
    of_labels = sum(len(one) for one in system.reported.get("labels", {}).values())
    of_labels += len(system.reported.get("auc_of_label", {}))
    assert len(compared) == len(expected) + of_labels
    left = {key for key in (*tables, *single) if key in not_compared(system)}
    assert left == set(system.reported) & {
        "key_slices", "key_slice_accuracy", "seconds_per_scan", "readers"
    }  # fmt: skip


def test_a_papers_split_that_leaks_has_a_second_run_beside_it(cohort_of):
    given = cohort_of("sdlm", patients=30)
    found = run_of(given, "sdlm-vgg16-gru")
    paper, patients = found.outcomes
    assert [one.split for one in found.outcomes] == ["paper", "patients"]
    assert paper.evaluation.leak is not None
    assert patients.evaluation.leak is None
    for outcome in found.outcomes:
        again = evaluate_run(outcome.run, operating_point="0.5")
        assert outcome.run.config.thresholds == (0.5, 0.5, 0.5)
        rows = {number.metric: every for number, every in found.rows}
        place = found.outcomes.index(outcome)
        for metric in ("precision", "recall", "f1", "auc"):
            assert rows[metric][place].value == again.model["micro"][metric]
            assert rows[metric][place].interval == again.model["micro"][f"{metric}_ci"]
    counted = describe("sdlm", features=8, labels=3)
    assert counted.parameters_paper != found.rows[-1][1][0].value, "the head was made smaller"
    text = "\n".join(reproduction_text(found))
    assert "WARNING: split as the paper: this split LEAKS" in text
    assert "micro AUC" in text


def test_what_is_there_is_not_fitted_again_and_what_was_stopped_goes_on(cohort_of):
    given = cohort_of("sdlm", patients=30)

    def stop(epoch, epochs, losses):
        if (given.folder / "sdlm/paper").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_of(given, "sdlm", progress=stop)
    before = {
        path.name: path.stat().st_mtime_ns for path in (given.folder / "sdlm/paper").iterdir()
    }
    assert not (given.folder / "sdlm/patients").exists()
    found = run_of(given, "sdlm")
    assert [one.new for one in found.outcomes] == [False, True]
    after = {path.name: path.stat().st_mtime_ns for path in (given.folder / "sdlm/paper").iterdir()}
    assert before == after

    def never(epoch, epochs, losses):
        raise AssertionError("there is nothing left to fit")

    again = run_of(given, "sdlm", progress=never)
    first, second = (reproduction_document(one, EXTRACTED) for one in (found, again))
    assert first["rows"] == second["rows"]
    assert [one.new for one in again.outcomes] == [False, False]
    assert json.loads(json.dumps(second, allow_nan=False)) == second


@pytest.mark.parametrize("what", ["labels", "seed", "settings", "values of features"])
def test_a_folder_of_other_inputs_is_refused_and_left_as_it_is(cohort_of, make_store, what):
    given = cohort_of("sdlm", patients=30)
    run_of(given, "sdlm")
    other = {}
    if what == "labels":
        given.labels.write_text(given.labels.read_text().replace(",1", ",0", 1))
    elif what == "seed":
        other = {"seed": 1}
    elif what == "values of features":
        before = FeatureStore.open(given.store)["sdlm-vgg16"]
        matrices, recipe = {s: before[s] + (s == "1.2.3") for s in before}, before.recipe
        shutil.rmtree(given.store)
        make_store(given.store, matrices, name="sdlm-vgg16", recipe=recipe)
    else:
        other = {"settings": (*SMALL, "training.learning_rate=0.01")}
    with pytest.raises(RunError, match=rf"other inputs \({what} differ\).*another --out"):
        run_of(given, "sdlm", **other)
    assert len(list((given.folder / "sdlm").iterdir())) == 3


def test_series_that_were_chosen_otherwise_than_the_paper_did_are_said(cohort_of):
    given = cohort_of("sdlm", patients=30)
    found = run_of(given, "sdlm", select=("thickness<=2 mm", "slices>=9"))
    (one,) = (one for one in differences(found) if one.about == "series")
    assert (one.paper, one.here) == ("all", "thickness<=2 mm; slices>=9")
    for select in (None, ("all",)):
        found = run_of(given, "sdlm", select=select)
        assert "series" not in [one.about for one in differences(found)]


def test_ten_folds_are_pooled_and_need_no_second_run(cohort_of):
    given = cohort_of("drct1", patients=24)
    settings = (*SMALL[:1], "head.step_dense=4", "head.mlp=[4]", "head.dropout=0.5",
                "training.epochs=1")  # fmt: skip
    found = run_of(given, "drct1", settings=settings)
    (only,) = found.outcomes
    assert (only.split, only.run.config.split.folds) == ("paper", 10)
    rows = {number.metric: every[0].value for number, every in found.rows}
    assert rows["f1"] == only.evaluation.model["macro"]["f1"]
    split = next(one for one in differences(found) if one.about.startswith("split"))
    assert "10 folds of patients; figures are pooled" in split.here


def test_a_rule_combines_slices_of_patients_whom_its_network_never_saw(cohort_of):
    given = cohort_of("xception-gru", patients=24)
    settings = ("head.hidden=4", "training.epochs=1")
    found = run_of(given, "max", settings=settings)
    (only,) = found.outcomes
    assert (only.split, only.run.config.level) == ("patients", "slice")
    assert (only.evaluation.level, only.evaluation.combine) == ("series", "max")
    (number, (ours,)), = found.rows  # fmt: skip
    assert (number.of, number.interval, ours.label) == ("ICH", (0.54, 0.65), "any")
    assert ours.value == only.evaluation.model["labels"]["any"]["auc"]
    assert "ICH (here any) AUC" in "\n".join(reproduction_text(found))


def test_an_svm_of_one_label_is_compared_for_that_label(cohort_of):
    given = cohort_of("svm", patients=30)
    found = run_of(given, "svm", settings=())
    assert [(number.of, number.metric) for number, _ in found.rows] == [("ICH", "auc")]
    assert found.outcomes[0].parameters is None
    about = {one.about: one for one in differences(found)}
    assert "not given" in about["threshold"].paper


def test_features_of_other_weights_are_said(cohort_of, add_features, recipe):
    given = cohort_of("sdlm", patients=30)
    spec = load_system("sdlm").features[0]
    plain = FeatureStore.open(given.store)[spec.name]
    matrices = {series: plain[series] for series in plain}
    add_features(given.store, matrices, "mine", recipe=recipe(spec, weights_source="random:0"))
    found = run_of(given, "sdlm", features="mine")
    weights = next(one for one in differences(found) if one.about == "weights of vgg16")
    assert weights.paper == "imagenet:IMAGENET1K_FEATURES"
    assert weights.here.startswith("random:0, untrained")
    assert found.outcomes[0].run.config.system.other_features


def test_findings_go_by_the_names_of_either_data_set():
    figures = {"labels": {"ICH": {"auc": 0.7}, "IPH": {"auc": None}}, "micro": {}, "macro": {}}
    assert ours_beside(Reported("any", "auc", 0.9), figures, None).label == "ICH"
    assert ours_beside(Reported("ICH", "auc", 0.9), figures, None).label is None
    assert ours_beside(Reported("subdural", "auc", 0.9), figures, None).value is None
    mean = Reported("mean", "auc", 0.9, labels=("any", "IPH"))
    assert ours_beside(mean, figures, None).value is None, "no mean over fewer labels than theirs"
    figures["labels"]["IPH"]["auc"] = 0.9
    assert ours_beside(mean, figures, None).value == pytest.approx(0.8)


def test_labels_are_checked_before_there_is_a_store(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("PatientID,ICH\na,1\n")
    sources = Sources(tmp_path / "none.zarr", labels)
    check_labels(load_system("sdlm"), sources)
    with pytest.raises(LabelError, match=r"learns slices, and labels\.csv labels each patient"):
        check_labels(load_system("xception"), sources)
