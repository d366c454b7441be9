"""scikit-learn's contract, on ragged lists of matrices."""

import pickle
import warnings
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedGroupKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags

from seqhead import PooledSVC, SequenceClassifier, scorers
from seqhead.errors import FitError

HEAD = SequenceClassifier(hidden=4, epochs=2, device="cpu")
EVERY = pytest.mark.parametrize("model", [HEAD, PooledSVC(folds=2)], ids=["head", "svm"])
FOLDS = GroupKFold(3)
CHECKS = (
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_mixin_order",
    "check_estimators_unfitted",
)
"""Those of scikit-learn's checks that do not fit a table."""


@pytest.fixture(scope="module")
def problem(planted):
    """X, y (B, 2), patients of half of the planted problem."""
    X = list(planted.matrices.values())[:40]
    y = np.array(list(planted.series.values()), dtype=np.float32)[:40]
    return X, y, np.array(list(planted.patients.values()))[:40]


@pytest.fixture
def routing():
    """Metadata routing, as a notebook switches it on."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def as_objects(items):
    """What NumPy makes of ragged items that are put into an array."""
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        array[place] = item
    return array


@pytest.mark.parametrize("check", CHECKS)
@EVERY
def test_scikit_learns_own_checks_pass(model, check):
    getattr(estimator_checks, check)(type(model).__name__, clone(model))


@EVERY
def test_it_is_known_what_kind_of_classifier_this_is(model):
    tags = get_tags(model)
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_label
    assert not tags.classifier_tags.multi_class
    assert not tags.input_tags.two_d_array
    assert type(model).__name__ in repr(model)
    assert type(model).__name__ in model._repr_html_()


@EVERY
def test_a_parameter_that_there_is_not_is_refused(model):
    with pytest.raises(ValueError, match="Invalid parameter 'hiden'"):
        clone(model).set_params(hiden=3)


@pytest.mark.parametrize(
    "hold", [list, tuple, as_objects, pd.Series], ids=["list", "tuple", "objects", "series"]
)
@EVERY
def test_any_sequence_of_matrices_is_the_same(problem, model, hold):
    X, y, patients = problem
    expected = clone(model).fit(X, y, groups=patients).predict_proba(X)
    fitted = clone(model).fit(hold(X), y, groups=list(patients))
    np.testing.assert_array_equal(fitted.predict_proba(hold(X)), expected)


@pytest.mark.parametrize(
    "hold", [np.ndarray.tolist, pd.DataFrame, lambda y: y.astype(bool)], ids=["list", "df", "bool"]
)
@EVERY
def test_any_table_of_labels_is_the_same(problem, model, hold):
    X, y, patients = problem
    expected = clone(model).fit(X, y, groups=patients).predict_proba(X)
    fitted = clone(model).fit(X, hold(y), groups=pd.Series(patients, index=range(40, 80)))
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)


@EVERY
def test_series_of_one_length_may_be_one_array(problem, model):
    X, y, patients = problem
    cut = np.stack([matrix[:4] for matrix in X])  # (B, 4, D)
    expected = clone(model).fit(list(cut), y, groups=patients).predict_proba(list(cut))
    fitted = clone(model).fit(cut, y, groups=patients)
    np.testing.assert_array_equal(fitted.predict_proba(cut), expected)


@EVERY
def test_a_mapping_is_refused_since_labels_have_no_names(problem, model):
    X, y, patients = problem
    with pytest.raises(FitError, match="in the order of y"):
        clone(model).fit(dict(enumerate(X)), y, groups=patients)


@EVERY
def test_fitting_and_predicting_leave_what_they_are_given_as_it_was(problem, model):
    X, y, patients = problem
    before = deepcopy((X, y, patients))
    fitted = clone(model).fit(X, y, groups=patients)
    learnt, names = fitted.state(), set(vars(fitted))
    fitted.predict_proba(X)
    fitted.predict(X)
    for one, other in zip(before[0], X, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(before[1], y)
    assert set(vars(fitted)) == names
    for name, value in fitted.state().items():
        np.testing.assert_array_equal(value, learnt[name])


@EVERY
def test_fitting_again_forgets_the_first_fit(problem, model):
    X, y, patients = problem
    narrow = [matrix[:, :5] for matrix in X]
    expected = clone(model).fit(narrow, y[:, 0], groups=patients).predict_proba(narrow)
    twice = clone(model).fit(X, y, groups=patients).fit(narrow, y[:, 0], groups=patients)
    np.testing.assert_array_equal(twice.predict_proba(narrow), expected)
    assert twice.classes_.tolist() == [0, 1]


@EVERY
def test_a_fitted_estimator_reaches_another_process_as_it_is(problem, model):
    X, y, patients = problem
    fitted = clone(model).fit(X, y, groups=patients)
    sent = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(sent.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("hold", [list, as_objects], ids=["list", "objects"])
@EVERY
def test_cross_validation_scores_each_fold_by_patient(problem, routing, model, hold):
    """A fit that did not get the patients would warn, and warnings are errors here."""
    X, y, patients = problem
    unknown = y.copy()
    unknown[::5, 1] = np.nan
    expected = []
    for train, test in FOLDS.split(X, groups=patients):
        one = clone(model).fit([X[k] for k in train], unknown[train], groups=patients[train])
        expected.append(scorers.roc_auc(one, [X[k] for k in test], unknown[test]))
    scores = cross_val_score(
        model, hold(X), unknown, scoring=scorers.roc_auc, cv=FOLDS, params={"groups": patients}
    )
    np.testing.assert_array_equal(scores, expected)


@EVERY
def test_without_routing_the_patients_reach_the_splitter_only_and_the_fit_warns(problem, model):
    X, y, patients = problem
    with pytest.warns(UserWarning, match="metadata routing"):
        cross_val_score(model, X, y, scoring=scorers.roc_auc, cv=FOLDS, groups=patients)


@EVERY
def test_models_of_the_folds_give_predictions_of_everybody(problem, routing, model):
    X, y, patients = problem
    found = cross_validate(
        model, X, y, cv=FOLDS, params={"groups": patients}, return_train_score=True,
        scoring={"auc": scorers.roc_auc, "loss": scorers.neg_log_loss},
        return_estimator=True, return_indices=True,
    )  # fmt: skip
    said = np.full(y.shape, np.nan)
    for fitted, rows in zip(found["estimator"], found["indices"]["test"], strict=True):
        said[rows] = fitted.predict_proba([X[k] for k in rows])
    assert np.isfinite(said).all()
    assert set(found) >= {"test_auc", "test_loss", "train_auc", "train_loss"}
    by_scikit_learn = cross_val_predict(
        model, X, y, cv=FOLDS, method="predict_proba", params={"groups": patients}
    )
    np.testing.assert_array_equal(by_scikit_learn, said)
    one = cross_val_predict(
        model, X, y[:, 0], cv=FOLDS, method="predict_proba", params={"groups": patients}
    )
    assert one.shape == (len(X), 2)


@EVERY
def test_unknown_labels_are_refused_where_scikit_learn_would_recode_them(problem, routing, model):
    X, y, patients = problem
    unknown = y.copy()
    unknown[::5, 1] = np.nan
    with pytest.raises(FitError, match="0, 1 or NaN"):
        cross_val_predict(
            model, X, unknown, cv=FOLDS, method="predict_proba", params={"groups": patients}
        )
    with pytest.raises(FitError, match=r"seqhead\.scorers"):
        clone(model).fit(X, unknown, groups=patients).score(X, unknown)


@pytest.mark.parametrize(
    ("K", "scoring"),
    [(1, "roc_auc"), (1, "average_precision"), (1, "neg_log_loss"),
     (2, "roc_auc"), (2, "average_precision")],
)  # fmt: skip
@EVERY
def test_scikit_learns_scorers_agree_with_ours_where_all_is_known(problem, model, K, scoring):
    X, y, patients = problem
    y = y[:, 0] if K == 1 else y
    fitted = clone(model).fit(X, y, groups=patients)
    theirs = sklearn.metrics.get_scorer(scoring)(fitted, X, y)
    assert getattr(scorers, scoring)(fitted, X, y) == pytest.approx(theirs)


@EVERY
def test_score_is_the_share_of_series_with_all_labels_right(problem, model):
    X, y, patients = problem
    weights = np.arange(len(X))
    for labels in (y, y[:, 0]):
        fitted = clone(model).fit(X, labels, groups=patients)
        said = fitted.predict(X)
        assert fitted.score(X, labels) == pytest.approx(accuracy_score(labels, said))
        weighted = accuracy_score(labels, said, sample_weight=weights)
        assert fitted.score(X, labels, weights) == pytest.approx(weighted)


def thinned(X, step=1):
    return [matrix[::step] for matrix in X]


def pipeline(model):
    slices = FunctionTransformer(thinned, kw_args={"step": 2})
    return Pipeline([("slices", slices), ("model", clone(model))])


@EVERY
def test_a_pipeline_passes_matrices_and_patients_on(problem, routing, model):
    X, y, patients = problem
    piped = clone(pipeline(model)).fit(X, y, groups=patients)
    by_hand = clone(model).fit(thinned(X, 2), y, groups=patients)
    expected = by_hand.predict_proba(thinned(X, 2))
    np.testing.assert_array_equal(piped.predict_proba(X), expected)
    assert piped.classes_.tolist() == [[0, 1], [0, 1]]
    assert piped.set_params(model__random_state=3).named_steps["model"].random_state == 3


@pytest.mark.parametrize("hold", [list, as_objects], ids=["list", "objects"])
@EVERY
def test_a_grid_over_a_pipeline_finds_what_cross_validation_finds(problem, routing, model, hold):
    X, y, patients = problem
    name, values = ("model__rnn", ["gru", "none"]) if model is HEAD else ("model__C", [0.1, 10.0])
    grid = {"slices__kw_args": [{"step": 1}, {"step": 2}], name: values}
    search = GridSearchCV(pipeline(model), grid, scoring=scorers.roc_auc, cv=FOLDS)
    search.fit(hold(X), y, groups=patients)
    scores = search.cv_results_["mean_test_score"]
    for given, score in zip(search.cv_results_["params"], scores, strict=True):
        one = pipeline(model).set_params(**given)
        by_hand = cross_val_score(
            one, X, y, scoring=scorers.roc_auc, cv=FOLDS, params={"groups": patients}
        )
        assert score == pytest.approx(by_hand.mean())
    assert search.best_params_ == search.cv_results_["params"][int(np.argmax(scores))]
    refitted = pipeline(model).set_params(**search.best_params_).fit(X, y, groups=patients)
    np.testing.assert_array_equal(search.predict_proba(hold(X)), refitted.predict_proba(X))


@EVERY
def test_learning_curves_and_stratified_folds_of_one_label(problem, routing, model):
    X, y, patients = problem
    sizes, _, scores = learning_curve(
        model, X, y[:, 0], train_sizes=[0.5, 1.0], cv=StratifiedGroupKFold(3),
        scoring="roc_auc", params={"groups": patients},
    )  # fmt: skip
    assert scores.shape == (len(sizes), 3)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    "model", [HEAD.__class__(**{**HEAD.get_params(), "pool": "none"}), PooledSVC(input="slices")]
)
def test_slices_are_cross_validated_as_lists_of_arrays(planted, routing, model):
    X = list(planted.matrices.values())[:40]
    y = [np.array([planted.slices[f"{series}.{k}"] for k in range(len(X[place]))])
         for place, series in enumerate(list(planted.matrices)[:40])]  # fmt: skip
    patients = list(planted.patients.values())[:40]
    lists, objects = (
        cross_val_score(model, hold(X), hold(y), scoring=scorers.roc_auc, cv=FOLDS,
                        params={"groups": patients})
        for hold in (list, as_objects)
    )  # fmt: skip
    np.testing.assert_array_equal(lists, objects)
    assert np.isfinite(lists).all()
    fitted = clone(model).fit(X, y, groups=patients)
    right = np.concatenate(fitted.predict(X)) == np.concatenate(y)
    assert fitted.score(X, y) == right.mean()


def test_a_request_of_ones_own_goes_before_ours(problem, routing):
    X, y, patients = problem
    proud = clone(HEAD).set_fit_request(groups=False)
    with pytest.warns(UserWarning, match="without groups"):
        GridSearchCV(proud, {"hidden": [4]}, scoring=scorers.roc_auc, cv=FOLDS).fit(
            X, y, groups=patients
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked = clone(HEAD).set_fit_request(groups="patients")
        cross_val_score(asked, X, y, scoring=scorers.roc_auc, cv=FOLDS,
                        params={"patients": patients, "groups": patients})  # fmt: skip
