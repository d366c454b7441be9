"""A table that a person made reads the same however a spreadsheet wrote it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.csv_lines import parse_lines, read_lines
from featurecache.errors import CsvError

PLAIN = "path,PatientID\na.nii,007\nb.nii,8\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN, PLAIN.rstrip("\n"), PLAIN.replace("\n", "\r\n"), PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", ";"), PLAIN.replace(",", "\t"), "sep=;\n" + PLAIN.replace(",", ";"),
        "\n\n" + PLAIN.replace("\n", "\n\n"), PLAIN.replace("PatientID", '" PatientID\n"'),
        PLAIN.replace(",", " , "), PLAIN.replace("\n", ",,\n"),
        '"path","PatientID"\n"a.nii","007"\n"b.nii","8"',
    ],
)  # fmt: skip
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_spellings_of_a_table_read_the_same(tmp_path, text, bom):
    (tmp_path / "t.csv").write_bytes((bom + text).encode())
    lines = read_lines(tmp_path / "t.csv", "table")
    assert lines.header == ("path", "PatientID")
    assert [cells for _, cells in lines.rows] == [["a.nii", "007"], ["b.nii", "8"]]


@given(st.text(max_size=60))
def test_any_text_is_a_table_or_refused_in_words(text):
    try:
        lines = parse_lines(text, "t.csv", "table")
    except CsvError as error:
        assert "t.csv" in str(error)
    else:
        assert all(len(cells) == len(lines.header) for _, cells in lines.rows)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the table t.csv is empty"),
        (b"\xff\xfea", "not UTF-8 text"),
        (b"a\x00b", "binary data"),
        (b"a,a\n1,2\n", "two columns are named 'a'"),
        (b"a,b\n1\n2,3,4\n", "line 2: 1 cells, but the header has 2"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, data, words):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(CsvError, match=words):
        read_lines(tmp_path / "t.csv", "table")


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CsvError, match=r"cannot read the table t\.csv: No such file"):
        read_lines(tmp_path / "t.csv", "table")
