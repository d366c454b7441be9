import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.identifiers import Identifiers
from seqhead.errors import LeakError
from seqhead.fit import fit
from seqhead.groups import patient_groups
from seqhead.labels.cq500 import cq500_name, cq500_spellings
from seqhead.labels.file import LabelFile
from seqhead.labels.table import read_table
from seqhead.options import parse_fit_options
from seqhead.run import Run
from seqhead.sources import Sources

PLAIN = Identifiers(None)
KEYED = Identifiers(bytes(range(32)))
NO_SLICES = pd.DataFrame({"series": [], "slice": []}, dtype=object)


def store_of(rows, identifiers=PLAIN):
    """Series with (patient, study)."""
    names = [identifiers.series(f"s{k}") for k in range(len(rows))]
    return pd.DataFrame(
        {
            "series_of": names,
            "patient": [identifiers.patient(patient) for patient, _ in rows],
            "study": [identifiers.study(study) for _, study in rows],
        },
        index=pd.Index(names, name="series"),
    )


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_groups_are_the_smallest_that_split_no_patient_and_no_study(rows):
    got = patient_groups(store_of([(f"p{p}", f"t{t}") for p, t in rows]), NO_SLICES, [], PLAIN)
    label = list(range(len(rows)))  # an oracle: merge until nothing changes
    for _ in rows:
        for i, one in enumerate(rows):
            for j, other in enumerate(rows):
                if one[0] == other[0] or one[1] == other[1]:
                    label[i] = label[j] = min(label[i], label[j])
    assert (pd.factorize(got)[0] == pd.factorize(np.array(label))[0]).all()


def test_a_group_has_its_patients_id_where_nothing_else_connects():
    series = store_of([("p1", "t1"), ("p1", "t2"), ("p2", "t3")], KEYED)
    assert patient_groups(series, NO_SLICES, [], KEYED).tolist() == series["patient"].tolist()


@pytest.mark.parametrize("identifiers", [PLAIN, KEYED])
def test_two_spellings_that_one_row_of_the_labels_names_are_one_patient(identifiers):
    rows = [("CQ500-CT-1", "t1"), ("CQ500CT1 CQ500CT1", "t2"), ("CQ500-CT-10", "t3")]
    labels = LabelFile(
        "reads.csv", "cq500", ("ICH",), pd.DataFrame({"patient": ["CQ500-CT-1", "CQ500-CT-10"]}),
        np.array([2, 3]), np.array([[1.0], [0.0]], np.float32),
        patient_spellings=cq500_spellings, patient_name=cq500_name,
    )  # fmt: skip
    got = patient_groups(store_of(rows, identifiers), NO_SLICES, [labels], identifiers)
    assert got[0] == got[1] != got[2]


@pytest.mark.parametrize("identifiers", [PLAIN, KEYED])
def test_a_patient_that_only_the_labels_know_connects_its_series(write_csv, identifiers):
    text = "PatientID,SeriesInstanceUID,A\nx,s0,1\nx,s1,0\ny,s2,0\n,s3,0\n,s4,0\n"
    series = store_of([(f"anonymous {k}", f"t{k}") for k in range(5)], identifiers)
    got = patient_groups(series, NO_SLICES, [read_table(write_csv(text))], identifiers)
    assert got[0] == got[1]
    assert len(set(got)) == 4  # blank cells connect nothing


def test_slice_labels_connect_the_series_of_their_patients(write_csv):
    text = "PatientID,SOPInstanceUID,A\nx,a,1\nx,b,0\ny,c,0\n"
    slices = pd.DataFrame({"series": ["s0", "s1", "s2"], "slice": ["a", "b", "c"]})
    series = store_of([("1", "t1"), ("2", "t2"), ("3", "t3")])
    got = patient_groups(series, slices, [read_table(write_csv(text))], PLAIN)
    assert got[0] == got[1] != got[2]


def fit_quickly(toy):
    return report_of(toy).run


def report_of(toy):
    options = parse_fit_options(hidden=4, epochs=1, device="cpu")
    return fit(Sources(toy.store, toy.labels), options, out=toy.folder / "run")


def test_a_study_under_two_patient_ids_is_never_split(toy, planted, make_store):
    patients = {s: f"{p}-{s[-1]}" for s, p in planted.patients.items()}  # one for each series
    studies = {s: f"study {p}" for s, p in planted.patients.items()}
    toy.store = make_store(
        toy.folder / "split.zarr", planted.matrices, patients=patients, studies=studies
    )
    lines = toy.labels.read_text().splitlines()
    toy.labels.write_text("\n".join(line.partition(",")[2] for line in lines))
    report = report_of(toy)
    folds = report.run.folds
    assert "80 PatientIDs count as 60 patients: studies or labels connect them" in report.notes
    assert folds["patient"].nunique() == 80
    assert folds["group"].nunique() == 60
    assert folds.groupby("study")["split"].nunique().max() == 1


def test_series_without_patients_in_dicom_are_split_by_the_patients_of_the_labels(
    toy, planted, make_store
):
    blank = {s: f"study {s}" for s in planted.matrices}  # a blank PatientID reads as the study
    toy.store = make_store(toy.folder / "blank.zarr", planted.matrices, patients=blank)
    run = fit_quickly(toy)
    assert run.folds.groupby("user_patient")["split"].nunique().max() == 1
    assert run.folds["group"].nunique() == 60
    assert run.predictions["group"].tolist() == run.folds["group"].tolist()


@pytest.mark.parametrize("column", ["group", "study", "user_patient"])
def test_any_id_on_two_sides_is_refused(toy, column):
    run = fit_quickly(toy)
    folds = pd.read_csv(run.path / "folds.csv", dtype=str)
    train = folds[folds["split"] == "train"].iloc[0]
    folds.loc[folds.index[folds["split"] == "test"][0], column] = train[column]
    folds.to_csv(run.path / "folds.csv", index=False)
    with pytest.raises(LeakError, match=f"{column} .* is in more than one split"):
        Run.open(run.path).folds  # noqa: B018
