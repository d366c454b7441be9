"""Gates against the papers' equations, written step by step with NumPy."""

import numpy as np
import pytest
import torch

from seqhead.packing import Packing
from seqhead.pools import LastPool
from seqhead.recurrent import MaskedRNN, ResetBeforeGRU, run_cell, run_cudnn

D, H = 5, 4


def sigma(x):
    return 1 / (1 + np.exp(-x))


def arrays(module):
    return {name: value.detach().numpy().astype(np.float64)
            for name, value in module.named_parameters()}  # fmt: skip


def parts(matrix, count):
    return np.split(matrix, count)


def gru_before(cell, x):
    """SDLM, equation 2; the reset gate meets the state before U_h."""
    p = arrays(cell)
    (Wz, Wr, Wh), (Uz, Ur, Uh), (bz, br, bh) = (
        parts(p[name], 3) for name in ("weight_ih", "weight_hh", "bias")
    )
    h, states = np.zeros(H), []
    for x_t in x:
        z = sigma(Wz @ x_t + Uz @ h + bz)
        r = sigma(Wr @ x_t + Ur @ h + br)
        candidate = np.tanh(Wh @ x_t + Uh @ (r * h) + bh)
        h = (1 - z) * h + z * candidate
        states.append(h)
    return np.array(states)


def gru_after(cell, x):
    """torch.nn.GRU: gates in the order r, z, n; the reset gate meets U_n h + its bias."""
    p = arrays(cell)
    (Wr, Wz, Wn), (Ur, Uz, Un), (br, bz, bn), (cr, cz, cn) = (
        parts(p[f"{name}_l0"], 3) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h, states = np.zeros(H), []
    for x_t in x:
        r = sigma(Wr @ x_t + br + Ur @ h + cr)
        z = sigma(Wz @ x_t + bz + Uz @ h + cz)
        n = np.tanh(Wn @ x_t + bn + r * (Un @ h + cn))
        h = (1 - z) * n + z * h
        states.append(h)
    return np.array(states)


def lstm(cell, x):
    """Xception-RNN, equation 1; PyTorch's order is i, f, g, o."""
    p = arrays(cell)
    (Wi, Wf, Wc, Wo), (Ui, Uf, Uc, Uo) = (
        parts(p[name], 4) for name in ("weight_ih_l0", "weight_hh_l0")
    )
    bi, bf, bc, bo = parts(p["bias_ih_l0"] + p["bias_hh_l0"], 4)
    h, C, states = np.zeros(H), np.zeros(H), []
    for x_t in x:
        i = sigma(Wi @ x_t + Ui @ h + bi)
        f = sigma(Wf @ x_t + Uf @ h + bf)
        o = sigma(Wo @ x_t + Uo @ h + bo)
        C = f * C + i * np.tanh(Wc @ x_t + Uc @ h + bc)
        h = o * np.tanh(C)
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize(
    ("kind", "reset_after", "equations"),
    [("gru", False, gru_before), ("gru", True, gru_after), ("lstm", True, lstm)],
)
@pytest.mark.parametrize("both", [False, True])
def test_states_follow_the_equations(kind, reset_after, equations, both):
    torch.manual_seed(0)
    rnn = MaskedRNN(kind, D, H, bidirectional=both, reset_after=reset_after)
    lengths = (7, 1, 4)
    x = torch.randn(3, 7, D)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    got = rnn(x, mask).detach().numpy()
    for row, n in enumerate(lengths):
        series = x[row, :n].numpy().astype(np.float64)
        expected = equations(rnn.forwards[0], series)
        if both:
            backwards = equations(rnn.backwards[0], series[::-1])[::-1]
            expected = np.hstack([expected, backwards])
        np.testing.assert_allclose(got[row, :n], expected, atol=1e-5)
        assert (got[row, n:] == 0).all()


def test_the_two_gru_forms_differ():
    torch.manual_seed(0)
    before = ResetBeforeGRU(D, H)
    after = torch.nn.GRU(D, H, batch_first=True)
    reorder = [1, 0, 2]  # z, r, h -> r, z, n
    with torch.no_grad():
        for name, value in (("weight_ih_l0", before.weight_ih), ("weight_hh_l0", before.weight_hh),
                            ("bias_ih_l0", before.bias)):  # fmt: skip
            chunks = value.chunk(3)
            flip = [-chunks[0], chunks[1], chunks[2]]  # z weighs the old state in torch
            getattr(after, name).copy_(torch.cat([flip[k] for k in reorder]))
        after.bias_hh_l0.zero_()
        x = torch.randn(1, 6, D)
        one, other = before(x)[0], after(x)[0]
    torch.testing.assert_close(one[:, 0], other[:, 0])  # the first state is zero: no reset yet
    assert (one[:, 1:] - other[:, 1:]).abs().max() > 1e-3


def test_the_reset_before_gru_has_one_bias_vector_a_gate():
    count = sum(p.numel() for p in ResetBeforeGRU(512, 1024).parameters())
    assert count == 3 * (512 * 1024 + 1024 * 1024 + 1024)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_bidirectional_layer_equals_torch_on_packed_sequences(kind):
    torch.manual_seed(0)
    ours = MaskedRNN(kind, D, 4, layers=2, bidirectional=True)
    theirs = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind](
        D, 4, num_layers=2, bidirectional=True, batch_first=True
    )
    for layer, (ahead, back) in enumerate(zip(ours.forwards, ours.backwards, strict=True)):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(theirs, f"{name}_l{layer}").data = getattr(ahead, f"{name}_l0").data
            getattr(theirs, f"{name}_l{layer}_reverse").data = getattr(back, f"{name}_l0").data
    lengths = torch.tensor([7, 1, 4])
    x = torch.randn(3, 7, D)
    mask = torch.arange(7) < lengths[:, None]
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, lengths, batch_first=True, enforce_sorted=False
    )
    expected, state = theirs(packed)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)
    got = ours(x * mask.unsqueeze(-1), mask)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    hidden = state[0] if kind == "lstm" else state  # (2 layers x 2 directions, B, H)
    last = LastPool(8, bidirectional=True)(got, mask)
    torch.testing.assert_close(last, torch.cat([hidden[2], hidden[3]], -1), atol=1e-6, rtol=1e-5)


