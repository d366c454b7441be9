"""Heads: padded features of a batch to logits, and to the attention behind them.

A head is a composition (`seqhead.branch`), two of them and a fusion (DrCT2), or one for each label.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from seqhead.branch import Branch
from seqhead.errors import FitError
from seqhead.head_config import HeadConfig
from seqhead.layers import dense_layers, replace_slices, take_slices


class Head(nn.Module):
    """What all heads can do.

    Attributes
    ----------
    config : HeadConfig
        What rebuilds it.
    """

    config: HeadConfig

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Score a batch.

        Parameters
        ----------
        x : float32 tensor (B, S, D)
            Features, padded at the end; ``config.inputs`` columns.
        mask : bool tensor (B, S)
            True where there is a slice; at least one in each series.

        Returns
        -------
        float32 tensor (B, K), or (B, S, K) without pooling
            Logits.
        """
        return self.outputs(x, mask)[-1]

    def outputs(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """All logits that are learnt from: those of `forward` last, those of branches before.

        Parameters
        ----------
        x, mask
            As in `forward`.

        Returns
        -------
        tuple of tensors as `forward` gives
        """
        logits = self._outputs(*self._read(x, mask))
        if self.config.pool == "none":
            beyond = mask.shape[1] - logits[-1].shape[1]
            logits = tuple(functional.pad(one, (0, 0, 0, beyond)) for one in logits)
        return logits

    def attention(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Say how much each slice counts.

        Parameters
        ----------
        x, mask
            As in `forward`.

        Returns
        -------
        float32 tensor (B, S)
            Sums to 1 in each series; 0 in padding.

        Raises
        ------
        FitError
            The head has no attention over slices.
        """
        weights = self._attention(*self._read(x, mask))
        return functional.pad(weights, (0, mask.shape[1] - weights.shape[1]))

    def second_rows(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Say of which slices `forward` reads the second feature set.

        Parameters
        ----------
        x, mask
            As in `forward`; the columns of the second set have no influence.

        Returns
        -------
        bool tensor (B, S)
        """
        longest = int(mask.sum(dim=1).max())
        rows = self._second_rows(x[:, :longest], mask[:, :longest])
        return functional.pad(rows, (0, mask.shape[1] - longest))

    def set_statistics(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Give the input normalisation the training rows' statistics.

        Parameters
        ----------
        mean, scale : float32 arrays (D,)
            Of the training rows; ignored by heads that do not standardise.

        Raises
        ------
        NotImplementedError
            A head says how.
        """
        raise NotImplementedError

    def _read(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Leave out columns that are padding in every series; replace slices."""
        longest = int(mask.sum(dim=1).max())
        x, mask = x[:, :longest], mask[:, :longest]
        return (x if self.config.replace is None else replace_slices(x, *self.config.replace)), mask

    def _second_rows(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        first, last = self.config.replace or (1, 0)
        place = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        return mask & (place >= first) & (place <= last)

    def _outputs(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise NotImplementedError

    def _attention(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class SequenceHead(Head, Branch):
    """Cached features of a series to logits, through one composition.

    Parameters
    ----------
    config : HeadConfig
        The composition.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config, config.features, config.labels)
        self.config = config

    def set_statistics(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Give the input normalisation statistics of the training rows (``config.inputs``,)."""
        Branch.set_statistics(self, mean[: self.config.features], scale[: self.config.features])

    def _outputs(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (Branch.forward(self, x, mask),)

    def _attention(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return Branch.attention(self, x, mask)


class ZoomHead(Head):
    """DrCT2: a branch over all slices, one over its key slices enlarged, and their fusion.

    The fusion sums the vectors that the branches give their dense layers; the paper sums
    matrices of 32 and 16 rows.

    Parameters
    ----------
    config : HeadConfig
        With ``zoom``. The branches are ``primary`` and ``zoom``, the fusion is ``fusion``.

    References
    ----------
    DrCT2, sections V.A to V.C.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        if config.zoom is None:
            raise FitError("a ZoomHead is built from a configuration with zoom")
        self.config, self.of_zoom = config, config.zoom
        self.primary = Branch(config, config.features, config.labels)
        self.zoom = Branch(self.of_zoom.branch, self.of_zoom.features, config.labels)
        width = self.primary.width
        if self.zoom.width != width:
            raise FitError(
                f"the branches' vectors are summed, but have {width} and {self.zoom.width} "
                "features: give both the same step_dense"
            )
        of_zoom = self.of_zoom
        self.fusion = dense_layers(width, of_zoom.mlp, config.labels, of_zoom.dropout)

    def key_slices(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose the slices that the second branch sees.

        Parameters
        ----------
        x, mask
            As in `forward`.

        Returns
        -------
        places : int64 tensor (B, k)
            Their numbers from 0, in the order of the series.
        mask : bool tensor (B, k)
            True where there is one: a series may have fewer slices.
        """
        x, mask = self._read(x, mask)
        return self._choose(self.primary.states(x[..., : self.config.features], mask), mask)

    def set_statistics(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Give both branches their part of the statistics (``config.inputs``,)."""
        D = self.config.features
        self.primary.set_statistics(mean[:D], scale[:D])
        self.zoom.set_statistics(mean[D:], scale[D:])

    def _outputs(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        D = self.config.features
        states = self.primary.states(x[..., :D], mask)
        overview = self.primary.pooled(states, mask)  # (B, width)
        places, chosen = self._choose(states, mask)
        close_up = self.zoom.encode(take_slices(x[..., D:], places), chosen)  # (B, width)
        both = self.primary.mlp(overview), self.zoom.mlp(close_up)
        return *both, self.fusion(overview + close_up)

    def _second_rows(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        places, chosen = self.key_slices(x, mask)
        return torch.zeros_like(mask).scatter(1, places, chosen)

    def _attention(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.primary.attention(x[..., : self.config.features], mask)

    def _choose(
        self, states: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.of_zoom.choose == "random":
            weights = _random_order(mask, fresh=self.training)
        else:
            weights = self.primary.weights(states, mask)
        return highest(weights, mask, self.of_zoom.slices)


class SeparateHeads(Head):
    """One head of one output for each label; they share nothing but their input.

    Parameters
    ----------
    config : HeadConfig
        With ``separate``.

    References
    ----------
    SDLM, model application for the binary classification problem.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        single = config.model_copy(update={"separate": False, "labels": 1})
        self.heads = nn.ModuleList(make_head(single) for _ in range(config.labels))

    @property
    def of_labels(self) -> list[Head]:
        """The K heads."""
        return [head for head in self.heads if isinstance(head, Head)]

    def set_statistics(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Give every head the statistics (``config.inputs``,)."""
        for head in self.of_labels:
            head.set_statistics(mean, scale)

    def outputs(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Give the heads' outputs side by side, see `Head.outputs`."""
        each = [head.outputs(x, mask) for head in self.of_labels]
        return tuple(torch.cat(logits, dim=-1) for logits in zip(*each, strict=True))

    def second_rows(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Of which slices any of the heads reads the second set, see `Head.second_rows`."""
        return torch.stack([head.second_rows(x, mask) for head in self.of_labels]).any(dim=0)

    def attention(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Refuse: each label has an attention of its own.

        Raises
        ------
        FitError
            Always.
        """
        raise FitError("separate heads have an attention for each label: ask one of `of_labels`")


def make_head(config: HeadConfig) -> Head:
    """Build the head of a configuration.

    Parameters
    ----------
    config : HeadConfig
        The configuration.

    Returns
    -------
    Head

    Raises
    ------
    FitError
        The parts do not fit together.
    """
    if config.separate:
        return SeparateHeads(config)
    return SequenceHead(config) if config.zoom is None else ZoomHead(config)


def highest(weights: torch.Tensor, mask: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the slices of the highest weights.

    Parameters
    ----------
    weights : tensor (B, S)
        Of the slices; between equals the first one counts as higher.
    mask : bool tensor (B, S)
        True where there is a slice.
    k : int
        How many.

    Returns
    -------
    places : int64 tensor (B, k')
        Their numbers in increasing order; k' is the smaller of k and S.
    mask : bool tensor (B, k')
        True where there is one.
    """
    ranked = (
        weights.detach()
        .masked_fill(~mask, -torch.inf)
        .argsort(dim=1, descending=True, stable=True)[:, :k]
    )
    S = mask.shape[1]
    places = torch.where(mask.gather(1, ranked), ranked, S + ranked).sort(dim=1).values
    return places % S, places < S


def _random_order(mask: torch.Tensor, *, fresh: bool) -> torch.Tensor:
    """Random weights (B, S); those of a series depend on its length alone unless fresh."""
    if fresh:
        return torch.rand(mask.shape, device=mask.device)
    weights = torch.zeros(mask.shape)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        seeded = torch.Generator().manual_seed(length)
        weights[row, :length] = torch.rand(length, generator=seeded)
    return weights.to(mask.device)
