import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils import rnn

from seqhead.packing import Packing


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.integers(0, 3))
def test_slices_are_packed_as_torch_packs_them_and_come_back(lengths, padding):
    S = max(lengths) + padding
    mask = torch.arange(S) < torch.tensor(lengths)[:, None]
    x = torch.arange(1.0, len(lengths) * S * 2 + 1).view(len(lengths), S, 2)
    packing = Packing.of(mask)
    expected = rnn.pack_padded_sequence(
        x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    assert packing.sizes == expected.batch_sizes.tolist()
    torch.testing.assert_close(packing.pack(x), expected.data)
    torch.testing.assert_close(packing.unpack(expected.data), x * mask.unsqueeze(-1))
    turned = packing.unpack(packing.turn(packing.pack(x)))
    for row, n in enumerate(lengths):
        torch.testing.assert_close(turned[row, :n], x[row, :n].flip(0))
        assert (packing.owners == row).sum() == n


def test_gradients_come_back_to_the_slices_they_are_of():
    mask = torch.arange(5) < torch.tensor([3, 5, 1])[:, None]
    packing = Packing.of(mask)
    x = torch.randn(3, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: packing.unpack(packing.turn(packing.pack(x))), x)
