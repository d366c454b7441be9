"""Everything that describes a run, as it stands in its ``config.toml``. Imports no torch."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seqhead.errors import RunError
from seqhead.head_config import HeadConfig
from seqhead.splits import DEFAULT_FRACTIONS
from seqhead.train_config import MAX_SEED, TrainConfig

MAX_CONFIG_BYTES = 1 << 20
"""A configuration file is smaller than this."""


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

    input: Literal["pooled", "padded", "slices"] = "pooled"
    pool: str = "mean+max"
    C: float = Field(default=1.0, gt=0)
    folds: int = Field(default=5, gt=1)
    random_state: int = Field(default=0, ge=0, le=MAX_SEED)


class ViewConfig(BaseModel):
    """An augmented view of every series, see `featurecache.views.View`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(gt=0)
    seed: int = Field(default=0, ge=0)


class SystemUse(BaseModel):
    """The published system that a run is of.

    Attributes
    ----------
    name : str
        Its name.
    changed : tuple of str
        Settings that are not the system's, as ``--set`` takes them.
    other_features : tuple of str
        What the features are that the system does not ask for (``--any-recipe``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    changed: tuple[str, ...] = ()
    other_features: tuple[str, ...] = ()


class RunConfig(BaseModel):
    """Everything that describes a run; ``config.toml``.

    `views` are the augmented views that training drew from, besides the images as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    level: Literal["series", "slice"]
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    operating_point: str = "youden"
    features: FeaturesConfig
    second_features: FeaturesConfig | None = None
    views: tuple[ViewConfig, ...] = ()
    system: SystemUse | None = None
    sources: SourcesConfig
    split: SplitConfig
    head: HeadConfig | None = None
    training: TrainConfig | None = None
    svm: SvmConfig | None = None

    @property
    def model(self) -> str:
        """Short name of the model, e.g. ``"bigru"``, ``"none-max"``, ``"svm"`` or a system's."""
        if self.system is not None:
            return self.system.name
        if self.head is None:
            return "svm"
        if self.head.rnn == "none":
            return f"none-{self.head.pool}"
        return f"{'bi' if self.head.bidirectional else ''}{self.head.rnn}"

    @property
    def stem(self) -> str:
        """What the run folder is called, without its number."""
        return self.model if self.system is not None else f"{self.features.name}-{self.model}"


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
