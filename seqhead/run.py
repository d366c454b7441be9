"""A run folder: what was fitted on what, how well it does, and everything to use it again.

::

    runs/vgg16-gru-1/
        config.toml        resolved options, features, labels, thresholds
        model.safetensors  learnt numbers
        baseline.json      coefficients of the position-and-length baseline, for each level
        calibration.json   how validation patients say that probabilities are to be read
        folds.csv          series, patient, study, group, split, kind of scan
        history.csv        losses and learning rate of each epoch
        predictions.csv    labels and probabilities of every series or slice
        series.csv         of a slice run: labels and baseline of its series
        metrics.json       the document of `seqhead evaluate --json`
        log.txt            times and versions; all other files of equal fits are equal

A cross-validation has such a folder for each of its models, and pools what they say::

    runs/vgg16-gru-5-fold-1/
        fold-1/ ... fold-5/  a run each, as above (repeat-1-fold-1/ ... where repeated)
        config.toml          what they share; the thresholds are the means of theirs
        folds.csv            repeat, fold, and for each the split of every series
        history.csv          with repeat and fold
        predictions.csv      with repeat and fold: test rows, each by the model that did not
                             learn from it, and validation rows, which chose that model's threshold
        series.csv, metrics.json, log.txt
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from seqhead.baselines import PositionBaseline
from seqhead.calibration import Calibration
from seqhead.config import RunConfig, SvmConfig, read_config
from seqhead.ensemble import FoldAverage
from seqhead.errors import RunError
from seqhead.splits import KEPT_TOGETHER, check_disjoint

_WHOLE = ("position", "rows", "repeat", "fold")
_MEASURED = ("thickness_mm", "fov_mm", "tilt_deg", "n_slices", "z_extent_mm", "median_gap_mm")

if TYPE_CHECKING:
    from seqhead.classifier import SequenceClassifier
    from seqhead.svm import PooledSVC


@dataclass(frozen=True)
class Run:
    """A run folder, opened for reading.

    Parameters
    ----------
    path : Path
        The folder.
    config : RunConfig
        Its configuration.
    """

    path: Path
    config: RunConfig

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open a run folder.

        Parameters
        ----------
        path : str or Path
            The folder.

        Returns
        -------
        Run

        Raises
        ------
        RunError
            It is not a run folder, or its configuration is damaged.
        """
        path = Path(path)
        if path.is_file():
            raise RunError(
                f"{path.name} is a file; a model is a run folder with config.toml and "
                "model.safetensors. The file was not opened: pickles can run code"
            )
        if not (path / "config.toml").is_file():
            raise RunError(
                f"{path} is not a run folder: config.toml is missing. `seqhead fit` makes one"
            )
        return cls(path, read_config(path / "config.toml"))

    @property
    def crossed(self) -> bool:
        """Whether this is a cross-validation, with a model for each fold."""
        return self.config.split.folds is not None and self.config.split.fold is None

    @cached_property
    def members(self) -> "list[Run]":
        """The runs of the folds, in order; of a single split the run itself."""
        if not self.crossed:
            return [self]
        split = self.config.split
        numbers = [
            (repeat, fold)
            for repeat in range(1, (split.repeats or 1) + 1)
            for fold in range(1, (split.folds or 0) + 1)
        ]
        return [Run.open(self.path / member_name(*number, split.repeats)) for number in numbers]

    @cached_property
    def folds(self) -> pd.DataFrame:
        """Ids and split of every series; checked: nothing of a patient is in two splits."""
        of_folds = ("repeat", "fold") if self.crossed else ()
        folds = self._table("folds.csv", (*of_folds, *KEPT_TOGETHER, "split", "rows"))
        if self.config.split.protocol is None:
            check_disjoint(folds)
        return folds

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Labels, probabilities and baseline of every series or slice of every split."""
        slices = ("slice",) if self.config.level == "slice" else ()
        of_folds = ("repeat", "fold") if self.crossed else ()
        columns = (*of_folds, "series", "patient", "group", "split", *slices)
        return self._table("predictions.csv", (*columns, *self._columns("y", "p", "baseline")))

    @cached_property
    def series(self) -> pd.DataFrame:
        """Of a slice run: labels and baseline of every series."""
        return self._table("series.csv", ("series", *self._columns("y", "baseline")))

    @cached_property
    def baselines(self) -> dict[str, PositionBaseline]:
        """The position-and-length baseline of each level, fitted on the training patients."""
        try:
            documents = json.loads(self._read("baseline.json"))
            return {str(k): PositionBaseline.from_document(v) for k, v in documents.items()}
        except (ValueError, AttributeError) as error:
            raise RunError(f"{self.path.name}/baseline.json is damaged: {error}") from error

    @cached_property
    def calibration(self) -> Calibration:
        """How validation patients say that probabilities are to be read."""
        try:
            return Calibration.from_document(json.loads(self._read("calibration.json")))
        except (ValueError, AttributeError) as error:
            raise RunError(f"{self.path.name}/calibration.json is damaged: {error}") from error

    def load_model(self, device: str = "auto") -> "SequenceClassifier | PooledSVC | FoldAverage":
        """Rebuild the fitted estimator; of a cross-validation the mean of all its models.

        Parameters
        ----------
        device : str
            Where a sequence head computes.

        Returns
        -------
        SequenceClassifier, PooledSVC or FoldAverage

        Raises
        ------
        RunError
            ``model.safetensors`` is missing, is not a safetensors file, or does not fit the
            configuration.
        """
        if self.crossed:
            return FoldAverage([one.load_one(device) for one in self.members])
        return self.load_one(device)

    def load_one(self, device: str = "auto") -> "SequenceClassifier | PooledSVC":
        """Rebuild the fitted estimator of a single split.

        Parameters
        ----------
        device : str
            Where a sequence head computes.

        Returns
        -------
        SequenceClassifier or PooledSVC

        Raises
        ------
        RunError
            As `load_model`.
        """
        config = self.config
        try:
            if config.head is not None and config.training is not None:
                from safetensors.torch import load

                from seqhead.classifier import SequenceClassifier

                state = load(self._read("model.safetensors"))
                return SequenceClassifier.from_state(config.head, config.training, state, device)
            from safetensors.numpy import load as load_arrays

            from seqhead.svm import PooledSVC

            options = (config.svm or SvmConfig()).model_dump()
            return PooledSVC.from_state(options, load_arrays(self._read("model.safetensors")))
        except RunError:
            raise
        except Exception as error:
            raise RunError(
                f"{self.path.name}/model.safetensors is not this run's model "
                f"({type(error).__name__}: {_cause(error)}). Nothing in it was "
                "executed; restore the file, or fit again"
            ) from error

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise RunError(f"{self.path.name}/{name}: {error.strerror}") from error

    def _columns(self, *kinds: str) -> list[str]:
        return [f"{kind}:{label}" for kind in kinds for label in self.config.labels]

    def _table(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        try:
            table = pd.read_csv(self.path / name, dtype=str, keep_default_na=False)
            table = table.assign(
                **{str(c): _numbers(table[c]) for c in table if _is_number(str(c))}
            )
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path.name}/{name} cannot be read: {error}") from error
        missing = [column for column in columns if column not in table]
        if missing:
            raise RunError(
                f"{self.path.name}/{name} lacks the column {missing[0]!r}. Restore the file, or "
                "fit again"
            )
        return table


def member_name(repeat: int, fold: int, repeats: int | None = None) -> str:
    """Folder of one model of a cross-validation.

    Parameters
    ----------
    repeat, fold : int
        From 1.
    repeats : int or None
        How many repeats there are.

    Returns
    -------
    str
        For example ``"fold-3"`` or ``"repeat-2-fold-3"``.
    """
    return f"fold-{fold}" if (repeats or 1) == 1 else f"repeat-{repeat}-fold-{fold}"


def _cause(error: Exception) -> str:
    """The line that names the cause: torch says first only that there is one."""
    lines = str(error).strip().splitlines() or [""]
    return lines[min(1, len(lines) - 1)].strip().rstrip(".")


def _is_number(column: str) -> bool:
    return column in (*_WHOLE, *_MEASURED) or column.startswith(("y:", "p:", "baseline:"))


def _numbers(cells: pd.Series) -> np.ndarray:
    """Numbers exactly as they were written, which not every CSV parser gives."""
    if cells.name in _WHOLE:
        return cells.to_numpy(dtype=object).astype(np.int64)
    return np.array([float(cell) if cell else np.nan for cell in cells])
