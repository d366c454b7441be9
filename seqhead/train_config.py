"""How a head is trained, as it stands in ``config.toml``. Imports no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_SEED = 2**32 - 2
"""Largest seed: the split uses the one after it too, and scikit-learn takes 32 bits."""

LossName = Literal["bce", "mse", "focal"]

Precision = Literal["auto", "fp32", "bf16"]


class TrainConfig(BaseModel):
    """How a head is trained.

    Attributes
    ----------
    loss : str
        ``"bce"``, ``"mse"`` or ``"focal"``; of the last output where there are several.
    branch_loss : str or None
        Of the other outputs (DrCT2: of both branches); None: as `loss`.
    focal_gamma : float
        Exponent of the focal loss.
    label_weights : tuple of float
        Weight of each of the K labels in the loss; empty: all the same.
    balance : str
        ``"loss"``: positives and negatives of a label weigh the same in sum; ``"sampling"``: series
        with and without any finding are drawn equally often; ``"none"``.
    optimiser : str
        ``"adam"``, ``"rmsprop"`` or ``"sgd"`` (momentum 0.9).
    learning_rate : float
        Of the optimiser.
    learning_rates : dict
        Of some modules of the head, by name, where they differ, for example ``{"zoom": 3e-4}``.
    weight_decay : float
        Of the optimiser.
    schedule : str
        ``"constant"``, or ``"step"``: a tenth after one third and again after two thirds of the
        epochs.
    epochs : int
        At most so many passes over the training series.
    batch_size : int
        Series in a batch.
    patience : int
        Epochs without a better validation loss before training stops.
    keep : str
        Weights of the epoch with the best validation loss (``"best"``) or of the last one.
    pad_to : int or None
        Pad batches to at least so many slices; padding is masked and changes nothing.
    leftovers : bool
        Where series are sampled to fewer slices: learn from samples of the left-over slices too.
    reverse : float
        Probability that a series is read from its other end in training.
    drop_slices : float
        Probability of each slice to be left out in training.
    precision : str
        Of products over slices in training: ``"fp32"``, ``"bf16"``, or ``"auto"``, which is bf16
        where the hardware multiplies it. A run says which it was. Weights, states, everything from
        pooling on, validation and prediction are in float32 always.
    seed : int
        Of weights, order, augmentation and dropout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: LossName = "bce"
    branch_loss: LossName | None = None
    focal_gamma: float = Field(2.0, ge=0)
    label_weights: tuple[float, ...] = ()
    balance: Literal["none", "loss", "sampling"] = "none"
    optimiser: Literal["adam", "rmsprop", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    learning_rates: dict[str, float] = {}
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "step"] = "constant"
    epochs: int = Field(100, gt=0)
    batch_size: int = Field(16, gt=0)
    patience: int = Field(10, gt=0)
    keep: Literal["best", "last"] = "best"
    pad_to: int | None = Field(None, gt=0)
    leftovers: bool = False
    reverse: float = Field(0.0, ge=0, le=1)
    drop_slices: float = Field(0.0, ge=0, lt=1)
    precision: Precision = "auto"
    seed: int = Field(0, ge=0, le=MAX_SEED)

    @model_validator(mode="after")
    def _positive(self) -> "TrainConfig":
        if any(rate <= 0 for rate in self.learning_rates.values()):
            raise ValueError(f"learning rates must be positive. Got {self.learning_rates}")
        if any(weight < 0 for weight in self.label_weights) or (
            self.label_weights and not any(self.label_weights)
        ):
            raise ValueError(
                f"label weights must not be negative, nor all 0. Got {self.label_weights}"
            )
        return self
