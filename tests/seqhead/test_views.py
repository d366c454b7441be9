"""Training on augmented views, and probabilities that are means over them."""

import numpy as np
import pytest

from featurecache.store import FeatureStore
from seqhead.averaged import averaged_predictions
from seqhead.classifier import SequenceClassifier
from seqhead.crossval import fit_as_split
from seqhead.epoch_source import EpochSource
from seqhead.errors import FeaturesError, FitError, RunError
from seqhead.evaluate import evaluate_run
from seqhead.external import evaluate_external
from seqhead.matrices import Matrices
from seqhead.members import member_scores
from seqhead.operating_points import choose_threshold
from seqhead.options import parse_fit_options
from seqhead.predict import predict_store
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splitting import Splitting
from seqhead.train_config import TrainConfig

QUICK = {"hidden": 4, "epochs": 4, "device": "cpu"}
RECIPE = {"backbone": "toy", "windows": [[40, 80]], "size": 224}


def recipe_of(number, **changes):
    return {**RECIPE, "view_number": number, "view_seed": 5, **changes}


def rotated(matrices, number, seed=0):
    """Something that stands for another view: the same slices, other numbers."""
    rng = np.random.default_rng([seed, number])
    return {s: (m + rng.normal(size=m.shape)).astype(np.float32) for s, m in matrices.items()}


@pytest.fixture
def viewed(toy, planted, add_features):
    """The planted problem with two views."""
    toy.views = [rotated(planted.matrices, number) for number in (1, 2)]
    for number, matrices in enumerate(toy.views, 1):
        add_features(toy.store, matrices, f"toy.view{number}", recipe=recipe_of(number))
    return toy


def fitted(toy, out, splitting=None, labels=None, **options):
    chosen = parse_fit_options(**{**QUICK, "features": "toy", "views": True, **options})
    sources = Sources(toy.store, labels or toy.labels)
    return fit_as_split(sources, chosen, splitting or Splitting(), out=toy.folder / out)


def weights(report):
    return (report.run.path / "model.safetensors").read_bytes()


def test_the_same_seed_twice_is_bit_equal_and_another_is_not(viewed):
    one, two = fitted(viewed, "one"), fitted(viewed, "two")
    for name in ("model.safetensors", "predictions.csv", "history.csv", "config.toml"):
        assert (one.run.path / name).read_bytes() == (two.run.path / name).read_bytes(), name
    assert weights(fitted(viewed, "other", views=False)) != weights(one)


def test_a_run_says_which_views_it_learnt_from(viewed):
    report = fitted(viewed, "run")
    assert [(v.number, v.seed) for v in Run.open(report.run.path).config.views] == [(1, 5), (2, 5)]
    assert any("from 2 augmented views" in note for note in report.notes)
    assert fitted(viewed, "plain", views=False).run.config.views == ()


def test_each_epoch_draws_other_views_and_all_of_them():
    X = [np.full((3, 1), 0.0) for _ in range(200)]
    views = [[np.full((3, 1), float(v)) for _ in X] for v in (1, 2, 3)]
    source = EpochSource.of(X, np.zeros((200, 1)), views, TrainConfig(seed=4), None)
    drawn = np.array([[m[0, 0] for m in source.epoch(epoch)[0]] for epoch in range(1, 41)])
    assert len(np.unique(drawn, axis=0)) == 40
    counts = np.bincount(drawn.astype(int).ravel(), minlength=4) / drawn.size
    assert counts == pytest.approx([0.25] * 4, abs=0.02)
    assert (np.sort(np.unique(drawn[:, 7])) == [0, 1, 2, 3]).all()
    again = EpochSource.of(X, np.zeros((200, 1)), views, TrainConfig(seed=4), None)
    other = EpochSource.of(X, np.zeros((200, 1)), views, TrainConfig(seed=5), None)
    assert (again.drawn(3) == source.drawn(3)).all()
    assert (other.drawn(3) != source.drawn(3)).any()