def test_input_dropout_drops_the_same_features_of_all_slices():
    torch.manual_seed(0)
    rnn = MaskedRNN("gru", 200, H, input_dropout=0.2).train()
    packing = Packing.of(torch.ones(3, 6, dtype=torch.bool))
    dropped = packing.unpack(rnn._dropped(torch.ones(18, 200), packing))
    assert (dropped == dropped[:, :1]).all()
    assert set(dropped.unique().tolist()) == {0.0, 1.25}  # what is kept is enlarged, as in Keras
    assert 0.1 < (dropped[0, 0] == 0).float().mean() < 0.3
    assert (dropped[0, 0] != dropped[1, 0]).any()
    x, mask = torch.randn(2, 5, 200), torch.ones(2, 5, dtype=torch.bool)
    assert (rnn(x, mask) != rnn(x, mask)).any()
    rnn.eval()
    assert (rnn(x, mask) == rnn(x, mask)).all()


CELLS = [("gru", True), ("gru", False), ("lstm", True)]


@pytest.mark.parametrize(("kind", "reset_after"), CELLS)
@pytest.mark.parametrize("both", [False, True])
def test_gradients_are_those_of_finite_differences(kind, reset_after, both):
    torch.manual_seed(0)
    rnn = MaskedRNN(kind, 3, 4, layers=2, bidirectional=both, reset_after=reset_after).double()
    mask = torch.arange(5) < torch.tensor([3, 5, 1])[:, None]
    x = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: rnn(x, mask), (x, *rnn.parameters()))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_gradients_equal_those_of_torch(kind):
    torch.manual_seed(0)
    ours = MaskedRNN(kind, 24, 32)
    cell = ours.forwards[0]
    mask = torch.arange(40) < torch.tensor([40, 7, 33, 1])[:, None]
    x = torch.randn(4, 40, 24, requires_grad=True)
    weight = torch.randn(4, 40, 32) * mask.unsqueeze(-1) / 40
    both = []
    for states in (ours(x, mask), cell(x)[0]):
        loss = (states * weight).sum()
        both.append(
            [states * mask.unsqueeze(-1), *torch.autograd.grad(loss, [x, *cell.parameters()])]
        )
    for mine, theirs in zip(*both, strict=True):
        assert (mine - theirs).abs().max() <= 1e-6 * max(1, theirs.abs().max())


