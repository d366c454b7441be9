"""Slices of a series to one vector. None looks at padding."""

import torch
from torch import nn

from seqhead.layers import take_slices

_GATED = 128  # width between the two layers, as in the paper


class LastPool(nn.Module):
    """State after the last slice; of a backward direction, the state after the first.

    Parameters
    ----------
    width : int
        Features of a slice.
    bidirectional : bool
        Whether the second half of the features was read backwards.
    """

    def __init__(self, width: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.split = width // 2 if bidirectional else width

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, H) and its mask (B, S) to (B, H)."""
        last = (mask.sum(dim=1) - 1).view(-1, 1)
        ahead = take_slices(x, last)[:, 0, : self.split]
        return torch.cat([ahead, x[:, 0, self.split :]], dim=-1)


class MeanPool(nn.Module):
    """Mean over the slices that are not padding."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, H) and its mask (B, S) to (B, H)."""
        weight = mask.unsqueeze(-1)
        return (x * weight).sum(dim=1) / weight.sum(dim=1)


class MaxPool(nn.Module):
    """Largest value over the slices that are not padding."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, H) and its mask (B, S) to (B, H)."""
        return x.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(dim=1)


class AttentionPool(nn.Module):
    """Weighted mean over slices, the weights a softmax of one learnt value a slice.

    Parameters
    ----------
    width : int
        Features of a slice.

    References
    ----------
    DrCT2, equations 5 and 6; the weighted slices are summed.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def weights(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, H) and its mask (B, S) to weights (B, S) that sum to 1; padding has 0."""
        return self.score(x).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(dim=1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, H) and its mask (B, S) to (B, H)."""
        return torch.einsum("bs,bsh->bh", self.weights(x, mask), x)


class GatedAttentionPool(AttentionPool):
    """Weighted mean over slices, the weights from a gated network of two layers.

    Parameters
    ----------
    width : int
        Features of a slice.

    References
    ----------
    Ilse, Tomczak, Welling 2018, Attention-based deep multiple instance learning, equation 9.
    """

    def __init__(self, width: int) -> None:
        super().__init__(_GATED)
        self.signal = nn.Linear(width, _GATED)
        self.gate = nn.Linear(width, _GATED)

    def weights(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, H) and its mask (B, S) to weights (B, S) that sum to 1; padding has 0."""
        return super().weights(self.signal(x).tanh() * self.gate(x).sigmoid(), mask)
