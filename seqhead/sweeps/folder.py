"""The folder of a sweep.

::

    sweeps/vgg16-1/
        sweep.toml        what the sweep is told, and digests of features and labels
        split.csv         every series: training, validation or test, drawn before any trial
        inner.csv         what trials learn from, stop on and are scored on
        journal.log       every trial, as Optuna's journal has it
        resamples/        for each trial, its score in every resample of patients
        winner/           the run of the winner, fitted again and tested once
        leaderboard.csv   all candidates
        leaderboard.html  the same as a page
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqhead.errors import SweepError
from seqhead.stats import RESAMPLES
from seqhead.sweeps.locks import held
from seqhead.sweeps.settings import SweepSettings, read_settings

_LOST = "The interval of a candidate cannot be told: sweep again into a new folder"
_BEFORE_SETTINGS = {"folder.lock", "resamples", "workers", "split.csv", "inner.csv"}


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """Paths of a sweep.

    Parameters
    ----------
    path : Path
        The folder.
    """

    path: Path

    @property
    def is_sweep(self) -> bool:
        """Whether a sweep was begun here."""
        return (self.path / "sweep.toml").is_file()

    @property
    def journal(self) -> Path:
        """Optuna's journal."""
        return self.path / "journal.log"

    @property
    def signs(self) -> Path:
        """Signs of life of the processes at work."""
        return self.path / "workers"

    @property
    def split(self) -> Path:
        """The split."""
        return self.path / "split.csv"

    @property
    def winner(self) -> Path:
        """The run of the winner."""
        return self.path / "winner"

    def settings(self) -> SweepSettings:
        """Read what the sweep is told.

        Returns
        -------
        SweepSettings

        Raises
        ------
        SweepError
            It is not a sweep folder, or damaged.
        """
        if not self.is_sweep:
            raise SweepError(f"{self.path} is not a sweep: sweep.toml is missing")
        return read_settings(self.path / "sweep.toml")

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Make the folder if need be, and hold it alone while the sweep is begun.

        Raises
        ------
        SweepError
            There is something else, or nothing can be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SweepError(f"cannot write {self.path}: {error.strerror}") from error
        other = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        if not self.is_sweep and other - _BEFORE_SETTINGS:
            raise SweepError(f"{self.path} exists and is not a sweep: choose another --out")
        with held(self.path / "folder.lock"):
            yield

    def begin(self, settings: SweepSettings, split: pd.DataFrame, inner: pd.DataFrame) -> None:
        """Write down what is decided before any trial; the settings last.

        Parameters
        ----------
        settings : SweepSettings
            What the sweep is told.
        split, inner : DataFrame
            ``split.csv`` and ``inner.csv``.
        """
        import tomlkit

        (self.path / "resamples").mkdir(mode=0o700, exist_ok=True)
        self.signs.mkdir(mode=0o700, exist_ok=True)
        self.write("split.csv", split.to_csv(index=False))
        self.write("inner.csv", inner.to_csv(index=False))
        document = _without_none(settings.model_dump(mode="json"))
        self.write("sweep.toml", tomlkit.dumps(document))

    def table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        """Read a table of the folder.

        Parameters
        ----------
        name : str
            Of the file.
        columns : tuple of str
            What it must have.

        Returns
        -------
        DataFrame
            All cells text.

        Raises
        ------
        SweepError
            It is missing, or lacks a column.
        """
        path = self.path / name
        try:
            found = pd.read_csv(path, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise SweepError(f"{path} is damaged: {error}") from error
        missing = [column for column in columns if column not in found]
        if missing:
            raise SweepError(f"{path} lacks the column {missing[0]!r}")
        return found

    def write(self, name: str, text: str) -> None:
        """Write a file whole, or not at all.

        Parameters
        ----------
        name : str
            Of the file.
        text : str
            What goes in.
        """
        self._write(self.path / name, text.encode())

    def keep_resamples(self, number: int, values: np.ndarray) -> None:
        """Keep the score of a candidate in every resample of patients.

        Parameters
        ----------
        number : int
            Of the candidate.
        values : float array (R,)
            Its scores.
        """
        self._write(self._resamples(number), values.astype("<f4").tobytes())

    def resamples(self, number: int) -> np.ndarray:
        """Scores of a candidate in every resample of patients.

        Parameters
        ----------
        number : int
            Of the candidate.

        Returns
        -------
        float array (R,)

        Raises
        ------
        SweepError
            They are missing or damaged.
        """
        path = self._resamples(number)
        try:
            values = np.fromfile(path, dtype="<f4").astype(np.float64)
        except OSError as error:
            raise SweepError(f"cannot read {path}: {error.strerror}. {_LOST}") from error
        if len(values) != RESAMPLES:
            raise SweepError(f"{path} has {len(values)} values, not {RESAMPLES}. {_LOST}")
        return values

    def _resamples(self, number: int) -> Path:
        return self.path / "resamples" / f"trial-{number + 1}.f32"

    def _write(self, path: Path, data: bytes) -> None:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).rename(path)
        finally:
            Path(temporary).unlink(missing_ok=True)


def _without_none(value: Any) -> Any:
    """TOML has no null: what is None is left out."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value
