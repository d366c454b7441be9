"""Convolution and self-attention over padded slices, in place of a recurrent layer."""

import math

import torch
from torch import nn
from torch.nn import functional

from seqhead.head_config import TRANSFORMER_HEADS

_KERNEL = 3  # a slice and its two neighbours at the layer's distance


class DilatedConvolutions(nn.Module):
    """Residual convolutions over neighbouring slices, twice as far apart in each layer.

    Layer l sees slices 2^l apart on both sides. Beyond the ends of a series, and in its padding,
    there are zeros.

    Parameters
    ----------
    inputs, hidden, layers : int
        D, H and how many.

    References
    ----------
    Bai, Kolter, Koltun 2018, An empirical evaluation of generic convolutional and recurrent
    networks for sequence modeling; here it looks both ways.
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden, hidden, _KERNEL, dilation=2**layer, padding=2**layer)
            for layer in range(layers)
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to (B, S, H); padding becomes zero."""
        valid = mask.unsqueeze(-1)
        x = self.enter(x) * valid
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            seen = convolution((norm(x) * valid).transpose(1, 2)).transpose(1, 2)
            x = x + functional.relu(seen) * valid
        return x


class Transformer(nn.Module):
    """Self-attention layers over the slices of a series, with their places as sines.

    Parameters
    ----------
    inputs, hidden, layers : int
        D, H (a multiple of `TRANSFORMER_HEADS`) and how many.

    References
    ----------
    Vaswani et al. 2017, Attention is all you need; normalised before each sublayer.
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.layers = nn.ModuleList(_SelfAttention(hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to (B, S, H); padding becomes zero."""
        x = self.enter(x)
        x = x + sine_places(x.shape[1], x.shape[2]).to(x)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x) * mask.unsqueeze(-1)


class _SelfAttention(nn.Module):
    """One layer: attention among the valid slices, then a dense layer on each."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(hidden), nn.LayerNorm(hidden)])
        self.queries_keys_values = nn.Linear(hidden, 3 * hidden)
        self.joined = nn.Linear(hidden, hidden)
        self.dense = nn.Sequential(
            nn.Linear(hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, hidden)
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        B, S, H = x.shape
        parts = self.queries_keys_values(self.norms[0](x))
        parts = parts.view(B, S, 3, TRANSFORMER_HEADS, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind(0)
        seen = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask[:, None, None, :]
        )
        x = x + self.joined(seen.transpose(1, 2).reshape(B, S, H))
        return x + self.dense(self.norms[1](x))


def sine_places(slices: int, width: int) -> torch.Tensor:
    """Sines and cosines of each slice's place.

    Parameters
    ----------
    slices, width : int
        S and H, H even.

    Returns
    -------
    float32 tensor (S, H)
    """
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(slices).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(slices, width)
