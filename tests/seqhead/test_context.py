import numpy as np
import torch
from torch import nn

from seqhead.context import DilatedConvolutions, Transformer, sine_places

D, H = 5, 8


def test_a_layer_of_self_attention_equals_torchs():
    torch.manual_seed(0)
    ours = Transformer(D, H, layers=1).eval()
    theirs = nn.TransformerEncoderLayer(
        H, 4, dim_feedforward=2 * H, dropout=0.0, batch_first=True, norm_first=True
    ).eval()
    layer = ours.layers[0]
    theirs.self_attn.in_proj_weight.data = layer.queries_keys_values.weight.data
    theirs.self_attn.in_proj_bias.data = layer.queries_keys_values.bias.data
    theirs.self_attn.out_proj.load_state_dict(layer.joined.state_dict())
    theirs.linear1.load_state_dict(layer.dense[0].state_dict())
    theirs.linear2.load_state_dict(layer.dense[2].state_dict())
    x = torch.randn(2, 6, H)
    mask = torch.arange(6) < torch.tensor([6, 3])[:, None]
    with torch.enable_grad():  # torch's fast path would pack the series
        expected = theirs(x, src_key_padding_mask=~mask)
    torch.testing.assert_close(layer(x, mask)[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_places_are_sines_and_cosines():
    places = sine_places(7, H).numpy()
    for slice_number in range(7):
        for pair in range(H // 2):
            angle = slice_number / 10_000 ** (2 * pair / H)
            np.testing.assert_allclose(
                places[slice_number, 2 * pair : 2 * pair + 2], [np.sin(angle), np.cos(angle)],
                atol=1e-6,
            )  # fmt: skip


def test_the_order_of_slices_matters_to_a_transformer():
    torch.manual_seed(0)
    x, mask = torch.randn(1, 5, D), torch.ones(1, 5, dtype=torch.bool)
    head = Transformer(D, H, layers=2)
    assert (head(x, mask) - head(x.flip(1), mask).flip(1)).abs().max() > 1e-3


def test_convolutions_reach_as_far_as_their_dilations():
    torch.manual_seed(0)
    layer = DilatedConvolutions(D, H, layers=3)
    x = torch.randn(1, 41, D, requires_grad=True)
    layer(x, torch.ones(1, 41, dtype=torch.bool))[0, 20].sum().backward()
    seen = np.flatnonzero(x.grad[0].abs().sum(dim=1).numpy()) - 20
    assert (seen.min(), seen.max()) == (-7, 7)  # 1 + 2 + 4, both ways