def test_left_over_samples_of_a_series_are_of_one_view():
    X = [np.zeros((9, 1)) for _ in range(20)]
    views = [[np.ones((9, 1)) for _ in X]]
    config = TrainConfig(leftovers=True)
    y = np.arange(20.0)[:, None]
    sampled, labels = EpochSource.of(X, y, views, config, 3).epoch(2)
    assert len(sampled) == len(labels) == 60
    means = np.array([matrix.mean() for matrix in sampled]).reshape(20, 3)
    assert (means == means[:, :1]).all()
    assert set(means.ravel()) == {0.0, 1.0}
    assert labels.reshape(20, 3).tolist() == [[k] * 3 for k in range(20)]


def test_a_fit_learns_from_what_was_drawn(viewed, monkeypatch):
    """What reaches the training loop in each epoch, slice by slice."""
    from seqhead import train

    seen, learn = [], train._learn
    monkeypatch.setattr(train, "_learn", lambda head, data, *rest: (
        seen.append([matrix.copy() for matrix in data[0]]), learn(head, data, *rest))[1]
    )  # fmt: skip
    report = fitted(viewed, "run")
    assert len(seen) == 4
    names = report.run.folds.loc[report.run.folds["split"] == "train", "series"].tolist()
    choices = [FeatureStore.open(viewed.store)["toy"], *viewed.views]
    which = np.array(
        [
            [
                next(v for v, one in enumerate(choices) if np.array_equal(one[name], matrix))
                for name, matrix in zip(names, X, strict=True)
            ]
            for X in seen
        ]
    )
    assert len(np.unique(which, axis=0)) == 4
    assert set(which.ravel()) == {0, 1, 2}


def test_validation_and_test_are_never_augmented(viewed, planted, make_store, add_features):
    """Other views of series that do not learn change nothing."""
    first = fitted(viewed, "first")
    folds = first.run.folds.set_index("series")["split"]
    store = make_store(viewed.folder / "b.zarr", planted.matrices, patients=planted.patients)
    for number, matrices in enumerate(viewed.views, 1):
        spoilt = {s: m if folds[s] == "train" else m * 1e3 for s, m in matrices.items()}
        add_features(store, spoilt, f"toy.view{number}", recipe=recipe_of(number))
    viewed.store = store
    second = fitted(viewed, "second")
    assert weights(first) == weights(second)
    for name in ("predictions.csv", "history.csv", "metrics.json"):
        assert (first.run.path / name).read_bytes() == (second.run.path / name).read_bytes(), name


@pytest.mark.parametrize("level", ["series", "slice"])
def test_views_that_stay_in_the_store_give_the_same_bits(viewed, planted, level):
    """Also where they are what does not fit: with all of them the features are too large."""
    labels = viewed.labels if level == "series" else viewed.slices
    size = sum(matrix.nbytes for matrix in planted.matrices.values()) / 1e9
    held, unread = (
        fitted(viewed, f"run-{memory}", labels=labels, level=level, memory=memory)
        for memory in (3.1 * size, 2.9 * size)
    )
    assert [type(view) for view in held.cohort.views] == [list, list]
    assert [type(view) for view in unread.cohort.views] == [Matrices, Matrices]
    for name in ("model.safetensors", "predictions.csv", "history.csv", "metrics.json"):
        assert (held.run.path / name).read_bytes() == (unread.run.path / name).read_bytes(), name
    said = [
        predict_store(held.run, FeatureStore.open(viewed.store), views=True, device="cpu",
                      memory_gb=memory).table
        for memory in (1.0, 0.0)
    ]  # fmt: skip
    assert said[0].equals(said[1])


