import numpy as np
import pytest
import torch

from seqhead import SequenceClassifier
from seqhead.errors import FitError
from seqhead.optimise import make_optimiser, make_schedule
from seqhead.train_config import TrainConfig

SMALL = {"hidden": 4, "epochs": 3, "device": "cpu"}
ZOOM = {"features": 6, "slices": 3, "branch": {"hidden": 4, "pool": "mean"}}


@pytest.fixture(scope="module")
def problem(planted):
    """X, y (B, 2), patients of the planted problem."""
    X = list(planted.matrices.values())
    y = np.array(list(planted.series.values()), dtype=np.float32)
    return X, y, np.array(list(planted.patients.values()))


def fitted(problem, **options):
    X, y, patients = problem
    return SequenceClassifier(**{**SMALL, **options}).fit(X, y, groups=patients)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "focal"},
        {"balance": "loss", "label_weights": (2.0, 1.0)},
        {"balance": "sampling"},
        {"optimiser": "rmsprop", "schedule": "step"},
        {"optimiser": "sgd", "learning_rate": 0.1},
        {"sample_to": 5, "leftovers": True, "reverse": 0.5, "drop_slices": 0.2},
        {"reset_after": False, "input_dropout": 0.2, "normalise": "batch", "pad_to": 40},
        {"rnn": "tcn", "layers": 2, "differences": True},
        {"rnn": "transformer", "hidden": 8, "pool": "gated-attention"},
        {"separate": True},
        {"pool": "attention", "zoom": ZOOM, "branch_loss": "mse", "hidden": 4},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_way_of_training_learns_the_planted_signal(problem, options):
    X, y, _ = problem
    model = fitted(problem, **{"epochs": 40, "hidden": 8, "learning_rate": 1e-2,
                               "validation_fraction": 0.0, **options})  # fmt: skip
    losses = [epoch["train_loss"] for epoch in model.history_.epochs]
    assert losses[-1] < 0.7 * losses[0]
    scored = model.predict_proba(X)
    assert scored.shape == (len(X), 2)
    assert scored[y[:, 0] == 1, 0].mean() > scored[y[:, 0] == 0, 0].mean() + 0.2


def test_modules_learn_at_their_own_rates(problem):
    model = fitted(problem, pool="attention", zoom=ZOOM, epochs=1)
    config = TrainConfig(learning_rate=5e-4, learning_rates={"zoom": 3e-4})
    optimiser = make_optimiser(model.head_, config)
    rate = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in model.head_.named_parameters():
        assert rate[id(parameter)] == (3e-4 if name.startswith("zoom.") else 5e-4)
    assert len(rate) == len(list(model.head_.parameters()))


def test_a_rate_of_a_part_goes_before_that_of_its_whole(problem):
    head = fitted(problem, pool="attention", zoom=ZOOM, epochs=1).head_
    rates = {"zoom": 1e-4, "zoom.rnn": 1e-5}
    optimiser = make_optimiser(head, TrainConfig(learning_rates=rates))
    rate = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert {rate[id(p)] for p in head.zoom.rnn.parameters()} == {1e-5}
    assert {rate[id(p)] for p in head.zoom.mlp.parameters()} == {1e-4}


def test_a_rate_for_no_module_is_refused(problem):
    with pytest.raises(FitError, match=r"no part of the head that learns.* rnn"):
        fitted(problem, learning_rates={"zoom": 1e-3})


def test_the_step_schedule_divides_by_ten_after_each_third():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make_schedule(optimiser, TrainConfig(epochs=60, schedule="step"))
    rates = []
    for _ in range(60):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    np.testing.assert_allclose(rates, [1.0] * 20 + [0.1] * 20 + [0.01] * 20)


def test_the_last_weights_are_kept_where_that_is_asked(problem):
    options = {"epochs": 30, "patience": 30, "learning_rate": 3e-2}
    X, y, patients = problem
    noise = (X, np.random.default_rng(0).permutation(y), patients)
    best, last = fitted(noise, **options), fitted(noise, **options, keep="last")
    losses = [epoch["validation_loss"] for epoch in last.history_.epochs]
    assert last.history_.best_epoch == 30
    assert best.history_.best_epoch == np.argmin(losses) + 1 < 30
    assert (best.predict_proba(X) != last.predict_proba(X)).any()


def test_a_callback_sees_every_epoch_and_may_give_the_fit_up(problem):
    class GivenUpError(Exception):
        pass

    seen = []

    def callback(epoch, epochs, losses):
        seen.append((epoch, epochs, set(losses)))
        if epoch == 3:
            raise GivenUpError

    X, y, patients = problem
    model = SequenceClassifier(**{**SMALL, "epochs": 9})
    with pytest.raises(GivenUpError):
        model.fit(X, y, groups=patients, progress=callback)
    assert seen == [(k, 9, {"train_loss", "validation_loss", "learning_rate"}) for k in (1, 2, 3)]
    assert not hasattr(model, "head_")
    assert (torch.tensor([1e-40]) * 1.0).item() > 0  # arithmetic is as it was


def test_padding_in_training_changes_nothing(problem):
    one, padded = (fitted(problem, pad_to=pad_to, normalise="batch") for pad_to in (None, 396))
    np.testing.assert_array_equal(one.predict_proba(problem[0]), padded.predict_proba(problem[0]))


def test_sampling_is_the_same_in_training_and_afterwards(problem):
    X = problem[0]
    model = fitted(problem, sample_to=4, pool="attention")
    scored = model.predict_proba(X)
    from seqhead.sampling import even_places

    reduced = [x[even_places(len(x), 4)] for x in X]
    np.testing.assert_array_equal(model.predict_proba(reduced), scored)
    for x, weights in zip(X, model.attention(X), strict=True):
        seen = np.isin(np.arange(len(x)), even_places(len(x), 4))
        assert np.isnan(weights[~seen]).all()
        assert weights[seen].sum() == pytest.approx(1, abs=1e-6)


def test_a_model_with_two_feature_sets_wants_both(problem):
    X, y, patients = problem
    model = fitted(problem, pool="attention", zoom=ZOOM)
    assert model.n_features_in_ == X[0].shape[1]
    assert model.head_.config.features == X[0].shape[1] - 6
    with pytest.raises(FitError, match="expected"):
        model.predict_proba([x[:, :6] for x in X])
    with pytest.raises(FitError, match="second feature set"):
        SequenceClassifier(**SMALL, replace=(1, 3)).fit([x[:, :5] for x in X], y, groups=patients)
