import csv
import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from seqhead.compare import compare_runs
from seqhead.compare_tables import comparison_text
from seqhead.crossval import fit_as_split
from seqhead.delong import delong
from seqhead.errors import RunError
from seqhead.evaluate import evaluate_run
from seqhead.fold_tests import corrected_t, holm, paired_t
from seqhead.options import parse_fit_options
from seqhead.proportions import mcnemar
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splitting import Splitting

QUICK = parse_fit_options(hidden=4, epochs=2, device="cpu")
SVM = parse_fit_options(head="svm")


@pytest.fixture(scope="module")
def sources(tmp_path_factory, make_toy):
    toy = make_toy(tmp_path_factory.mktemp("compared"))
    return Sources(toy.store, toy.labels)


@pytest.fixture(scope="module")
def crossed(sources):
    """A GRU and an SVM on the same folds."""
    folder = sources.store.parent
    gru = fit_as_split(sources, QUICK, Splitting(folds=3), out=folder / "gru").run
    file = gru.path / "folds.csv"
    svm = fit_as_split(sources, SVM, Splitting(file=file), out=folder / "svm_x").run
    return gru, svm


@pytest.fixture(scope="module")
def single(sources):
    """Two fits on the default split, whose test set is that of the seed."""
    folder = sources.store.parent
    return tuple(
        fit_as_split(sources, options, Splitting(), out=folder / name).run
        for name, options in (("one", QUICK), ("two", SVM))
    )


def test_figures_are_those_of_evaluate(crossed):
    found = compare_runs(crossed)
    for run in crossed:
        expected = evaluate_run(run).model
        figures = found.figures[run.path.name]
        for name in ("ICH", "Fracture"):
            for key, value in figures["labels"][name].items():
                assert value == pytest.approx(expected["labels"][name][key]), key
        for key in ("auc", "auc_ci", "f1", "f1_ci", "labels"):
            assert figures["macro"][key] == pytest.approx(expected["macro"][key]), key


def test_a_pair_is_tested_on_the_same_patients(crossed):
    found = compare_runs(crossed, "patient")
    pair = found.pairs[0]
    one, other = (evaluate_run(run, "patient").judged for run in crossed)
    order = [list(other.test.ids).index(name) for name in one.test.ids]
    other = other.take(np.array(order))
    y, ich = one.test.y[:, 0], pair["labels"]["ICH"]
    scores = np.stack([one.test.probability[:, 0], other.test.probability[:, 0]], axis=1)
    test = delong(y, scores).compare()
    assert ich["delong"]["difference"] == pytest.approx(test.difference)
    assert ich["delong"]["p"] == pytest.approx(test.p)
    assert ich["differences"]["auc"]["difference"] == pytest.approx(test.difference)
    assert ich["differences"]["auc"]["ci"] == pytest.approx(test.ci, abs=0.03)
    right = [(judged.called[:, 0] == (y == 1)) for judged in (one, other)]
    assert ich["mcnemar"]["p_mid"] == pytest.approx(mcnemar(*right).p_mid)
    assert ich["positives"] == 30


def test_p_values_are_corrected_for_all_labels_and_pairs(crossed, sources):
    third = fit_as_split(
        sources, parse_fit_options(hidden=2, epochs=1, device="cpu"),
        Splitting(file=crossed[0].path / "folds.csv"), out=sources.store.parent / "third",
    ).run  # fmt: skip
    found = compare_runs([*crossed, third])
    assert [(pair["one"], pair["other"]) for pair in found.pairs] == [
        ("gru", "svm_x"), ("gru", "third"), ("svm_x", "third")
    ]  # fmt: skip
    cells = [cell for pair in found.pairs for cell in pair["labels"].values()]
    assert len(cells) == 6
    raw = [cell["delong"]["p"] for cell in cells]
    assert [cell["p_holm"]["delong"] for cell in cells] == holm(raw)


def test_rows_of_one_patient_are_not_independent(crossed):
    found = compare_runs(crossed)
    ich = found.pairs[0]["labels"]["ICH"]
    assert ich["mcnemar"] is None
    assert ich["delong"] is not None
    assert any("McNemar" in note for note in found.notes)


def test_the_same_folds_are_compared_by_t_tests(crossed):
    found = compare_runs(crossed)
    values = [[fold["macro"]["f1"] for fold in evaluate_run(run).folds] for run in crossed]
    differences = np.subtract(*values)
    tests = found.pairs[0]["folds"]["f1"]
    assert tests["paired_t"]["p"] == pytest.approx(paired_t(differences).p)
    share = found.pairs[0]["folds"]["test_to_train"]
    assert share == pytest.approx(1 / 2, abs=0.02)
    assert tests["corrected_t"]["p"] == pytest.approx(corrected_t(differences, share).p)


def test_single_splits_have_no_t_tests(single):
    assert compare_runs(single).pairs[0]["folds"] is None


def test_a_run_compared_with_itself_does_not_differ(single, tmp_path):
    again = Run.open(shutil.copytree(single[0].path, tmp_path / "again"))
    pair = compare_runs([single[0], again], "patient").pairs[0]
    for figures in pair["labels"].values():
        assert figures["differences"]["auc"]["difference"] == 0
        assert figures["delong"]["p"] == figures["mcnemar"]["p_exact"] == 1.0


