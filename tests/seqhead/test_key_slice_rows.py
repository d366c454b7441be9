"""Attention of a run's test series beside slice labels: which series, which model, what is not."""

import json

import numpy as np
import pandas as pd
import pytest

from featurecache.identifiers import Identifiers
from featurecache.store import FeatureStore
from seqhead.crossval import fit_as_split
from seqhead.curves import draw_positions
from seqhead.errors import FitError, LabelError
from seqhead.external import evaluate_external
from seqhead.key_slice_figures import key_slice_figures
from seqhead.key_slice_rows import require_attention, rows_of_external, rows_of_run
from seqhead.key_slice_text import key_slice_lines
from seqhead.labels.reading import read_slice_labels
from seqhead.options import parse_fit_options
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splitting import Splitting

ATTENTIVE = {"pool": "attention", "hidden": 8, "epochs": 25, "learning_rate": 0.01,
             "device": "cpu"}  # fmt: skip
KEPT = Identifiers(None)


def fitted(toy, splitting=None, out="run", **options):
    chosen = parse_fit_options(**{**ATTENTIVE, **options})
    sources = Sources(toy.store, toy.labels)
    return fit_as_split(sources, chosen, splitting or Splitting(), out=toy.folder / out).run


@pytest.fixture(scope="module")
def home(tmp_path_factory, make_toy):
    """The planted problem with a run, a cross-validation and a run that samples slices."""
    toy = make_toy(tmp_path_factory.mktemp("home"))
    toy.single = fitted(toy)
    crossed = Splitting(folds=2, repeats=2)
    toy.crossed = fitted(toy, crossed, out="cv", epochs=3)
    toy.sampled = fitted(toy, out="sampled", settings=("head.sample_to=6",), epochs=3)
    return toy


def rows(run, toy, labels=None, **options):
    store = FeatureStore.open(toy.store)
    return rows_of_run(run, store, KEPT, labels or read_slice_labels(toy.slices), device="cpu",
                       **options)  # fmt: skip


def test_a_row_is_the_attention_of_a_test_series_beside_its_slices(home, planted):
    found = rows(home.single, home)
    test = home.single.folds[home.single.folds["split"] == "test"]
    assert sorted(row.series for row in found.series) == sorted(test["series"])
    assert found.names == ("ICH",)
    model = home.single.load_model("cpu")
    group = test.set_index("series")["group"]
    for row in found.series:
        [weights] = model.attention([planted.matrices[row.series]])
        np.testing.assert_allclose(row.weights, weights[None], atol=1e-6)
        said = [planted.slices[f"{row.series}.{k}"] for k in range(len(weights))]
        assert row.shown[:, 0].tolist() == said
        assert row.patient == group[row.series]
        assert len(row.failed) == len(row.not_sampled) == 0


def test_a_head_that_learnt_the_lesion_attends_to_it(home):
    found = key_slice_figures(rows(home.single, home))
    task = found["lesion"]["comprehensive"]
    assert task["series"] >= 4
    assert task["attention"] > 0.9
    assert task["random"] < 0.5
    assert task["above_middle"] > 0.3


def test_labels_that_the_file_lacks_are_named(home):
    found = rows(home.single, home)
    assert any("does not say which slices show Fracture" in note for note in found.notes)
    assert set(key_slice_figures(found)["labels"]) == {"ICH"}


def test_in_a_cross_validation_each_series_is_attended_by_the_models_that_never_saw_it(
    home, planted
):
    found = rows(home.crossed, home)
    assert len(found.series) == len(planted.matrices)
    models = {m.path.name: m.load_model("cpu") for m in home.crossed.members}
    for row in found.series[::7]:
        tested = [
            models[member.path.name].attention([planted.matrices[row.series]])[0]
            for member in home.crossed.members
            if row.series in set(member.folds.loc[member.folds["split"] == "test", "series"])
        ]
        assert len(tested) == 2  # once in each repeat
        np.testing.assert_allclose(row.weights, tested, atol=1e-6)


