import json
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqhead.errors import FitError, LeakError, SplitError, SweepError
from seqhead.evaluate import evaluate_run
from seqhead.fit import fit
from seqhead.matrices import Matrices
from seqhead.options import parse_fit_options
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splitting import Splitting
from seqhead.sweeps import worker
from seqhead.sweeps.folder import SweepFolder
from seqhead.sweeps.sweep import continue_sweep


def standings(report) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"}
            for row in report.document()["leaderboard"]]  # fmt: skip


@pytest.fixture
def swept(toy, sweep_in, small_grid):
    """A finished sweep of four heads."""
    return sweep_in(toy, small_grid)


def test_a_grid_is_tried_and_its_winner_tested(toy, swept, planted):
    document = swept.document()
    assert document["trials"] == {"asked": 4, "complete": 4, "given_up": 0, "failed": 0}
    assert document["patients"] == {"train": 42, "validation": 9, "test": 9}
    scores = [one["score"] for one in document["leaderboard"]]
    assert scores == sorted(scores, reverse=True)
    assert {one["score_ci"] is not None for one in document["leaderboard"]} == {True}
    assert document["winner"]["trial"] == document["leaderboard"][0]["trial"]
    assert document["winner"]["inner"]["score"] == scores[0]
    tested = evaluate_run(Run.open(swept.folder.winner)).document()
    assert document["winner"]["test"]["score"] == tested["macro"]["auc"]
    assert document["winner"]["test"]["score_ci"] == tested["macro"]["auc_ci"]
    assert swept.exit_code == 0
    json.dumps(document, allow_nan=False)


def test_trials_see_no_series_of_a_test_patient(toy, swept):
    split = pd.read_csv(swept.folder.split, dtype=str).set_index("series")
    inner = pd.read_csv(swept.folder.path / "inner.csv", dtype=str)
    test = set(split.index[split["split"] == "test"])
    assert not test & set(inner["series"])
    groups = split.loc[sorted(test), "group"]
    assert not set(groups) & set(inner["group"])
    assert len(swept.prepared.data.cohorts[0].X) == (split["split"] != "test").sum()
    assert set(Run.open(swept.folder.winner).folds.query("split == 'test'")["series"]) == test


def test_the_winner_is_what_fit_makes_on_the_split_of_the_sweep(toy, swept):
    values = dict(swept.leaderboard.first.entry.candidate.values)
    by_hand = fit(
        Sources(toy.store, toy.labels), parse_fit_options(**values, device="cpu", level="series"),
        splitting=Splitting(file=swept.folder.split), out=toy.folder / "hand", project=toy.folder,
    )  # fmt: skip
    mine, hand = swept.folder.winner, by_hand.run.path
    for name in ("model.safetensors", "predictions.csv", "folds.csv", "history.csv"):
        assert (mine / name).read_bytes() == (hand / name).read_bytes(), name


def test_the_inner_score_is_that_of_the_validation_patients(swept):
    run = Run.open(swept.folder.winner)
    validation = run.predictions.query("split == 'validation'")
    from sklearn.metrics import roc_auc_score

    expected = np.mean([roc_auc_score(validation[f"y:{n}"], validation[f"p:{n}"])
                        for n in run.config.labels])  # fmt: skip
    assert swept.leaderboard.first.entry.outcome["score"] == pytest.approx(expected, abs=1e-6)


