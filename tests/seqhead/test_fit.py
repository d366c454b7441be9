import numpy as np
import pytest

from featurecache.errors import StoreIncompleteError
from seqhead.baselines import SERIES_FEATURES
from seqhead.errors import FitError, LabelError
from seqhead.evaluate import evaluate_run
from seqhead.fit import fit
from seqhead.options import parse_fit_options
from seqhead.sources import Sources, open_sources
from seqhead.splitting import Splitting

QUICK = {"hidden": 4, "epochs": 2, "device": "cpu"}


def fit_in(toy, name="run", splitting=None, **options):
    quick = {"device": "cpu"} if options.get("head") == "svm" else QUICK
    options = {**quick, **options}
    sources = Sources(toy.store, toy.labels, slice_labels=options.pop("slice_labels", None))
    return fit(
        sources, parse_fit_options(**options), splitting=splitting, out=toy.folder / name,
        project=toy.folder,
    )  # fmt: skip


def test_patients_are_split_70_15_15_and_kept_together(toy, planted):
    report = fit_in(toy)
    folds = report.run.folds
    assert folds.groupby("patient")["split"].nunique().max() == 1
    assert report.document()["patients"] == {"train": 42, "validation": 9, "test": 9}
    assert sorted(folds["series"]) == sorted(planted.matrices)
    assert folds["user_patient"].tolist() == folds["patient"].tolist()  # ids are kept here


def test_defaults_are_those_of_the_documentation(toy):
    report = fit(
        Sources(toy.store, toy.labels),
        parse_fit_options(epochs=1, device="cpu"),
        out=toy.folder / "run",
    )
    head, training = report.run.config.head, report.run.config.training
    assert (head.rnn, head.hidden, head.layers, head.pool, head.mlp) == ("gru", 256, 1, "max", ())
    assert (head.normalise, head.bidirectional) == ("standard", False)
    assert (training.loss, training.learning_rate, training.batch_size) == ("bce", 1e-3, 16)
    assert training.patience == 10
    assert parse_fit_options().epochs == 100


