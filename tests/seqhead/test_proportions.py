import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from seqhead.proportions import mcnemar, wilson, wilson_of_patients


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts):
    successes, n = counts
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(successes, n), [expected.low, expected.high], atol=1e-12)


def test_wilson_equals_r():
    # R 4.2.2: prop.test(17, 20, correct = FALSE)$conf.int
    np.testing.assert_allclose(wilson(17, 20), [0.63958113525924309, 0.94763125410378346])
    assert wilson(0, 0) is None


def test_a_share_of_one_is_no_certainty():
    low, high = wilson(12, 12)
    assert high == 1.0
    assert low == pytest.approx(0.7575, abs=1e-4)


def test_rows_of_one_patient_count_once():
    hits = np.array([1, 1, 1, 0, 1, 0]).astype(bool)
    assert wilson_of_patients(hits, np.arange(6)) == pytest.approx(wilson(4, 6))
    assert wilson_of_patients(hits, np.array(list("aabbcc"))) == pytest.approx(wilson(2, 3))
    assert wilson_of_patients(hits[:0], np.array([])) is None


def disagreeing(only_one, only_other, both=5):
    one = np.array([True] * (only_one + both) + [False] * only_other)
    return one, np.array([False] * only_one + [True] * (both + only_other))


def test_mcnemar_equals_the_example_of_fagerland():
    # Bentur 2009, table 1 of Fagerland 2013: 1 and 7 discordant children.
    got = mcnemar(*disagreeing(1, 7))
    assert (got.only_one, got.only_other) == (1, 7)
    assert got.p_exact == pytest.approx(18 / 256)  # 0.070 in the paper
    assert got.p_mid == pytest.approx(10 / 256)  # 0.039 in the paper


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_a_binomial_test_of_the_rows_that_differ(b, c):
    got = mcnemar(*disagreeing(b, c))
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert got.p_exact == pytest.approx(expected)
    assert 0 < got.p_mid <= got.p_exact
    assert mcnemar(*disagreeing(c, b)).p_mid == pytest.approx(got.p_mid)


def test_models_that_are_right_together_do_not_differ():
    assert mcnemar(*disagreeing(0, 0)).p_exact == 1.0