def test_slices_that_sampling_leaves_out_cannot_be_chosen(home, planted):
    found = rows(home.sampled, home)
    for row in found.series:
        n = len(planted.matrices[row.series])
        assert row.weights.shape[1] == len(row.shown) == min(n, 6)
        assert len(row.not_sampled) == n - min(n, 6)
        assert row.weights.sum() == pytest.approx(1, abs=1e-5)
    assert sum(len(row.not_sampled) for row in found.series) > 0


def test_slices_without_features_are_counted_with_what_they_show(
    make_store, planted, toy, tmp_path
):
    ill = [name for name, (ich, _) in planted.series.items() if ich]
    failed = {s: [k for k in range(3) if planted.slices[f"{s}.{k}"]] for s in ill}
    store = make_store(tmp_path / "holes.zarr", planted.matrices, patients=planted.patients,
                       failed=failed)  # fmt: skip
    toy.store = store
    run = fitted(toy, epochs=2)
    found = rows(run, toy)
    lost = {row.series: len(row.failed) for row in found.series if len(row.failed)}
    assert lost == {s: len(failed[s]) for s in lost}
    assert len(lost) > 0
    for row in found.series:
        gone = failed.get(row.series, [])
        kept = [k for k in range(len(planted.matrices[row.series])) if k not in gone]
        assert row.shown[:, 0].tolist() == [planted.slices[f"{row.series}.{k}"] for k in kept]
        assert (row.failed == 1).all()
    counts = key_slice_figures(found)["slices"]["failed"]
    assert counts == {"slices": sum(lost.values()), "with_lesion": sum(lost.values())}


def test_series_without_slice_labels_are_left_out_and_counted(home, tmp_path):
    tested = [row.series for row in rows(home.single, home).series]
    table = pd.read_csv(home.slices, dtype=str)
    owner = table["SOPInstanceUID"].str.rpartition(".")[0]
    table.loc[owner == tested[0], "ICH"] = ""
    table = table[owner != tested[1]].drop(index=table.index[(owner == tested[2])][0])
    table.to_csv(tmp_path / "some.csv", index=False)
    found = key_slice_figures(rows(home.single, home, read_slice_labels(tmp_path / "some.csv")))
    assert found["series"]["unlabelled"] == 2
    assert found["series"]["partly_labelled"] == 1
    parts = [v for k, v in found["series"].items()
             if k not in ("tested", "fewer_than_5_slices", "tied")]  # fmt: skip
    assert sum(parts) == found["series"]["tested"] == len(tested)


def test_the_rsna_csv_says_the_same_as_a_table(home, tmp_path):
    table = pd.read_csv(home.slices, dtype=str)
    lines = [f"{row.SOPInstanceUID}_any,{row.ICH}" for row in table.itertuples()]
    lines += [f"{row.SOPInstanceUID}_subdural,0" for row in table.itertuples()]
    (tmp_path / "rsna.csv").write_text("\n".join(["ID,Label", *lines]))
    labels = read_slice_labels(tmp_path / "rsna.csv")
    assert labels.label_format == "rsna"
    of_rsna = key_slice_figures(rows(home.single, home, labels, renamed={"ICH": "any"}))
    of_table = key_slice_figures(rows(home.single, home))
    assert of_rsna["lesion"] == of_table["lesion"]


def test_series_that_changed_since_the_fit_are_left_out(home, make_store, planted, toy):
    matrices = dict(planted.matrices)
    first, second = [row.series for row in rows(home.single, home).series][:2]
    matrices[first] = matrices[first] + 1
    del matrices[second]
    toy.store = make_store(toy.folder / "later.zarr", matrices, patients=planted.patients)
    found = rows(home.single, toy)
    assert sorted(found.missing) == sorted([first, second])
    assert not {first, second} & {row.series for row in found.series}
    assert key_slice_figures(found)["series"]["not_in_store"] == 2


def test_a_store_with_nothing_as_it_was_is_refused(home, make_store, planted, toy):
    matrices = {series: matrix + 1 for series, matrix in planted.matrices.items()}
    toy.store = make_store(toy.folder / "later.zarr", matrices, patients=planted.patients)
    with pytest.raises(FitError, match=r"none of the \d+ test series as the run read them"):
        rows(home.single, toy)


