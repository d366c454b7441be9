import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, recall_score, roc_curve

from featurecache.identifiers import Identifiers
from seqhead.agreement import fleiss_kappa
from seqhead.errors import LabelError
from seqhead.evaluate import evaluate_run
from seqhead.judged import decide
from seqhead.labels.readers import read_readers
from seqhead.proportions import mcnemar
from seqhead.reader_figures import reader_figures
from seqhead.reader_text import reader_lines
from seqhead.reads import Reads, read_rows
from seqhead.run import Run
from seqhead.scores import Scores
from seqhead.subgroups import owners_of


@pytest.fixture(scope="module")
def judged():
    """120 test patients."""
    rng = np.random.default_rng(0)
    n = 240
    y = (rng.random((n, 1)) < 0.4).astype(float)
    score = np.clip(0.4 + 0.25 * y + rng.normal(0, 0.15, (n, 1)), 0, 1)
    ids = np.array([f"p{k}" for k in range(n)], dtype=object)
    scores = Scores(("a",), y, score, score, ids, ids)
    return decide(scores.take(np.arange(n) % 2 == 0), scores.take(np.arange(n) % 2 == 1))


@pytest.fixture(scope="module")
def reads(judged):
    """Three readers who are wrong now and then; the third did not read everything."""
    rng = np.random.default_rng(1)
    y = judged.test.y[:, 0]
    skill = (0.9, 0.8, 0.85)
    answers = np.stack([np.where(rng.random(len(y)) < right, y, 1 - y) for right in skill])
    answers[2, ::7] = np.nan
    return Reads(("R1", "R2", "R3"), ("a",), answers[:, :, None])


def test_a_readers_row_is_scikit_learns_on_what_was_read(judged, reads):
    found = reader_figures(judged, reads)["a"]["readers"]
    y, answer = judged.test.y[:, 0], reads.answers[2, :, 0]
    read = ~np.isnan(answer)
    r3 = found["R3"]
    assert (r3["n"], r3["positives"]) == (read.sum(), y[read].sum())
    assert r3["recall"] == pytest.approx(recall_score(y[read], answer[read]))
    assert r3["specificity"] == pytest.approx(recall_score(1 - y[read], 1 - answer[read]))
    assert r3["kappa"] == pytest.approx(cohen_kappa_score(y[read], answer[read]))
    called = judged.called[read, 0]
    assert r3["model"]["recall"] == pytest.approx(recall_score(y[read], called))
    difference = r3["difference"]["recall"]
    assert difference["difference"] == pytest.approx(r3["model"]["recall"] - r3["recall"])
    low, high = difference["ci"]
    assert low < difference["difference"] < high


def test_model_and_reader_are_tested_on_the_same_patients(judged, reads):
    r1 = reader_figures(judged, reads)["a"]["readers"]["R1"]
    y = judged.test.y[:, 0] == 1
    expected = mcnemar(judged.called[:, 0] == y, (reads.answers[0, :, 0] == 1) == y)
    assert r1["mcnemar"]["p_mid"] == expected.p_mid
    assert r1["mcnemar"]["only_reader"] == expected.only_other


def test_the_models_curve_is_read_at_the_readers_point(judged, reads):
    r1 = reader_figures(judged, reads)["a"]["readers"]["R1"]
    fpr, tpr, _ = roc_curve(judged.test.y[:, 0], judged.test.probability[:, 0])
    best = max(t for f, t in zip(fpr, tpr, strict=True) if f <= 1 - r1["specificity"] + 1e-9)
    assert r1["model"]["recall_at_equal_specificity"] == pytest.approx(best)
    assert 0 <= r1["model"]["specificity_at_equal_recall"] <= 1


def test_agreement_is_cohens_and_fleiss_kappa(judged, reads):
    agreement = reader_figures(judged, reads)["a"]["agreement"]
    one, two, three = reads.answers[:, :, 0]
    assert agreement["readers"]["R1 and R2"] == pytest.approx(cohen_kappa_score(one, two))
    assert agreement["fleiss"] == pytest.approx(fleiss_kappa([one, two, three]))
    calls = judged.called[:, 0].astype(float)
    assert agreement["model"]["R2"] == pytest.approx(cohen_kappa_score(calls, two))


