"""A run folder: what was fitted on what, how well it does, and everything to use it again.

::

    runs/vgg16-gru-1/
        config.toml        resolved options, features, labels, thresholds
        model.safetensors  learnt numbers
        baseline.json      coefficients of the position-and-length baseline
        folds.csv          series, patient, split
        history.csv        losses of each epoch
        predictions.csv    labels and probabilities of every series or slice
        metrics.json       the document of `seqhead evaluate --json`
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seqhead.baselines import PositionBaseline
from seqhead.config import RunConfig, SvmConfig, read_config
from seqhead.errors import RunError
from seqhead.splits import check_disjoint

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

    @cached_property
    def folds(self) -> pd.DataFrame:
        """``series``, ``patient``, ``split``; checked: no patient is in two splits."""
        folds = self._table("folds.csv")
        check_disjoint(folds)
        return folds

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Labels, probabilities and baseline of every series or slice of every split."""
        return self._table("predictions.csv")

    @cached_property
    def baseline(self) -> PositionBaseline:
        """The position-and-length baseline, fitted on the same training patients."""
        try:
            return PositionBaseline.from_document(json.loads(self._read("baseline.json")))
        except ValueError as error:
            raise RunError(f"{self.path.name}/baseline.json is damaged: {error}") from error

    def load_model(self, device: str = "auto") -> "SequenceClassifier | PooledSVC":
        """Rebuild the fitted estimator.

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
            ``model.safetensors`` is missing, is not a safetensors file, or does not fit the
            configuration.
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
                f"({type(error).__name__}: {str(error).splitlines()[0]}). Nothing in it was "
                "executed; restore the file, or fit again"
            ) from error

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise RunError(f"{self.path.name}/{name}: {error.strerror}") from error

    def _table(self, name: str) -> pd.DataFrame:
        try:
            table = pd.read_csv(self.path / name, dtype=str, keep_default_na=False)
            return table.assign(**{str(c): _numbers(table[c]) for c in table if _is_number(str(c))})
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path.name}/{name} cannot be read: {error}") from error


def _is_number(column: str) -> bool:
    return column == "position" or column.startswith(("y:", "p:", "baseline:"))


def _numbers(cells: pd.Series) -> np.ndarray:
    """Numbers exactly as they were written, which not every CSV parser gives."""
    if cells.name == "position":
        return cells.to_numpy(dtype=object).astype(np.int64)
    return np.array([float(cell) if cell else np.nan for cell in cells])


@dataclass(frozen=True, slots=True)
class RunDraft:
    """Everything that goes into a run folder.

    Parameters
    ----------
    config : RunConfig
        The configuration.
    state : mapping of str to array
        Learnt numbers.
    baseline : PositionBaseline
        The baseline.
    folds, predictions : DataFrame
        As in `Run`.
    history : list of dict
        Losses of each epoch; empty for a model without epochs.
    metrics : dict
        Document of the evaluation on the test patients.
    """

    config: RunConfig
    state: Mapping[str, np.ndarray]
    baseline: PositionBaseline
    folds: pd.DataFrame
    predictions: pd.DataFrame
    history: list[dict[str, float]]
    metrics: dict[str, Any]


def write_run(path: Path, draft: RunDraft) -> Run:
    """Write a run folder in one step: it is complete, or not there.

    Parameters
    ----------
    path : Path
        The folder; must not exist.
    draft : RunDraft
        What goes in.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        The folder exists.
    LeakError
        A patient is in two splits.
    """
    import tomlkit
    from safetensors.numpy import save

    check_disjoint(draft.folds)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True, mode=0o700)
    try:
        toml = tomlkit.dumps(_without_none(draft.config.model_dump(mode="json")))
        arrays = {name: np.asarray(value, order="C") for name, value in draft.state.items()}
        _write(partial / "config.toml", toml.encode())
        _write(partial / "model.safetensors", save(arrays))
        _write(partial / "baseline.json", _json(draft.baseline.document()))
        _write(partial / "metrics.json", _json(draft.metrics))
        _write(partial / "folds.csv", draft.folds.to_csv(index=False).encode())
        _write(partial / "predictions.csv", draft.predictions.to_csv(index=False).encode())
        if draft.history:
            history = pd.DataFrame(draft.history)
            _write(partial / "history.csv", history.to_csv(index=False).encode())
        refuse_existing(path)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Run.open(path)


def refuse_existing(path: Path) -> None:
    """Never write over a run.

    Parameters
    ----------
    path : Path
        Where a run shall go.

    Raises
    ------
    RunError
        There is something.
    """
    if path.exists():
        raise RunError(f"{path} exists already: choose another --out, or remove it first")


def next_run_path(folder: Path, stem: str) -> Path:
    """First free ``folder/stem-N``.

    Parameters
    ----------
    folder : Path
        Where runs are kept.
    stem : str
        For example ``"vgg16-gru"``.

    Returns
    -------
    Path
    """
    taken = [p.name.removeprefix(f"{stem}-") for p in folder.glob(f"{stem}-*")]
    numbers = [int(text) for text in taken if text.isdecimal()]
    return folder / f"{stem}-{max(numbers, default=0) + 1}"


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2, allow_nan=False).encode() + b"\n"


def _without_none(value: Any) -> Any:
    """TOML has no null: what is None is left out."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value
