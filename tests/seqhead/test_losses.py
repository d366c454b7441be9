import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mean_squared_error

from seqhead import losses
from seqhead.errors import FitError
from seqhead.labels.rsna import RSNA_LABELS
from seqhead.losses import MaskedLoss, Objective
from seqhead.metrics import rsna_loss
from seqhead.train_config import TrainConfig

EACH = [losses.cross_entropy, losses.squared_error, losses.focal]
LOGITS = torch.tensor([[0.5, -2.0], [3.0, 1.0], [-1.0, 0.2]], requires_grad=True)
Y = torch.tensor([[1.0, 0.0], [float("nan"), 1.0], [0.0, float("nan")]])
KNOWN = ~torch.isnan(Y)


def known_pairs():
    return Y[KNOWN].numpy(), torch.sigmoid(LOGITS.detach())[KNOWN].double().numpy()


def test_losses_are_means_over_the_known_labels():
    truth, probability = known_pairs()
    bce = float(MaskedLoss(losses.cross_entropy)(LOGITS.detach(), Y))
    np.testing.assert_allclose(bce, log_loss(truth, probability), rtol=1e-6)
    mse = float(MaskedLoss(losses.squared_error)(LOGITS.detach(), Y))
    np.testing.assert_allclose(mse, mean_squared_error(truth, probability), rtol=1e-6)


def test_the_focal_loss_is_that_of_its_paper():
    truth, probability = known_pairs()
    p_t = np.where(truth == 1, probability, 1 - probability)
    got = float(MaskedLoss(losses.focal)(LOGITS.detach(), Y))
    np.testing.assert_allclose(got, np.mean(-((1 - p_t) ** 2) * np.log(p_t)), rtol=1e-5)


@pytest.mark.parametrize("each", EACH)
def test_unknown_labels_have_no_gradient(each):
    (gradient,) = torch.autograd.grad(MaskedLoss(each)(LOGITS, Y), LOGITS)
    assert (gradient[~KNOWN] == 0).all()
    assert (gradient[KNOWN] != 0).all()


@pytest.mark.parametrize("each", EACH)
def test_nothing_known_is_no_loss(each):
    assert float(MaskedLoss(each)(LOGITS.detach(), torch.full_like(Y, float("nan")))) == 0.0


def test_label_weights_are_those_of_the_rsna_challenge():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=(20, 6)).astype(np.float32)
    y[rng.random(y.shape) < 0.2] = np.nan
    logits = torch.from_numpy(rng.normal(size=y.shape).astype(np.float32))
    config = TrainConfig(label_weights=(2, 1, 1, 1, 1, 1))
    objective = Objective.of(config, y, torch.device("cpu"))
    got = objective.last(logits, torch.from_numpy(y))
    expected = rsna_loss(RSNA_LABELS, y, logits.double().sigmoid().numpy())
    np.testing.assert_allclose(float(got), expected, rtol=1e-5)


def test_balance_gives_both_classes_of_a_label_the_same_weight():
    y = np.array([[1, 0], [0, 0], [0, 0], [np.nan, 0], [0, 0]], dtype=np.float32)
    objective = Objective.of(TrainConfig(balance="loss"), y, torch.device("cpu"))
    np.testing.assert_allclose(objective.last.weights.numpy(), [[4 / 6, 1], [4 / 2, 1]])
    known = ~np.isnan(y[:, 0])
    weights = np.where(y == 1, *objective.last.weights.numpy()[::-1])
    assert weights[known & (y[:, 0] == 1), 0].sum() == weights[known & (y[:, 0] == 0), 0].sum()


def test_outputs_before_the_last_have_the_branch_loss():
    y = torch.tensor([[1.0], [0.0]])
    first, second, last = (torch.tensor([[a], [b]]) for a, b in ((0.1, 2.0), (1.0, -1.0), (3.0, 0)))
    objective = Objective.of(TrainConfig(loss="bce", branch_loss="mse"), y.numpy(), y.device)
    total, weight = objective.terms((first, second, last), y)
    mse, bce = MaskedLoss(losses.squared_error), MaskedLoss(losses.cross_entropy)
    torch.testing.assert_close(total / weight, mse(first, y) + mse(second, y) + bce(last, y))


def test_another_number_of_label_weights_is_refused():
    with pytest.raises(FitError, match="3 label weights for 2 labels"):
        Objective.of(TrainConfig(label_weights=(1, 2, 3)), np.zeros((2, 2)), torch.device("cpu"))
