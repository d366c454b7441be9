"""Everything that describes a run, as it stands in its ``config.toml``. Imports no torch."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seqhead.errors import RunError
from seqhead.splits import DEFAULT_FRACTIONS

MAX_SEED = 2**32 - 2
"""Largest seed: the split uses the one after it too, and scikit-learn takes 32 bits."""

MAX_CONFIG_BYTES = 1 << 20
"""A configuration file is smaller than this."""


class HeadConfig(BaseModel):
    """Everything that rebuilds a head.

    Attributes
    ----------
    features : int
        D, width of the cached features.
    labels : int
        K, number of outputs.
    normalise : str
        ``"standard"``: mean and deviation of the training rows; ``"batch"``: batch
        normalisation; ``"none"``.
    feature_attention : bool
        Multiply each slice's features with their softmax.
    rnn : str
        ``"gru"``, ``"lstm"`` or ``"none"``.
    hidden : int
        H, state size of each direction.
    layers : int
        Recurrent layers.
    bidirectional : bool
        Whether the recurrent layers also read backwards.
    pool : str
        Over slices: ``"last"``, ``"mean"``, ``"max"``, ``"attention"``, or ``"none"`` for an
        output at each slice.
    mlp : tuple of int
        Sizes of the dense ReLU layers before the outputs.
    dropout : float
        Before each dense layer, the output layer included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(gt=0)
    labels: int = Field(gt=0)
    normalise: Literal["standard", "batch", "none"] = "standard"
    feature_attention: bool = False
    rnn: Literal["gru", "lstm", "none"] = "gru"
    hidden: int = Field(256, gt=0, le=65_536)
    layers: int = Field(1, gt=0, le=64)
    bidirectional: bool = False
    pool: Literal["last", "mean", "max", "attention", "none"] = "max"
    mlp: tuple[int, ...] = ()
    dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _rnn_for_both_directions(self) -> "HeadConfig":
        if self.bidirectional and self.rnn == "none":
            raise ValueError("bidirectional needs an RNN: rnn is 'none'")
        return self

    @property
    def width(self) -> int:
        """Features of a slice after the RNN: D, H or 2H."""
        if self.rnn == "none":
            return self.features
        return self.hidden * (2 if self.bidirectional else 1)


class TrainConfig(BaseModel):
    """How a head is trained.

    Attributes
    ----------
    loss : str
        ``"bce"`` or ``"mse"``.
    epochs : int
        At most so many passes over the training series.
    batch_size : int
        Series in a batch.
    learning_rate : float
        Of Adam.
    patience : int
        Epochs without a better validation loss before training stops.
    seed : int
        Of weights, order and dropout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: Literal["bce", "mse"] = "bce"
    epochs: int = Field(100, gt=0)
    batch_size: int = Field(16, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    patience: int = Field(10, gt=0)
    seed: int = Field(default=0, ge=0, le=MAX_SEED)


class FeaturesConfig(BaseModel):
    """The feature set that a model was fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dim: int = Field(gt=0)
    dtype: str
    fingerprint: dict[str, str]
    recipe: dict[str, Any]


class SourcesConfig(BaseModel):
    """Files that a fit read, relative to the project folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    labels: str
    labels_format: str
    slice_labels: str | None = None


class SplitConfig(BaseModel):
    """How patients were split.

    Attributes
    ----------
    fractions : tuple of float
        Shares of the patients in training, validation and test.
    seed : int
        Of the shuffle.
    folds, repeats : int or None
        Of a cross-validation.
    repeat, fold : int or None
        Which of its models this run is.
    file, file_sha256 : str or None
        A split that was given: its path relative to the project folder, and its digest.
    protocol : str or None
        A published protocol that does not keep patients together, see `seqhead.protocols`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    folds: int | None = Field(default=None, gt=1)
    repeats: int | None = Field(default=None, gt=0)
    repeat: int | None = Field(default=None, gt=0)
    fold: int | None = Field(default=None, gt=0)
    file: str | None = None
    file_sha256: str | None = None
    protocol: str | None = None


class SvmConfig(BaseModel):
    """Arguments of `seqhead.PooledSVC`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Literal["pooled", "padded"] = "pooled"
    pool: str = "mean+max"
    C: float = Field(default=1.0, gt=0)
    folds: int = Field(default=5, gt=1)
    random_state: int = Field(default=0, ge=0, le=MAX_SEED)


class RunConfig(BaseModel):
    """Everything that describes a run; ``config.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    level: Literal["series", "slice"]
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    operating_point: str = "youden"
    features: FeaturesConfig
    sources: SourcesConfig
    split: SplitConfig
    head: HeadConfig | None = None
    training: TrainConfig | None = None
    svm: SvmConfig | None = None

    @property
    def model(self) -> str:
        """Short name of the model, e.g. ``"bigru"``, ``"none-max"`` or ``"svm"``."""
        if self.head is None:
            return "svm"
        if self.head.rnn == "none":
            return f"none-{self.head.pool}"
        return f"{'bi' if self.head.bidirectional else ''}{self.head.rnn}"


def read_config(path: Path) -> RunConfig:
    """Read ``config.toml``: plain TOML of limited size, checked against a schema.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    RunConfig

    Raises
    ------
    RunError
        The file is too large, is not TOML, or holds other fields than a run's.
    """
    with path.open("rb") as file:
        data = file.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise RunError(f"{path.name} is larger than {MAX_CONFIG_BYTES >> 20} MB: not a run's")
    try:
        return RunConfig.model_validate(tomllib.loads(data.decode("utf-8")))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise RunError(f"{path.parent.name}/{path.name} is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{path.parent.name}/{path.name}: {where}: {first['msg']}") from None
