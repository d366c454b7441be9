"""Losses over K labels of which some may be unknown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from seqhead.errors import FitError
from seqhead.train_config import TrainConfig

Elementwise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def squared_error(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Squared difference of probabilities and labels, each.

    Parameters
    ----------
    logits : float tensor (..., K)
        Outputs of a head.
    y : float tensor (..., K)
        1 or 0.

    Returns
    -------
    float tensor (..., K)

    References
    ----------
    SDLM, equation 3: mean squared error on sigmoid outputs.
    """
    return (logits.sigmoid() - y).square()


def cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy, each.

    Parameters
    ----------
    logits, y
        As in `squared_error`.

    Returns
    -------
    float tensor (..., K)
    """
    return functional.binary_cross_entropy_with_logits(logits, y, reduction="none")


def focal(logits: torch.Tensor, y: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """Cross entropy, the less of it the surer the right answer is.

    Parameters
    ----------
    logits, y
        As in `squared_error`.
    gamma : float
        Exponent; 0 gives the cross entropy.

    Returns
    -------
    float tensor (..., K)

    References
    ----------
    Lin et al. 2017, Focal loss for dense object detection, equation 4.
    """
    wrong = torch.where(y > 0.5, -logits, logits).sigmoid()  # 1 - p of the right answer
    return cross_entropy(logits, y) * wrong**gamma


@dataclass(frozen=True)
class MaskedLoss:
    """Weighted mean of a loss over the known labels.

    Parameters
    ----------
    each : callable
        (logits, y) to the loss of each label, all known.
    weights : float tensor (2, K), or None
        Weight of a negative and of a positive of each label; None: all the same.
    """

    each: Elementwise
    weights: torch.Tensor | None = None

    def terms(self, logits: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum and weight that the mean is made of.

        Parameters
        ----------
        logits : float tensor (..., K)
            Outputs of a head.
        y : float tensor (..., K)
            1, 0, or NaN for unknown.

        Returns
        -------
        total, weight : float tensors ()
            Sum of the weighted losses, and of the weights.
        """
        known = ~torch.isnan(y)
        truth = torch.where(known, y, 0.0).to(logits.dtype)
        weight = known.to(logits.dtype)
        if self.weights is not None:
            weight = weight * torch.where(truth > 0.5, self.weights[1], self.weights[0])
        losses = torch.where(known, self.each(logits, truth), 0.0)
        return (losses * weight).sum(), weight.sum()

    def __call__(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Mean over the known labels; 0 where nothing is known."""
        total, weight = self.terms(logits, y)
        return total / weight.clamp(min=torch.finfo(weight.dtype).tiny)


@dataclass(frozen=True)
class Objective:
    """What a head is trained for: a loss of its last output, and one of those before it.

    Parameters
    ----------
    last, others : MaskedLoss
        They are summed.
    """

    last: MaskedLoss
    others: MaskedLoss

    @classmethod
    def of(
        cls, config: TrainConfig, y: np.ndarray | Sequence[np.ndarray], device: torch.device
    ) -> "Objective":
        """Build the objective of a configuration.

        Parameters
        ----------
        config : TrainConfig
            Losses, weights and balance.
        y : array (B, K), or sequence of arrays (n, K)
            Training labels, for the balance; NaN is unknown.
        device : torch.device
            Where the head is.

        Returns
        -------
        Objective

        Raises
        ------
        FitError
            There is another number of label weights than of labels.
        """
        weights = _weights(config, y if isinstance(y, np.ndarray) else np.concatenate(y))
        on_device = None if weights is None else torch.from_numpy(weights).to(device)
        last, others = (
            MaskedLoss(_elementwise(name, config.focal_gamma), on_device)
            for name in (config.loss, config.branch_loss or config.loss)
        )
        return cls(last, others)

    def terms(
        self, outputs: Sequence[torch.Tensor], y: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum and weight of a batch, see `MaskedLoss.terms`.

        Parameters
        ----------
        outputs : sequence of float tensors (..., K)
            What `Head.outputs` gives.
        y : float tensor (..., K)
            1, 0, or NaN for unknown.

        Returns
        -------
        total, weight : float tensors ()
            Sum of the weighted losses of all outputs, and of the weights.
        """
        total, weight = self.last.terms(outputs[-1], y)
        for output in outputs[:-1]:
            total = total + self.others.terms(output, y)[0]
        return total, weight


def _elementwise(name: str, gamma: float) -> Elementwise:
    if name == "focal":
        return lambda logits, y: focal(logits, y, gamma)
    return {"bce": cross_entropy, "mse": squared_error}[name]


def _weights(config: TrainConfig, y: np.ndarray) -> np.ndarray | None:
    """Weights (2, K) of the negatives and positives of each label."""
    K = y.shape[1]
    if config.label_weights and len(config.label_weights) != K:
        raise FitError(f"{len(config.label_weights)} label weights for {K} labels")
    weights = np.ones((2, K), dtype=np.float32) * np.array(config.label_weights or 1.0, np.float32)
    if config.balance == "loss":
        counts = np.stack([(y == 0).sum(axis=0), (y == 1).sum(axis=0)])
        both = counts.all(axis=0)  # a label with one class has nothing to balance
        weights[:, both] *= counts[:, both].sum(axis=0) / (2 * counts[:, both])
    return None if (weights == 1).all() else weights
