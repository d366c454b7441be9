import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqhead.errors import FitError
from seqhead.rules import combine, parse_rule
from seqhead.scores import scores_at

SCORES = st.lists(st.integers(0, 10).map(lambda k: k / 10), min_size=1, max_size=15)


@given(scores=SCORES, threshold=st.integers(1, 10).map(lambda k: k / 10))
def test_any_is_what_any_slice_has_at_every_threshold(scores, threshold):
    slices = np.array(scores)[:, None]
    for rule in ("any", "max"):
        assert (parse_rule(rule)(slices)[0] >= threshold) == (slices >= threshold).any()


@given(scores=SCORES, threshold=st.integers(1, 10).map(lambda k: k / 10), k=st.integers(1, 5))
def test_consecutive_slices_are_in_a_row_at_every_threshold(scores, threshold, k):
    positive = "".join("x" if score >= threshold else "." for score in scores)
    combined = parse_rule(f"{k}-consecutive")(np.array(scores)[:, None])
    assert (combined[0] >= threshold) == ("x" * k in positive)


def test_the_percentile_is_numpys():
    slices = np.random.default_rng(0).random((40, 2))
    np.testing.assert_allclose(parse_rule("p95")(slices), np.percentile(slices, 95, axis=0))


def test_every_series_has_its_own_slices_in_their_order():
    scores = np.array([[0.1], [0.9], [0.8], [0.2], [0.7], [0.3]])
    owners = np.array(["b", "a", "b", "a", "b", "a"], dtype=object)
    wanted = np.array(["a", "b"], dtype=object)
    assert combine("max", scores, owners, wanted)[:, 0].tolist() == [0.9, 0.8]
    assert combine("2-consecutive", scores, owners, wanted)[:, 0].tolist() == [0.2, 0.7]
    assert combine("max", scores[:0], owners[:0], wanted[:0]).shape == (0, 1)


@pytest.mark.parametrize("rule", ["min", "0-consecutive", "-consecutive", "p96", "3 consecutive"])
def test_other_rules_are_refused(rule):
    with pytest.raises(FitError, match="K-consecutive"):
        parse_rule(rule)


def test_a_series_has_the_score_that_the_rule_makes_of_its_slices():
    table = pd.DataFrame(
        {
            "series": ["s"] * 4 + ["t"] * 2, "group": ["p"] * 4 + ["q"] * 2,
            "slice": list("abcdef"), "position": [0, 1, 2, 3, 0, 1],
            "y:A": [0.0, 1, 1, 0, 0, 0], "p:A": [0.1, 0.9, 0.6, 0.4, 0.5, 0.2],
            "baseline:A": [0.5] * 6,
        }
    )  # fmt: skip
    series = pd.DataFrame({"series": ["s", "t"], "y:A": [1.0, 0.0], "baseline:A": [0.5, 0.5]})
    largest, pairs, threes = (
        scores_at(table, ("A",), "series", series, rule).probability[:, 0].tolist()
        for rule in ("max", "2-consecutive", "3-consecutive")
    )
    assert (largest, pairs, threes) == ([0.9, 0.5], [0.6, 0.2], [0.4, 0.0])
    patients = scores_at(table, ("A",), "patient", series, "2-consecutive")
    assert patients.probability[:, 0].tolist() == [0.6, 0.2]