def test_another_data_set_is_attended_by_the_mean_of_the_models(home, make_store, tmp_path):
    rng = np.random.default_rng(4)
    matrices = {f"9.{k}": rng.normal(size=(5 + k, 12)).astype(np.float32) for k in range(6)}
    lines = [f"{s}.{k},{int(k < 2)}" for s, m in matrices.items() for k in range(len(m))]
    (tmp_path / "slices.csv").write_text("\n".join(["SOPInstanceUID,Blood", *lines]))
    lines = [f"{series},1" for series in matrices]
    (tmp_path / "labels.csv").write_text("\n".join(["SeriesInstanceUID,Blood", *lines]))
    store, renamed = make_store(tmp_path / "other.zarr", matrices), {"ICH": "Blood"}
    sources = Sources(store, tmp_path / "labels.csv", slice_labels=tmp_path / "slices.csv")
    run = home.crossed
    _, external = evaluate_external(run, sources, renamed=renamed, device="cpu")
    labels = external.opened.slice_labels
    found = rows_of_external(run, external, labels, renamed=renamed, device="cpu")
    assert [row.series for row in found.series] == list(matrices)
    each = [m.load_model("cpu").attention(list(matrices.values())) for m in run.members]
    for k, row in enumerate(found.series):
        np.testing.assert_allclose(row.weights[0], np.mean([a[k] for a in each], axis=0), atol=1e-6)
        assert row.shown[:, 0].tolist() == [1, 1] + [0] * (len(row.shown) - 2)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"pool": "max"}, "its pool is max"),
        ({"pool": "attention", "settings": ("head.separate=true",)}, "a head of its own"),
        ({"head": "svm"}, "it is an SVM"),
    ],
)
def test_a_run_without_attention_is_told_what_has_some(toy, options, why):
    run = fitted_plainly(toy, **options)
    with pytest.raises(FitError) as raised:
        require_attention(run)
    said = str(raised.value)
    assert why in said
    assert "--pool attention or --pool gated-attention" in said
    assert " drct1," in said
    assert " drct2," in said
    assert "sdlm" not in said


def fitted_plainly(toy, **options):
    if options.get("head") != "svm":
        options |= {"epochs": 1, "hidden": 4, "device": "cpu"}
    sources = Sources(toy.store, toy.labels)
    return fit_as_split(
        sources, parse_fit_options(**options), Splitting(), out=toy.folder / "r"
    ).run


def test_labels_of_series_and_labels_in_vain_are_refused(home, write_csv):
    from seqhead.labels.reading import read_labels

    with pytest.raises(LabelError, match="labels each series, not each slice"):
        rows(home.single, home, read_labels(home.labels))
    with pytest.raises(LabelError, match="none in common"):
        rows(home.single, home, read_slice_labels(write_csv("SOPInstanceUID,Cat\n1.2.0.0.0,1\n")))
    with pytest.raises(LabelError, match="the run has no label 'X'"):
        rows(home.single, home, renamed={"X": "ICH"})


def test_the_tables_and_the_document_say_the_same(home, tmp_path):
    found = key_slice_figures(rows(home.single, home))
    json.dumps(found, allow_nan=False)
    text = "\n".join(key_slice_lines(found))
    task = found["lesion"]["comprehensive"]
    low, high = task["attention_ci"]
    assert f"{task['attention']:.3f} ({low:.3f} to {high:.3f})" in text
    assert f"{found['series']['with_lesion']} of {found['series']['tested']} series" in text
    assert all(f"note: {note}" in text for note in found["notes"])
    files = draw_positions(found, tmp_path / "curves")
    assert [file.name for file in files] == ["key-slices.svg", "key-slices.png"]
    drawn = files[0].read_text()
    assert "random choice" in drawn
    again = draw_positions(found, tmp_path / "again")
    assert files[1].read_bytes() == again[1].read_bytes()


def test_a_run_reopened_from_disk_gives_the_same_rows(home):
    once, twice = rows(home.single, home), rows(Run.open(home.single.path), home)
    for one, two in zip(once.series, twice.series, strict=True):
        np.testing.assert_array_equal(one.weights, two.weights)
