import numpy as np
import pytest

from seqhead.errors import LabelError
from seqhead.labels.cq500 import CQ500_LABELS, cq500_spellings, read_cq500

FOURTEEN = [
    "ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "BleedLocation-Left", "BleedLocation-Right",
    "ChronicBleed", "Fracture", "CalvarialFracture", "OtherFracture", "MassEffect", "MidlineShift",
]  # fmt: skip
READS = [f"{reader}:{finding}" for reader in ("R1", "R2", "R3") for finding in FOURTEEN]
HEADER = ",".join(["name", "Category", *READS])


def row(name, r1, r2, r3):
    """One line in which every finding of a reader has the same answer."""
    return ",".join([name, "B1", *[r1] * 14, *[r2] * 14, *[r3] * 14])


@pytest.mark.parametrize(
    ("reads", "label"),
    [
        (("1", "1", "0"), 1.0),
        (("0", "0", "1"), 0.0),
        (("1", "1", ""), 1.0),
        (("", "", "0"), 0.0),
        (("1", "", "0"), np.nan),
        (("", "", ""), np.nan),
    ],
)
def test_the_label_is_the_majority_of_those_who_answered(write_csv, reads, label):
    labels = read_cq500(write_csv(f"{HEADER}\n{row('CQ500-CT-0', *reads)}\n"))
    assert labels.names == CQ500_LABELS
    np.testing.assert_array_equal(labels.values, np.full((1, 9), label, np.float32))


def test_missing_readers_are_told(write_csv):
    labels = read_cq500(write_csv(f"{HEADER}\n{row('CQ500-CT-0', '1', '', '0')}\n"))
    assert labels.notes == ("9 labels of fewer than three readers, 9 of them tied",)


def test_each_finding_is_read_from_its_own_column(write_csv):
    cells = ["CQ500-CT-3", "B2"] + ["1" if f == "EDH" else "0" for f in FOURTEEN] * 3
    labels = read_cq500(write_csv(f"{HEADER}\n{','.join(cells)}\n"))
    assert dict(zip(labels.names, labels.values[0], strict=True))["EDH"] == 1.0
    assert labels.values.sum() == 1.0


def test_names_match_by_number():
    spellings = cq500_spellings("CQ500-CT-12")
    assert {"CQ500-CT-12", "CQ500CT12", "CQ500CT12 CQ500CT12"} <= set(spellings)
    assert not set(spellings) & set(cq500_spellings("CQ500-CT-1"))


def test_a_name_with_two_numbers_is_refused(write_csv):
    with pytest.raises(LabelError, match="line 2: name is 'CQ500CT1 CQ500CT2'"):
        read_cq500(write_csv(f"{HEADER}\n{row('CQ500CT1 CQ500CT2', *'111')}\n"))


def test_a_missing_column_is_named(write_csv):
    path = write_csv(HEADER.replace("R2:EDH", "R2:EDHs") + "\n" + row("CQ500-CT-0", *"111") + "\n")
    with pytest.raises(LabelError, match="needs the column 'R2:EDH'; did you mean 'R2:EDHs'"):
        read_cq500(path)


def test_another_name_or_read_is_refused(write_csv):
    with pytest.raises(LabelError, match="line 2: name is 'patient 1'"):
        read_cq500(write_csv(f"{HEADER}\n{row('patient 1', *'111')}\n"))
    with pytest.raises(LabelError, match=r"line 2, R3:ICH is '\?'"):
        read_cq500(write_csv(f"{HEADER}\n{row('CQ500-CT-1', '1', '1', '?')}\n"))
