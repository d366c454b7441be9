"""Everything that rebuilds a head, as it stands in ``config.toml``. Imports no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

RECURRENT = ("gru", "lstm")
"""Values of ``rnn`` that have a state; only these can read in both directions."""

ATTENTION_POOLS = ("attention", "gated-attention")
"""Values of ``pool`` that give each slice a weight."""

TRANSFORMER_HEADS = 4
"""Attention heads of a transformer layer; `BranchConfig.hidden` is a multiple of it."""


class BranchConfig(BaseModel):
    """One composition over the slices of a series, in the order of its steps.

    Attributes
    ----------
    normalise : str
        ``"standard"``: mean and deviation of the training rows; ``"batch"``: batch
        normalisation; ``"none"``.
    input_dense : int
        Size of a dense layer on each slice; 0 for none.
    feature_attention : bool
        Multiply each slice's features with their softmax.
    differences : bool
        Lay the difference to the slice before beside each slice's features.
    rnn : str
        What looks across slices: ``"gru"``, ``"lstm"``, ``"tcn"`` (dilated convolutions),
        ``"transformer"`` (self-attention) or ``"none"``.
    hidden : int
        H, state size of each direction.
    layers : int
        Layers of it.
    bidirectional : bool
        Whether a GRU or LSTM also reads backwards.
    reset_after : bool
        Whether a GRU's reset gate acts after the recurrent product, as `torch.nn.GRU` has it, or
        before it, as the papers' equation has it.
    input_dropout : float
        Share of the inputs of each layer that is dropped, the same ones in all slices of a
        series: what Keras calls the ``dropout`` of a recurrent layer.
    product : str
        Multiply the states with the features that the recurrent layer read:
        ``"project-states"`` (a dense layer brings the states to the features' width),
        ``"project-features"`` (the other way round) or ``"none"``.
    step_dense : int
        Size of a dense layer on each slice after that; 0 for none.
    activation : str
        Of the dense layers on slices: ``"relu"`` or ``"tanh"``.
    pool : str
        Over slices: ``"last"``, ``"mean"``, ``"max"``, ``"attention"``, ``"gated-attention"``, or
        ``"none"`` for an output at each slice.
    mlp : tuple of int
        Sizes of the dense ReLU layers before the outputs.
    dropout : float or tuple of float
        Before each dense layer of the MLP, the output layer included; a tuple has one rate for
        each of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    normalise: Literal["standard", "batch", "none"] = "standard"
    input_dense: int = Field(0, ge=0, le=65_536)
    feature_attention: bool = False
    differences: bool = False
    rnn: Literal["gru", "lstm", "tcn", "transformer", "none"] = "gru"
    hidden: int = Field(256, gt=0, le=65_536)
    layers: int = Field(1, gt=0, le=64)
    bidirectional: bool = False
    reset_after: bool = True
    input_dropout: float = Field(0.0, ge=0, lt=1)
    product: Literal["none", "project-states", "project-features"] = "none"
    step_dense: int = Field(0, ge=0, le=65_536)
    activation: Literal["relu", "tanh"] = "relu"
    pool: Literal["last", "mean", "max", "attention", "gated-attention", "none"] = "max"
    mlp: tuple[int, ...] = ()
    dropout: float | tuple[float, ...] = 0.0

    @property
    def multiplies_slices(self) -> bool:
        """Whether slices meet a matrix of weights before they are pooled."""
        return bool(self.input_dense or self.step_dense) or self.rnn != "none"

    @model_validator(mode="after")
    def _parts_that_go_together(self) -> "BranchConfig":
        if self.bidirectional and self.rnn not in RECURRENT:
            raise ValueError(f"bidirectional needs an RNN (gru or lstm): rnn is '{self.rnn}'")
        if not self.reset_after and self.rnn != "gru":
            raise ValueError(f"reset_after is of a GRU: rnn is '{self.rnn}'")
        if self.rnn == "none" and self.product != "none":
            raise ValueError("product needs states: rnn is 'none'")
        if self.input_dropout and self.rnn not in RECURRENT:
            raise ValueError(f"input_dropout is of a GRU or LSTM: rnn is '{self.rnn}'")
        changed = self.step_dense or self.product != "none"
        if self.pool == "last" and self.bidirectional and changed:
            raise ValueError(
                "pool last of both directions takes the recurrent states: leave step_dense and "
                "product out, or choose another pool"
            )
        if self.rnn == "transformer" and self.hidden % TRANSFORMER_HEADS:
            raise ValueError(f"hidden of a transformer must be a multiple of {TRANSFORMER_HEADS}")
        return self

    @model_validator(mode="after")
    def _dense_layers(self) -> "BranchConfig":
        check_dense(self.mlp, self.dropout)
        return self


class ZoomConfig(BaseModel):
    """A second branch that looks at the key slices at a higher resolution (DrCT2).

    The features of the enlarged slices lie beside the others: columns D, D + 1, ... of the input.

    Attributes
    ----------
    features : int
        D2, width of the features of the enlarged slices.
    branch : BranchConfig
        The second branch.
    slices : int
        Key slices; a series of fewer slices gives all it has.
    choose : str
        ``"attention"``: the slices of the highest attention of the first branch; ``"random"``.
    mlp, dropout
        Dense layers over the sum of both branches' vectors, as in `BranchConfig`.

    References
    ----------
    DrCT2, sections V.B (attention proposal slices network) and V.C (knowledge fusion).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(gt=0)
    branch: BranchConfig
    slices: int = Field(16, gt=0)
    choose: Literal["attention", "random"] = "attention"
    mlp: tuple[int, ...] = ()
    dropout: float | tuple[float, ...] = 0.0

    @model_validator(mode="after")
    def _one_vector(self) -> "ZoomConfig":
        check_dense(self.mlp, self.dropout)
        if self.branch.pool == "none":
            raise ValueError("the zoom branch needs a pool over slices")
        return self


class HeadConfig(BranchConfig):
    """Everything that rebuilds a head.

    Attributes
    ----------
    features : int
        D, width of the cached features.
    labels : int
        K, number of outputs.
    sample_to : int or None
        Series of more slices are reduced to so many, evenly spaced; None: all slices are used.
    separate : bool
        K heads of one output each, which share nothing.
    replace : (int, int) or None
        Slices from the first to the second of these numbers, counted from 1, are replaced by
        their second set of features, which lies in columns D to 2D of the input.
    zoom : ZoomConfig or None
        A second branch.
    """

    features: int = Field(gt=0)
    labels: int = Field(gt=0)
    sample_to: int | None = Field(None, gt=0)
    separate: bool = False
    replace: tuple[int, int] | None = None
    zoom: ZoomConfig | None = None

    @property
    def inputs(self) -> int:
        """Columns of the input: D, and those of a second feature set beside it."""
        if self.zoom is not None:
            return self.features + self.zoom.features
        return self.features * (1 if self.replace is None else 2)

    @property
    def multiplies_slices(self) -> bool:
        """Whether slices of either branch meet a matrix of weights before they are pooled."""
        of_zoom = self.zoom is not None and self.zoom.branch.multiplies_slices
        return super().multiplies_slices or of_zoom

    @model_validator(mode="after")
    def _series_level_only(self) -> "HeadConfig":
        series_only = {"sample_to": self.sample_to, "replace": self.replace, "zoom": self.zoom}
        given = [name for name, value in series_only.items() if value is not None]
        if given and self.pool == "none":
            raise ValueError(f"{given[0]} needs a pool over slices: pool is 'none'")
        if self.replace is not None and self.zoom is not None:
            raise ValueError("replace and zoom both want the second feature set: use one")
        if self.replace is not None and not 1 <= self.replace[0] <= self.replace[1]:
            raise ValueError(f"replace must be a first and a last slice from 1. Got {self.replace}")
        if self.zoom and self.zoom.choose == "attention" and self.pool not in ATTENTION_POOLS:
            raise ValueError(
                f"zoom chooses slices by attention: pool must be one of {ATTENTION_POOLS}"
            )
        return self


def check_dense(mlp: tuple[int, ...], dropout: float | tuple[float, ...]) -> None:
    """Check the sizes and the dropout of dense layers.

    Parameters
    ----------
    mlp : tuple of int
        Sizes before the output layer.
    dropout : float or tuple of float
        One rate, or one for each layer and the output layer.

    Raises
    ------
    ValueError
        A size is not positive, a rate is not in [0, 1), or there is another number of rates.
    """
    if any(size < 1 for size in mlp):
        raise ValueError(f"sizes of dense layers must be positive. Got {mlp}")
    rates = dropout if isinstance(dropout, tuple) else (dropout,)
    if any(not 0 <= rate < 1 for rate in rates):
        raise ValueError(f"dropout must be at least 0 and below 1. Got {dropout}")
    if isinstance(dropout, tuple) and len(dropout) != len(mlp) + 1:
        raise ValueError(
            f"dropout has {len(dropout)} rates for {len(mlp) + 1} dense layers (the output "
            "layer included)"
        )
