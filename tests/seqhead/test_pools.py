import numpy as np
import pytest
import torch

from seqhead.layers import FeatureAttention, SliceDense
from seqhead.pools import AttentionPool, GatedAttentionPool

D = 5
LENGTHS = (6, 1, 3)
MASK = torch.arange(6) < torch.tensor(LENGTHS)[:, None]


def softmax(values):
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def numbers(*tensors):
    return [t.detach().numpy().astype(np.float64) for t in tensors]


def test_feature_attention_is_equation_3_of_drct2():
    torch.manual_seed(0)
    x = torch.randn(3, 6, D) * 4
    got = FeatureAttention()(x, MASK).numpy()
    for row, n in enumerate(LENGTHS):
        for t in range(n):
            z = x[row, t].numpy().astype(np.float64)
            w = np.exp(z) / sum(np.exp(z[j]) for j in range(D))
            np.testing.assert_allclose(got[row, t], w * z, atol=1e-5)
    assert (got[1, 1:] == 0).all()


def test_the_dense_layer_of_each_slice_is_equation_4_of_drct2():
    torch.manual_seed(0)
    layer, a = SliceDense(D, 3, "tanh"), torch.randn(3, 6, D)
    W, b = numbers(layer.linear.weight, layer.linear.bias)
    got = layer(a, MASK).detach().numpy()
    for row, n in enumerate(LENGTHS):
        for t in range(n):
            y_t = np.tanh(W @ a[row, t].numpy() + b)
            np.testing.assert_allclose(got[row, t], y_t, atol=1e-5)


def test_slice_attention_is_equations_5_and_6_of_drct2():
    torch.manual_seed(0)
    pool, y = AttentionPool(D), torch.randn(3, 6, D) * 3
    mapping, bias = numbers(pool.score.weight, pool.score.bias)
    weights, pooled = pool.weights(y, MASK).detach().numpy(), pool(y, MASK).detach().numpy()
    for row, n in enumerate(LENGTHS):
        slices = y[row, :n].numpy().astype(np.float64)
        a = slices @ mapping[0] + bias
        w = np.exp(a) / np.exp(a).sum()
        np.testing.assert_allclose(weights[row, :n], w, atol=1e-5)
        np.testing.assert_allclose(pooled[row], (w[:, None] * slices).sum(axis=0), atol=1e-5)


def test_gated_attention_is_equation_9_of_its_paper():
    torch.manual_seed(0)
    pool, h = GatedAttentionPool(D), torch.randn(3, 6, D)
    w, c, V, v, U, u = numbers(pool.score.weight, pool.score.bias, pool.signal.weight,
                               pool.signal.bias, pool.gate.weight, pool.gate.bias)  # fmt: skip
    weights = pool.weights(h, MASK).detach().numpy()
    for row, n in enumerate(LENGTHS):
        slices = h[row, :n].numpy().astype(np.float64)
        gated = np.tanh(slices @ V.T + v) / (1 + np.exp(-(slices @ U.T + u)))
        np.testing.assert_allclose(weights[row, :n], softmax(gated @ w[0] + c), atol=1e-5)


@pytest.mark.parametrize("pool", [AttentionPool(D), GatedAttentionPool(D)])
def test_attention_weights_sum_to_one_over_valid_slices(pool):
    weights = pool.weights(torch.randn(3, 6, D), MASK)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    assert (weights[~MASK] == 0).all()
