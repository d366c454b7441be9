"""A run folder in the making: complete, or not there."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqhead.baselines import PositionBaseline
from seqhead.calibration import Calibration
from seqhead.config import RunConfig
from seqhead.errors import RunError
from seqhead.run import Run
from seqhead.splits import check_disjoint

_PARTIAL = ".partial-"


@dataclass(frozen=True, slots=True)
class RunDraft:
    """Everything that goes into a run folder.

    Parameters
    ----------
    config : RunConfig
        The configuration.
    state : mapping of str to array or None
        Learnt numbers; None where those of each fold lie in a folder of their own.
    baselines : mapping of str to PositionBaseline
        The baseline of each level; likewise empty.
    folds, predictions : DataFrame
        As in `Run`.
    series : DataFrame or None
        As in `Run`, of a slice run.
    history : list of dict
        Losses of each epoch; empty for a model without epochs.
    metrics : dict
        Document of the evaluation on the test patients.
    calibration : Calibration or None
        What the validation patients say of the probabilities.
    log : str
        Times and versions.
    """

    config: RunConfig
    state: Mapping[str, np.ndarray] | None
    baselines: Mapping[str, PositionBaseline]
    folds: pd.DataFrame
    predictions: pd.DataFrame
    series: pd.DataFrame | None
    history: list[dict[str, float]]
    metrics: dict[str, Any]
    calibration: Calibration | None = None
    log: str = ""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A place for a run, held while it is fitted.

    Parameters
    ----------
    partial : Path
        A hidden, empty folder beside the run to be.
    out : Path or None
        What the run shall be called; None: the next free ``runs/STEM-N``.
    runs : Path
        Where runs are kept.
    """

    partial: Path
    out: Path | None
    runs: Path

    def add_member(self, name: str, draft: RunDraft) -> None:
        """Write the run of one fold into a folder of its own.

        Parameters
        ----------
        name : str
            Of the folder, see `seqhead.run.member_name`.
        draft : RunDraft
            What goes in.

        Raises
        ------
        LeakError
            A patient is in two splits.
        """
        _check(draft)
        (self.partial / name).mkdir(mode=0o700)
        _fill(self.partial / name, draft)

    def publish(self, draft: RunDraft, stem: str) -> Run:
        """Write everything, then give the folder its name in one step.

        Parameters
        ----------
        draft : RunDraft
            What goes in.
        stem : str
            Name without its number, for example ``"vgg16-gru"``.

        Returns
        -------
        Run

        Raises
        ------
        RunError
            `out` was made in the meantime.
        LeakError
            A patient is in two splits.
        """
        _check(draft)
        _fill(self.partial, draft)
        while True:  # two fits that end together want the same number
            path = self.out or next_run_path(self.runs, stem)
            if self.out is not None:
                refuse_existing(path)
            try:
                self.partial.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                return Run.open(path)


@contextlib.contextmanager
def run_folder(out: Path | None, runs: Path) -> Iterator[RunFolder]:
    """Find out before a fit whether its run can be written; leave nothing if it fails.

    Parameters
    ----------
    out : Path or None
        The run folder; None: the next free number in `runs`.
    runs : Path
        Where runs are kept.

    Yields
    ------
    RunFolder

    Raises
    ------
    RunError
        `out` exists, or its parent folder cannot be written.
    """
    if out is not None:
        refuse_existing(out)
    parent = runs if out is None else out.parent
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        partial, lock = _locked_folder(parent)
    except OSError as error:
        raise RunError(f"cannot write a run in {parent}: {error.strerror}") from error
    try:
        _remove_stale(parent)
        yield RunFolder(partial, out, runs)
    finally:
        os.close(lock)
        shutil.rmtree(partial, ignore_errors=True)  # gone already if it has its name
        with contextlib.suppress(OSError):  # not empty: somebody needs them
            for folder in missing:
                folder.rmdir()


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


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """A new folder, with a lock that the kernel drops when this process ends in any way."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=parent))  # 0700
        lock = os.open(folder, os.O_RDONLY)
        with contextlib.suppress(OSError):  # a file system without locks: nothing is cleaned there
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)  # another fit took it for a stale one before it was locked


def _remove_stale(parent: Path) -> None:
    """Remove what killed fits left: partial folders whose lock nobody holds."""
    for folder in parent.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def _check(draft: RunDraft) -> None:
    """Nothing of a patient is in two splits, unless a protocol asks for that and says so."""
    if draft.config.split.protocol is None:
        check_disjoint(draft.folds)


def _fill(folder: Path, draft: RunDraft) -> None:
    import tomlkit
    from safetensors.numpy import save

    toml = tomlkit.dumps(_without_none(draft.config.model_dump(mode="json")))
    _write(folder / "config.toml", toml.encode())
    _write(folder / "metrics.json", _json(draft.metrics))
    _write(folder / "log.txt", draft.log.encode())
    if draft.state is not None:
        arrays = {name: np.asarray(value, order="C") for name, value in draft.state.items()}
        _write(folder / "model.safetensors", save(arrays))
    if draft.baselines:
        baselines = {level: baseline.document() for level, baseline in draft.baselines.items()}
        _write(folder / "baseline.json", _json(baselines))
    if draft.calibration is not None:
        _write(folder / "calibration.json", _json(draft.calibration.document()))
    tables = {"folds": draft.folds, "predictions": draft.predictions, "series": draft.series}
    if draft.history:
        tables["history"] = pd.DataFrame(draft.history)
    for name, table in tables.items():
        if table is not None:
            _write(folder / f"{name}.csv", table.to_csv(index=False).encode())


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
