import json

import numpy as np
import pandas as pd
import pytest

from seqhead.errors import FitError, SplitError
from seqhead.evaluate import evaluate_run
from seqhead.evaluation_text import evaluation_text
from seqhead.fit import fit
from seqhead.leaks import measure_leak
from seqhead.options import parse_fit_options
from seqhead.protocols import split_by_protocol
from seqhead.run import Run
from seqhead.sources import Sources, open_sources
from seqhead.splitting import Splitting
from seqhead.text import fit_text

QUICK = {"hidden": 4, "epochs": 2, "device": "cpu"}


class Series:
    """As much of a cohort as a draw looks at."""

    level = "series"

    def __init__(self, n):
        self.X = [np.zeros((1, 1))] * n


def fit_in(toy, protocol, name="run", **options):
    slice_labels = options.pop("slice_labels", None)
    return fit(
        Sources(toy.store, toy.labels, slice_labels=slice_labels),
        parse_fit_options(**QUICK, **options),
        splitting=Splitting(protocol=protocol), out=toy.folder / name, project=toy.folder,
    )  # fmt: skip


def test_sdlm_draws_835_180_and_179_of_1194_series():
    names = split_by_protocol(Series(1194), "sdlm", seed=0).names
    counts = [int((names == side).sum()) for side in ("train", "validation", "test")]
    assert counts == [835, 180, 179]
    assert (names != split_by_protocol(Series(1194), "sdlm", seed=1).names).any()


def test_the_leak_is_measured_and_said_everywhere(toy):
    report = fit_in(toy, "sdlm")
    folds = report.run.folds
    test, train = (set(folds[folds["split"] == side]["group"]) for side in ("test", "train"))
    assert len(test & train) > 0, "with this seed somebody leaks"
    leak = report.leak
    assert (leak.test_patients, leak.patients_also_in_training) == (len(test), len(test & train))
    assert leak.series_also_in_training == 0
    sentence = f"LEAKS: {len(test & train)} of {len(test)} test patients are also in training"
    assert any(sentence in line for line in fit_text(report))
    evaluation = evaluate_run(Run.open(report.run.path))
    assert any(sentence in line for line in evaluation_text(evaluation, "run"))
    written = json.loads((report.run.path / "metrics.json").read_text())
    assert written == evaluation.document()
    assert written["leak"]["protocol"] == "sdlm"


def test_slices_are_drawn_and_a_head_learns_from_the_training_slices_alone(toy, planted):
    report = fit_in(toy, "xception-rnn", level="slice", slice_labels=toy.slices)
    predictions = report.run.predictions
    N = len(planted.slices)
    assert predictions["slice"].tolist() == list(planted.slices)
    counts = predictions["split"].value_counts()
    assert counts["test"] == round(0.1 * N)
    assert counts["validation"] == round(0.1 * (N - counts["test"]))
    assert report.leak.series_also_in_training > 0.9 * report.leak.test_series
    assert report.run.folds["rows"].sum() == N


def test_labels_of_test_slices_influence_nothing(toy, planted):
    first = fit_in(toy, "xception-rnn", level="slice", slice_labels=toy.slices)
    test = set(first.run.predictions.query("split == 'test'")["slice"])
    rng = np.random.default_rng(0)
    noise = {s: int(rng.integers(2)) if s in test else v for s, v in planted.slices.items()}
    lines = ["SOPInstanceUID,ICH", *(f"{s},{v}" for s, v in noise.items())]
    toy.slices.write_text("\n".join(lines))
    second = fit_in(toy, "xception-rnn", "second", level="slice", slice_labels=toy.slices)
    for name in ("model.safetensors", "config.toml", "history.csv", "calibration.json"):
        assert (first.run.path / name).read_bytes() == (second.run.path / name).read_bytes()
    assert (first.run.path / "metrics.json").read_bytes() != (
        second.run.path / "metrics.json"
    ).read_bytes()


def test_series_of_which_some_slices_are_training_slices_are_not_judged(toy):
    run = fit_in(toy, "xception-rnn", level="slice", slice_labels=toy.slices).run
    with pytest.raises(FitError, match="only --level slice"):
        evaluate_run(run, "series")


def test_a_protocol_of_slices_needs_slices(toy):
    with pytest.raises(SplitError, match="use it with --level slice"):
        fit_in(toy, "xception-rnn")
    with pytest.raises(SplitError, match="--protocol must be one of sdlm, xception-rnn"):
        fit_in(toy, "best")


def test_a_split_that_keeps_patients_together_has_no_leak():
    folds = pd.DataFrame(
        {"series": list("abcd"), "group": list("ppqr"), "split": ["train"] * 2 + ["test"] * 2}
    )
    assert measure_leak(folds, "x").patients_also_in_training == 0
    folds.loc[1, "split"] = "test"
    assert measure_leak(folds, "x").patients_also_in_training == 1


def test_guessing_patients_pays_under_a_leaking_split_only(make_store, tmp_path):
    """Labels are noise. Features tell who a patient is, and nothing else."""
    rng = np.random.default_rng(0)
    matrices, patients, lines = {}, {}, ["SeriesInstanceUID,Noise"]
    for patient in range(80):
        who, ill = rng.normal(size=100), int(rng.integers(2))
        for repeat in range(3):
            series = f"1.{patient}.{repeat}"
            noise = rng.normal(size=(3, 100))
            matrices[series] = (3 * who + noise).astype(np.float32)
            patients[series] = f"p{patient}"
            lines.append(f"{series},{ill}")
    store = make_store(tmp_path / "cache.zarr", matrices, patients=patients)
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    auc = {}
    for protocol in (None, "sdlm"):
        report = fit(
            Sources(store, tmp_path / "labels.csv"),
            parse_fit_options(rnn="none", pool="mean", learning_rate=0.01, device="cpu"),
            splitting=Splitting(protocol=protocol), out=tmp_path / f"run-{protocol}",
        )  # fmt: skip
        auc[protocol] = evaluate_run(report.run).model["labels"]["Noise"]["auc_ci"]
    assert auc[None][0] < 0.5 < auc[None][1]
    assert auc["sdlm"][0] > 0.8


def test_a_patient_on_two_sides_without_a_protocol_is_still_refused(toy):
    report = fit_in(toy, "sdlm")
    text = (report.run.path / "config.toml").read_text()
    (report.run.path / "config.toml").write_text(text.replace('protocol = "sdlm"\n', ""))
    from seqhead.errors import LeakError

    with pytest.raises(LeakError):
        evaluate_run(Run.open(report.run.path))


def test_two_series_are_too_few():
    with pytest.raises(SplitError, match="too few"):
        split_by_protocol(Series(2), "sdlm", seed=0)


def test_opened_cohorts_know_the_series_of_each_slice(toy, planted):
    cohort = open_sources(Sources(toy.store, toy.slices)).cohort("slice")
    assert np.bincount(cohort.owner).tolist() == [len(m) for m in planted.matrices.values()]
