import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqhead.errors import LeakError, SplitError
from seqhead.splits import SPLITS, check_disjoint, inner_validation, split_patients


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=3, max_size=60),
    st.integers(1, 5),
    st.integers(0, 2**31),
)
def test_a_patient_is_on_one_side_and_no_side_is_empty(series_of_patient, K, seed):
    patients = np.repeat([f"p{k}" for k in range(len(series_of_patient))], series_of_patient)
    y = (np.random.default_rng(seed).random((len(patients), K)) < 0.3).astype(float)
    split = split_patients(patients, y, seed=seed % 1000)
    assert set(split) == set(SPLITS)
    assert pd.Series(split).groupby(patients).nunique().max() == 1


def test_shares_and_labels_are_balanced():
    rng = np.random.default_rng(0)
    patients = [f"p{k}" for k in range(491)]
    y = (rng.random((491, 9)) < [0.4, 0.27, 0.05, 0.1, 0.05, 0.1, 0.08, 0.25, 0.13]).astype(float)
    split = split_patients(patients, y)
    for name, share in zip(SPLITS, (0.70, 0.15, 0.15), strict=True):
        assert abs((split == name).sum() - share * 491) < 2
    for k in range(9):
        expected = y[:, k].sum() * 0.15
        assert abs(y[split == "test", k].sum() - expected) <= 2


def test_the_split_depends_on_the_seed_and_not_on_the_names():
    y = np.eye(2)[np.arange(40) % 2]
    one = split_patients([f"p{k}" for k in range(40)], y, seed=1)
    other_names = [f"{(k * 7919) % 1000:04d}" for k in range(40)]
    assert (one == split_patients(other_names, y, seed=1)).all()
    assert (one != split_patients(other_names, y, seed=2)).any()


def test_unknown_labels_do_not_stop_a_split():
    y = np.full((30, 2), np.nan)
    y[::3, 0] = 1
    assert set(split_patients([str(k) for k in range(30)], y)) == set(SPLITS)


def test_too_few_patients_are_refused():
    with pytest.raises(SplitError, match="at least three"):
        split_patients(["a", "a", "b"], np.ones((3, 1)))
    with pytest.raises(SplitError, match="one patient"):
        inner_validation(["a", "a"], np.ones((2, 1)), fraction=0.5, seed=0)


def folds_of(*rows):
    folds = pd.DataFrame(rows, columns=["series", "patient", "split"])
    return folds.assign(group=folds["series"], study=folds["series"], user_patient="")


def test_a_patient_in_two_splits_is_refused_with_its_rows():
    folds = folds_of(("s1", "p1", "train"), ("s2", "p2", "test"), ("s3", "p1", "test"))
    with pytest.raises(LeakError, match=r"patient p1 .* s1 in train, s3 in test"):
        check_disjoint(folds)


def test_an_unknown_split_is_refused():
    with pytest.raises(SplitError, match="'tset'"):
        check_disjoint(folds_of(("s1", "p1", "tset")))


def test_a_clean_split_passes():
    check_disjoint(folds_of(("s1", "p1", "train"), ("s2", "p1", "train"), ("s3", "p2", "test")))
