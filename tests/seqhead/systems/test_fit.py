"""Every system, fitted for a few steps on random ragged series and read back from its folder."""

import numpy as np
import pytest

from featurecache import FeatureStore
from seqhead.build import make_estimator
from seqhead.chosen_features import open_for_fit
from seqhead.errors import FeaturesError, FitError
from seqhead.fit import fit
from seqhead.options import parse_fit_options
from seqhead.predict import predict_store
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.systems import load_system, system_names
from seqhead.systems.recipes import extract_command

FITTED = [name for name in system_names() if load_system(name).kind != "rule"]
SEQUENCES = [name for name in FITTED if load_system(name).kind == "sequence"]
QUICK = ["training.epochs=2"]


def fit_system(given, name, out="run", **options):
    small = QUICK if load_system(name).kind == "sequence" else []
    settings = (*options.pop("settings", ()), *small)
    chosen = parse_fit_options(system=name, settings=settings, device="cpu", **options)
    return fit(Sources(given.store, given.labels), chosen, out=given.folder / out,
               project=given.folder)  # fmt: skip


def smaller(name):
    """Settings that make a head small and leave its composition as it is."""
    head = load_system(name).head
    if head is None:
        return ()
    settings = ["head.hidden=8", f"head.mlp={[4] * len(head.mlp)}"]
    settings += ["head.step_dense=6"] if head.step_dense else []
    if head.zoom is not None:
        settings += ["head.zoom.branch.hidden=8", "head.zoom.branch.step_dense=6",
                     "head.zoom.branch.input_dense=5"]  # fmt: skip
    return tuple(settings)


@pytest.mark.parametrize("name", FITTED)
def test_a_system_fits_and_comes_back_from_its_run_folder(cohort_of, name):
    given = cohort_of(name)
    report = fit_system(given, name, settings=smaller(name))
    run = Run.open(report.run.path)
    assert run.config.system.name == run.config.model == name
    assert run.config.level == given.system.level
    columns = [f"p:{label}" for label in given.names]
    written = run.predictions[columns].to_numpy()
    assert np.isfinite(written).all()
    again = run.load_model("cpu").predict_proba(report.cohort.X)
    again = np.concatenate(again) if isinstance(again, list) else again
    again = again[:, 1:] if len(columns) == 1 else again
    np.testing.assert_allclose(again, written, atol=1e-6)
    predicted = predict_store(run, FeatureStore.open(given.store), device="cpu").table
    merged = run.predictions.merge(
        predicted, on=["series", *(["slice"] if "slice" in predicted else [])]
    )
    assert len(merged) == len(written)
    np.testing.assert_allclose(merged[list(given.names)], merged[columns], atol=1e-6)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_fit_builds_exactly_the_configuration_of_the_system(cohort_of, name):
    given = cohort_of(name)
    options = parse_fit_options(system=name, device="cpu")
    opened = open_for_fit(Sources(given.store, given.labels), options)
    model = make_estimator(options, opened.cohort())
    system = given.system
    assert model.train_config() == system.training
    two = system.head.inputs > system.head.features
    built = model._head_config(8 * (2 if two else 1), len(given.names))
    zoom = built.zoom and built.zoom.model_copy(update={"features": system.head.zoom.features})
    sizes = {"features": system.head.features, "labels": system.head.labels, "zoom": zoom}
    assert built.model_copy(update=sizes) == system.head
    assert opened.system.changed == opened.system.other_features == ()


def test_options_and_settings_change_a_system_and_the_run_says_so(cohort_of):
    given = cohort_of("drct2")
    settings = (*smaller("drct2"), "head.zoom.slices=4")
    report = fit_system(given, "drct2", settings=settings, batch_size=4, learning_rate=1e-4)
    config = report.run.config
    assert (config.head.zoom.slices, config.training.batch_size) == (4, 4)
    assert config.training.learning_rates == {"zoom": 3e-4}
    assert {"head.zoom.slices=4", "training.batch_size=4", "training.epochs=2"} <= set(
        config.system.changed
    )
    assert any("head.zoom.slices=4" in note for note in report.notes)
    assert any("10-fold" in note for note in report.notes)


