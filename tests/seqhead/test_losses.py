import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mean_squared_error

from seqhead import losses

LOGITS = torch.tensor([[0.5, -2.0], [3.0, 1.0], [-1.0, 0.2]], requires_grad=True)
Y = torch.tensor([[1.0, 0.0], [float("nan"), 1.0], [0.0, float("nan")]])
KNOWN = ~torch.isnan(Y)


def known_pairs():
    return Y[KNOWN].numpy(), torch.sigmoid(LOGITS.detach())[KNOWN].double().numpy()


def test_losses_are_means_over_the_known_labels():
    truth, probability = known_pairs()
    bce = float(losses.binary_cross_entropy(LOGITS.detach(), Y))
    np.testing.assert_allclose(bce, log_loss(truth, probability), rtol=1e-6)
    mse = float(losses.mean_squared_error(LOGITS.detach(), Y))
    np.testing.assert_allclose(mse, mean_squared_error(truth, probability), rtol=1e-6)


@pytest.mark.parametrize("loss", losses.LOSSES.values())
def test_unknown_labels_have_no_gradient(loss):
    (gradient,) = torch.autograd.grad(loss(LOGITS, Y), LOGITS)
    assert (gradient[~KNOWN] == 0).all()
    assert (gradient[KNOWN] != 0).all()


@pytest.mark.parametrize("loss", losses.LOSSES.values())
def test_nothing_known_is_no_loss(loss):
    assert float(loss(LOGITS.detach(), torch.full_like(Y, float("nan")))) == 0.0
