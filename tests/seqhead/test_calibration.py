import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from seqhead.calibration import (
    BINS,
    METHODS,
    Calibration,
    expected_calibration_error,
    fit_calibrator,
    reliability,
)


def overconfident(n=4000, temperature=2.5, seed=0):
    """Labels drawn from the true probabilities, and what a model too sure of itself says."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-0.5, 1.2, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))) * 1.0
    return y, 1 / (1 + np.exp(-logit * temperature))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.floats(0, 1)), min_size=1, max_size=60
    )
)
def test_the_table_is_scikit_learns_curve(rows):
    y, p = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    table = reliability(y, p)
    known = ~np.isnan(y)
    assert sum(row["n"] for row in table) == known.sum()
    assert sum(row["positives"] for row in table) == np.nansum(y)
    error = expected_calibration_error(y, p)
    if not known.any():
        assert error is None
        return
    expected = sum(row["n"] * abs(row["share"] - row["probability"]) for row in table)
    assert error == pytest.approx(expected / known.sum())
    on_edge = np.isclose(p * BINS, np.round(p * BINS))  # scikit-learn puts edges below, not above
    if not on_edge[known].any():
        share, probability = calibration_curve(y[known], p[known], n_bins=BINS)
        assert [row["share"] for row in table] == pytest.approx(share.tolist())
        assert [row["probability"] for row in table] == pytest.approx(probability.tolist())


def test_probabilities_of_0_and_1_are_in_the_outer_bins():
    table = reliability(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert [(row["low"], row["high"]) for row in table] == [(0.0, 0.1), (0.9, 1.0)]


def test_the_temperature_is_the_inverse_slope_of_a_logistic_regression():
    y, p = overconfident()
    logit = np.log(p / (1 - p))[:, None]
    slope = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logit, y).coef_[0, 0]
    assert fit_calibrator(y, p).temperature == pytest.approx(1 / slope, rel=1e-4)
    assert fit_calibrator(y, p).temperature == pytest.approx(2.5, rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_calibration_learnt_on_some_helps_others(method):
    learnt = fit_calibrator(*overconfident(seed=1))
    y, p = overconfident(seed=2)
    after = learnt.apply(p, method)
    assert log_loss(y, after) < log_loss(y, p) - 0.05
    assert expected_calibration_error(y, after) < 0.5 * expected_calibration_error(y, p)
    assert ((after >= 0) & (after <= 1)).all()
    assert roc_auc_score(y, after) == pytest.approx(roc_auc_score(y, p), abs=0.005)


def test_the_temperature_keeps_the_order_of_rows():
    y, p = overconfident(n=300)
    assert (np.argsort(fit_calibrator(y, p).apply(p, "temperature")) == np.argsort(p)).all()


def test_isotonic_is_scikit_learns_also_after_a_file():
    y, p = overconfident(n=300)
    elsewhere = np.linspace(0, 1, 77)
    expected = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, y)
    learnt = Calibration.fit(("a",), y[:, None], p[:, None])
    again = Calibration.from_document(json.loads(json.dumps(learnt.document())))
    assert again == learnt
    got = again.apply(elsewhere[:, None], "isotonic")[:, 0]
    np.testing.assert_allclose(got, expected.predict(elsewhere), atol=1e-12)


def test_one_class_teaches_nothing():
    learnt = fit_calibrator(np.zeros(20), np.linspace(0.1, 0.4, 20))
    assert learnt.temperature is None
    np.testing.assert_array_equal(learnt.apply(np.array([0.3]), "isotonic"), [0.3])


def test_sure_and_wrong_is_finite():
    y, p = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0, 0.0])
    after = fit_calibrator(y, p).apply(p, "temperature")
    assert np.isfinite(after).all()
    assert log_loss(y, after) < 1
