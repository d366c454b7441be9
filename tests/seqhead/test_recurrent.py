"""Gates against the papers' equations, written step by step with NumPy."""

import numpy as np
import pytest
import torch

from seqhead.pools import LastPool
from seqhead.recurrent import MaskedRNN, ResetBeforeGRU

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
    dropped = rnn._dropped(torch.ones(3, 6, 200))
    assert (dropped == dropped[:, :1]).all()
    assert set(dropped.unique().tolist()) == {0.0, 1.25}  # what is kept is enlarged, as in Keras
    assert 0.1 < (dropped[0, 0] == 0).float().mean() < 0.3
    assert (dropped[0, 0] != dropped[1, 0]).any()
    x, mask = torch.randn(2, 5, 200), torch.ones(2, 5, dtype=torch.bool)
    assert (rnn(x, mask) != rnn(x, mask)).any()
    rnn.eval()
    assert (rnn(x, mask) == rnn(x, mask)).all()