def test_a_reader_is_also_judged_by_the_others(judged, reads):
    found = reader_figures(judged, reads)["a"]["readers"]["R1"]["against_others"]
    _, two, three = reads.answers[:, :, 0]
    agreed = two == three
    assert found["n"] == agreed.sum()
    assert found["recall"] == pytest.approx(recall_score(two[agreed], reads.answers[0, agreed, 0]))
    two_readers = Reads(("R1", "R2"), ("a",), reads.answers[:2])
    assert reader_figures(judged, two_readers)["a"]["readers"]["R1"]["against_others"] is None


def test_somebody_who_read_nothing_has_no_figures(judged, reads):
    answers = reads.answers.copy()
    answers[1] = np.nan
    r2 = reader_figures(judged, Reads(reads.readers, reads.labels, answers))["a"]["readers"]["R2"]
    assert (r2["n"], r2["recall"], r2["kappa"], r2["mcnemar"]) == (0, None, None, None)


def test_the_text_has_every_reader_beside_the_model_and_warns_of_a_vote(judged, reads):
    figures = reader_figures(judged, reads)
    json.dumps(figures, allow_nan=False)
    lines = reader_lines(figures, of_labels=True)
    assert sum(line.split()[:2] == ["a", "R1"] for line in lines) == 2  # also against the others
    assert any("majority of these readers" in line for line in lines)
    assert any("all readers (Fleiss)" in line for line in lines)
    assert not any("majority" in line for line in reader_lines(figures, of_labels=False))


@pytest.fixture(scope="module")
def crossed(crossed_run):
    run = Run.open(crossed_run)
    series = run.folds.drop_duplicates("series").set_index("series")
    return run, series


def rows_of(run, level):
    column = {"series": "series", "patient": "group"}[level]
    return owners_of(run.predictions[column].to_numpy(), run.predictions["series"].to_numpy())


def table_of(planted, column="PatientID"):
    lines = []
    for series, (ich, _) in planted.series.items():
        key = planted.patients[series] if column == "PatientID" else series
        lines.append(f"{key},{ich}")
    return "\n".join([f"{column},R1:ICH", *dict.fromkeys(lines)])


@pytest.mark.parametrize("column", ["PatientID", "SeriesInstanceUID"])
@pytest.mark.parametrize("level", ["series", "patient"])
def test_reads_find_their_rows_by_the_users_ids(crossed, planted, write_csv, column, level):
    run, series = crossed
    judged = evaluate_run(run, level).judged
    files = read_readers(write_csv(table_of(planted, column), "reads.csv"))
    found = read_rows(files, judged, series, rows_of(run, level))
    np.testing.assert_array_equal(found.answers[0, :, 0], judged.test.y[:, 0])


def test_reads_find_their_rows_through_the_key(crossed, planted, write_csv):
    run, series = crossed
    judged = evaluate_run(run).judged
    files = read_readers(write_csv(table_of(planted), "reads.csv"))
    unnamed = series.assign(user_patient="", user_series="")
    found = read_rows(files, judged, unnamed, rows_of(run, "series"), identifiers=Identifiers(None))
    np.testing.assert_array_equal(found.answers[0, :, 0], judged.test.y[:, 0])
    with pytest.raises(LabelError, match="matches none of the 80 test rows"):
        read_rows(files, judged, unnamed, rows_of(run, "series"))


def test_reads_of_other_labels_need_a_map(crossed, planted, write_csv):
    run, series = crossed
    judged = evaluate_run(run).judged
    text = table_of(planted).replace("R1:ICH", "R1:Bleed")
    files = read_readers(write_csv(text, "reads.csv"))
    with pytest.raises(LabelError, match="reads of Bleed, none of which the run predicts"):
        read_rows(files, judged, series, rows_of(run, "series"))
    found = read_rows(files, judged, series, rows_of(run, "series"), renamed={"ICH": "Bleed"})
    assert found.labels == ("ICH",)


def test_scans_that_nobody_read_have_no_answer(crossed, planted, write_csv):
    run, series = crossed
    judged = evaluate_run(run).judged
    text = "\n".join(table_of(planted, "SeriesInstanceUID").splitlines()[:5])
    found = read_rows(read_readers(write_csv(text, "reads.csv")), judged, series,
                      rows_of(run, "series"))  # fmt: skip
    assert (~np.isnan(found.answers)).sum() == 4
    assert isinstance(series, pd.DataFrame)