def test_other_test_rows_are_refused_by_name(single, crossed, sources):
    with pytest.raises(RunError, match=r"the test rows differ: \d+ of the 80 series rows of gru"):
        compare_runs([crossed[0], single[0]])
    other = fit_as_split(
        sources, parse_fit_options(hidden=4, epochs=1, device="cpu", seed=7), Splitting(),
        out=sources.store.parent / "seven",
    ).run  # fmt: skip
    with pytest.raises(RunError, match=r"are not tested in seven \(1\.2\.\d+\.\d.*--split"):
        compare_runs([single[0], other])


def test_other_labels_of_the_same_rows_are_refused_by_name(single, tmp_path):
    changed = Run.open(shutil.copytree(single[1].path, tmp_path / "changed"))
    table = pd.read_csv(changed.path / "predictions.csv", dtype=str, keep_default_na=False)
    row = table.index[table["split"] == "test"][3]
    truth = table.loc[row, "y:Fracture"]
    table.loc[row, "y:Fracture"] = ""
    table.to_csv(changed.path / "predictions.csv", index=False)
    with pytest.raises(RunError, match=f"series {table.loc[row, 'series']} has Fracture "
                       f"{float(truth):.0f} in one and unknown in changed"):  # fmt: skip
        compare_runs([single[0], changed])


def without_fracture(path):
    """A run that never heard of fractures."""
    config = path / "config.toml"
    text = config.read_text().replace('["ICH", "Fracture"]', '["ICH"]')
    text = re.sub(r"thresholds = \[([^,]*),[^\]]*\]", r"thresholds = [\1]", text)
    config.write_text(text)
    return Run.open(path)


def test_only_common_labels_are_compared(single, tmp_path):
    binary = without_fracture(shutil.copytree(single[1].path, tmp_path / "binary"))
    found = compare_runs([single[0], binary])
    assert found.labels == ("ICH",)
    assert found.figures["one"]["macro"]["labels"] == 1
    assert "one also has Fracture, which is not compared" in found.notes


def test_runs_without_a_common_label_are_refused(single, tmp_path):
    binary = without_fracture(shutil.copytree(single[1].path, tmp_path / "binary"))
    text = (binary.path / "config.toml").read_text().replace('["ICH"]', '["Bleed"]')
    (binary.path / "config.toml").write_text(text)
    table = (binary.path / "predictions.csv").read_text().replace(":ICH", ":Bleed")
    (binary.path / "predictions.csv").write_text(table)
    with pytest.raises(RunError, match="no label in common"):
        compare_runs([single[0], Run.open(binary.path)])


def test_a_slice_run_is_compared_with_a_series_run_by_series(sources, single, planted):
    slices = Sources(sources.store, sources.store.parent / "slices.csv")
    folds = single[0].path / "folds.csv"
    run = fit_as_split(
        slices, QUICK, Splitting(file=folds), out=sources.store.parent / "slices"
    ).run  # fmt: skip
    found = compare_runs([single[0], run])
    assert (found.level, found.labels) == ("series", ("ICH",))
    assert found.document()["n"] == len(single[0].folds.query("split == 'test'"))


def test_the_document_is_json(crossed):
    document = compare_runs(crossed).document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert [run["name"] for run in document["runs"]] == ["gru", "svm_x"]


def test_the_markdown_table_has_runs_metrics_intervals_and_positives(crossed):
    text = comparison_text(compare_runs(crossed), "md")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows[:7]}) == 1
    ich = evaluate_run(crossed[0]).model["labels"]["ICH"]
    low, high = ich["auc_ci"]
    cell = f"{ich['auc']:.3f} ({low:.2f} to {high:.2f})"
    assert f"| ICH | 40/80 in 30 patients | gru | {cell} |" in text


def test_the_latex_table_is_balanced_and_escaped(crossed):
    text = comparison_text(compare_runs(crossed), "latex")
    assert "svm\\_x" in text
    assert "svm_x" not in text.replace("svm\\_x", "")
    for environment in re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, re.DOTALL):
        columns = len(re.match(r"\\begin\{tabular\}\{(l*r*)\}", environment)[1])
        rows = [line for line in environment.splitlines() if line.endswith(r"\\")]
        assert rows
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {columns}
        body = environment.partition("\n")[2]
        assert not re.search(r"(?<!\\)[%#_]", body)
        assert not re.search(r"(?<!\$)[<>]|(?<![\w$])-\d", body)


def test_the_csv_has_every_figure_in_full(crossed):
    found = compare_runs(crossed)
    rows = list(csv.DictReader(io.StringIO(comparison_text(found, "csv"))))
    row = next(r for r in rows if (r["run"], r["label"], r["metric"]) == ("gru", "ICH", "recall"))
    ich = evaluate_run(crossed[0]).model["labels"]["ICH"]
    assert float(row["value"]) == ich["recall"]
    assert [float(row["low"]), float(row["high"])] == ich["recall_ci"]
    assert [float(row["wilson_low"]), float(row["wilson_high"])] == ich["recall_wilson"]
    assert (row["positives"], row["positive_patients"]) == ("40", "30")
    assert {r["label"] for r in rows} == {"ICH", "Fracture", "macro", "micro"}


def test_few_positives_are_starred(single):
    found = compare_runs(single)
    positives = found.first["labels"]["Fracture"]["positives"]
    assert positives < 10
    text = comparison_text(found)
    assert f"{positives}/" in text
    assert "* fewer than 10 positives: " in text


def test_one_run_is_a_table_alone(single):
    found = compare_runs(single[:1])
    assert found.pairs == []
    assert "DeLong" not in comparison_text(found)