def test_an_epoch_reads_one_view_of_a_series_when_it_is_wanted():
    seen = []

    def view(number):
        return Matrices([2] * 6, 1, lambda k: seen.append((number, k)) or np.full((2, 1), number))

    y = np.zeros((6, 1))
    source = EpochSource.of(view(0), y, [view(1), view(2)], TrainConfig(seed=3), None)
    X, _ = source.epoch(1)
    assert seen == []
    assert [int(matrix[0, 0]) for matrix in X] == source.drawn(1).tolist()
    assert seen == [(number, k) for k, number in enumerate(source.drawn(1))]


@pytest.mark.parametrize("level", ["series", "slice"])
def test_means_over_views_are_means_over_views(viewed, planted, level):
    labels = viewed.labels if level == "series" else viewed.slices
    run = fitted(viewed, "run", labels=labels, level=level).run
    store = FeatureStore.open(viewed.store)
    predicted = predict_store(run, store, views=True, device="cpu")
    series = list(dict.fromkeys(predicted.table["series"]))
    each = [
        next(iter(member_scores(run, [one[s] for s in series], "cpu")))
        for one in (planted.matrices, *viewed.views)
    ]
    np.testing.assert_allclose(predicted.table[list(run.config.labels)], np.mean(each, axis=0))
    assert predicted.notes == ["mean over the images as they are and 2 augmented views"]
    plain = predict_store(run, store, device="cpu").table
    np.testing.assert_allclose(plain[list(run.config.labels)], each[0])


@pytest.mark.parametrize("splitting", [Splitting(), Splitting(folds=2, repeats=2)])
@pytest.mark.parametrize("level", ["series", "slice"])
def test_an_evaluation_of_means_judges_and_chooses_thresholds_by_them(
    viewed, planted, splitting, level
):
    labels = viewed.labels if level == "series" else viewed.slices
    run = fitted(viewed, "run", splitting, labels=labels, level=level, views=False).run
    table, views = averaged_predictions(run, FeatureStore.open(viewed.store), "cpu")
    assert views == 2
    assert list(table.columns) == list(run.predictions.columns)
    plain, name = run.predictions, run.config.labels[0]
    judged = (plain["split"] != "train").to_numpy()
    assert table[~judged].equals(plain[~judged])
    assert (table.loc[judged, f"p:{name}"] != plain.loc[judged, f"p:{name}"]).all()
    for member in run.members:
        rows = judged
        if run.crossed:
            split = member.config.split
            rows = (plain["repeat"] == split.repeat) & (plain["fold"] == split.fold)
        for place in np.flatnonzero(rows)[::11]:
            row = plain.iloc[place]
            matrices = [one[row["series"]] for one in (planted.matrices, *viewed.views)]
            model = member.load_one("cpu")
            said = [model.predict_proba([m])[0] for m in matrices]
            if level == "slice":
                said = [of_slices[row["position"]] for of_slices in said]
            expected = np.mean(said, axis=0)[-len(run.config.labels)]
            assert table[f"p:{name}"].iloc[place] == pytest.approx(expected, abs=1e-6)
    found = evaluate_run(run, averaged=(table, views))
    assert found.document()["views"] == 2
    assert found.model != evaluate_run(run).model
    assert "views" not in evaluate_run(run).document()


@pytest.fixture
def other(viewed, make_store, add_features):
    """Function that makes a store of other patients with some views."""

    def make(views):
        rng = np.random.default_rng(11)
        matrices, rows = {}, []
        for patient in range(24):
            matrix = rng.normal(size=(8, 12)).astype(np.float32)
            matrix[2:5, :4] += 3.0 * (patient % 2)
            matrices[f"9.{patient}"] = matrix
            rows.append(f"E{patient},9.{patient},{patient % 2},{patient % 3 % 2}")
        folder = viewed.folder / f"other-{views}"
        store = make_store(folder / "o.zarr", matrices, patients={s: f"E{s[2:]}" for s in matrices})
        every = [matrices, *(rotated(matrices, number, seed=4) for number in range(1, views + 1))]
        for number, view in enumerate(every[1:], 1):
            add_features(store, view, f"toy.view{number}", recipe=recipe_of(number))
        header = "PatientID,SeriesInstanceUID,ICH,Fracture"
        (folder / "labels.csv").write_text("\n".join([header, *rows]))
        return Sources(store, folder / "labels.csv"), every

    return make


