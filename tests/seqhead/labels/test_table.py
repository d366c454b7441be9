import numpy as np
import pytest

from seqhead.errors import LabelError
from seqhead.labels.table import read_table


def values_of(path):
    return read_table(path).values.tolist()


@pytest.mark.parametrize(
    "text",
    [
        "PatientID,ICH\n007,1\n008,0\n",
        "\ufeffPatientID,ICH\n007,1\n008,0\n",
        "PatientID,ICH\r\n007,1\r\n008,0\r\n",
        "PatientID,ICH\n007,1\n008,0",
        "\n\nPatientID,ICH\n007,1\n\n008,0\n",
        ' PatientID,"\nICH"\n007,1\n008,0\n',
        "PatientID;ICH\n007;1\n008;0\n",
        "PatientID\tICH\n007\t1.0\n008\t0.0\n",
        "sep=;\nPatientID;ICH\n007;TRUE\n008;FALSE\n",
        "PatientID,ICH,,\n007,1.00,,\n008,0,\n",
    ],
)
def test_spellings_of_a_csv_read_the_same(write_csv, text):
    labels = read_table(write_csv(text))
    assert labels.names == ("ICH",)
    assert labels.level == "patient"
    assert labels.ids["patient"].tolist() == ["007", "008"]  # leading zeros stay
    assert labels.values.tolist() == [[1.0], [0.0]]


def test_blank_is_unknown(write_csv):
    labels = read_table(write_csv("SeriesInstanceUID,A,B\n1.2,,1\n1.3,NA,0\n"))
    assert np.isnan(labels.values[:, 0]).all()
    assert labels.values[:, 1].tolist() == [1.0, 0.0]


def test_the_most_specific_id_says_the_level(write_csv):
    text = "PatientID,StudyInstanceUID,SeriesInstanceUID,SOPInstanceUID,A\n1,2,3,4,1\n"
    assert read_table(write_csv(text)).level == "slice"


def test_rows_that_agree_are_merged_and_known_fills_unknown(write_csv):
    labels = read_table(write_csv("PatientID,A,B\n1,1,\n2,0,0\n1,1,0\n1,,\n"))
    assert labels.ids["patient"].tolist() == ["1", "2"]
    assert labels.values.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert labels.lines.tolist() == [2, 3]


def test_rows_that_conflict_are_refused_by_line(write_csv):
    path = write_csv("PatientID,A,B\n1,1,1\n2,0,0\n1,1,0\n")
    with pytest.raises(LabelError, match=r"PatientID 1 is labelled B = 0 in line 4 and 1 in line"):
        read_table(path)


def test_one_series_of_two_patients_is_refused(write_csv):
    path = write_csv("PatientID,SeriesInstanceUID,A\n1,9,1\n2,9,1\n")
    with pytest.raises(LabelError, match="line 3: PatientID is '2', but line 2 has '1'"):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PatientID,A\n1,yes\n", "line 2: A is 'yes'"),
        ("PatientID,A\n1,0.5\n", "line 2: A is '0.5'"),
        ("PatientID,A\n1,2\n", "0, 1 or blank"),
        ("Patient,A\n1,1\n", "no column says what a row labels"),
        ("Patient,A\n1,1\n", "did you mean 'PatientID' by 'Patient'"),
        ("patient_id,A\n1,1\n", "did you mean 'PatientID' by 'patient_id'"),
        ("Patient ID,SeriesInstanceUID,A\n1,2,1\n", "did you mean 'PatientID' by 'Patient ID'"),
        ("PatientID,group\n1,1\n", "a label cannot be named 'group'"),
        ("PatientID,slice\n1,1\n", "a label cannot be named 'slice'"),
        ("sep=;\nPatientID;A\n1;x\n", "line 3: A is 'x'"),
        ("PatientID\n1\n", "no label column"),
        ("PatientID,A,A\n1,1,1\n", "two columns are named 'A'"),
        ("PatientID,A,\n1,1,1\n", "column 3 has no name"),
        ("PatientID,A\n1,1,1\n", "line 2: 3 cells, but the header has 2"),
        ("PatientID,A\n,1\n", "line 2: PatientID is blank"),
        ("PatientID,A\n", "no rows"),
        ("", "is empty"),
        ("PatientID,A\n\x001,1\n", "binary data"),
        ('PatientID,A\n"1,1\n', "not valid CSV"),
    ],
)
def test_what_is_not_a_label_table_is_refused(write_csv, text, message):
    with pytest.raises(LabelError, match=message):
        read_table(write_csv(text))


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("PatientID,A\n1,1\n".encode("utf-16"))
    with pytest.raises(LabelError, match="UTF-8"):
        read_table(path)


def test_line_numbers_count_line_breaks_inside_quotes(write_csv):
    path = write_csv('PatientID,"A\nlong"\n1,1\n2,x\n')
    with pytest.raises(LabelError, match="line 4"):
        read_table(path)
