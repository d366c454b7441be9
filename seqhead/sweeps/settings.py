"""What a sweep is told, as ``sweep.toml``."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seqhead.config import MAX_CONFIG_BYTES, SourcesConfig
from seqhead.errors import FitError, SweepError
from seqhead.sweeps.space import Space, parse_space
from seqhead.systems.loading import first_problem
from seqhead.train_config import MAX_SEED

Level = Literal["series", "slice"]
Metric = Literal["auc", "average_precision", "log_loss", "brier"]
LOWER_IS_BETTER = ("log_loss", "brier")
"""Metrics of which the lowest candidate wins."""

_NOT_COMPARED = {"sources"}  # a store may lie elsewhere on another machine; digests say what it is


class Request(BaseModel):
    """What a user asks of a sweep; None takes the default.

    Attributes
    ----------
    search : dict or None
        Tables of a search file; None: the default of the level.
    sampler : str
        ``"tpe"``: near what did well; ``"random"``; ``"grid"``: every candidate.
    trials : int or None
        How many candidates; 50 by default, and all of a grid.
    metric : str
        What candidates are compared by on the inner folds: a mean over the labels that have it.
    pruning : bool or None
        Whether candidates that fall behind are given up; by default in all but a grid.
    inner_folds : int
        1: the validation patients of one split; K: folds of all patients but the test ones.
    seed : int
        Of the split, of the draws, and of all fits.
    level : str or None
        ``"series"`` or ``"slice"``; None: that of the labels, or of the searched systems.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    search: dict[str, Any] | None = None
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    trials: int | None = Field(default=None, gt=0, le=100_000)
    metric: Metric = "auc"
    pruning: bool | None = None
    inner_folds: int = Field(default=1, ge=1, le=100)
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    level: Level | None = None


class FeaturesUse(BaseModel):
    """One feature set, or two side by side, that candidates read.

    Attributes
    ----------
    name, second : str, str or None
        Their names.
    fingerprint : dict
        Of their recipes.
    digest : str
        Of the features of the series in the sweep.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    second: str | None = None
    fingerprint: dict[str, Any]
    digest: str


class SweepSettings(BaseModel):
    """Everything that decides what a sweep finds.

    Attributes
    ----------
    level, metric, sampler, trials, pruning, inner_folds, seed
        As in `Request`, decided.
    labels : tuple of str
        Names of the K labels.
    labels_digest : str
        Of the labels of the series in the sweep.
    features : tuple of FeaturesUse
        The feature sets.
    operating_point, duplicate_scans : str
        As in `seqhead.splitting.Splitting`.
    split_sha256 : str or None
        Digest of the split file that was given.
    search : dict
        The space.
    sources : SourcesConfig
        Files, relative to the project folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    level: Level
    metric: Metric
    sampler: Literal["tpe", "random", "grid"]
    trials: int = Field(gt=0)
    pruning: bool
    inner_folds: int = Field(gt=0)
    seed: int = Field(ge=0, le=MAX_SEED)
    labels: tuple[str, ...]
    labels_digest: str
    features: tuple[FeaturesUse, ...]
    operating_point: str
    duplicate_scans: Literal["refuse", "together"]
    split_sha256: str | None = None
    search: dict[str, Any]
    sources: SourcesConfig

    @property
    def space(self) -> Space:
        """What is searched."""
        return parse_space(self.search, self.level)

    @property
    def maximise(self) -> bool:
        """Whether more of the metric is better."""
        return self.metric not in LOWER_IS_BETTER

    def differences(self, other: "SweepSettings") -> list[str]:
        """Fields that differ.

        Parameters
        ----------
        other : SweepSettings
            The settings to compare with.

        Returns
        -------
        list of str
            Field, what is here, and what is there.
        """
        mine, theirs = (
            _flat(settings.model_dump(mode="json", exclude=_NOT_COMPARED))
            for settings in (self, other)
        )
        return [
            _difference(name, mine.get(name), theirs.get(name))
            for name in dict.fromkeys([*mine, *theirs])
            if mine.get(name) != theirs.get(name)
        ]


def parse_request(**given: Any) -> Request:
    """Check what a user asks of a sweep.

    Parameters
    ----------
    **given
        Fields of `Request` that a user chose; None is the default.

    Returns
    -------
    Request

    Raises
    ------
    FitError
        A value is out of range, or one has no effect.
    """
    try:
        request = Request(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise FitError(f"--{name}: {first['msg']}, got {first['input']!r}") from None
    if request.sampler == "grid" and request.trials is not None:
        raise FitError("--trials has no effect on a grid, which is tried as a whole. Leave it out")
    return request


def read_settings(path: Path) -> SweepSettings:
    """Read ``sweep.toml``.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    SweepSettings

    Raises
    ------
    SweepError
        It is not TOML, or holds other fields than a sweep's.
    """
    data = path.read_bytes()[: MAX_CONFIG_BYTES + 1]
    where = f"{path.parent.name}/{path.name}"
    if len(data) > MAX_CONFIG_BYTES:
        raise SweepError(f"{where} is larger than {MAX_CONFIG_BYTES >> 20} MB: not a sweep's")
    try:
        settings = SweepSettings.model_validate(tomllib.loads(data.decode("utf-8")))
        _ = settings.space
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SweepError(f"{where} is not TOML: {error}") from None
    except ValidationError as error:
        raise SweepError(f"{where}: {first_problem(error)}") from None
    except FitError as error:
        raise SweepError(f"{where}: search: {error}") from None
    return settings


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Values of tables in tables, and of lists of tables, by their names with points."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = {f"{one.get('name', place)}": one for place, one in enumerate(value)}
    if not isinstance(value, dict):
        return {name: value}
    below = {f"{name}.{key}" if name else key: inner for key, inner in value.items()}
    return {k: v for key, inner in below.items() for k, v in _flat(inner, key).items()}


def _difference(name: str, mine: Any, theirs: Any) -> str:
    if name == "labels_digest":
        return "labels of series in the sweep are not what they were (labels_digest)"
    if name.endswith(".digest") and mine and theirs:
        return f"features of series in the sweep are not what they were ({name})"
    return f"{name} is {_short(mine)}, and was {_short(theirs)}"


def _short(value: Any) -> str:
    text = "not given" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
