"""What the file of a system may say. Imports no torch."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from seqhead.config import SvmConfig
from seqhead.head_config import HeadConfig
from seqhead.rules import parse_rule
from seqhead.train_config import TrainConfig


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureSpec(_Table):
    """A feature set that a system reads.

    Attributes
    ----------
    name : str
        What the feature set is called.
    backbone, weights, windows, size, fit, spacing_mm, fov_mm, zoom, pool, layer
        Options of ``featurecache extract``, see `featurecache.options.ExtractOptions`.
    node : str
        The layer that a recipe with these options names.
    width : int
        D, features of a slice.
    """

    name: str
    backbone: str
    weights: str = "imagenet"
    windows: str = "brain"
    size: int = Field(224, gt=0)
    fit: str = "squash"
    spacing_mm: float | None = None
    fov_mm: float | None = None
    zoom: int | None = Field(None, gt=0)
    pool: Literal["avg", "max", "none"] = "avg"
    layer: str | None = None
    node: str
    width: int = Field(gt=0)


class SystemSplit(_Table):
    """How the paper parts training from test: ``--protocol paper``.

    Attributes
    ----------
    protocol : str or None
        A split that does not keep patients together, see `seqhead.protocols`.
    folds : int or None
        Of a cross-validation; here patients stay together. Without either, patients are split as
        in any other fit.
    paper : str
        What the paper did.
    """

    protocol: Literal["sdlm", "xception-rnn"] | None = None
    folds: int | None = Field(None, gt=1)
    paper: str

    @model_validator(mode="after")
    def _one_way(self) -> "SystemSplit":
        if self.protocol is not None and self.folds is not None:
            raise ValueError("a split is a protocol or folds, not both")
        return self


class SystemMetrics(_Table):
    """How the paper measures.

    Attributes
    ----------
    threshold : float or None
        From this probability on a finding counts as predicted; None: as validation patients choose.
    average : str
        ``"micro"``, ``"macro"`` or ``"none"``: each label for itself.
    main : str
        The metric that the paper compares with.
    """

    threshold: float | None = None
    average: Literal["micro", "macro", "none"] = "macro"
    main: str = "f1"


class Choice(_Table):
    """Where the paper leaves something open, or cannot be followed.

    Attributes
    ----------
    about : str
        What it is.
    paper : str
        What the paper says.
    chosen : str
        What is done here, and why.
    instead : tuple of str
        The alternatives: settings for ``--set``, or, where they begin with ``--``, options of
        ``featurecache extract``.
    """

    about: str
    paper: str
    chosen: str
    instead: tuple[str, ...] = ()


class System(_Table):
    """A published system.

    Attributes
    ----------
    name : str
        What it is called.
    aliases : tuple of str
        Other names of it.
    title : str
        What it is, in one line.
    paper : str
        The paper.
    dataset, amount : str
        What the reported numbers were measured on, and how much of it there was.
    level : str
        ``"series"`` or ``"slice"``.
    labels : tuple of str
        The paper's labels; a fit takes those of the label file.
    select : tuple of str
        Which series are used, as ``featurecache scan --select`` takes it.
    features : tuple of FeatureSpec
        What it reads; a second set is that of the enlarged slices.
    head, training : HeadConfig, TrainConfig or None
        A sequence head.
    label_weights : dict
        Weight in the loss of some labels, by name.
    svm : SvmConfig or None
        A linear SVM.
    rule : str or None
        A rule over the predictions of slices.
    slices : str or None
        Of a rule: the system whose slices ``seqhead reproduce`` combines.
    split : SystemSplit
    metrics : SystemMetrics
    choices : tuple of Choice
    reported : dict
        The numbers of the paper's tables, fractions instead of per cent.
    """

    name: str
    aliases: tuple[str, ...] = ()
    title: str
    paper: str
    dataset: str
    amount: str
    level: Literal["series", "slice"]
    labels: tuple[str, ...] = Field(min_length=1)
    select: tuple[str, ...] = ("all",)
    features: tuple[FeatureSpec, ...] = Field((), max_length=2)
    head: HeadConfig | None = None
    training: TrainConfig | None = None
    label_weights: dict[str, float] = {}
    svm: SvmConfig | None = None
    rule: str | None = None
    slices: str | None = None
    split: SystemSplit
    metrics: SystemMetrics = SystemMetrics()
    choices: tuple[Choice, ...] = ()
    reported: dict[str, Any] = {}

    @property
    def kind(self) -> Literal["sequence", "svm", "rule"]:
        """What is fitted."""
        if self.head is not None:
            return "sequence"
        return "svm" if self.svm is not None else "rule"

    @property
    def input(self) -> str:
        """What it works on, in two words."""
        return "slice predictions" if self.kind == "rule" else "cached features"

    @model_validator(mode="after")
    def _one_model(self) -> "System":
        given = [part is not None for part in (self.head, self.svm, self.rule)]
        if sum(given) != 1 or (self.head is None) != (self.training is None):
            raise ValueError("a system has a head with its training, or an svm, or a rule")
        if (self.rule is None) != (self.slices is None):
            raise ValueError("a rule says whose slices it combines, and nothing else does")
        if self.rule is not None:
            parse_rule(self.rule)
        wanted = 0 if self.rule else 1
        if self.head is not None:
            wanted += self.head.inputs > self.head.features
            if (self.head.pool == "none") != (self.level == "slice"):
                raise ValueError("level slice goes with pool none, and level series with a pool")
        if len(self.features) != wanted:
            raise ValueError(f"{wanted} feature set(s) are read, {len(self.features)} are named")
        return self
