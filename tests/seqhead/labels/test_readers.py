import numpy as np
import pytest

from seqhead.errors import LabelError
from seqhead.labels.readers import read_readers


def test_cq500s_reads_are_three_readers(write_csv):
    path = write_csv(
        "name,Category,R1:ICH,R1:SDH,R2:ICH,R2:SDH,R3:ICH,R3:SDH\n"
        "CQ500-CT-0,B1,1,0,1,0,0,0\nCQ500-CT-7,B1,0,1,,1,0,1\n"
    )
    reads = read_readers(path)
    assert list(reads) == ["R1", "R2", "R3"]
    assert reads["R2"].names == ("ICH", "SDH")
    np.testing.assert_array_equal(reads["R2"].values, [[1, 0], [np.nan, 1]])
    assert reads["R1"].ids["patient"].tolist() == ["CQ500-CT-0", "CQ500-CT-7"]
    assert "CQ500CT7 CQ500CT7" in reads["R1"].patient_spellings("CQ500-CT-7")


def test_readers_may_be_columns_of_any_table(write_csv):
    path = write_csv("StudyInstanceUID,Dr A:Bleed,Dr B:Bleed\n1.2,1,0\n1.3,0,\n")
    reads = read_readers(path)
    assert reads["Dr A"].level == "study"
    np.testing.assert_array_equal(reads["Dr B"].values[:, 0], [0, np.nan])


def test_readers_may_be_rows(write_csv):
    path = write_csv("PatientID,Reader,ICH\n1,A,1\n1,B,0\n2,A,0\n")
    reads = read_readers(path)
    assert reads["A"].ids["patient"].tolist() == ["1", "2"]
    np.testing.assert_array_equal(reads["B"].values, [[0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PatientID,ICH\n1,1\n", "no reads. Expected columns like 'R1:ICH'"),
        ("Scan,R1:ICH\n1,1\n", "no column says which scan"),
        ("PatientID,R1:ICH\n", "a header, but no rows"),
        ("PatientID,R1:ICH\n1,maybe\n", "line 2: R1:ICH is 'maybe'"),
        ("PatientID,R1:ICH\n1,1\n1,0\n", "labelled ICH = 0 in line 3 and 1 in line 2"),
        ("PatientID,Reader,ICH\n1,,1\n", "line 2: Reader is blank"),
        ("PatientID,R1:ICH\n,1\n", "line 2: PatientID is blank"),
        ("name,R1:ICH\nsomebody,1\n", "line 2: name is 'somebody'"),
    ],
)
def test_other_tables_are_refused_with_the_line(write_csv, text, message):
    with pytest.raises(LabelError, match=message):
        read_readers(write_csv(text))