def test_normalisation_knows_the_training_rows_only(toy, planted):
    report = fit_in(toy)
    train = report.run.folds.query("split == 'train'")["series"]
    rows = np.concatenate([planted.matrices[series] for series in train])
    state = report.run.load_model("cpu").state()
    np.testing.assert_allclose(state["normalise.mean"], rows.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(state["normalise.scale"], rows.std(axis=0), atol=1e-5)


@pytest.mark.parametrize("head", ["sequence", "svm"])
def test_test_features_and_labels_influence_nothing(toy, planted, make_store, head):
    first = fit_in(toy, head=head)
    test = set(first.run.folds.query("split == 'test'")["series"])
    rng = np.random.default_rng(0)
    changed = {
        s: rng.normal(size=m.shape).astype(np.float32) if s in test else m
        for s, m in planted.matrices.items()
    }
    toy.store = make_store(toy.folder / "other.zarr", changed, patients=planted.patients)
    second = fit_in(toy, "second", head=head)
    one, other = (r.run.path / "model.safetensors" for r in (first, second))
    assert one.read_bytes() == other.read_bytes()
    assert first.run.config.thresholds == second.run.config.thresholds
    assert first.history.best_epoch == second.history.best_epoch


@pytest.mark.parametrize("head", ["sequence", "svm"])
@pytest.mark.parametrize("rule", ["youden", "max-sensitivity"])
def test_noise_for_test_labels_changes_no_bit_of_the_model(toy, planted, write_csv, head, rule):
    """The split is given: a stratified one is drawn by the labels of everybody."""
    sides = ("train", "train", "train", "validation", "test", "test")
    side = {p: sides[int(p) // 2 % 6] for p in planted.patients.values()}
    file = write_csv(
        "\n".join(["PatientID,split", *(f"{p},{s}" for p, s in side.items())]), "s.csv"
    )
    splitting = Splitting(file=file, operating_point=rule)
    first = fit_in(toy, head=head, splitting=splitting)
    rng = np.random.default_rng(0)
    lines = []
    for series, labels in planted.series.items():
        patient = planted.patients[series]
        ich, fracture = rng.integers(2, size=2) if side[patient] == "test" else labels
        lines.append(f"{patient},{series},{ich},{fracture}")
    toy.labels.write_text("\n".join(["PatientID,SeriesInstanceUID,ICH,Fracture", *lines]))
    second = fit_in(toy, "second", head=head, splitting=splitting)
    for path in first.run.path.iterdir():
        if path.name not in ("log.txt", "metrics.json", "predictions.csv"):
            assert path.read_bytes() == (second.run.path / path.name).read_bytes(), path.name
    assert first.run.config.thresholds == second.run.config.thresholds
    assert first.history.best_epoch == second.history.best_epoch
    one, other = first.run.predictions, second.run.predictions
    assert (one["y:ICH"] != other["y:ICH"]).any()
    assert (one["p:ICH"] == other["p:ICH"]).all()


def test_slice_labels_fit_slices(toy, planted):
    report = fit_in(toy, level="slice", slice_labels=toy.slices, hidden=8, epochs=3)
    predictions = report.run.predictions
    assert len(predictions) == sum(map(len, planted.matrices.values()))
    assert predictions["y:ICH"].tolist() == [float(v) for v in planted.slices.values()]
    assert predictions["user_slice"].tolist() == list(planted.slices)
    assert report.run.config.head.pool == "none"


def test_labels_of_slices_say_what_series_have(toy, planted):
    cohort = open_sources(Sources(toy.store, toy.slices)).cohort("series")
    assert cohort.level == "series"
    assert cohort.y[:, 0].tolist() == [float(ich) for ich, _ in planted.series.values()]
    assert open_sources(Sources(toy.store, toy.slices)).cohort().level == "slice"


def test_slices_that_failed_leave_the_others_with_their_own_labels(
    tmp_path, make_store, planted, toy
):
    series, empty = "1.2.1.0", "1.2.5.0"
    gone = {series: [0, 2], empty: range(len(planted.matrices[empty]))}
    toy.store = make_store(
        tmp_path / "holed.zarr", planted.matrices, patients=planted.patients, failed=gone
    )
    report = fit_in(toy, level="slice", slice_labels=toy.slices)
    left_out = report.document()["left_out"]
    assert left_out["partial_series"] == [series]
    assert left_out["empty_series"] == [empty]
    rows = report.run.predictions.query("series == @series")
    kept = [k for k in range(len(planted.matrices[series])) if k not in (0, 2)]
    assert rows["position"].tolist() == kept
    assert rows["y:ICH"].tolist() == [planted.slices[f"{series}.{k}"] for k in kept]


def test_series_without_labels_are_listed_and_not_used(toy, planted):
    lines = toy.labels.read_text().splitlines()
    toy.labels.write_text("\n".join([*lines[:-3], "999,9.9,1,1"]))
    left_out = fit_in(toy).document()["left_out"]
    assert left_out["unmatched_labels"] == ["9.9"]
    assert left_out["unlabelled_series"] == list(planted.series)[-3:]


def test_labels_with_one_class_are_told(toy):
    lines = [line.rpartition(",")[0] for line in toy.labels.read_text().splitlines()]
    toy.labels.write_text("\n".join([lines[0] + ",EDH", *(f"{line},0" for line in lines[1:])]))
    report = fit_in(toy)
    assert "no positive test series for EDH" in report.notes
    assert report.validation["labels"]["EDH"]["auc"] is None


def test_a_label_that_nobody_knows_is_told_once(toy):
    lines = toy.labels.read_text().splitlines()
    toy.labels.write_text("\n".join([lines[0] + ",EDH", *(f"{line}," for line in lines[1:])]))
    assert [note for note in fit_in(toy).notes if "EDH" in note] == ["no known EDH in any series"]


def test_slices_without_labels_are_counted(toy):
    lines = toy.slices.read_text().splitlines()
    toy.slices.write_text("\n".join([*lines[:5], *lines[7:]]))
    report = fit_in(toy, level="slice", slice_labels=toy.slices)
    assert "2 slices without a known label, not learnt from" in report.notes


def test_a_patient_of_the_labels_that_dicom_has_not_is_told_and_kept_together(toy):
    lines = toy.labels.read_text().splitlines()
    lines[1:3] = [f"000-renamed,{line.partition(',')[2]}" for line in lines[1:3]]
    toy.labels.write_text("\n".join(lines))
    report = fit_in(toy)
    assert any("PatientID is '000-renamed'" in note for note in report.notes)


def test_slice_runs_know_the_users_ids_of_series_and_patients(toy, planted):
    rows = [
        f"{planted.patients[s]},{s},{s}.{k},{planted.slices[f'{s}.{k}']}"
        for s, matrix in planted.matrices.items()
        for k in range(len(matrix))
    ]
    header = "PatientID,SeriesInstanceUID,SOPInstanceUID,ICH"
    toy.slices.write_text("\n".join([header, *rows]))
    predictions = fit_in(toy, level="slice", slice_labels=toy.slices).run.predictions
    assert (predictions["user_series"] == predictions["series"]).all()
    assert (predictions["user_patient"] == predictions["patient"]).all()


def test_the_series_of_a_slice_run_keep_the_label_of_a_slice_that_failed(toy, planted, make_store):
    plain = fit_in(toy, level="slice", slice_labels=toy.slices)
    test = plain.run.folds.query("split == 'test'")["series"]
    series = next(s for s in test if planted.series[s][0])
    shown = [k for k in range(len(planted.matrices[series])) if planted.slices[f"{series}.{k}"]]
    toy.store = make_store(
        toy.folder / "holed.zarr", planted.matrices, patients=planted.patients,
        failed={series: shown},
    )  # fmt: skip
    holed = fit_in(toy, "holed", level="slice", slice_labels=toy.slices)
    assert holed.run.folds["split"].tolist() == plain.run.folds["split"].tolist()
    for level in ("series", "patient"):
        before, after = (evaluate_run(r.run, level).model["labels"]["ICH"] for r in (plain, holed))
        assert before["positives"] == after["positives"] > 0


@pytest.mark.parametrize("level", ["series", "patient"])
def test_a_slice_run_stands_beside_the_baseline_of_series(toy, level):
    of_slices = fit_in(toy, level="slice", slice_labels=toy.slices).run
    toy.labels = toy.slices
    of_series = fit_in(toy, "second", level="series").run
    got, expected = (evaluate_run(run, level).baseline for run in (of_slices, of_series))
    assert got["features"] == list(SERIES_FEATURES)
    of_model = {"auc_difference", "auc_difference_ci"}
    got, expected = (baseline["labels"]["ICH"] for baseline in (got, expected))
    assert {k: v for k, v in got.items() if k not in of_model} == {
        k: v for k, v in expected.items() if k not in of_model
    }


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"head": "svm", "rnn": "lstm"}, "--rnn"),
        ({"head": "svm", "epochs": 3}, "--epochs"),
        ({"head": "svm", "device": "cuda"}, "--device"),
        ({"rnn": "none", "hidden": 12}, "--hidden"),
        ({"rnn": "none", "layers": 1}, "--layers"),
        ({"svm_input": "pooled"}, "--svm-input"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, name):
    with pytest.raises(FitError, match=f"{name} has no effect"):
        parse_fit_options(**options)


@pytest.mark.parametrize("seed", [-1, 2**32 - 1])
def test_seeds_beyond_32_bits_are_refused(seed):
    with pytest.raises(FitError, match="--seed"):
        parse_fit_options(seed=seed)


def test_the_largest_seed_works(toy):
    assert fit_in(toy, seed=2**32 - 2, head="svm").run.config.split.seed == 2**32 - 2


def test_labels_need_no_choice_of_features(toy, monkeypatch):
    names = ["begun", "toy"]  # an extraction of the first was planned and not finished
    monkeypatch.setattr("featurecache.store.FeatureStore.names", names)
    sources = Sources(toy.store, toy.labels)
    assert open_sources(sources, any_features=True).features.name == "toy"


def test_the_level_must_fit_the_labels(toy):
    with pytest.raises(LabelError, match="--slice-labels"):
        fit_in(toy, level="slice")
    with pytest.raises(FitError, match="leave it out at --level slice"):
        fit_in(toy, level="slice", slice_labels=toy.slices, pool="max")
    with pytest.raises(FitError, match="--svm-input padded makes one row of a series"):
        fit_in(toy, level="slice", slice_labels=toy.slices, head="svm", svm_input="padded")


def test_several_feature_sets_must_be_named(toy, monkeypatch):
    monkeypatch.setattr("featurecache.store.FeatureStore.names", ["resnet50", "vgg16"])
    with pytest.raises(FitError, match=r"choose one with --features \(resnet50, vgg16\)"):
        fit_in(toy)


def test_an_incomplete_store_is_refused(toy):
    chunks = sorted((toy.store / "part-0000" / "features" / "toy").glob("c*"))
    assert len(chunks) > 1
    chunks[-1].unlink()
    with pytest.raises(StoreIncompleteError):
        fit_in(toy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "--hidden"),
        ({"rnn": "rnn"}, "--rnn"),
        ({"bidirectional": True, "rnn": "none"}, "--bidirectional needs an RNN"),
        ({"batch_size": -1}, "--batch-size"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(FitError, match=message):
        parse_fit_options(**options)
