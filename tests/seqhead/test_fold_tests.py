import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from seqhead.fold_tests import corrected_t, holm, paired_t

DIFFERENCES = [0.012, 0.031, -0.004, 0.022, 0.018, 0.027, 0.009, -0.001, 0.016, 0.025]


def test_the_paired_t_test_is_scipys():
    got, expected = paired_t(DIFFERENCES), ttest_1samp(DIFFERENCES, 0)
    assert (got.t, got.p) == pytest.approx((expected.statistic, expected.pvalue))
    interval = expected.confidence_interval()
    assert got.ci == pytest.approx([interval.low, interval.high])
    assert (got.folds, got.difference) == (10, pytest.approx(np.mean(DIFFERENCES)))


def test_the_correction_makes_the_error_larger_by_the_overlap():
    # Nadeau and Bengio 2003: 1/J becomes 1/J + n_test/n_train, here 1/10 + 1/9.
    plain, corrected = paired_t(DIFFERENCES), corrected_t(DIFFERENCES, 1 / 9)
    assert plain.t / corrected.t == pytest.approx(np.sqrt((1 / 10 + 1 / 9) / (1 / 10)))
    assert corrected.p > plain.p
    assert corrected_t(DIFFERENCES, 0.0) == plain


def test_the_corrected_test_keeps_its_level_where_the_plain_one_does_not():
    """Two models that are equally good, judged by repeated cross-validation of one small sample.

    The differences of a repeat share the sample's own error, which the plain test cannot see.
    """
    rng = np.random.default_rng(0)
    plain = corrected = 0
    for _ in range(400):
        shared = rng.normal(scale=1.0)
        differences = shared + rng.normal(scale=np.sqrt(8), size=50)  # correlation 1 / 9
        plain += paired_t(differences).p < 0.05
        corrected += corrected_t(differences, 1 / 8).p < 0.05
    assert plain / 400 > 0.2
    assert corrected / 400 < 0.08


def test_one_fold_is_no_test_and_equal_differences_have_no_statistic():
    assert paired_t([0.1]) is None
    got = paired_t([0.1, 0.1, 0.1])
    assert (got.difference, got.p) == (pytest.approx(0.1), None)


def test_holm_equals_r():
    # R 4.2.2: p.adjust(c(0.01, 0.04, 0.03, 0.005, 0.2), method = "holm")
    assert holm([0.01, 0.04, 0.03, 0.005, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])


@given(st.lists(st.none() | st.floats(0, 1), max_size=12))
def test_holm_keeps_order_and_counts_only_what_was_tested(p_values):
    adjusted = holm(p_values)
    tested = [p for p in p_values if p is not None]
    assert [a is None for a in adjusted] == [p is None for p in p_values]
    for p, a in zip(p_values, adjusted, strict=True):
        if p is not None:
            assert p <= a <= min(1.0, p * len(tested)) + 1e-12
    pairs = sorted((p, a) for p, a in zip(p_values, adjusted, strict=True) if p is not None)
    assert [a for _, a in pairs] == sorted(a for _, a in pairs)
