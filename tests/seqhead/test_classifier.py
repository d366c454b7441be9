import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score

import seqhead
from seqhead import PooledSVC, SequenceClassifier, scorers
from seqhead.errors import FitError
from seqhead.held_out import held_out

SMALL = {"hidden": 8, "epochs": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def problem(planted):
    """X, y (B, 2), patients of the planted problem."""
    X = list(planted.matrices.values())
    y = np.array(list(planted.series.values()), dtype=np.float32)
    return X, y, np.array(list(planted.patients.values()))


@pytest.mark.parametrize(
    "options",
    [
        {"rnn": "gru", "pool": "max"},
        {"rnn": "lstm", "bidirectional": True, "pool": "attention", "normalise": "batch"},
        {"rnn": "none", "pool": "max", "mlp": (16,), "loss": "mse"},
    ],
)
def test_a_planted_signal_is_learnt(problem, options):
    X, y, patients = problem
    train, test = patients < "040", patients >= "040"
    model = SequenceClassifier(
        hidden=16, epochs=60, learning_rate=5e-3, device="cpu", **options
    ).fit([x for x, t in zip(X, train, strict=True) if t], y[train], groups=patients[train])
    scored = model.predict_proba([x for x, t in zip(X, test, strict=True) if t])
    for k in range(2):
        assert roc_auc_score(y[test, k], scored[:, k]) > 0.85


def test_noise_is_not_learnt(problem):
    X, y, patients = problem
    noise = np.random.default_rng(1).permutation(y)
    train, test = patients < "040", patients >= "040"
    model = PooledSVC().fit(X[: train.sum()], noise[train], groups=patients[train])
    auc = scorers.roc_auc(model, X[train.sum() :], noise[test])
    assert 0.2 < auc < 0.8


@pytest.mark.parametrize("model", [SequenceClassifier(**SMALL), PooledSVC()])
def test_outputs_have_scikit_learns_shapes(problem, model):
    X, y, patients = problem
    one = clone(model).fit(X, y[:, 0], groups=patients)
    assert one.predict_proba(X).shape == (len(X), 2)
    np.testing.assert_allclose(one.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    assert one.predict(X).shape == (len(X),)
    assert one.classes_.tolist() == [0, 1]
    two = clone(model).fit(X, y, groups=patients)
    assert two.predict_proba(X).shape == two.predict(X).shape == (len(X), 2)
    assert [c.tolist() for c in two.classes_] == [[0, 1], [0, 1]]


@pytest.mark.parametrize("model", [SequenceClassifier(**SMALL, pool="last"), PooledSVC(C=0.1)])
def test_parameters_survive_clone_and_fitting_does_not_change_them(problem, model):
    X, y, patients = problem
    before = model.get_params()
    fitted = clone(model).fit(X, y, groups=patients)
    assert fitted.get_params() == before == clone(fitted).get_params()
    assert not [name for name in vars(model) if name.endswith("_")]


def test_the_same_seed_is_equal_to_the_bit(problem):
    X, y, patients = problem
    one, same, other = (
        SequenceClassifier(**SMALL, dropout=0.3, random_state=seed)
        .fit(X, y, groups=patients)
        .predict_proba(X)
        for seed in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).any()


def test_a_fit_leaves_the_callers_random_state_alone(problem):
    import torch

    X, y, patients = problem
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    SequenceClassifier(**SMALL).fit(X, y, groups=patients)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("model", [SequenceClassifier(**SMALL), PooledSVC()])
def test_fitting_without_groups_warns_of_the_leak(problem, model):
    X, y, _ = problem
    with pytest.warns(UserWarning, match="groups"):
        clone(model).fit(X, y)


def test_early_stopping_keeps_patients_together(problem):
    _, y, patients = problem
    held = held_out(y, patients, fraction=0.3, seed=0)
    sides = [set(np.asarray(patients)[rows]) for rows in (~held, held)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 18


def test_training_stops_on_the_validation_loss_and_restores_the_best(problem):
    X, y, patients = problem
    model = SequenceClassifier(
        hidden=16, epochs=200, patience=3, learning_rate=2e-2, device="cpu", precision="fp32"
    ).fit(X, y, groups=patients)
    losses = [epoch["validation_loss"] for epoch in model.history_.epochs]
    best = int(np.argmin(losses)) + 1
    assert model.history_.best_epoch == best
    assert len(losses) == best + 3 < 200
    stopped_on = held_out(y, patients, fraction=model.validation_fraction, seed=0)
    held = [x for x, one in zip(X, stopped_on, strict=True) if one], y[stopped_on]
    from seqhead.losses import Objective
    from seqhead.train import choose_device, mean_loss

    cpu = choose_device("cpu")
    objective = Objective.of(model.train_config(), held[1], cpu)
    now = mean_loss(model.head_, held, objective, cpu)
    assert now == pytest.approx(min(losses), rel=1e-6)


def test_unknown_labels_teach_nothing(problem):
    X, y, patients = problem
    holed = y.copy()
    holed[::4, 1] = np.nan
    flipped = holed.copy()
    one = SequenceClassifier(**SMALL).fit(X, holed, groups=patients)
    with_extra = SequenceClassifier(**SMALL, validation_fraction=0)
    assert np.isfinite(one.predict_proba(X)).all()
    flipped[:, 1] = np.nan
    head = with_extra.fit(X, flipped, groups=patients).head_
    import torch

    torch.manual_seed(with_extra.random_state)
    from seqhead.heads import SequenceHead

    untouched = SequenceHead(head.config).mlp[-1].weight[1]
    assert torch.equal(head.mlp[-1].weight[1], untouched)


def test_cross_validation_on_ragged_lists(problem):
    X, y, patients = problem
    with sklearn.config_context(enable_metadata_routing=True):
        model = PooledSVC().set_fit_request(groups=True)
        scores = cross_val_score(
            model, X, y, scoring=scorers.roc_auc, cv=GroupKFold(3), params={"groups": patients}
        )
        assert scores.shape == (3,)
        assert scores.mean() > 0.8
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # routed groups: no warning of a leak
            search = GridSearchCV(
                SequenceClassifier(**SMALL).set_fit_request(groups=True),
                {"pool": ["max", "mean"]}, scoring=scorers.neg_log_loss, cv=GroupKFold(2),
            ).fit(X, y, groups=patients)  # fmt: skip
    assert search.best_params_["pool"] in ("max", "mean")


@pytest.mark.parametrize("scorer", ["roc_auc", "average_precision", "neg_log_loss"])
def test_scorers_leave_unknown_and_undefined_labels_out(problem, scorer):
    from sklearn import metrics as sk

    X, y, patients = problem
    model = PooledSVC().fit(X, y, groups=patients)
    holed = np.column_stack([y[:, 0], np.zeros(len(y))]).astype(np.float32)
    holed[::3, 0] = np.nan
    known = ~np.isnan(holed[:, 0])
    metric = {"roc_auc": sk.roc_auc_score, "average_precision": sk.average_precision_score,
              "neg_log_loss": lambda t, s: -sk.log_loss(t, s)}[scorer]  # fmt: skip
    expected = metric(holed[known, 0], model.predict_proba(X)[known, 0])
    assert getattr(scorers, scorer)(model, X, holed) == pytest.approx(expected)
    assert np.isnan(getattr(scorers, scorer)(model, X, np.zeros((len(y), 2))))


def test_slice_level_learns_which_slices(planted):
    X = list(planted.matrices.values())
    y = [
        np.array([planted.slices[f"{s}.{k}"] for k in range(len(m))])
        for s, m in planted.matrices.items()
    ]
    patients = list(planted.patients.values())
    model = SequenceClassifier(pool="none", hidden=16, epochs=30, learning_rate=1e-2, device="cpu")
    scored = model.fit(X[:60], y[:60], groups=patients[:60]).predict_proba(X[60:])
    assert [rows.shape for rows in scored] == [(len(x), 2) for x in X[60:]]
    assert roc_auc_score(np.concatenate(y[60:]), np.concatenate(scored)[:, 1]) > 0.9
    assert scorers.roc_auc(model, X[60:], y[60:]) > 0.9


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([], [], "no series"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], [0, 1], r"expected \(n_slices, 3\)"),
        ([np.zeros((0, 3))], [0], "at least one slice"),
        ([np.full((2, 3), np.nan)], [0], "not finite"),
        ([np.zeros((2, 3))], [2], "0, 1 or NaN"),
        ([np.zeros((2, 3))], [0, 1], "expected"),
        ([np.zeros((2, 3))], [np.nan], "unknown"),
    ],
)
def test_input_of_another_form_is_refused(X, y, message):
    for model in (SequenceClassifier(**SMALL), PooledSVC()):
        with pytest.raises(FitError, match=message):
            model.fit(X, y, groups=range(len(X)))


