"""What to fit: the options of ``seqhead fit``."""

import importlib.util
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from featurecache.errors import MissingResourceError
from seqhead.errors import FitError
from seqhead.systems.loading import (
    changed_system,
    load_system,
    merged,
    parse_settings,
)
from seqhead.systems.schema import System
from seqhead.train_config import MAX_SEED, LossName, Precision

_HEAD = ("rnn", "hidden", "layers", "bidirectional", "pool", "dropout")
_TRAINING = (
    "loss", "epochs", "batch_size", "learning_rate", "patience", "balance", "precision",
)  # fmt: skip
_NO_CHANGE = ("training.precision",)  # of a system: how it is computed, not what it is
_OF_SEQUENCE = {*_HEAD, *_TRAINING, "label_weights", "second_features", "views", "tensorboard"}


class FitOptions(BaseModel):
    """What to fit; None takes the default that the level, the store or the system gives.

    Attributes
    ----------
    system : str or None
        A published system; what else is given changes it.
    settings : tuple of str
        Settings of the head and its training as ``PART.FIELD=VALUE``, see
        `seqhead.systems.loading.parse_settings`.
    any_recipe : bool
        Accept features that are not of the system's recipe.
    features, second_features : str or None
        Names of the feature sets; by default the only one, or those of the system's recipe.
    views : bool
        Learn from the augmented views of the feature sets that the store has, too.
    level : str or None
        ``"series"`` or ``"slice"``; the labels' granularity by default.
    head : str
        ``"sequence"`` or ``"svm"``.
    rnn, hidden, layers, bidirectional, pool, dropout
        Of `HeadConfig`; `pool` is ``"max"`` by default, at level slice always none.
    loss, epochs, batch_size, learning_rate, patience, balance, precision
        Of `TrainConfig`.
    label_weights : tuple of str
        Weights of labels in the loss, as ``NAME=WEIGHT``; 1 for the others.
    svm_input : str
        ``"pooled"`` or ``"padded"``, of `PooledSVC`.
    seed : int
        Of split, weights, order and folds.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    memory : float or None
        Memory that features may take, in 10^9 bytes; more are read from the store batch by batch.
        None: half of what is available. Changes no result.
    tensorboard : bool
        Also write losses and learning rates of the epochs for TensorBoard, into the run folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str | None = None
    settings: tuple[str, ...] = ()
    any_recipe: bool = False
    features: str | None = None
    second_features: str | None = None
    views: bool = False
    level: Literal["series", "slice"] | None = None
    head: Literal["sequence", "svm"] = "sequence"
    rnn: Literal["gru", "lstm", "tcn", "transformer", "none"] = "gru"
    hidden: int = Field(256, gt=0)
    layers: int = Field(1, gt=0)
    bidirectional: bool = False
    pool: Literal["last", "mean", "max", "attention", "gated-attention"] | None = None
    dropout: float = Field(0.0, ge=0, lt=1)
    loss: LossName = "bce"
    epochs: int = Field(100, gt=0)
    batch_size: int = Field(16, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    patience: int = Field(10, gt=0)
    balance: Literal["none", "loss", "sampling"] = "none"
    precision: Precision = "auto"
    label_weights: tuple[str, ...] = ()
    svm_input: Literal["pooled", "padded"] = "pooled"
    seed: int = Field(0, ge=0, le=MAX_SEED)
    device: str = "auto"
    memory: float | None = Field(None, ge=0)
    tensorboard: bool = False


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
    MissingResourceError
        `tensorboard` is asked for, and the package is not installed.
    """
    try:
        options = FitOptions(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise FitError(f"--{name}: {first['msg']}, got {first['input']!r}") from None
    parse_label_weights(options.label_weights)
    if options.system is not None:
        _check_system(options)
    else:
        _check_own(options)
    if options.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise MissingResourceError(
            "--tensorboard needs the package tensorboard: pip install 'featurecache[tensorboard]'"
        )
    return options


def given_settings(options: FitOptions) -> dict[str, Any]:
    """Settings that were given, by options and by ``--set``, nested as a system is.

    Parameters
    ----------
    options : FitOptions
        What was given.

    Returns
    -------
    dict

    Raises
    ------
    FitError
        A setting is not of its form, or is given twice.
    """
    dump = options.model_dump(include=options.model_fields_set)
    direct = {
        "head": {k: v for k, v in dump.items() if k in _HEAD},
        "training": {k: v for k, v in dump.items() if k in _TRAINING},
        "svm": {"input": dump["svm_input"]} if "svm_input" in dump else {},
    }
    settings = parse_settings(options.settings)
    for part, fields in direct.items():
        for name in fields:
            if name in settings.get(part, {}):
                option = name.replace("_", "-")
                raise FitError(f"--{option} and --set {part}.{name} say the same: give one of them")
    return merged({part: fields for part, fields in direct.items() if fields}, settings)


def chosen_system(options: FitOptions) -> System | None:
    """Give the system of a fit, with what was changed.

    Parameters
    ----------
    options : FitOptions
        What to fit.

    Returns
    -------
    System or None

    Raises
    ------
    FitError
        There is no such system, or it cannot be changed so.
    """
    if options.system is None:
        return None
    return changed_system(load_system(options.system), given_settings(options))


def system_changes(options: FitOptions) -> tuple[str, ...]:
    """Say what of a system was changed.

    Parameters
    ----------
    options : FitOptions
        What to fit.

    Returns
    -------
    tuple of str
        As ``--set`` and ``--label-weight`` take them.
    """
    found: list[str] = []

    def walk(prefix: str, settings: dict[str, Any]) -> None:
        for name, value in settings.items():
            if isinstance(value, dict):
                walk(f"{prefix}{name}.", value)
            elif f"{prefix}{name}" not in _NO_CHANGE:
                found.append(f"{prefix}{name}={value}")

    walk("", given_settings(options))
    found += [f"label weight {text}" for text in options.label_weights]
    return (*found, *(["augmented views"] if options.views else []))


def parse_label_weights(texts: tuple[str, ...]) -> dict[str, float]:
    """Read ``NAME=WEIGHT``.

    Parameters
    ----------
    texts : tuple of str
        What ``--label-weight`` takes.

    Returns
    -------
    dict
        Label name -> weight.

    Raises
    ------
    FitError
        One is not of this form, or a label is named twice.
    """
    weights: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not name or not 0 <= weight < float("inf"):
            raise FitError(
                f"--label-weight {text}: expected NAME=WEIGHT, the weight not negative, for "
                "example any=2"
            )
        if name in weights:
            raise FitError(f"--label-weight {text}: {name} has a weight already")
        weights[name] = weight
    return weights


def _check_own(options: FitOptions) -> None:
    """Without a system, the options say what is fitted."""
    if options.any_recipe:
        raise FitError("--any-recipe has no effect: it goes with --system. Leave it out")
    if options.bidirectional and options.rnn not in ("gru", "lstm"):
        raise FitError("--bidirectional needs an RNN: use it with --rnn gru or --rnn lstm")
    _refuse_idle(options)


def _check_system(options: FitOptions) -> None:
    """A system says itself what is fitted, and at which level."""
    system = chosen_system(options)
    if system is None:
        return
    if system.kind == "rule":
        raise FitError(
            f"{system.name} is a rule over predictions of slices: fit a run at level slice, then "
            f"`seqhead evaluate RUN --level series --combine {system.rule}`"
        )
    if "head" in options.model_fields_set:
        raise FitError(f"--head has no effect: {system.name} says what is fitted. Leave it out")
    if options.level not in (None, system.level):
        raise FitError(f"{system.name} works at level {system.level}: leave --level out")
    if options.second_features is not None and len(system.features) < 2:
        raise FitError(f"--second-features has no effect: {system.name} reads one feature set")
    if system.kind == "svm":
        of_heads = {"label-weight": options.label_weights, "views": options.views,
                    "tensorboard": options.tensorboard}  # fmt: skip
        for option, given in of_heads.items():
            if given:
                raise FitError(f"--{option} has no effect: it is an option of sequence heads")
        _refuse_device(options)


def _refuse_device(options: FitOptions) -> None:
    if options.device not in ("auto", "cpu"):
        raise FitError("--device has no effect: an SVM is fitted on the CPU. Leave it out")


def idle_options(head: str, rnn: str) -> dict[str, str]:
    """Options that have no effect beside others.

    Parameters
    ----------
    head, rnn : str
        As in `FitOptions`.

    Returns
    -------
    dict
        Field of `FitOptions` -> why.
    """
    if head == "svm":
        return dict.fromkeys(_OF_SEQUENCE, "it is an option of --head sequence")
    idle = {"svm_input": "it is an option of --head svm"}
    if rnn == "none":
        idle |= dict.fromkeys(("hidden", "layers"), "it is an option of recurrent layers")
    return idle


def _refuse_idle(options: FitOptions) -> None:
    """An option that was given and does nothing is a misunderstanding."""
    if options.head == "svm":
        _refuse_device(options)
    idle = idle_options(options.head, options.rnn)
    given = [name for name in FitOptions.model_fields if name in options.model_fields_set]
    for field in given:
        if field in idle:
            name = {"label_weights": "label-weight"}.get(field, field.replace("_", "-"))
            raise FitError(f"--{name} has no effect: {idle[field]}. Leave it out")
    parts = {"svm"} if options.head == "svm" else {"head", "training"}
    wrong = [part for part in parse_settings(options.settings) if part not in parts]
    if wrong:
        raise FitError(f"--set {wrong[0]}... has no effect with --head {options.head}")
    given_settings(options)
