"""The parts of a head. Each takes padded slices and a mask, and never looks at padding."""

from collections.abc import Sequence

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


class FeatureAttention(nn.Module):
    """Multiply a slice's features with their softmax; no parameters.

    References
    ----------
    DrCT2, feature attention.
    """

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to (B, S, D); padding becomes zero."""
        return x * x.softmax(dim=-1) * mask.unsqueeze(-1)


class SliceDense(nn.Module):
    """The same dense layer with its activation on every slice.

    Parameters
    ----------
    inputs, outputs : int
        Features of a slice before and after.
    activation : str
        ``"relu"`` or ``"tanh"``.

    References
    ----------
    DrCT2, equation 4: ``y_t = g(W [a_t forward, a_t backward] + b)``.
    """

    def __init__(self, inputs: int, outputs: int, activation: str = "relu") -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]()

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to (B, S, outputs); padding becomes zero."""
        return self.activation(self.linear(x)) * mask.unsqueeze(-1)


class Differences(nn.Module):
    """Lay the difference to the slice before beside each slice; 0 at the first slice."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to (B, S, 2D); padding becomes zero."""
        before = torch.cat([x[:, :1], x[:, :-1]], dim=1)
        return torch.cat([x, x - before], dim=-1) * mask.unsqueeze(-1)


class Product(nn.Module):
    """Multiply states with features, after a dense layer has brought one to the other's width.

    Parameters
    ----------
    features, states : int
        Widths of both.
    project : str
        ``"states"`` or ``"features"``: which one the dense layer is for.

    References
    ----------
    Xception-RNN, section IV.B.2.c, does not say how 512 states meet 2,048 features.
    """

    def __init__(self, features: int, states: int, project: str) -> None:
        super().__init__()
        self.project = project
        widths = (states, features) if project == "states" else (features, states)
        self.linear = nn.Linear(*widths)

    def forward(
        self, features: torch.Tensor, states: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """(B, S, D), (B, S, H) and their mask (B, S) to (B, S, D or H); padding becomes zero."""
        if self.project == "states":
            states = self.linear(states)
        else:
            features = self.linear(features)
        return features * states * mask.unsqueeze(-1)


def replace_slices(x: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Take some slices from the second of two feature sets that lie side by side.

    Parameters
    ----------
    x : tensor (B, S, 2D)
        Both sets.
    first, last : int
        The slices, counted from 1, the last included.

    Returns
    -------
    tensor (B, S, D)

    References
    ----------
    DrCT2, section VI.A.3, model fusion of DrCT1.
    """
    one, other = x.chunk(2, dim=-1)
    place = torch.arange(1, x.shape[1] + 1, device=x.device).view(1, -1, 1)
    return torch.where((place >= first) & (place <= last), other, one)


def dense_layers(
    width: int, sizes: Sequence[int], outputs: int, dropout: float | Sequence[float]
) -> nn.Sequential:
    """Dense ReLU layers and an output layer, with dropout before each.

    Parameters
    ----------
    width : int
        Features of a series or slice.
    sizes : sequence of int
        Of the ReLU layers.
    outputs : int
        K.
    dropout : float or sequence of float
        One rate, or one for each layer.

    Returns
    -------
    nn.Sequential
        (..., width) to logits (..., K).
    """
    widths = [width, *sizes, outputs]
    rates = [dropout] * (len(sizes) + 1) if isinstance(dropout, int | float) else dropout
    steps: list[nn.Module] = []
    for rate, before, after in zip(rates, widths[:-1], widths[1:], strict=True):
        steps += [nn.Dropout(rate)] if rate else []
        steps += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*steps[:-1])