@pytest.mark.parametrize(("kind", "reset_after"), CELLS)
def test_a_series_has_the_same_states_and_gradients_alone_and_beside_padding(kind, reset_after):
    torch.manual_seed(0)
    rnn = MaskedRNN(kind, D, H, bidirectional=True, reset_after=reset_after)
    x, mask = torch.randn(3, 9, D), torch.arange(9) < torch.tensor([4, 9, 1])[:, None]
    x[~mask] = torch.nan
    together = torch.autograd.grad(rnn(x, mask).square().sum(), list(rnn.parameters()))
    alone = []
    for row, n in enumerate((4, 9, 1)):
        one = x[row : row + 1, :n]
        states = rnn(one, mask[row : row + 1, :n])
        torch.testing.assert_close(states[0], rnn(x, mask)[row, :n], atol=1e-6, rtol=1e-6)
        alone.append(torch.autograd.grad(states.square().sum(), list(rnn.parameters())))
    for whole, *each in zip(together, *alone, strict=True):
        torch.testing.assert_close(whole, sum(each), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "reset_after"), CELLS)
def test_bfloat16_products_stay_near_float32_and_sums_stay_in_it(kind, reset_after):
    torch.manual_seed(0)
    rnn = MaskedRNN(kind, 64, 48, reset_after=reset_after)
    x, mask = torch.randn(6, 30, 64), torch.arange(30) < torch.tensor([30, 29, 9, 9, 2, 1])[:, None]
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            states = rnn(x, mask)
        assert states.dtype == torch.float32
        found.append([states, *torch.autograd.grad(states.sum(), list(rnn.parameters()))])
    for exact, near in zip(*found, strict=True):
        assert 0 < (exact - near).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_the_way_of_cudnn_gives_the_same_states(kind):
    torch.manual_seed(0)
    cell = MaskedRNN(kind, D, H).forwards[0]
    rows, sizes = torch.randn(9, D), [4, 3, 1, 1]
    torch.testing.assert_close(run_cudnn(cell, rows, sizes), run_cell(cell, rows, sizes))


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "reset_after"), CELLS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_gives_the_states_and_gradients_of_the_cpu(kind, reset_after, precision):
    torch.manual_seed(0)
    rnn = MaskedRNN(kind, 24, 32, bidirectional=True, reset_after=reset_after)
    x, mask = torch.randn(4, 30, 24), torch.arange(30) < torch.tensor([30, 7, 23, 1])[:, None]
    found = []
    for device in ("cpu", "cuda"):
        rnn.to(device)
        enabled = precision == "bf16" and device == "cuda"
        with torch.autocast(device, torch.bfloat16, enabled=enabled):
            states = rnn(x.to(device), mask.to(device))
        grads = torch.autograd.grad(states.square().sum(), list(rnn.parameters()))
        found.append([part.cpu() for part in (states, *grads)])
    for exact, other in zip(*found, strict=True):
        assert (exact - other).norm() < (0.02 if precision == "bf16" else 1e-4) * exact.norm()
