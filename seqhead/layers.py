"""The parts of a head. Each takes padded slices and a mask, and never looks at padding."""

import torch
from torch import nn
from torch.nn import functional


class Standardise(nn.Module):
    """Subtract the training mean and divide by the training deviation of each feature.

    Parameters
    ----------
    features : int
        D.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to (B, S, D); padding becomes zero."""
        return (x - self.mean) / self.scale * mask.unsqueeze(-1)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation over the slices of a batch that are not padding.

    Parameters
    ----------
    features : int
        D.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to (B, S, D); padding becomes zero."""
        rows = x[mask]  # (N, D)
        if self.training and len(rows) < 2:  # one slice has no variance
            norm = self.norm
            rows = functional.batch_norm(
                rows, norm.running_mean, norm.running_var, norm.weight, norm.bias
            )
        else:
            rows = self.norm(rows)
        out = torch.zeros_like(x)
        out[mask] = rows
        return out


class MaskedRNN(nn.Module):
    """Recurrent layers, one over the other, in one or both directions.

    The backward direction reads each series from its own last slice, so that padding at the
    end never enters a state.

    Parameters
    ----------
    kind : str
        ``"gru"`` or ``"lstm"``.
    inputs : int
        D.
    hidden : int
        H, state size of each direction.
    layers : int
        Layers.
    bidirectional : bool
        Whether each layer also reads backwards; its output is then (B, S, 2H).
    """

    def __init__(
        self, kind: str, inputs: int, hidden: int, layers: int = 1, bidirectional: bool = False
    ) -> None:
        super().__init__()
        cell = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
        width = hidden * (2 if bidirectional else 1)
        sizes = [inputs] + [width] * (layers - 1)
        self.forwards = nn.ModuleList(cell(size, hidden, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(
            cell(size, hidden, batch_first=True) for size in (sizes if bidirectional else [])
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to states (B, S, H or 2H); padding becomes zero."""
        turned = reversal(mask) if self.backwards else None
        for number, layer in enumerate(self.forwards):
            states = layer(x)[0]
            if turned is not None:
                back = self.backwards[number](take_slices(x, turned))[0]
                states = torch.cat([states, take_slices(back, turned)], dim=-1)
            x = states
        return x * mask.unsqueeze(-1)


def reversal(mask: torch.Tensor) -> torch.Tensor:
    """Places that read each series backwards and leave its padding where it is.

    Parameters
    ----------
    mask : bool tensor (B, S)
        True where there is a slice; padding at the end.

    Returns
    -------
    int64 tensor (B, S)
    """
    place = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    backwards = mask.sum(dim=1, keepdim=True) - 1 - place
    return torch.where(mask, backwards, place)


def take_slices(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Pick slices of each series.

    Parameters
    ----------
    x : tensor (B, S, D)
        Slices.
    places : int64 tensor (B, S')
        Which of them, in the order wanted.

    Returns
    -------
    tensor (B, S', D)
    """
    return x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


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


class FeatureAttention(nn.Module):
    """Multiply a slice's features with their softmax; no parameters.

    References
    ----------
    DrCT2, feature attention.
    """

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to (B, S, D); padding becomes zero."""
        return x * x.softmax(dim=-1) * mask.unsqueeze(-1)
