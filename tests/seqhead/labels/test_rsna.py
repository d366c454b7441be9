import numpy as np
import pytest

from seqhead.errors import LabelError
from seqhead.labels.rsna import RSNA_LABELS, read_rsna


def lines_of(slice_id, positive=()):
    return [f"{slice_id}_{name},{int(name in positive)}" for name in reversed(RSNA_LABELS)]


def test_six_lines_are_one_slice(write_csv):
    lines = lines_of("ID_b", ("any", "subdural")) + lines_of("ID_a")
    labels = read_rsna(write_csv("\n".join(["ID,Label", *lines])))
    assert labels.level == "slice"
    assert labels.names == RSNA_LABELS
    assert labels.ids["slice"].tolist() == ["ID_b", "ID_a"]
    assert labels.values.tolist() == [[1, 0, 0, 0, 0, 1], [0] * 6]


def test_bom_crlf_quotes_blank_lines_and_repeats_are_fine(write_csv):
    lines = [f'"{line.split(",")[0]}", {line[-1]}' for line in lines_of("ID_a", ("any",))]
    text = "\ufeff\r\nID,Label\r\n" + "\r\n".join([*lines, "", *lines])
    labels = read_rsna(write_csv(text))
    assert labels.ids["slice"].tolist() == ["ID_a"]
    assert labels.values.tolist() == [[1, 0, 0, 0, 0, 0]]


def test_a_missing_line_is_an_unknown_label(write_csv):
    labels = read_rsna(write_csv("ID,Label\nID_a_any,1\n"))
    np.testing.assert_array_equal(labels.values, [[1, *[np.nan] * 5]])


def test_names_of_slices_are_text(write_csv):
    labels = read_rsna(write_csv("ID,Label\n0012_any,1\n12_any,0\nNA_any,0\n"))
    assert labels.ids["slice"].tolist() == ["0012", "12", "NA"]
    assert labels.values[:, 0].tolist() == [1, 0, 0]


def test_rows_know_their_line(write_csv):
    labels = read_rsna(write_csv("\n\nID,Label\n\nID_a_any,1\n\nID_b_any,0\n"))
    assert labels.lines.tolist() == [5, 7]


def test_a_conflict_is_refused(write_csv):
    path = write_csv("ID,Label\nID_a_any,1\nID_b_any,1\nID_a_any,0\n")
    with pytest.raises(LabelError, match="ID_a_any is labelled both 0 and 1, see line"):
        read_rsna(path)


@pytest.mark.parametrize(
    "line",
    [
        "ID_a_hygroma,1",
        "ID_a_any,2",
        "ID_a_any,",
        "ID_a_any",
        "1.2.3,1",
        "ID_a_any,0.3",
        "ID_a_any,1,1",
        "1,0,1",
        "ID_a_any,ID_c_any,1",
        "_any,1",
        "ID_a_any ,1",
    ],
)
def test_another_line_is_refused_with_its_number(write_csv, line):
    path = write_csv(f"ID,Label\nID_b_any,1\n{line}\n")
    with pytest.raises(LabelError, match="line 3: got") as error:
        read_rsna(path)
    assert line in str(error.value)


def test_another_table_is_refused(write_csv):
    with pytest.raises(LabelError, match="needs the column 'ID'"):
        read_rsna(write_csv("PatientID,ICH\n1,1\n"))
