import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from seqhead.agreement import cohen_kappa, fleiss_kappa, kappa_of_counts

# Fleiss 1971's method on the usual worked example: 10 subjects, 14 raters, 5 categories.
EXAMPLE = np.array(
    [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
     [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
)  # fmt: skip


def test_fleiss_kappa_of_the_worked_example():
    assert kappa_of_counts(EXAMPLE) == pytest.approx(0.210, abs=0.0005)


def test_cohens_kappa_is_scikit_learns_on_what_both_answered():
    rng = np.random.default_rng(0)
    one = rng.choice([0.0, 1.0, np.nan], 80)
    other = np.where(rng.random(80) < 0.7, one, rng.choice([0.0, 1.0, np.nan], 80))
    both = ~np.isnan(one) & ~np.isnan(other)
    assert cohen_kappa(one, other) == pytest.approx(cohen_kappa_score(one[both], other[both]))


def test_fleiss_kappa_of_two_readers_is_scotts_pi():
    rng = np.random.default_rng(1)
    one = rng.choice([0.0, 1.0], 60)
    other = np.where(rng.random(60) < 0.8, one, 1 - one)
    agreed, share = (one == other).mean(), np.concatenate([one, other]).mean()
    by_chance = share**2 + (1 - share) ** 2
    expected = (agreed - by_chance) / (1 - by_chance)  # Scott 1955
    assert fleiss_kappa([one, other]) == pytest.approx(expected)


def test_rows_without_an_answer_are_left_out():
    reads = np.array([[1, 0, 1, 0, np.nan], [1, 0, 0, 0, 1], [1, 0, 1, 1, 1]])
    assert fleiss_kappa(reads) == fleiss_kappa(reads[:, :4])


def test_agreement_that_chance_explains_wholly_is_undefined():
    assert cohen_kappa(np.zeros(5), np.zeros(5)) is None
    assert cohen_kappa(np.array([np.nan]), np.array([1.0])) is None
    assert fleiss_kappa(np.zeros((3, 4))) is None
    assert fleiss_kappa(np.zeros((1, 4))) is None
    assert cohen_kappa(np.array([0.0, 0.0]), np.array([1.0, 1.0])) == 0.0
