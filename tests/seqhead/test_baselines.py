import json

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seqhead.baselines import SERIES_FEATURES, PositionBaseline, slice_features


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(80, 6)) * [30, 40, 2, 2, 30, 10] + [100, 150, 4, 4, 240, 0]
    values[::9, 3] = np.nan
    return pd.DataFrame(values, columns=list(SERIES_FEATURES))


def test_equals_scikit_learns_pipeline(table):
    rng = np.random.default_rng(1)
    y = ((table["n_slices"] + rng.normal(scale=20, size=80)) > 100).to_numpy(float)
    y[::7] = np.nan
    known = ~np.isnan(y)
    ours = PositionBaseline.fit(table, y[:, None], ("A",))
    filled = SimpleImputer(strategy="median").fit(table)
    scaler = StandardScaler().fit(filled.transform(table))
    theirs = LogisticRegression(max_iter=1000).fit(
        scaler.transform(filled.transform(table))[known], y[known]
    )
    expected = make_pipeline(filled, scaler, theirs).predict_proba(table)[:, 1]
    np.testing.assert_allclose(ours.predict_proba(table)[:, 0], expected, rtol=1e-6)


def test_survives_json(table):
    y = (np.arange(80)[:, None] % [2, 3] == 0).astype(float)
    fitted = PositionBaseline.fit(table, y, ("A", "B"))
    again = PositionBaseline.from_document(json.loads(json.dumps(fitted.document())))
    np.testing.assert_array_equal(again.predict_proba(table), fitted.predict_proba(table))


def test_one_class_and_constant_or_absent_features_are_fine(table):
    table["fov_mm"], table["tilt_deg"] = 250.0, np.nan
    fitted = PositionBaseline.fit(table, np.zeros((80, 1)), ("A",))
    np.testing.assert_allclose(fitted.predict_proba(table), 1 / 82)


def test_slices_are_known_by_their_relative_position():
    series = pd.DataFrame({"n_slices": [5, 1]}, index=["a", "b"])
    slices = pd.DataFrame({"series": ["a", "a", "a", "b"], "position": [0, 2, 4, 0]})
    got = slice_features(slices, series)
    assert got["relative_position"].tolist() == [0.0, 0.5, 1.0, 0.0]
    assert got["relative_position_squared"].tolist() == [0.0, 0.25, 1.0, 0.0]
