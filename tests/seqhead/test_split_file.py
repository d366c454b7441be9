import pandas as pd
import pytest

from seqhead.crossval import CrossValidationReport, fit_as_split
from seqhead.errors import FitError, LeakError, SplitError
from seqhead.options import parse_fit_options
from seqhead.sources import Sources
from seqhead.splitting import Splitting, parse_splitting

QUICK = parse_fit_options(hidden=4, epochs=1, device="cpu")


@pytest.fixture
def fit_with(toy, write_csv):
    """Function that fits with the text of a split file."""

    def run(text, name="run", **options):
        file = write_csv(text, f"{name}.csv")
        return fit_as_split(
            Sources(toy.store, toy.labels), options.pop("options", QUICK),
            Splitting(file=file, **options), out=toy.folder / name, project=toy.folder,
        )  # fmt: skip

    return run


def by_patient(planted, column, value_of):
    patients = sorted(set(planted.patients.values()))
    lines = [f"{patient},{value_of(int(patient))}" for patient in patients]
    return "\n".join([f"PatientID,{column}", *lines])


def thirds(k):
    return ("train", "train", "val", "test")[k // 2 % 4]


def test_a_split_by_patients_is_taken_as_it_stands(fit_with, planted):
    report = fit_with(by_patient(planted, "split", thirds))
    folds = report.run.folds
    expected = {"val": "validation", "train": "train", "test": "test"}
    assert folds["split"].tolist() == [expected[thirds(int(p))] for p in folds["patient"]]
    config = report.run.config.split
    assert config.file == "run.csv"
    assert len(config.file_sha256) == 64


def test_a_split_without_validation_takes_some_of_the_training_patients(fit_with, planted):
    report = fit_with(by_patient(planted, "split", lambda k: "test" if k < 12 else "Training"))
    folds = report.run.folds.drop_duplicates("patient")
    assert (folds["split"] == "test").sum() == 12
    assert (folds["split"] == "validation").sum() == 7  # 15 % of 48
    assert any("no validation patients" in note for note in report.notes)


def test_folds_by_series_make_a_cross_validation(fit_with, planted):
    lines = [f"{series},{int(p) % 3}" for series, p in planted.patients.items()]
    report = fit_with("\n".join(["SeriesInstanceUID,fold", *lines]))
    assert isinstance(report, CrossValidationReport)
    test = report.run.folds.query("split == 'test'")
    assert [int(p) % 3 + 1 for p in test["patient"]] == test["fold"].tolist()


def test_the_folds_of_a_run_serve_another_feature_set_with_the_same_validation_patients(
    toy, planted, make_store
):
    """Other features of the same series, one of which has failed, with the ids of this store."""
    sources = Sources(toy.store, toy.labels)
    first = fit_as_split(sources, QUICK, Splitting(folds=2, repeats=2), out=toy.folder / "first")
    other = make_store(
        toy.folder / "other.zarr", {s: m[:, ::-1] for s, m in planted.matrices.items()},
        patients=planted.patients, name="other", failed={"1.2.1.0": range(20)},
    )  # fmt: skip
    again = fit_as_split(
        Sources(other, toy.labels), QUICK, Splitting(file=first.run.path / "folds.csv"),
        out=toy.folder / "again",
    )  # fmt: skip
    keys = ["repeat", "fold", "series", "split"]
    expected = first.run.folds.query("series != '1.2.1.0'")[keys]
    pd.testing.assert_frame_equal(again.run.folds[keys], expected.reset_index(drop=True))
    assert (again.run.config.split.folds, again.run.config.split.repeats) == (2, 2)


def test_one_patient_in_two_folds_is_refused_with_the_rows(fit_with, planted):
    """Patient 000 has two series."""
    lines = [
        f"{series},{2 if series == '1.2.0.1' else 1 + (int(p) % 2)}"
        for series, p in planted.patients.items()
    ]
    with pytest.raises(
        LeakError,
        match=r"run\.csv: patient 000 is on two sides: line 2 \(fold 1\) \(series 1\.2\.0\.0\), "
        r"line 3 \(fold 2\) \(series 1\.2\.0\.1\) \(1 such",
    ):
        fit_with("\n".join(["SeriesInstanceUID,fold", *lines]))


def test_one_patient_in_train_and_test_of_a_runs_folds_is_refused(crossed_run, fit_with):
    text = (crossed_run / "folds.csv").read_text().splitlines()
    place = next(k for k, line in enumerate(text) if "1.2.0.1," in line and ",train," in line)
    text[place] = text[place].replace(",train,", ",test,")
    with pytest.raises(LeakError, match=rf"line {place + 1} \(test\)"):
        fit_with("\n".join(text))


def test_rows_that_contradict_each_other_are_refused_with_their_lines(fit_with, planted):
    text = by_patient(planted, "fold", lambda k: k % 2)
    with pytest.raises(LeakError, match=r"line 2 \(fold 1\) and line 62 \(fold 2\) name one"):
        fit_with(f"{text}\n000,1")
    fit_with(f"{text}\n000,0")


def test_series_that_the_file_does_not_name_are_left_out_and_listed(fit_with, planted):
    text = "\n".join(by_patient(planted, "fold", lambda k: k % 2).splitlines()[:-1])
    report = fit_with(f"{text}\nsomebody else,1")
    left_out = report.document()["left_out"]["unsplit_series"]
    assert left_out == ["1.2.59.0"]
    assert "1.2.59.0" not in set(report.run.folds["series"])
    assert any("1 row of run.csv match no labelled series" in note for note in report.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PatientID,split\n", "a header, but no rows"),
        ("PatientID,side\n000,train", "expected a column 'split'"),
        ("name,split\n000,train", "no column says whom"),
        ("SOPInstanceUID,split\n1,train", "Slices cannot be split by a file"),
        ("PatientID,split\n000,holdout", r"line 2: split is 'holdout'"),
        ("PatientID,fold\n000,A", r"line 2: fold is 'A', not a number"),
        ("PatientID,fold\n000,1\n001,1", "one fold only"),
        ("PatientID,split\n999,train", "names no series, study or patient of this store"),
        ("PatientID,split\n000,train\n001,validation", "leaves no test series"),
        ("PatientID,fold\n000,1\n001,1\n002,1\nx,2", "no labelled series .* for fold 2 of 2"),
    ],
)
def test_other_files_are_refused_with_the_line(fit_with, text, message):
    with pytest.raises(SplitError, match=message):
        fit_with(text)


def test_a_series_tested_in_two_folds_is_refused(crossed_run, fit_with):
    folds = pd.read_csv(crossed_run / "folds.csv", dtype=str, keep_default_na=False)
    twice = (folds["patient"] == "007") & (folds["split"] == "train")
    folds.loc[twice, "split"] = "test"
    with pytest.raises(SplitError, match=r"1\.2\.7\.0 is tested in [23] folds of repeat 1"):
        fit_with(folds.to_csv(index=False))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folds": 3, "protocol": "sdlm"}, "--protocol says how to split, and so does --folds"),
        ({"file": "x.csv", "folds": 3}, "--split says how to split, and so does --folds"),
        ({"repeats": 2}, "--repeats has no effect without --folds"),
        ({"folds": 1}, "--folds: "),
        ({"operating_point": "best"}, "--operating-point must be"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(FitError, match=message):
        parse_splitting(**given)