def test_label_weights_go_by_name(cohort_of):
    given = cohort_of("xception")
    report = fit_system(given, "xception", label_weights=("epidural=3",))
    weights = dict(zip(given.names, report.run.config.training.label_weights, strict=True))
    assert weights == {"any": 1.0, "epidural": 3.0, "intraparenchymal": 1.0}
    assert "label weight epidural=3" in report.run.config.system.changed
    with pytest.raises(FitError, match=r"no such label.*any, epidural"):
        fit_system(given, "xception", "other", label_weights=("sdh=3",))


def test_features_of_another_recipe_are_refused_with_the_line_to_run(cohort_of):
    given = cohort_of("sdlm", change={"size": 256})
    with pytest.raises(FeaturesError) as refused:
        fit_system(given, "sdlm", settings=smaller("sdlm"))
    assert "size is 256, not 224" in str(refused.value)
    assert extract_command(given.system.features[0]) in str(refused.value)
    assert "--any-recipe" in str(refused.value)
    with pytest.raises(FeaturesError, match="size is 256"):
        fit_system(given, "sdlm", features="sdlm-vgg16", settings=smaller("sdlm"))
    assert not (given.folder / "run").exists()


def test_any_recipe_takes_them_and_the_run_says_so(cohort_of):
    given = cohort_of("sdlm", change={"size": 256})
    report = fit_system(given, "sdlm", any_recipe=True, settings=smaller("sdlm"))
    assert report.run.config.system.other_features == ("sdlm-vgg16: size is 256, not 224",)
    assert any("size is 256" in note for note in report.notes)


def test_a_feature_set_of_the_right_recipe_is_found_under_any_name(cohort_of, add_features, recipe):
    given = cohort_of("drct1", change={"size": 256})
    spec = given.system.features[0]
    matrices = {s: np.ones((n, 5), dtype=np.float32) for s, n in given.lengths.items()}
    add_features(given.store, matrices, "mine", recipe=recipe(spec))
    report = fit_system(given, "drct1", settings=smaller("drct1"))
    assert report.run.config.features.name == "mine"
    assert report.run.config.features.dim == 5


def test_the_second_set_is_wanted_too(tmp_path, make_store, recipe):
    spec = load_system("drct2").features[0]
    rng = np.random.default_rng(0)
    matrices = {f"s{k}": rng.normal(size=(4, 6)).astype(np.float32) for k in range(9)}
    store = make_store(tmp_path / "cache.zarr", matrices, name=spec.name, recipe=recipe(spec))
    labels = tmp_path / "labels.csv"
    labels.write_text("SeriesInstanceUID,ICH\n" + "\n".join(f"s{k},{k % 2}" for k in range(9)))
    options = parse_fit_options(system="drct2", device="cpu")
    with pytest.raises(FeaturesError, match="--zoom 512"):
        fit(Sources(store, labels), options, out=tmp_path / "run", project=tmp_path)


def test_slices_that_one_of_two_sets_lacks_are_left_out_of_both(cohort_of):
    gone = {"1.2.1": [0, 3], "1.2.0": [0]}
    given = cohort_of("drct2", failed=gone)
    report = fit_system(given, "drct2", settings=smaller("drct2"))
    left_out = report.document()["left_out"]
    assert left_out["empty_series"] == ["1.2.0"]
    assert left_out["partial_series"] == ["1.2.1"]
    assert report.exit_code == 3
    assert any("3 slices without features in drct-vgg16-zoom512" in n for n in report.notes)
    store = FeatureStore.open(given.store)
    kept = [k for k in range(80) if k not in (0, 3)]
    first, second = (store[spec.name] for spec in given.system.features)
    place = report.cohort.series.index.get_loc("1.2.1")
    expected = np.hstack([first["1.2.1"][kept], second["1.2.1"]])
    np.testing.assert_array_equal(report.cohort.X[place], expected)
    predicted = predict_store(report.run, store, device="cpu")
    assert predicted.empty_series == ["1.2.0"]
    assert predicted.partial_series == ["1.2.1"]
    assert set(predicted.table["series"]) == set(given.lengths) - {"1.2.0"}


