import json
import pickle

import numpy as np
import pandas as pd
import pytest

from seqhead.config import MAX_CONFIG_BYTES
from seqhead.errors import LeakError, RunError
from seqhead.evaluate import evaluate_run
from seqhead.fit import fit
from seqhead.options import parse_fit_options
from seqhead.run import Run
from seqhead.run_folder import next_run_path
from seqhead.sources import Sources


class Bomb:
    """Unpickling this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


@pytest.fixture
def run(toy):
    sources = Sources(toy.store, toy.labels)
    options = parse_fit_options(hidden=4, epochs=2, device="cpu")
    return fit(sources, options, out=toy.folder / "run", project=toy.folder).run


def test_a_run_folder_holds_what_is_promised(run):
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "config.toml", "model.safetensors", "baseline.json", "calibration.json", "folds.csv",
        "history.csv", "predictions.csv", "metrics.json", "log.txt",
    }  # fmt: skip
    assert (run.path.stat().st_mode & 0o077) == 0  # it holds the user's own ids
    text = (run.path / "config.toml").read_text()
    assert str(run.path.parent) not in text
    assert 'store = "cache.zarr"' in text
    columns = ["epoch", "train_loss", "validation_loss", "learning_rate"]
    assert list(pd.read_csv(run.path / "history.csv")) == columns


@pytest.mark.parametrize(
    "options",
    [
        {
            "rnn": "lstm",
            "hidden": 4,
            "bidirectional": True,
            "layers": 2,
            "pool": "attention",
            "epochs": 2,
        },
        {"rnn": "none", "pool": "mean", "epochs": 2},
        {"head": "svm"},
        {"head": "svm", "svm_input": "padded"},
    ],
)
def test_a_model_read_back_gives_the_probabilities_that_were_written(toy, options):
    report = fit(
        Sources(toy.store, toy.labels),
        parse_fit_options(device="cpu", **options),
        out=toy.folder / "run", project=toy.folder,
    )  # fmt: skip
    model = Run.open(report.run.path).load_model("cpu")
    written = report.run.predictions[["p:ICH", "p:Fracture"]].to_numpy()
    np.testing.assert_allclose(model.predict_proba(report.cohort.X), written, atol=1e-6)


def test_batch_norm_counters_survive_the_model_file(toy, planted):
    from safetensors.numpy import load, save

    from seqhead import SequenceClassifier

    X, y = list(planted.matrices.values()), np.array(list(planted.series.values()))
    model = SequenceClassifier(hidden=4, epochs=2, device="cpu", normalise="batch")
    model.fit(X, y, groups=list(planted.patients.values()))
    import torch

    state = {k: torch.from_numpy(v) for k, v in load(save(model.state())).items()}
    again = SequenceClassifier.from_state(model.head_.config, model.train_config(), state, "cpu")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_the_same_seed_gives_equal_run_folders(toy):
    options = parse_fit_options(hidden=4, epochs=3, device="cpu", dropout=0.2)
    folders = [
        fit(
            Sources(toy.store, toy.labels), options, out=toy.folder / name, project=toy.folder
        ).run.path
        for name in ("one", "two")
    ]
    for path in folders[0].iterdir():
        if path.name == "log.txt":  # times
            continue
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name


def test_a_run_is_never_written_over(run, toy):
    before = (run.path / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="exists already"):
        fit(Sources(toy.store, toy.labels), parse_fit_options(epochs=1), out=run.path)
    assert (run.path / "model.safetensors").read_bytes() == before


def test_a_fit_that_fails_while_writing_leaves_nothing(toy, monkeypatch):
    def full(path, data):
        if path.name == "folds.csv":
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("seqhead.run_folder._write", full)
    with pytest.raises(OSError, match="No space left"):
        fit(
            Sources(toy.store, toy.labels), parse_fit_options(head="svm"), out=toy.folder / "runs/a"
        )
    assert not (toy.folder / "runs").exists()


def test_numbers_count_up(tmp_path):
    assert next_run_path(tmp_path, "vgg16-gru") == tmp_path / "vgg16-gru-1"
    for name in ("vgg16-gru-1", "vgg16-gru-9", "vgg16-gru-x", "vgg16-gru-2-3"):
        (tmp_path / name).mkdir()
    assert next_run_path(tmp_path, "vgg16-gru") == tmp_path / "vgg16-gru-10"


def test_a_pickle_as_model_is_refused_and_not_executed(run, tmp_path):
    witness = tmp_path / "executed"
    (run.path / "model.safetensors").write_bytes(pickle.dumps(Bomb(witness)))
    with pytest.raises(RunError, match=r"model\.safetensors is not this run's model"):
        run.load_model("cpu")
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(Bomb(witness)))
    with pytest.raises(RunError, match="a model is a run folder"):
        Run.open(file)
    assert not witness.exists()


def test_a_model_of_another_shape_is_refused(run, toy):
    other = fit(
        Sources(toy.store, toy.labels), parse_fit_options(hidden=5, epochs=1, device="cpu"),
        out=toy.folder / "other", project=toy.folder,
    ).run  # fmt: skip
    model = (other.path / "model.safetensors").read_bytes()
    (run.path / "model.safetensors").write_bytes(model)
    with pytest.raises(RunError, match="is not this run's model"):
        run.load_model("cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "a: !!python/object/apply:os.system ['true']", "not TOML"),
        (lambda text: text + "#" * MAX_CONFIG_BYTES, "larger than 1 MB"),
        (lambda text: text + "\n[surprise]\nx = 1\n", "surprise"),
        (lambda text: text.replace("hidden = 4", "hidden = 999999999"), "head.hidden"),
        (lambda text: text.replace('level = "series"', 'level = "planet"'), "level"),
    ],
)
def test_a_configuration_that_is_not_a_runs_is_refused(run, change, message):
    config = run.path / "config.toml"
    config.write_text(change(config.read_text()))
    with pytest.raises(RunError, match=message):
        Run.open(run.path)


def test_a_huge_head_in_the_configuration_allocates_nothing(run):
    config = run.path / "config.toml"
    text = config.read_text().replace("hidden = 4", "hidden = 65536")
    config.write_text(text.replace("layers = 1", "layers = 64"))
    with pytest.raises(RunError, match="is not this run's model"):
        Run.open(run.path).load_model("cpu")


def test_a_patient_in_train_and_test_is_refused(run):
    folds = pd.read_csv(run.path / "folds.csv", dtype=str)
    train = folds[folds["split"] == "train"].iloc[0]
    test = folds.index[folds["split"] == "test"][0]
    folds.loc[test, "patient"] = train["patient"]
    folds.to_csv(run.path / "folds.csv", index=False)
    with pytest.raises(LeakError, match=f"patient {train['patient']} is in more than one split"):
        evaluate_run(Run.open(run.path))


def _without_a_test_row(table):
    return table.drop(table.index[table["split"] == "test"][0])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "predictions.csv",
            _without_a_test_row,
            r"has 0 row\(s\) in predictions.csv",
        ),
        ("folds.csv", _without_a_test_row, r"should have 0 by folds.csv"),
        ("predictions.csv", lambda t: pd.concat([t, t.tail(1)]), r"2 row\(s\) in predictions.csv"),
        ("predictions.csv", lambda t: t.drop(columns="p:ICH"), "lacks the column 'p:ICH'"),
        ("predictions.csv", lambda t: t.drop(columns="group"), "lacks the column 'group'"),
        ("folds.csv", lambda t: t.drop(columns="split"), "lacks the column 'split'"),
    ],
)
def test_tables_that_lack_something_are_refused(run, name, change, message):
    table = pd.read_csv(run.path / name, dtype=str)
    change(table).to_csv(run.path / name, index=False)
    with pytest.raises(RunError, match=message):
        evaluate_run(Run.open(run.path))


def test_a_slice_row_that_is_gone_is_noticed(toy):
    options = parse_fit_options(hidden=4, epochs=1, device="cpu")
    path = fit(Sources(toy.store, toy.slices), options, out=toy.folder / "run").run.path
    table = pd.read_csv(path / "predictions.csv", dtype=str)
    table.drop(table.index[table["split"] == "test"][1]).to_csv(
        path / "predictions.csv", index=False
    )
    with pytest.raises(RunError, match=r"by folds\.csv"):
        evaluate_run(Run.open(path))


def test_a_model_of_another_size_is_refused_with_the_size(run, toy):
    config = run.path / "config.toml"
    config.write_text(config.read_text().replace("hidden = 4", "hidden = 6"))
    with pytest.raises(RunError, match=r"size mismatch for .*shape"):
        Run.open(run.path).load_model("cpu")


def test_a_model_without_an_rnn_says_so_in_its_name(toy):
    options = parse_fit_options(rnn="none", epochs=1, device="cpu")
    run = fit(Sources(toy.store, toy.labels), options, project=toy.folder).run
    assert run.path.name == "toy-none-max-1"


def test_metrics_on_disk_are_what_evaluate_says(run):
    written = json.loads((run.path / "metrics.json").read_text())
    assert evaluate_run(Run.open(run.path)).document() == written