@pytest.mark.parametrize("splitting", [Splitting(), Splitting(folds=2)])
@pytest.mark.parametrize("level", ["series", "slice"])
def test_another_data_set_is_judged_by_means_and_by_the_thresholds_of_means(
    viewed, other, splitting, level
):
    labels = viewed.labels if level == "series" else viewed.slices
    run = fitted(viewed, "run", splitting, labels=labels, level=level).run
    own, (sources, every) = FeatureStore.open(viewed.store), other(2)
    found, external = evaluate_external(run, sources, views_beside=own, device="cpu")
    series = external.cohort.series.index
    said, thresholds = [], []
    for member in run.members:
        model = member.load_one("cpu")
        means = np.mean([np.concatenate(model.predict_proba([one[s] for s in series]))
                         .reshape(len(series), -1, len(run.config.labels) + (level == "slice"))
                         for one in every], axis=0)  # fmt: skip
        said.append(means.max(axis=1)[:, -len(run.config.labels) :])
        table, _ = averaged_predictions(member, own, "cpu")
        stop = table[table["split"] == "validation"]
        if level == "slice":
            stop = stop.groupby("series", as_index=False)[["y:ICH", "p:ICH"]].max()
        thresholds.append(choose_threshold(stop["y:ICH"].to_numpy(), stop["p:ICH"].to_numpy()))
    np.testing.assert_allclose(found.judged.test.probability, np.mean(said, axis=0), atol=1e-6)
    ich = found.model["labels"]["ICH"]
    assert ich["threshold"] == pytest.approx(np.mean(thresholds))
    assert found.document()["views"] == 2
    plain, _ = evaluate_external(run, sources, device="cpu")
    assert plain.model["labels"]["ICH"]["threshold"] != ich["threshold"]
    assert "views" not in plain.document()


def test_thresholds_of_more_views_than_the_other_store_has_are_refused(viewed, other):
    run, own = fitted(viewed, "run").run, FeatureStore.open(viewed.store)
    with pytest.raises(FeaturesError, match=r"run has 2 augmented views and the other store 1.* "
                                            "Extract as many of both"):  # fmt: skip
        evaluate_external(run, other(1)[0], views_beside=own, device="cpu")
    with pytest.raises(FeaturesError, match=r"o.zarr has no augmented views of toy"):
        evaluate_external(run, other(0)[0], views_beside=own, device="cpu")


def test_a_store_without_views_is_told_how_to_get_them(toy):
    with pytest.raises(FeaturesError, match=r"no augmented views of toy.* --views N"):
        fitted(toy, "run")


@pytest.mark.parametrize("changes", [{"size": 112}, {"view_number": 2}])
def test_views_of_another_recipe_are_refused_by_field(toy, planted, add_features, changes):
    add_features(toy.store, rotated(planted.matrices, 1), "toy.view1",
                 recipe=recipe_of(1, **changes))  # fmt: skip
    [field] = changes
    with pytest.raises(FeaturesError, match=f"not a view of toy .*{field} is {changes[field]}"):
        fitted(toy, "run")


def test_views_of_another_storage_type_are_refused(toy, planted, add_features):
    add_features(toy.store, rotated(planted.matrices, 1), "toy.view1", recipe=recipe_of(1),
                 dtype="float16")  # fmt: skip
    with pytest.raises(FeaturesError, match="dtype is float16, not float32"):
        fitted(toy, "run")