def test_attention_of_a_run_is_there_for_every_slice_that_was_seen(cohort_of):
    given = cohort_of("drct2")
    report = fit_system(given, "drct2", settings=smaller("drct2"))
    model = report.run.load_model("cpu")
    weights = model.attention(report.cohort.X)
    assert [len(w) for w in weights] == [len(x) for x in report.cohort.X]
    seen = [int((~np.isnan(w)).sum()) for w in weights]
    assert seen == [min(len(x), 32) for x in report.cohort.X]
    np.testing.assert_allclose([np.nansum(w) for w in weights], 1, atol=1e-5)


def test_heads_with_a_zoom_branch_need_no_system(cohort_of):
    given = cohort_of("drct2")
    settings = ("head.zoom={ branch = { hidden = 8, pool = 'mean' } }",)
    options = parse_fit_options(
        features="drct-vgg16-224", second_features="drct-vgg16-zoom512", settings=settings,
        pool="attention", hidden=8, epochs=1, device="cpu",
    )  # fmt: skip
    sources = Sources(given.store, given.labels)
    report = fit(sources, options, out=given.folder / "run", project=given.folder)
    assert report.run.config.head.zoom.features == 8
    lone = options.model_copy(update={"second_features": None})
    with pytest.raises(FitError, match="name the other with --second-features"):
        fit(sources, lone, out=given.folder / "other", project=given.folder)
    useless = options.model_copy(update={"settings": ()})
    with pytest.raises(FitError, match="has no use for it"):
        fit(sources, useless, out=given.folder / "other", project=given.folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "max"}, "--level series --combine max"),
        ({"system": "sdlm", "level": "slice"}, "works at level series"),
        ({"system": "sdlm", "head": "svm"}, "--head has no effect"),
        ({"system": "sdlm", "rnn": "lstm"}, "reset_after is of a GRU"),
        ({"system": "sdlm", "second_features": "x"}, "reads one feature set"),
        ({"system": "svm", "epochs": 3}, "svm has no training"),
        ({"system": "svm", "label_weights": ("a=1",)}, "option of sequence heads"),
        ({"system": "svm", "device": "cuda"}, "fitted on the CPU"),
        ({"system": "sdlm", "epochs": 3, "settings": ("training.epochs=4",)}, "say the same"),
        ({"any_recipe": True}, "goes with --system"),
        ({"label_weights": ("any",)}, "NAME=WEIGHT"),
        ({"label_weights": ("any=1", "any=2")}, "has a weight already"),
        ({"label_weights": ("any=-1",)}, "not negative"),
        ({"head": "svm", "settings": ("head.pool=max",)}, "no effect with --head svm"),
        ({"settings": ("svm.C=1",)}, "no effect with --head sequence"),
    ],
)
def test_options_that_contradict_a_system_or_do_nothing_are_refused(options, message):
    with pytest.raises(FitError, match=message):
        parse_fit_options(**options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("head.hiden=3",), r"head.*hiden|hiden"),
        (("training.epochs=0",), "epochs"),
        (("head.pool=none",), "use --level slice"),
        (("training.label_weights=[1.0]",), "1 label weights for"),
        (("training.learning_rates={ zoom = 0.1 }",), "no part of the head"),
    ],
)
def test_settings_that_are_none_are_refused_at_the_fit(cohort_of, settings, message):
    given = cohort_of("drct1")
    options = parse_fit_options(settings=settings, device="cpu")
    with pytest.raises(FitError, match=message):
        fit(Sources(given.store, given.labels), options, out=given.folder / "run",
            project=given.folder)  # fmt: skip