def split_file(planted, write_csv):
    """Every third patient is a test patient."""
    sides = ("train", "train", "validation", "train", "test", "test")
    side = {p: sides[int(p) // 2 % 6] for p in planted.patients.values()}
    lines = ["PatientID,split", *(f"{p},{s}" for p, s in side.items())]
    return write_csv("\n".join(lines), "s.csv"), side


def test_noise_for_test_labels_and_features_changes_nothing_of_a_sweep(
    toy, planted, write_csv, make_store, sweep_in, folder_of
):
    """Model, thresholds, winner, stopping epochs and every score of every trial: bit for bit."""
    file, side = split_file(planted, write_csv)
    models = {"gru": {"rnn": ["gru"]}, "svm": {"head": ["svm"], "svm.C": [0.1, 1.0]}}
    search = {"hidden": [4, 6], "epochs": [4], "model": models,
              "learning_rate": {"low": 0.005, "high": 0.05}}  # fmt: skip
    asked = {"search": search, "trials": 8, "splitting": Splitting(file=file)}
    first = sweep_in(toy, out="first", **asked)

    rng = np.random.default_rng(1)
    lines = ["PatientID,SeriesInstanceUID,ICH,Fracture"]
    matrices = dict(planted.matrices)
    for series, labels in planted.series.items():
        patient = planted.patients[series]
        if side[patient] == "test":
            labels = rng.integers(2, size=2)
            matrices[series] = rng.normal(size=matrices[series].shape).astype(np.float32)
        lines.append(f"{patient},{series},{labels[0]},{labels[1]}")
    toy.labels.write_text("\n".join(lines))
    toy.store = make_store(toy.folder / "noise.zarr", matrices, patients=planted.patients)
    second = sweep_in(toy, out="second", **asked)

    assert standings(first) == standings(second)
    assert first.document()["winner"]["trial"] == second.document()["winner"]["trial"]
    assert folder_of(first.folder.path / "resamples") == folder_of(second.folder.path / "resamples")
    mine, noise = (folder_of(report.folder.winner) for report in (first, second))
    for name in ("model.safetensors", "baseline.json", "calibration.json", "history.csv"):
        assert mine.get(name) == noise.get(name), name
    configs = [Run.open(report.folder.winner).config for report in (first, second)]
    assert configs[0].thresholds == configs[1].thresholds
    seen = [Run.open(report.folder.winner).predictions.query("split != 'test'").to_csv()
            for report in (first, second)]  # fmt: skip
    assert seen[0] == seen[1]
    tests = [Run.open(report.folder.winner).predictions.query("split == 'test'").to_csv()
             for report in (first, second)]  # fmt: skip
    assert tests[0] != tests[1]


def test_equal_scores_stand_by_their_parameters(toy, sweep_in):
    report = sweep_in(toy, ["head=svm", "svm.pool=mean+max,mean,mean+max+std", "svm.C=1"])
    board = [(-one["score"], one["parameters"]) for one in report.document()["leaderboard"]]
    assert board == sorted(board)
    assert len({score for score, _ in board}) < 3  # there were equal ones


def test_the_same_command_again_says_the_same_and_fits_nothing(toy, swept, sweep_in, small_grid):
    model = swept.folder.winner / "model.safetensors"
    before = model.stat().st_mtime_ns, swept.folder.journal.read_bytes()
    again = sweep_in(toy, small_grid)
    assert again.document() == swept.document()
    assert (model.stat().st_mtime_ns, swept.folder.journal.read_bytes()) == before
    assert continue_sweep(swept.folder.path, project=toy.folder).document() == swept.document()


def test_a_sweep_is_continued_where_it_was_begun(toy, swept):
    with pytest.raises(SweepError, match=r"begun in a folder that has cache\.zarr.* not here"):
        continue_sweep(swept.folder.path, project=toy.folder / "elsewhere")


def test_without_a_folder_the_sweep_with_these_settings_is_continued(toy, sweep_in, small_grid):
    first = sweep_in(toy, small_grid, out=None)
    assert first.folder.path == toy.folder / "sweeps" / "toy-1"
    assert sweep_in(toy, small_grid, out=None).folder.path == first.folder.path
    other = sweep_in(toy, [*small_grid[1:], "rnn=gru"], out=None)
    assert other.folder.path == toy.folder / "sweeps" / "toy-2"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"grid": ["rnn=gru,lstm", "hidden=4", "epochs=2", "learning-rate=0.01"]}, "search.hidden"),
        ({"seed": 1}, "seed"),
        ({"metric": "brier"}, "metric"),
        ({"inner_folds": 2}, "inner_folds"),
        ({"pruning": True}, "pruning"),
        ({"splitting": Splitting(operating_point="max-sensitivity")}, "operating_point"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused_by_name(
    toy, swept, sweep_in, small_grid, change, field
):
    with pytest.raises(SweepError, match=f"other settings: .*{field} is"):
        sweep_in(toy, **{"grid": small_grid, **change})


def test_changed_labels_and_features_are_refused(
    toy, planted, swept, sweep_in, small_grid, make_store
):
    lines = toy.labels.read_text().splitlines()
    first = lines[1].rsplit(",", 1)
    flipped = f"{first[0]},{1 - int(first[1])}"
    toy.labels.write_text("\n".join([lines[0], flipped, *lines[2:]]))
    with pytest.raises(SweepError, match=r"labels of .* are not what they were \(labels_digest"):
        sweep_in(toy, small_grid)
    toy.labels.write_text("\n".join(lines))
    toy.store = make_store(
        toy.folder / "other.zarr", {s: m + 1 for s, m in planted.matrices.items()},
        patients=planted.patients,
    )  # fmt: skip
    with pytest.raises(SweepError, match=r"features of .* not what they were .*toy\.digest"):
        sweep_in(toy, small_grid)


def test_series_that_came_later_change_nothing(
    toy, planted, swept, sweep_in, small_grid, make_store
):
    rng = np.random.default_rng(0)
    more = {**planted.matrices, "9.9": rng.normal(size=(5, 12)).astype(np.float32)}
    toy.store = make_store(
        toy.folder / "more.zarr", more, patients={**planted.patients, "9.9": "999"}
    )
    toy.labels.write_text(toy.labels.read_text() + "\n999,9.9,1,0")
    assert sweep_in(toy, small_grid).document()["winner"] == swept.document()["winner"]


def test_a_folder_of_something_else_is_refused(toy, sweep_in, small_grid):
    (toy.folder / "sweep").mkdir()
    (toy.folder / "sweep" / "thesis.tex").write_text("x")
    with pytest.raises(SweepError, match="not a sweep: choose another --out"):
        sweep_in(toy, small_grid)


@pytest.mark.parametrize("name", ["sweep.toml", "split.csv", "inner.csv", "resamples", "workers"])
def test_a_folder_that_was_not_begun_to_its_end_is_begun_again(
    toy, swept, sweep_in, small_grid, name
):
    """Killed before the settings were there, whatever else is."""
    for path in swept.folder.path.iterdir():
        if path.name not in ("split.csv", "inner.csv", "resamples", "workers", "folder.lock"):
            remove = shutil.rmtree if path.is_dir() else Path.unlink
            remove(path)
    gone = swept.folder.path / name
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink(missing_ok=True)
    assert standings(sweep_in(toy, small_grid)) == standings(swept)


def test_a_damaged_sweep_is_no_obstacle_to_another(toy, sweep_in, small_grid):
    first = sweep_in(toy, small_grid, out=None)
    (first.folder.path / "sweep.toml").write_text("version = 9")
    assert sweep_in(toy, small_grid, out=None).folder.path == toy.folder / "sweeps" / "toy-2"


FILES = ["sweep.toml", "split.csv", "inner.csv", "journal.log", "resamples/trial-2.f32"]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_name(toy, swept, sweep_in, small_grid, name):
    (swept.folder.path / name).write_text("no such thing\n")
    with pytest.raises(SweepError, match=name.replace(".", r"\.")):
        sweep_in(toy, small_grid)


def test_trials_that_are_gone_are_not_replaced_under_a_winner_of_others(
    toy, swept, sweep_in, small_grid
):
    swept.folder.journal.unlink()
    with pytest.raises(SweepError, match=r"tested winner, but journal\.log lacks trials"):
        sweep_in(toy, small_grid)
    shutil.rmtree(swept.folder.winner)
    assert standings(sweep_in(toy, small_grid)) == standings(swept)


def test_a_lost_file_of_resamples_is_refused_by_name(toy, swept, sweep_in, small_grid):
    (swept.folder.path / "resamples" / "trial-1.f32").unlink()
    with pytest.raises(SweepError, match=r"cannot read .*trial-1\.f32: No such file"):
        sweep_in(toy, small_grid)


def test_labels_that_change_while_candidates_are_compared_do_not_reach_the_winner(
    toy, sweep_in, small_grid
):
    text = toy.labels.read_text()

    def change(settled: int, candidates: int, _: float | None) -> None:
        if settled == candidates:
            toy.labels.write_text(text.replace(",1,0", ",0,1"))

    with pytest.raises(SweepError, match=r"labels\.csv was changed while .* winner is not tested"):
        sweep_in(toy, small_grid, progress=change)
    assert not (toy.folder / "sweep" / "winner").exists()
    with pytest.raises(SweepError, match="labels_digest"):
        sweep_in(toy, small_grid)
    toy.labels.write_text(text)
    assert sweep_in(toy, small_grid).winner is not None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("no room"), "not enough memory: no room"),
        (RuntimeError("MPS backend out of memory"), "not enough memory: MPS"),
        (np.linalg.LinAlgError("Eigenvalues did not converge"), "did not converge"),
    ],
)
def test_a_candidate_that_the_machine_cannot_fit_is_listed(
    toy, sweep_in, small_grid, monkeypatch, error, said
):
    run_trial, tried = worker.run_trial, []

    def fail_first(*given):
        tried.append(given)
        if len(tried) == 1:
            raise error
        run_trial(*given)

    monkeypatch.setattr(worker, "run_trial", fail_first)
    report = sweep_in(toy, small_grid)
    assert report.document()["trials"] == {"asked": 4, "complete": 3, "given_up": 0, "failed": 1}
    assert said in report.document()["leaderboard"][-1]["error"]
    assert "No winner" not in (report.folder.path / "leaderboard.html").read_text()


