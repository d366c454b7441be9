"""What to fit: the options of ``seqhead fit``."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seqhead.classifier import SequenceClassifier
from seqhead.errors import FitError
from seqhead.svm import PooledSVC
from seqhead.train_config import MAX_SEED

_OF_SEQUENCE = {
    "rnn", "hidden", "layers", "bidirectional", "pool", "dropout", "loss", "epochs", "batch_size",
    "learning_rate", "patience",
}  # fmt: skip


class FitOptions(BaseModel):
    """What to fit; None takes the default that the level or the store gives.

    Attributes
    ----------
    features : str or None
        Name of the feature set; the only one by default.
    level : str or None
        ``"series"`` or ``"slice"``; the labels' granularity by default.
    head : str
        ``"sequence"`` or ``"svm"``.
    rnn, hidden, layers, bidirectional, pool, dropout
        Of `SequenceClassifier`; `pool` is ``"max"`` by default, at level slice always none.
    loss, epochs, batch_size, learning_rate, patience
        Of `SequenceClassifier`.
    svm_input : str
        ``"pooled"`` or ``"padded"``, of `PooledSVC`.
    seed : int
        Of split, weights, order and folds.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: str | None = None
    level: Literal["series", "slice"] | None = None
    head: Literal["sequence", "svm"] = "sequence"
    rnn: Literal["gru", "lstm", "none"] = "gru"
    hidden: int = Field(256, gt=0)
    layers: int = Field(1, gt=0)
    bidirectional: bool = False
    pool: Literal["last", "mean", "max", "attention"] | None = None
    dropout: float = Field(0.0, ge=0, lt=1)
    loss: Literal["bce", "mse"] = "bce"
    epochs: int = Field(100, gt=0)
    batch_size: int = Field(16, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    patience: int = Field(10, gt=0)
    svm_input: Literal["pooled", "padded"] = "pooled"
    seed: int = Field(0, ge=0, le=MAX_SEED)
    device: str = "auto"


def parse_fit_options(**given: Any) -> FitOptions:
    """Check options of a fit.

    Parameters
    ----------
    **given
        Fields of `FitOptions` that a user chose; None is the default.

    Returns
    -------
    FitOptions

    Raises
    ------
    FitError
        A value is out of range, two options contradict each other, or one has no effect.
    """
    try:
        options = FitOptions(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise FitError(f"--{name}: {first['msg']}, got {first['input']!r}") from None
    if options.bidirectional and options.rnn == "none":
        raise FitError("--bidirectional needs an RNN: use it with --rnn gru or --rnn lstm")
    _refuse_idle(options)
    return options


def _refuse_idle(options: FitOptions) -> None:
    """An option that was given and does nothing is a misunderstanding."""
    idle: set[str] = set()
    if options.head == "svm":
        idle, because = _OF_SEQUENCE, "it is an option of --head sequence"
        if options.device not in ("auto", "cpu"):
            idle, because = {"device"}, "an SVM is fitted on the CPU"
    elif "svm_input" in options.model_fields_set:
        idle, because = {"svm_input"}, "it is an option of --head svm"
    elif options.rnn == "none":
        idle, because = {"hidden", "layers"}, "it is an option of recurrent layers"
    given = [name for name in FitOptions.model_fields if name in idle & options.model_fields_set]
    if given:
        raise FitError(f"--{given[0].replace('_', '-')} has no effect: {because}. Leave it out")


def make_estimator(options: FitOptions, level: str) -> SequenceClassifier | PooledSVC:
    """Estimator of some options.

    Parameters
    ----------
    options : FitOptions
        What to fit.
    level : str
        ``"series"`` or ``"slice"``.

    Returns
    -------
    SequenceClassifier or PooledSVC

    Raises
    ------
    FitError
        The options do not go with the level.
    """
    if options.head == "svm":
        if level == "slice":
            raise FitError("--head svm works on whole series: use it with --level series")
        return PooledSVC(input=options.svm_input, random_state=options.seed)
    if level == "slice" and options.pool is not None:
        raise FitError(
            f"--pool {options.pool} makes one output of a series: leave it out at --level slice"
        )
    return SequenceClassifier(
        pool="none" if level == "slice" else options.pool or "max",
        random_state=options.seed,
        **options.model_dump(
            exclude={"features", "level", "head", "pool", "svm_input", "seed"},
        ),
    )
