import numpy as np
import pandas as pd
import pytest

from featurecache.identifiers import Identifiers
from seqhead.errors import LabelError
from seqhead.labels.cq500 import cq500_name, cq500_spellings
from seqhead.labels.file import LabelFile
from seqhead.labels.join import join_labels
from seqhead.labels.table import read_table

KEYED = Identifiers(bytes(range(32)))
PLAIN = Identifiers(None)


def held_by(identifiers, rows):
    """Tables of a store with (patient, study, series, slices) in it."""
    series = pd.DataFrame(
        {
            "series_of": [identifiers.series(s.partition("#")[0]) for _, _, s, _ in rows],
            "study": [identifiers.study(study) for _, study, _, _ in rows],
            "patient": [identifiers.patient(p) for p, _, _, _ in rows],
        },
        index=pd.Index([identifiers.series(s) for _, _, s, _ in rows], name="series"),
    )
    slices = pd.DataFrame(
        [
            {"series": identifiers.series(s), "slice": identifiers.slice(u)}
            for _, _, s, uids in rows
            for u in uids
        ]
    )
    return series, slices


ROWS = [
    ("01", "st1", "s1", ("a", "b")),
    ("01", "st1", "s2", ("c",)),
    ("01", "st2", "s3#2", ("d",)),
    ("1", "st3", "s4", ("e",)),
]


@pytest.mark.parametrize("identifiers", [KEYED, PLAIN])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PatientID,A\n01,1\n1,0\n", [1, 1, 1, 0]),
        ("StudyInstanceUID,A\nst1,1\nst2,0\n", [1, 1, 0, np.nan]),
        ("SeriesInstanceUID,A\ns1,1\ns3,0\n", [1, np.nan, 0, np.nan]),
        ("SOPInstanceUID,A\nb,1\ne,0\n", [np.nan, 1, np.nan, np.nan, 0]),
    ],
)
def test_labels_reach_the_series_or_slices_they_name(write_csv, identifiers, text, expected):
    joined = join_labels(read_table(write_csv(text)), identifiers, *held_by(identifiers, ROWS))
    np.testing.assert_array_equal(joined.values[:, 0], expected)


def test_what_has_no_match_is_listed(write_csv):
    labels = read_table(write_csv("SeriesInstanceUID,A\ns1,1\nzz,0\n"))
    joined = join_labels(labels, PLAIN, *held_by(PLAIN, ROWS))
    assert joined.unmatched_labels == ["zz"]
    assert joined.unmatched_series == ["s2", "s3#2", "s4"]
    assert joined.user_ids["series"].tolist() == ["s1", "", "", ""]


def test_nothing_in_common_is_an_error(write_csv):
    labels = read_table(write_csv("PatientID,A\nx,1\n"))
    with pytest.raises(LabelError, match=r"none of its 1 PatientID values \(x"):
        join_labels(labels, KEYED, *held_by(KEYED, ROWS))


def test_another_key_is_an_error(write_csv):
    labels = read_table(write_csv("PatientID,A\n01,1\n"))
    with pytest.raises(LabelError, match="--key"):
        join_labels(labels, Identifiers(b"0" * 32), *held_by(KEYED, ROWS))


@pytest.mark.parametrize("identifiers", [KEYED, PLAIN])
def test_another_patient_than_in_the_store_is_told_and_counted(write_csv, identifiers):
    labels = read_table(write_csv("PatientID,SeriesInstanceUID,A\n01,s1,1\n01,s4,1\n"))
    joined = join_labels(labels, identifiers, *held_by(identifiers, ROWS))
    assert joined.values[:, 0].tolist()[3] == 1.0
    (note,) = joined.notes
    assert "line 3: PatientID is '01'" in note
    assert "(1 such row(s))" in note


@pytest.mark.parametrize("identifiers", [KEYED, PLAIN])
def test_a_slice_of_another_series_is_an_error(write_csv, identifiers):
    labels = read_table(write_csv("SeriesInstanceUID,SOPInstanceUID,A\ns1,a,1\ns1,c,1\n"))
    with pytest.raises(LabelError, match=r"line 3: SeriesInstanceUID is 's1'.*Correct that column"):
        join_labels(labels, identifiers, *held_by(identifiers, ROWS))


def test_a_stack_has_the_label_of_its_own_name_before_that_of_its_series(write_csv):
    rows = [*ROWS, ("01", "st2", "s3", ("f",)), ("01", "st2", "s3#3", ("g",))]
    labels = read_table(write_csv("SeriesInstanceUID,A\ns3,0\ns3#2,1\n"))
    joined = join_labels(labels, KEYED, *held_by(KEYED, rows))
    np.testing.assert_array_equal(joined.values[:, 0], [np.nan, np.nan, 1, np.nan, 0, 0])
    assert joined.unmatched_labels == []


def test_series_whose_labels_are_all_unknown_are_listed_apart(write_csv):
    labels = read_table(write_csv("SeriesInstanceUID,A\ns1,1\ns2,\n"))
    joined = join_labels(labels, PLAIN, *held_by(PLAIN, ROWS))
    assert joined.unmatched_series == ["s3#2", "s4"]
    assert joined.unknown_series == ["s2"]


def test_nothing_in_common_says_first_what_to_check(write_csv):
    labels = read_table(write_csv("PatientID,A\nx,1\n"))
    with pytest.raises(LabelError) as error:
        join_labels(labels, KEYED, *held_by(KEYED, ROWS))
    assert str(error.value).index("--labels-format") < str(error.value).index("PatientID values")


@pytest.mark.parametrize("identifiers", [KEYED, PLAIN])
@pytest.mark.parametrize(
    "patient_id",
    ["CQ500-CT-7", "CQ500CT7", "CQ500CT7 CQ500CT7", "CQ500CT007", "cq500-ct-07", "CQ500_CT_7"],
)
def test_cq500_names_match_however_the_patient_id_is_spelt(identifiers, patient_id):
    labels = LabelFile(
        "reads.csv", "cq500", ("ICH",), pd.DataFrame({"patient": ["CQ500-CT-7", "CQ500-CT-70"]}),
        np.array([2, 3]), np.array([[1.0], [0.0]], np.float32), patient_spellings=cq500_spellings,
        patient_name=cq500_name,
    )  # fmt: skip
    held = held_by(identifiers, [(patient_id, "st", "s", ("a",))])
    joined = join_labels(labels, identifiers, *held)
    assert joined.values.tolist() == [[1.0]]
    assert joined.unmatched_labels == ["CQ500-CT-70"]
