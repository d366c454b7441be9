import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqhead.batches import collate
from seqhead.errors import FitError
from seqhead.head_config import HeadConfig
from seqhead.heads import make_head
from seqhead.layers import Differences, MaskedBatchNorm, Product, replace_slices

D = 5
COMPOSITIONS = [
    {"rnn": rnn, "bidirectional": both, "layers": layers, "pool": pool, "normalise": normalise}
    for (rnn, both, layers), pool, normalise in itertools.product(
        [("gru", False, 1), ("gru", True, 2), ("lstm", True, 1), ("lstm", False, 2),
         ("none", False, 1)],
        ["last", "mean", "max", "attention", "none"],
        ["standard", "batch"],
    )
] + [
    {"rnn": rnn, "hidden": 8, "layers": 2, "pool": pool}
    for rnn, pool in itertools.product(["tcn", "transformer"], ["mean", "gated-attention", "none"])
] + [
    {"reset_after": False, "bidirectional": True, "layers": 2, "pool": "last"},
    {"feature_attention": True, "differences": True, "pool": "gated-attention"},
    {"product": "project-states", "layers": 2, "pool": "none"},
    {"product": "project-features", "rnn": "lstm", "pool": "mean"},
    {"input_dense": 7, "step_dense": 4, "activation": "tanh", "pool": "max", "normalise": "batch"},
    {"sample_to": 4, "pool": "attention", "step_dense": 3},
    {"separate": True, "pool": "last", "mlp": (4,)},
    {"separate": True, "pool": "none", "rnn": "lstm"},
    {"replace": (2, 3), "pool": "attention"},
    {"zoom": {"features": 4, "slices": 3, "mlp": (5,),
              "branch": {"normalise": "batch", "input_dense": 6, "hidden": 3,
                         "bidirectional": True, "pool": "mean"}}, "pool": "attention"},
    {"zoom": {"features": 4, "slices": 2, "choose": "random",
              "branch": {"hidden": 6, "pool": "gated-attention"}}, "pool": "max"},
]  # fmt: skip


def head_of(**options):
    """A head with every parameter and statistic away from its initial value, for evaluation."""
    torch.manual_seed(0)
    head = make_head(HeadConfig(features=D, labels=3, **{"hidden": 6, **options}))
    C = head.config.inputs
    head.set_statistics(np.linspace(-1, 1, C, dtype=np.float32), np.full(C, 2.0, np.float32))
    with torch.no_grad():
        for norm in (m for m in head.modules() if isinstance(m, torch.nn.BatchNorm1d)):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
    return head.eval()


def logits(head, X, rows, pad_to=None):
    """Outputs of some series; padding is as ugly as can be."""
    batch = collate(X, None, np.asarray(rows), pad_to=pad_to)
    x = torch.where(batch.mask.unsqueeze(-1), batch.x, 1e3)
    with torch.no_grad():
        outputs = head.outputs(x, batch.mask)
    return [
        np.concatenate(
            [o[k].numpy()[: len(X[r])] if o.ndim == 3 else o[k].numpy() for o in outputs]
        )
        for k, r in enumerate(rows)
    ]


def some_series(lengths, seed, columns):
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=3, size=(n, columns)).astype(np.float32) for n in [*lengths, 1]]


def named(options):
    return "-".join(f"{k}={v}" if not isinstance(v, dict) else k for k, v in options.items())


@pytest.mark.parametrize("options", COMPOSITIONS, ids=named)
@settings(max_examples=5, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    extra=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_padding_never_changes_an_output(options, lengths, extra, seed):
    head = head_of(**options)
    X = some_series(lengths, seed, head.config.inputs)
    everyone = list(range(len(X)))
    together = logits(head, X, everyone, pad_to=max(map(len, X)) + extra)
    for row in everyone:
        np.testing.assert_allclose(together[row], logits(head, X, [row])[0], atol=1e-5)


@pytest.mark.parametrize(
    "options", [o for o in COMPOSITIONS if "attention" in o["pool"]], ids=named
)
@settings(max_examples=5, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    extra=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_padding_never_changes_an_attention(options, lengths, extra, seed):
    head = head_of(**options)
    X = some_series(lengths, seed, head.config.inputs)
    batch = collate(X, None, np.arange(len(X)), pad_to=max(map(len, X)) + extra)
    with torch.no_grad():
        together = head.attention(batch.x, batch.mask)
        assert together.shape == batch.mask.shape
        assert (together[~batch.mask] == 0).all()
        torch.testing.assert_close(together.sum(dim=1), torch.ones(len(X)))
        for row, matrix in enumerate(X):
            one = collate(X, None, np.array([row]))
            alone = head.attention(one.x, one.mask)[0]
            torch.testing.assert_close(together[row, : len(matrix)], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "options", [o for o in COMPOSITIONS if o.get("normalise") == "batch" or "zoom" in o], ids=named
)
@settings(max_examples=5, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), extra=st.integers(1, 9))
def test_padding_never_changes_the_statistics_of_a_batch_norm(options, lengths, extra):
    states = []
    for more in (0, extra):
        head = head_of(**options).train()
        X = some_series(lengths, 0, head.config.inputs)
        batch = collate(X, None, np.arange(len(X)), pad_to=max(map(len, X)) + more)
        torch.manual_seed(0)
        head(torch.where(batch.mask.unsqueeze(-1), batch.x, 1e3), batch.mask)
        states.append({k: v for k, v in head.state_dict().items() if "running" in k})
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value)


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


