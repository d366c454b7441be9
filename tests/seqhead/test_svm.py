import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from seqhead.errors import FitError
from seqhead.svm import PooledSVC, _patient_folds


@pytest.fixture(scope="module")
def problem(planted):
    X = list(planted.matrices.values())
    y = np.array(list(planted.series.values()), dtype=np.float32)
    return X, y, np.array(list(planted.patients.values()))


def test_equals_scikit_learn_on_the_same_rows(problem):
    X, y, patients = problem
    rows = np.stack([np.concatenate([x.mean(axis=0), x.max(axis=0)]) for x in X])
    scaled = StandardScaler().fit_transform(rows) / np.sqrt(rows.shape[1])
    owner = np.unique(patients, return_inverse=True)[1]
    folds = _patient_folds(y[:, 0].astype(int), owner, 5, 0)
    expected = CalibratedClassifierCV(
        LinearSVC(random_state=0, max_iter=10_000), cv=folds, ensemble=False
    ).fit(scaled, y[:, 0])
    ours = PooledSVC().fit(X, y[:, 0], groups=patients)
    np.testing.assert_allclose(
        ours.predict_proba(X)[:, 1], expected.predict_proba(scaled)[:, 1], atol=1e-4
    )


def test_wide_rows_are_rotated_without_changing_the_machine(problem, monkeypatch):
    from seqhead import svm

    X, y, patients = problem
    wide = [np.tile(x, (1, 20)) + np.arange(240) % 7 * x[:, :1] for x in X]
    rotated = PooledSVC().fit(wide, y, groups=patients).predict_proba(wide)
    monkeypatch.setattr(svm, "_compact", lambda rows: (rows, None))
    plain = PooledSVC().fit(wide, y, groups=patients).predict_proba(wide)
    np.testing.assert_allclose(rotated, plain, atol=2e-3)


def test_padded_rows_have_zeros_at_both_ends():
    X = [np.full((2, 1), 5.0), np.arange(6.0)[:, None], np.full((3, 1), 1.0)]
    model = PooledSVC(input="padded").fit(X, [0, 1, 0], groups="abc")
    model.mean_, model.scale_ = np.zeros(1, np.float32), np.ones(1, np.float32)
    rows = model._standardised(model._rows(X), X) * np.sqrt(6)
    np.testing.assert_allclose(rows[0], [0, 0, 5, 5, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(rows[1], np.arange(6), rtol=1e-6)
    longer = [np.arange(8.0)[:, None]]
    np.testing.assert_allclose(
        model._standardised(model._rows(longer), longer) * np.sqrt(6), [np.arange(1, 7)], rtol=1e-6
    )


def test_padded_features_learn_the_planted_signal(problem):
    X, y, patients = problem
    train = patients < "040"
    model = PooledSVC(input="padded").fit(X[: train.sum()], y[train], groups=patients[train])
    scored = model.predict_proba(X[train.sum() :])
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(y[~train, 1], scored[:, 1]) > 0.8


def test_calibration_folds_keep_patients_together_and_both_classes(problem):
    _, y, patients = problem
    owner = np.unique(patients, return_inverse=True)[1]
    for train, test in _patient_folds(y[:, 1].astype(int), owner, 5, 0):
        assert not set(owner[train]) & set(owner[test])
        assert len(np.unique(y[train, 1])) == 2


def test_a_label_with_one_class_gets_its_smoothed_share(problem):
    X, y, patients = problem
    labels = np.column_stack([y[:, 0], np.zeros(len(y))])
    scored = PooledSVC().fit(X, labels, groups=patients).predict_proba(X)
    np.testing.assert_allclose(scored[:, 1], 1 / (len(y) + 2), rtol=1e-5)


@pytest.mark.parametrize("options", [{"input": "rolled"}, {"pool": "mean+median"}])
def test_unknown_options_are_refused(problem, options):
    X, y, patients = problem
    with pytest.raises(FitError, match="must"):
        PooledSVC(**options).fit(X, y, groups=patients)


def test_slices_are_scored_for_themselves(planted):
    X = list(planted.matrices.values())
    y = [
        np.array([planted.slices[f"{s}.{k}"] for k in range(len(m))], dtype=float)
        for s, m in planted.matrices.items()
    ]
    y[0][0] = np.nan
    patients = list(planted.patients.values())
    model = PooledSVC(input="slices").fit(X[:60], y[:60], groups=patients[:60])
    scored = model.predict_proba(X[60:])
    assert [rows.shape for rows in scored] == [(len(x), 2) for x in X[60:]]
    assert [rows.shape for rows in model.predict(X[60:])] == [(len(x),) for x in X[60:]]
    margins = np.concatenate(model.decision_function(X[60:]))
    assert roc_auc_score(np.concatenate(y[60:]), margins) > 0.9
    alone = model.predict_proba([X[60][2:3]])[0]
    np.testing.assert_allclose(alone[0], scored[0][2], atol=1e-6)