def test_what_is_no_matter_of_the_candidate_ends_the_sweep(toy, sweep_in, small_grid, monkeypatch):
    def fail(*_):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(worker, "run_trial", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        sweep_in(toy, small_grid)


@pytest.mark.parametrize("slices", [False, True], ids=["series", "slice"])
def test_features_that_stay_in_the_store_give_the_same_sweep(
    toy, planted, add_features, sweep_in, slices
):
    noise = np.random.default_rng(0)
    other = {s: noise.normal(size=(len(m), 5)).astype(np.float32)
             for s, m in planted.matrices.items()}  # fmt: skip
    add_features(toy.store, other, "noise")
    grid = ["features=toy,noise", "rnn=gru", "hidden=4,6", "epochs=2"]
    level = {"slice_labels": toy.slices, "level": "slice"} if slices else {}
    size = sum(m.nbytes for m in planted.matrices.values())
    reports = [
        sweep_in(toy, grid, out=f"sweep-{number}", memory=memory, **level)
        for number, memory in enumerate((1.0, 0.0, 1.1 * size / 1e9))
    ]
    kinds = [[isinstance(c.X, Matrices) for c in one.prepared.data.cohorts] for one in reports]
    assert kinds == [[False, False], [True, True], [False, True]]  # the second set is on top
    assert standings(reports[0]) == standings(reports[1]) == standings(reports[2])
    models = [(one.folder.winner / "model.safetensors").read_bytes() for one in reports]
    assert models[0] == models[1] == models[2]
    assert any("batch by batch" in note for note in reports[2].document()["notes"])


def test_what_only_wants_memory_is_refused_before_it_is_remembered_as_failed(toy, sweep_in):
    grid = ["head=svm", "svm-input=pooled,padded"]
    with pytest.raises(FitError, match=r"svm-input padded: .*--memory"):
        sweep_in(toy, grid, memory=0.0)
    assert sweep_in(toy, grid).document()["trials"]["complete"] == 2
    with pytest.raises(FitError, match=r"svm-input padded: .*--memory"):
        sweep_in(toy, grid, memory=0.0)


def test_processes_cannot_share_what_stays_in_the_store(
    toy, sweep_in, small_grid, monkeypatch, caplog
):
    with pytest.raises(SweepError, match=r"--jobs 2: .* batch by batch.* Use --jobs 1"):
        sweep_in(toy, small_grid, memory=0.0, jobs=2)
    module = sys.modules["seqhead.sweeps.sweep"]  # its package has a function of this name
    monkeypatch.setattr(module, "default_jobs", lambda device: 2)
    assert sweep_in(toy, small_grid, memory=0.0, jobs=None).winner is not None
    assert "one process tries candidates" in caplog.text


def test_inner_folds_score_every_patient_but_the_test_patients(toy, sweep_in):
    report = sweep_in(toy, ["rnn=gru", "hidden=4,6", "epochs=2"], inner_folds=3)
    inner = pd.read_csv(report.folder.path / "inner.csv", dtype=str)
    assert inner["fold"].nunique() == 3
    scored = inner[inner["score"] == "1"]["series"]
    split = pd.read_csv(report.folder.split, dtype=str)
    assert sorted(scored) == sorted(split[split["split"] != "test"]["series"])
    assert len(report.document()["leaderboard"][0]["epochs"]) == 3


def test_slices_are_swept(toy, sweep_in):
    report = sweep_in(toy, ["rnn=gru,none", "hidden=4", "epochs=2"], slice_labels=toy.slices,
                      level="slice")  # fmt: skip
    document = report.document()
    assert document["level"] == document["winner"]["test"]["level"] == "slice"
    assert document["trials"]["complete"] == 2


def test_a_single_label_is_swept(toy, sweep_in):
    lines = [line.rpartition(",")[0] for line in toy.labels.read_text().splitlines()]
    toy.labels.write_text("\n".join(lines))
    report = sweep_in(toy, ["head=sequence,svm", "hidden=4", "epochs=2"])
    assert report.document()["labels"] == ["ICH"]
    assert report.document()["trials"]["complete"] == 2


def test_feature_sets_are_swept(toy, planted, add_features, sweep_in):
    noise = np.random.default_rng(0)
    worse = {s: noise.normal(size=(len(m), 5)).astype(np.float32)
             for s, m in planted.matrices.items()}  # fmt: skip
    add_features(toy.store, worse, "noise")
    report = sweep_in(toy, ["features=toy,noise", "head=svm", "svm.C=0.1,1"])
    assert report.document()["features"] == ["toy", "noise"]
    assert report.leaderboard.first.entry.candidate.values["features"] == "toy"
    assert Run.open(report.folder.winner).config.features.name == "toy"
    worst = report.leaderboard.standings[-1].entry.candidate.values["features"]
    assert worst == "noise"


def test_one_scan_under_two_patients_is_found_in_every_feature_set(
    toy, planted, add_features, sweep_in
):
    """The winner may read any of them, and its fit looks again."""
    noise = np.random.default_rng(0)
    other = {s: noise.normal(size=(len(m), 5)).astype(np.float32)
             for s, m in planted.matrices.items()}  # fmt: skip
    one = next(iter(other))
    two = next(s for s in other if planted.patients[s] != planted.patients[one]
               and len(other[s]) == len(other[one]))  # fmt: skip
    other[two] = other[one]
    add_features(toy.store, other, "noise")
    asked = {"grid": ["features=toy,noise", "head=svm"]}
    with pytest.raises(LeakError, match="one scan under two patients"):
        sweep_in(toy, **asked)
    report = sweep_in(toy, **asked, splitting=Splitting(duplicate_scans="together"))
    assert any("1 pair of series" in note and "noise" in note for note in report.prepared.notes)
    split = pd.read_csv(report.folder.split, dtype=str).set_index("series")
    assert split.loc[one, "group"] == split.loc[two, "group"]


def test_a_candidate_that_cannot_be_fitted_is_listed_and_the_others_go_on(toy, sweep_in):
    report = sweep_in(toy, ["rnn=gru,transformer", "hidden=4", "epochs=2", "learning-rate=1e30"])
    assert report.document()["trials"] == {"asked": 2, "complete": 1, "given_up": 0, "failed": 1}
    failed = report.document()["leaderboard"][-1]
    assert failed["state"] == "failed"
    assert "Lower the learning rate" in failed["error"]
    assert report.exit_code == 3


def test_a_sweep_of_which_nothing_could_be_fitted_has_no_winner(toy, sweep_in):
    report = sweep_in(toy, ["rnn=transformer", "hidden=4", "learning-rate=1e30,1e31"])
    assert report.winner is None
    assert report.document()["winner"] is None
    assert "No winner" in (report.folder.path / "leaderboard.html").read_text()
    assert not report.folder.winner.exists()


def test_values_that_cannot_be_fitted_are_refused_before_any_trial(toy, sweep_in):
    with pytest.raises(FitError, match=r"transformer with hidden 6.*multiple of 4"):
        sweep_in(toy, ["rnn=gru,transformer", "hidden=4,6", "epochs=2"])
    with pytest.raises(FitError, match="--pool"):
        sweep_in(toy, ["rnn=gru", "pool=max,mox"])
    assert not (toy.folder / "sweep" / "sweep.toml").exists()


def test_a_metric_that_no_label_has_is_refused_before_any_trial(toy, planted, sweep_in, write_csv):
    file, _ = split_file(planted, write_csv)
    lines = [line.rpartition(",")[0] for line in toy.labels.read_text().splitlines()]
    side = pd.read_csv(file, dtype=str).set_index("PatientID")["split"]
    healthy = [f"{line.rpartition(',')[0]},0" if side[line.split(",")[0]] == "validation" else line
               for line in lines[1:]]  # fmt: skip
    toy.labels.write_text("\n".join([lines[0], *healthy]))
    asked = {"splitting": Splitting(file=file), "grid": ["rnn=gru", "hidden=4", "epochs=2"]}
    with pytest.raises(FitError, match="no label has both positives and negatives"):
        sweep_in(toy, **asked)
    assert sweep_in(toy, **asked, metric="log_loss").document()["metric"] == "log_loss"


def test_labels_that_nobody_everybody_or_no_one_known_has_are_left_out_of_the_score(
    toy, sweep_in, small_grid
):
    lines = toy.labels.read_text().splitlines()
    toy.labels.write_text(
        "\n".join([f"{lines[0]},Nobody,Everybody,Unknown", *(f"{line},0,1," for line in lines[1:])])
    )
    report = sweep_in(toy, small_grid)
    for one in report.document()["leaderboard"]:
        assert set(one["labels"]) >= {"ICH", "Fracture"}
        known = [score for score in one["labels"].values() if score is not None]
        assert len(known) == 2
        assert one["score"] == pytest.approx(np.mean(known))
    tested = evaluate_run(Run.open(report.folder.winner)).document()["labels"]
    assert [tested[name]["auc"] for name in ("Nobody", "Everybody", "Unknown")] == [None] * 3


def test_one_patient_on_two_sides_of_a_given_split_is_refused(toy, sweep_in, small_grid, write_csv):
    lines = ["SeriesInstanceUID,split", "1.2.0.0,train", "1.2.0.1,test", "1.2.1.0,validation"]
    file = write_csv("\n".join(lines), "leak.csv")
    with pytest.raises(SplitError, match="two sides"):
        sweep_in(toy, small_grid, splitting=Splitting(file=file))
    with pytest.raises(SplitError, match="one split"):
        sweep_in(toy, small_grid, splitting=Splitting(folds=3))


def test_what_is_lower_wins_where_less_is_better(toy, sweep_in, small_grid):
    scores = [one["score"] for one in
              sweep_in(toy, small_grid, metric="log_loss").document()["leaderboard"]]  # fmt: skip
    assert scores == sorted(scores)


def test_the_folder_is_private_and_holds_no_path_of_this_machine(toy, swept):
    assert swept.folder.path.stat().st_mode & 0o077 == 0
    settings = tomllib.loads((swept.folder.path / "sweep.toml").read_text())
    assert settings["sources"] == {
        "store": "cache.zarr", "labels": "labels.csv", "labels_format": "table"
    }  # fmt: skip
    for path in swept.folder.path.rglob("*"):
        if path.is_file() and path.name not in ("leaderboard.html",):
            assert str(toy.folder).encode() not in path.read_bytes(), path


def test_a_sweep_that_is_not_one_is_named(tmp_path):
    with pytest.raises(SweepError, match=r"sweep\.toml is missing"):
        SweepFolder(tmp_path).settings()