def test_a_rate_for_each_dense_layer_stands_before_it():
    head = head_of(mlp=(7, 4), dropout=(0.0, 0.5, 0.25))
    steps = [layer.p if isinstance(layer, torch.nn.Dropout) else type(layer).__name__
             for layer in head.mlp]  # fmt: skip
    assert steps == ["Linear", "ReLU", 0.5, "Linear", "ReLU", 0.25, "Linear"]


def test_differences_lie_beside_the_features():
    x = torch.randn(2, 4, D)
    mask = torch.arange(4) < torch.tensor([4, 2])[:, None]
    got = Differences()(x, mask).numpy()
    for row, n in enumerate((4, 2)):
        changes = np.diff(x[row, :n].numpy(), axis=0, prepend=x[row, :1].numpy())
        np.testing.assert_array_equal(got[row, :n], np.hstack([x[row, :n].numpy(), changes]))
    assert (got[1, 2:] == 0).all()


def test_the_product_is_taken_after_a_dense_layer():
    torch.manual_seed(0)
    x, states = torch.randn(1, 3, D), torch.randn(1, 3, 2)
    mask = torch.ones(1, 3, dtype=torch.bool)
    wide, narrow = Product(D, 2, "states"), Product(D, 2, "features")
    torch.testing.assert_close(wide(x, states, mask), x * wide.linear(states))
    torch.testing.assert_close(narrow(x, states, mask), narrow.linear(x) * states)


def test_slices_are_replaced_by_number():
    x = torch.arange(2 * 5 * 4.0).reshape(2, 5, 4)
    got = replace_slices(x, 2, 3)
    torch.testing.assert_close(got[:, [0, 3, 4]], x[:, [0, 3, 4], :2])
    torch.testing.assert_close(got[:, [1, 2]], x[:, [1, 2], 2:])


def test_separate_heads_share_nothing():
    head = head_of(separate=True, mlp=(4,))
    x, mask = torch.randn(2, 4, D), torch.ones(2, 4, dtype=torch.bool)
    gradient = torch.autograd.grad(head(x, mask)[:, 1].sum(), list(head.parameters()))
    touched = {n.split(".")[1] for (n, _), g in zip(head.named_parameters(), gradient, strict=True)
               if g.any()}  # fmt: skip
    assert touched == {"1"}
    single = head.of_labels[1](x, mask)
    torch.testing.assert_close(head(x, mask)[:, 1:2], single)


def test_a_head_without_attention_says_so():
    with pytest.raises(FitError, match="no attention"):
        head_of(pool="mean").attention(torch.randn(1, 2, D), torch.ones(1, 2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rnn": "none", "bidirectional": True}, "bidirectional needs an RNN"),
        ({"hiden": 4}, "extra"),
        ({"rnn": "lstm", "reset_after": False}, "of a GRU"),
        ({"rnn": "none", "product": "project-states"}, "product needs states"),
        ({"rnn": "tcn", "input_dropout": 0.1}, "input_dropout is of a GRU or LSTM"),
        ({"bidirectional": True, "pool": "last", "step_dense": 3}, "another pool"),
        ({"rnn": "transformer", "hidden": 6}, "multiple of 4"),
        ({"mlp": (3,), "dropout": (0.5,)}, "1 rates for 2 dense layers"),
        ({"mlp": (0,)}, "must be positive"),
        ({"dropout": 1.0}, "below 1"),
        ({"pool": "none", "sample_to": 8}, "sample_to needs a pool"),
        ({"replace": (0, 3)}, "from 1"),
        ({"zoom": {"features": 3, "branch": {}}}, "by attention"),
        ({"zoom": {"features": 3, "branch": {"pool": "none"}}}, "needs a pool"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HeadConfig(features=3, labels=1, **options)


def test_branches_of_different_widths_are_refused():
    config = HeadConfig(features=3, labels=1, hidden=4, pool="attention",
                        zoom={"features": 3, "branch": {"hidden": 5}})  # fmt: skip
    with pytest.raises(FitError, match="4 and 5"):
        make_head(config)