def test_features_of_another_width_are_refused(problem):
    X, y, patients = problem
    for model in (SequenceClassifier(**SMALL), PooledSVC()):
        fitted = model.fit(X, y, groups=patients)
        with pytest.raises(FitError, match="expected"):
            fitted.predict_proba([x[:, :5] for x in X])


def test_a_loss_that_is_not_finite_is_an_error(problem):
    X, y, patients = problem
    with pytest.raises(FitError, match="Lower the learning rate"):
        SequenceClassifier(
            hidden=8, epochs=20, learning_rate=1e35, device="cpu", normalise="none", rnn="none"
        ).fit([x * 1e6 for x in X], y, groups=patients)


def test_an_absent_device_is_an_error(problem):
    X, y, patients = problem
    with pytest.raises(FitError, match="not usable here"):
        SequenceClassifier(**{**SMALL, "device": "cuda:99"}).fit(X, y, groups=patients)


def test_names_are_offered_by_the_package():
    assert set(seqhead.__all__) <= set(dir(seqhead))
    for name in seqhead.__all__:
        assert getattr(seqhead, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seqhead.nothing


@pytest.mark.parametrize("scorer", [scorers.roc_auc, scorers.average_precision])
def test_a_fold_without_any_known_label_scores_nan(problem, scorer):
    X, y, patients = problem
    model = PooledSVC().fit(X, y, groups=patients)
    assert np.isnan(scorer(model, X[:5], np.full_like(np.asarray(y[:5], float), np.nan)))
