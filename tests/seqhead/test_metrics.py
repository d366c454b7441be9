import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from seqhead.labels.rsna import RSNA_LABELS
from seqhead.metrics import (
    METRICS,
    label_metrics,
    macro_metrics,
    micro_metrics,
    rsna_loss,
)

SCORED = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(1, 9)), min_size=1, max_size=40
)


def arrays(scored):
    return np.array([y for y, _ in scored]), np.array([p / 10 for _, p in scored])


@settings(deadline=None)
@given(SCORED, st.floats(0.05, 0.95))
def test_metrics_equal_scikit_learn_or_are_none(scored, threshold):
    y, p = arrays(scored)
    got = label_metrics(y, p, threshold)
    truth, score = y[~np.isnan(y)].astype(int), p[~np.isnan(y)]
    called = (score >= threshold).astype(int)
    assert (got["n"], got["positives"]) == (len(truth), truth.sum())
    if not len(truth):
        assert all(got[name] is None for name in METRICS)
        return
    tn, fp, fn, tp = sk.confusion_matrix(truth, called, labels=[0, 1]).ravel()
    expected = {
        "auc": sk.roc_auc_score(truth, score) if 0 < truth.sum() < len(truth) else None,
        "accuracy": sk.accuracy_score(truth, called),
        "precision": sk.precision_score(truth, called) if tp + fp else None,
        "recall": sk.recall_score(truth, called) if tp + fn else None,
        "specificity": sk.recall_score(1 - truth, 1 - called) if tn + fp else None,
        "f1": sk.f1_score(truth, called) if tp + fp + fn else None,
        "average_precision": sk.average_precision_score(truth, score) if truth.any() else None,
        "log_loss": sk.log_loss(truth, score, labels=[0, 1]),
        "npv": sk.precision_score(1 - truth, 1 - called) if tn + fn else None,
        "balanced_accuracy": (
            sk.balanced_accuracy_score(truth, called) if 0 < truth.sum() < len(truth) else None
        ),
        "brier": sk.brier_score_loss(truth, score, labels=[0, 1]),
    }
    assert set(expected) == set(METRICS)
    for name, value in expected.items():
        assert got[name] == (None if value is None else pytest.approx(value)), name


def test_every_row_may_have_a_threshold_of_its_own():
    y, p = np.array([1.0, 0.0, 1.0, np.nan]), np.array([0.4, 0.4, 0.8, 0.9])
    got = label_metrics(y, p, np.array([0.3, 0.5, 0.9, 0.1]))
    assert (got["recall"], got["specificity"], got["n"]) == (0.5, 1.0, 3)
    assert got["threshold"] == pytest.approx(0.45)


def test_macro_says_how_many_labels_it_covers():
    y = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    p = np.array([[0.9, 0.1], [0.2, 0.3], [0.1, 0.6]])
    labels = {n: label_metrics(y[:, k], p[:, k], 0.5) for k, n in enumerate("ab")}
    macro = macro_metrics(labels)
    assert macro["labels"] == 2
    assert macro["covers"]["auc"] == 1
    assert macro["covers"]["accuracy"] == 2
    assert macro["auc"] == labels["a"]["auc"] == 0.5
    assert macro["accuracy"] == pytest.approx((1 / 3 * 2 + 2 / 3) / 2)


def test_micro_pools_the_known_entries_with_each_labels_threshold():
    rng = np.random.default_rng(0)
    y = rng.choice([0.0, 1.0, np.nan], size=(50, 3), p=[0.5, 0.4, 0.1])
    p = rng.random((50, 3))
    got = micro_metrics(y, p, [0.2, 0.5, 0.8])
    known = ~np.isnan(y)
    called = (p >= [0.2, 0.5, 0.8])[known]
    assert got["auc"] == pytest.approx(sk.roc_auc_score(y[known], p[known]))
    assert got["f1"] == pytest.approx(sk.f1_score(y[known], called))
    assert got["n"] == known.sum()


def test_rsna_loss_is_the_weighted_log_loss_whatever_the_order():
    rng = np.random.default_rng(0)
    y, p = (rng.random((40, 6)) < 0.3).astype(float), rng.random((40, 6))
    expected = sum(
        (2 if name == "any" else 1) * sk.log_loss(y[:, k], p[:, k])
        for k, name in enumerate(RSNA_LABELS)
    )
    assert rsna_loss(RSNA_LABELS, y, p) == pytest.approx(expected / 7)
    turned = list(reversed(RSNA_LABELS))
    assert rsna_loss(turned, y[:, ::-1], p[:, ::-1]) == pytest.approx(expected / 7)


def test_rsna_loss_is_for_rsna_labels():
    assert rsna_loss(["any", "other"], np.zeros((2, 2)), np.full((2, 2), 0.5)) is None
