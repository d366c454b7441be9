import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqhead.batches import collate
from seqhead.config import HeadConfig
from seqhead.heads import SequenceHead
from seqhead.layers import AttentionPool, FeatureAttention, LastPool, MaskedBatchNorm, MaskedRNN

D = 5
COMPOSITIONS = [
    {"rnn": rnn, "bidirectional": both, "layers": layers, "pool": pool, "normalise": normalise}
    for (rnn, both, layers), pool, normalise in itertools.product(
        [("gru", False, 1), ("gru", True, 2), ("lstm", True, 1), ("lstm", False, 2),
         ("none", False, 1)],
        ["last", "mean", "max", "attention", "none"],
        ["standard", "batch"],
    )
]  # fmt: skip


def head_of(**options):
    torch.manual_seed(0)
    head = SequenceHead(HeadConfig(features=D, labels=3, hidden=6, **options))
    head.set_statistics(np.linspace(-1, 1, D, dtype=np.float32), np.full(D, 2.0, np.float32))
    return head.eval()


def logits(head, X, rows, pad_to=None):
    batch = collate(X, None, np.asarray(rows), pad_to=pad_to)
    with torch.no_grad():
        out = head(batch.x, batch.mask).numpy()
    return [o[: len(X[r])] if o.ndim == 2 else o for o, r in zip(out, rows, strict=True)]


@pytest.mark.parametrize("options", COMPOSITIONS, ids=lambda o: "-".join(map(str, o.values())))
@settings(max_examples=5, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    extra=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_padding_never_changes_an_output(options, lengths, extra, seed):
    head = head_of(**options)
    rng = np.random.default_rng(seed)
    X = [rng.normal(scale=3, size=(n, D)).astype(np.float32) for n in [*lengths, 1]]
    everyone = list(range(len(X)))
    together = logits(head, X, everyone, pad_to=max(map(len, X)) + extra)
    for row in everyone:
        np.testing.assert_allclose(together[row], logits(head, X, [row])[0], atol=1e-5)


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


def test_batch_norm_sees_the_valid_slices_only():
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(D), torch.nn.BatchNorm1d(D)
    x = torch.randn(3, 6, D) * 4 + 2
    mask = torch.arange(6) < torch.tensor([6, 1, 3])[:, None]
    out = ours(torch.where(mask.unsqueeze(-1), x, 1e6), mask)
    torch.testing.assert_close(out[mask], theirs(x[mask]))
    torch.testing.assert_close(ours.norm.running_var, theirs.running_var)
    assert (out[~mask] == 0).all()


def test_batch_norm_survives_a_single_slice():
    norm = MaskedBatchNorm(D).train()
    out = norm(torch.ones(1, 1, D), torch.ones(1, 1, dtype=torch.bool))
    assert torch.isfinite(out).all()


def test_attention_weights_sum_to_one_over_valid_slices():
    mask = torch.arange(6) < torch.tensor([6, 1, 3])[:, None]
    weights = AttentionPool(D).weights(torch.randn(3, 6, D), mask)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    assert (weights[~mask] == 0).all()


def test_feature_attention_is_the_softmax_times_the_features():
    x = torch.randn(1, 2, D)
    got = FeatureAttention()(x, torch.ones(1, 2, dtype=torch.bool))
    weights = np.exp(x.numpy()) / np.exp(x.numpy()).sum(-1, keepdims=True)
    np.testing.assert_allclose(got.numpy(), x.numpy() * weights, rtol=1e-5)


def test_shapes_follow_the_composition():
    head = head_of(rnn="lstm", bidirectional=True, mlp=(7, 4), dropout=0.5)
    linear = [layer for layer in head.mlp if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [
        (12, 7),
        (7, 4),
        (4, 3),
    ]
    assert head(torch.randn(2, 4, D), torch.ones(2, 4, dtype=torch.bool)).shape == (2, 3)
    slices = head_of(pool="none")
    assert slices(torch.randn(2, 4, D), torch.ones(2, 4, dtype=torch.bool)).shape == (2, 4, 3)


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match="bidirectional needs an RNN"):
        HeadConfig(features=3, labels=1, rnn="none", bidirectional=True)
    with pytest.raises(ValueError, match="extra"):
        HeadConfig(features=3, labels=1, hiden=4)
