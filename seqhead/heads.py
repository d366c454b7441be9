"""A head is a composition over the cached features of a series.

``normalise -> feature attention? -> RNN -> pool over slices -> MLP -> K outputs``
"""

import numpy as np
import torch
from torch import nn

from seqhead.config import HeadConfig
from seqhead.layers import (
    AttentionPool,
    FeatureAttention,
    LastPool,
    MaskedBatchNorm,
    MaskedRNN,
    MaxPool,
    MeanPool,
    Standardise,
)


class SequenceHead(nn.Module):
    """Cached features of a series to logits.

    Parameters
    ----------
    config : HeadConfig
        The composition.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.normalise = _normalisation(config)
        self.attend = FeatureAttention() if config.feature_attention else None
        self.rnn = _rnn(config)
        self.pool = _pooling(config)
        self.mlp = _mlp(config)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Score a batch.

        Parameters
        ----------
        x : float32 tensor (B, S, D)
            Features, padded at the end.
        mask : bool tensor (B, S)
            True where there is a slice; at least one in each series.

        Returns
        -------
        float32 tensor (B, K), or (B, S, K) without pooling
            Logits.
        """
        for step in (self.normalise, self.attend, self.rnn, self.pool):
            if step is not None:
                x = step(x, mask)
        return self.mlp(x)

    def set_statistics(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Give the input normalisation the training rows' statistics.

        Parameters
        ----------
        mean, scale : float32 arrays (D,)
            Of the training rows; ignored by heads that do not standardise.
        """
        if isinstance(self.normalise, Standardise):
            self.normalise.mean.copy_(torch.from_numpy(mean))
            self.normalise.scale.copy_(torch.from_numpy(scale))


def _normalisation(config: HeadConfig) -> nn.Module | None:
    kinds = {"standard": Standardise, "batch": MaskedBatchNorm}
    return kinds[config.normalise](config.features) if config.normalise in kinds else None


def _rnn(config: HeadConfig) -> nn.Module | None:
    if config.rnn == "none":
        return None
    return MaskedRNN(
        config.rnn, config.features, config.hidden, config.layers, config.bidirectional
    )


def _pooling(config: HeadConfig) -> nn.Module | None:
    if config.pool == "none":
        return None
    if config.pool == "last":
        return LastPool(config.width, config.bidirectional)
    if config.pool == "attention":
        return AttentionPool(config.width)
    return MeanPool() if config.pool == "mean" else MaxPool()


def _mlp(config: HeadConfig) -> nn.Sequential:
    steps: list[nn.Module] = []
    width = config.width
    for size in config.mlp:
        steps += [*_dropout(config), nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*steps, *_dropout(config), nn.Linear(width, config.labels))


def _dropout(config: HeadConfig) -> list[nn.Module]:
    return [nn.Dropout(config.dropout)] if config.dropout else []
