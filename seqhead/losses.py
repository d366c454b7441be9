"""Losses over K labels of which some may be unknown."""

from collections.abc import Callable

import torch
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def binary_cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean binary cross entropy of the known labels.

    Parameters
    ----------
    logits : float tensor (..., K)
        Outputs of a head.
    y : float tensor (..., K)
        1, 0, or NaN for unknown.

    Returns
    -------
    float tensor ()
        0 where nothing is known.
    """
    known = ~torch.isnan(y)
    loss = functional.binary_cross_entropy_with_logits(
        logits[known], y[known].to(logits.dtype), reduction="sum"
    )
    return loss / known.sum().clamp(min=1)


def mean_squared_error(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of probabilities and the known labels.

    Parameters
    ----------
    logits, y
        As in `binary_cross_entropy`.

    Returns
    -------
    float tensor ()
        0 where nothing is known.

    References
    ----------
    The loss of the SDLM paper: mean squared error on sigmoid outputs.
    """
    known = ~torch.isnan(y)
    difference = logits[known].sigmoid() - y[known].to(logits.dtype)
    return difference.square().sum() / known.sum().clamp(min=1)


LOSSES: dict[str, Loss] = {"bce": binary_cross_entropy, "mse": mean_squared_error}
"""Losses by the name that ``--loss`` takes."""
