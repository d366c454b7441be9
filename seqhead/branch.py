"""One composition over the slices of a series; every head has one or more.

``normalise -> dense? -> feature attention? -> differences? -> RNN -> product? -> dense? -> pool
over slices -> MLP -> K outputs``
"""

import numpy as np
import torch
from torch import nn

from seqhead.arithmetic import over_slices
from seqhead.context import DilatedConvolutions, Transformer
from seqhead.errors import FitError
from seqhead.head_config import ATTENTION_POOLS, RECURRENT, BranchConfig
from seqhead.layers import (
    Differences,
    FeatureAttention,
    MaskedBatchNorm,
    Product,
    SliceDense,
    Standardise,
    dense_layers,
)
from seqhead.pools import AttentionPool, GatedAttentionPool, LastPool, MaxPool, MeanPool
from seqhead.recurrent import MaskedRNN


class Branch(nn.Module):
    """One composition: features of slices to a vector, and to logits.

    Parameters
    ----------
    config : BranchConfig
        The composition.
    features, labels : int
        D and K.
    """

    def __init__(self, config: BranchConfig, features: int, labels: int) -> None:
        super().__init__()
        width = features
        self.normalise = _normalisation(config, width)
        self.input_dense = _slice_dense(width, config.input_dense, config)
        width = config.input_dense or width
        self.attend = FeatureAttention() if config.feature_attention else None
        self.differences = Differences() if config.differences else None
        width *= 2 if config.differences else 1
        self.rnn, states = _rnn(config, width)
        self.product = _product(config, width, states)
        width = width if config.product == "project-states" else states
        self.step_dense = _slice_dense(width, config.step_dense, config)
        self.width = config.step_dense or width
        self.pool = _pooling(config, self.width)
        self.mlp = dense_layers(self.width, config.mlp, labels, config.dropout)

    def states(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to what is pooled (B, S, width); padding is zero."""
        with over_slices(x):
            for step in (self.normalise, self.input_dense, self.attend, self.differences):
                x = x if step is None else step(x, mask)
            states = x if self.rnn is None else self.rnn(x, mask)
            if self.product is not None:
                states = self.product(x, states, mask)
            if self.step_dense is not None:
                states = self.step_dense(states, mask)
        return states if states.dtype == torch.float64 else states.float()

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to logits (B, K), or (B, S, K) without pooling."""
        return self.mlp(self.encode(x, mask))

    def encode(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to vectors (B, width), or (B, S, width) without pooling."""
        return self.pooled(self.states(x, mask), mask)

    def pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What `states` gave, to vectors (B, width), or unchanged without pooling."""
        return states if self.pool is None else self.pool(states, mask)

    def weights(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What `states` gave, to weights of the slices (B, S); padding has 0.

        Raises
        ------
        FitError
            The pooling has no weights.
        """
        if not isinstance(self.pool, AttentionPool):
            raise FitError(
                "this head gives slices no attention: it has none of the pools "
                f"{', '.join(ATTENTION_POOLS)}"
            )
        return self.pool.weights(states, mask)

    def attention(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to weights of the slices (B, S), see `weights`."""
        return self.weights(self.states(x, mask), mask)

    def set_statistics(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Give the input normalisation statistics (D,); ignored where it has none."""
        if isinstance(self.normalise, Standardise):
            self.normalise.mean.copy_(torch.from_numpy(mean))
            self.normalise.scale.copy_(torch.from_numpy(scale))


def _normalisation(config: BranchConfig, features: int) -> nn.Module | None:
    kinds = {"standard": Standardise, "batch": MaskedBatchNorm}
    return kinds[config.normalise](features) if config.normalise in kinds else None


def _slice_dense(width: int, size: int, config: BranchConfig) -> nn.Module | None:
    return SliceDense(width, size, config.activation) if size else None


def _rnn(config: BranchConfig, width: int) -> tuple[nn.Module | None, int]:
    """What looks across slices, and the width of its states."""
    if config.rnn == "none":
        return None, width
    if config.rnn not in RECURRENT:
        kind = DilatedConvolutions if config.rnn == "tcn" else Transformer
        return kind(width, config.hidden, config.layers), config.hidden
    rnn = MaskedRNN(
        config.rnn, width, config.hidden, config.layers, config.bidirectional,
        reset_after=config.reset_after, input_dropout=config.input_dropout,
    )  # fmt: skip
    return rnn, config.hidden * (2 if config.bidirectional else 1)


def _product(config: BranchConfig, features: int, states: int) -> nn.Module | None:
    if config.product == "none":
        return None
    return Product(features, states, config.product.removeprefix("project-"))


def _pooling(config: BranchConfig, width: int) -> nn.Module | None:
    if config.pool == "none":
        return None
    if config.pool == "last":
        return LastPool(width, config.bidirectional)
    if config.pool in ATTENTION_POOLS:
        return {"attention": AttentionPool, "gated-attention": GatedAttentionPool}[config.pool](
            width
        )
    return MeanPool() if config.pool == "mean" else MaxPool()