def test_views_that_lack_a_row_are_refused(toy, planted, add_features):
    series = next(iter(planted.matrices))
    add_features(toy.store, rotated(planted.matrices, 1), "toy.view1", recipe=recipe_of(1),
                 failed={series: [2]})  # fmt: skip
    with pytest.raises(FeaturesError, match=f"no features of 1 slice .*series {series}"):
        fitted(toy, "run")


def test_rows_that_only_a_view_has_are_not_learnt_from(make_store, planted, toy, add_features):
    failed = {series: [1] for series in list(planted.matrices)[::5]}
    toy.store = make_store(toy.folder / "holes.zarr", planted.matrices, patients=planted.patients,
                           failed=failed)  # fmt: skip
    add_features(toy.store, rotated(planted.matrices, 1), "toy.view1", recipe=recipe_of(1))
    report = fitted(toy, "run")
    rows = [len(matrix) for matrix in report.cohort.X]
    assert [len(matrix) for matrix in report.cohort.views[0]] == rows
    assert sum(rows) == sum(len(m) for m in planted.matrices.values()) - len(failed)


def test_a_head_of_two_feature_sets_needs_the_same_views_of_both(viewed, planted, add_features):
    second = {**RECIPE, "zoom": 512}
    add_features(viewed.store, planted.matrices, "zoom", recipe=second)
    zoom = {"second_features": "zoom", "settings": ("head.replace=[2, 3]",)}
    with pytest.raises(FeaturesError, match=r"has toy.view1, but not zoom.view1"):
        fitted(viewed, "run", **zoom)
    for number in (1, 2):
        add_features(viewed.store, rotated(planted.matrices, number, seed=9),
                     f"zoom.view{number}", recipe={**recipe_of(number), "zoom": 512})  # fmt: skip
    report = fitted(viewed, "run", **zoom)
    expected = np.hstack([viewed.views[1]["1.2.3.0"], rotated(planted.matrices, 2, 9)["1.2.3.0"]])
    place = report.cohort.series.index.get_loc("1.2.3.0")
    np.testing.assert_array_equal(report.cohort.views[1][place], expected)


def test_series_that_changed_since_the_fit_are_not_judged(viewed, planted, make_store,
                                                          add_features):  # fmt: skip
    run = fitted(viewed, "run").run
    tested = run.folds.loc[run.folds["split"] == "test", "series"].iloc[0]
    matrices = {**planted.matrices, tested: planted.matrices[tested] + 1}
    store = make_store(viewed.folder / "later.zarr", matrices, patients=planted.patients)
    for number, view in enumerate(viewed.views, 1):
        add_features(store, view, f"toy.view{number}", recipe=recipe_of(number))
    with pytest.raises(RunError, match=f"1 validation or test series .*{tested}"):
        averaged_predictions(run, FeatureStore.open(store), "cpu")


def test_an_svm_has_no_views():
    with pytest.raises(FitError, match="--views has no effect"):
        parse_fit_options(head="svm", views=True)
    with pytest.raises(FitError, match="--views has no effect"):
        parse_fit_options(system="svm", views=True)


def test_a_changed_system_says_that_it_learnt_from_views():
    from seqhead.options import system_changes

    assert system_changes(parse_fit_options(system="drct1", views=True)) == ("augmented views",)


def test_the_classifier_takes_views_and_holds_out_none_of_them():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 5)).astype(np.float32) for n in (3, 4, 5, 6, 7, 8) * 4]
    y, groups = np.arange(24) % 2, np.arange(24)
    views = [[matrix + 1 for matrix in X]]
    model = SequenceClassifier(hidden=3, epochs=3, device="cpu")
    once = model.fit(X, y, groups, views=views).state()
    again = SequenceClassifier(hidden=3, epochs=3, device="cpu").fit(X, y, groups, views=views)
    for name, value in again.state().items():
        np.testing.assert_array_equal(value, once[name])
    with pytest.raises(FitError, match="same slices of each"):
        model.fit(X, y, groups, views=[[matrix[1:] for matrix in X]])
