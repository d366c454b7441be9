import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqhead.errors import FitError
from seqhead.operating_points import (
    STANDARD_RULES,
    YOUDEN,
    Rule,
    choose_threshold,
    has_both_classes,
    parse_rule,
)

SCORED = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(1, 9)), min_size=1, max_size=40
)
GRID = np.linspace(0.0, 1.0, 101)


def arrays(scored):
    return np.array([y for y, _ in scored]), np.array([p / 10 for _, p in scored])


def rates(y, p, threshold):
    return (p[y == 1] >= threshold).mean(), (p[y == 0] < threshold).mean()


@given(SCORED)
def test_no_cut_has_a_larger_youden_index(scored):
    y, p = arrays(scored)
    cut = choose_threshold(y, p)
    if not has_both_classes(y):
        assert cut == 0.5
        return
    assert sum(rates(y, p, cut)) == pytest.approx(max(sum(rates(y, p, t)) for t in GRID))


@settings(deadline=None)
@given(SCORED, st.sampled_from([0.3, 0.5, 0.8, 0.95, 1.0]))
def test_a_target_is_met_at_the_best_of_the_other_rate(scored, target):
    y, p = arrays(scored)
    if not has_both_classes(y):
        assert choose_threshold(y, p, Rule("sensitivity", target)) == 0.5
        return
    at_grid = [rates(y, p, t) for t in GRID]
    found, spared = rates(y, p, choose_threshold(y, p, Rule("sensitivity", target)))
    assert found >= target - 1e-9
    assert spared == pytest.approx(max(b for a, b in at_grid if a >= target - 1e-9))
    found, spared = rates(y, p, choose_threshold(y, p, Rule("specificity", target)))
    assert spared >= target - 1e-9
    assert found == pytest.approx(max(a for a, b in at_grid if b >= target - 1e-9))


@given(SCORED)
def test_maximal_sensitivity_finds_every_positive(scored):
    y, p = arrays(scored)
    if has_both_classes(y):
        cut = choose_threshold(y, p, Rule("max-sensitivity"))
        assert cut == choose_threshold(y, p, Rule("sensitivity", 1.0))
        assert rates(y, p, cut)[0] == 1.0


def test_a_probability_is_taken_as_it_is():
    assert choose_threshold(np.array([0.0, 1.0]), np.array([0.1, 0.9]), Rule("fixed", 0.3)) == 0.3


def test_scores_that_cannot_be_told_apart_leave_a_choice_of_all_or_none():
    y, p = np.array([0.0, 1.0]), np.array([1.0, 1.0])
    assert choose_threshold(y, p, Rule("specificity", 0.9)) > 1.0
    assert choose_threshold(y, p, Rule("sensitivity", 0.9)) <= 1.0


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Youden", YOUDEN),
        ("max-sensitivity", Rule("max-sensitivity")),
        ("sensitivity = 0.95", Rule("sensitivity", 0.95)),
        ("specificity=.9", Rule("specificity", 0.9)),
        ("0.5", Rule("fixed", 0.5)),
    ],
)
def test_rules_are_read_as_written(text, rule):
    assert parse_rule(text) == rule
    assert parse_rule(rule.name) == rule


@pytest.mark.parametrize("text", ["", "best", "sensitivity=2", "specificity=0", "nan", "1.5", "f1"])
def test_other_rules_are_refused(text):
    with pytest.raises(FitError, match="--operating-point must be youden, max-sensitivity"):
        parse_rule(text)


def test_the_standard_rules_are_rules():
    assert [parse_rule(text).name for text in STANDARD_RULES] == list(STANDARD_RULES)
