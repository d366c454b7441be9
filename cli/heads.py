"""What the bodies of the `seqhead` commands share; imported inside them, not by ``--help``."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import echo_note, printable
from featurecache.errors import FeatureCacheError, UsageError
from featurecache.location import Location
from featurecache.project import load_project, remember_run
from seqhead.run import Run
from seqhead.sources import Sources

if TYPE_CHECKING:
    from seqhead.predicted import Predictions

_FILES = ("labels", "labels_format", "slice_labels", "key")


def sources(
    store: Location,
    labels: Path | None,
    labels_format: str,
    slice_labels: Path | None,
    key: Path | None,
) -> Sources:
    """Find the files that a command reads.

    Parameters
    ----------
    store : Path or str
        The store.
    labels, slice_labels : Path or None
        Label files; slice labels alone are the labels.
    labels_format : str
        How `labels` are written.
    key : Path or None
        The key; None: beside featurecache.toml, else beside the store.

    Returns
    -------
    Sources

    Raises
    ------
    UsageError
        There is no label file.
    """
    key = key or load_project().key_for(store)
    if labels is not None:
        return Sources(store, labels, labels_format, slice_labels, key)
    if slice_labels is None:
        raise UsageError(
            "no labels: give --labels FILE, or name the file once with "
            "`featurecache init DICOM_FOLDER --labels FILE`"
        )
    from seqhead.labels.reading import slice_labels_format

    return Sources(store, slice_labels, slice_labels_format(slice_labels), None, key)


def parted_options(
    given: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Part the options that name files, and those that say how to split, from what to fit.

    Parameters
    ----------
    given : dict
        Options of a command.

    Returns
    -------
    files, splitting, options : dict
    """
    from seqhead.splitting import Splitting

    files = {name: given[name] for name in _FILES}
    splitting = {name: value for name, value in given.items() if name in Splitting.model_fields}
    rest = {k: v for k, v in given.items() if k not in files and k not in splitting}
    return files, splitting, rest


@contextlib.contextmanager
def epochs_bar() -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """Show epochs and losses on stderr, and nothing off a terminal.

    Yields
    ------
    callable
        ``progress(epoch, epochs, figures)``.
    """
    from tqdm import tqdm

    with tqdm(desc="fit", unit="epoch", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(epoch: int, epochs: int, figures: dict[str, float]) -> None:
            losses = {name: value for name, value in figures.items() if name.endswith("loss")}
            bar.total = epochs
            bar.set_postfix({name.replace("_", " "): f"{v:.4f}" for name, v in losses.items()})
            bar.update(epoch - bar.n)

        yield progress


@contextlib.contextmanager
def sweep_progress() -> Iterator[Callable[[int, int, float | None], None]]:
    """Show candidates and the best score on stderr, and nothing off a terminal.

    Yields
    ------
    callable
        ``progress(settled, candidates, best)``.
    """
    from tqdm import tqdm

    with tqdm(desc="sweep", unit=" trials", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(settled: int, candidates: int, best: float | None) -> None:
            bar.total = candidates
            bar.set_postfix({} if best is None else {"best inner score": f"{best:.4f}"})
            bar.update(settled - bar.n)

        yield progress


def chosen_run(run: Path | None) -> Run:
    """Open the run that was named, or the last fit of this folder.

    Parameters
    ----------
    run : Path or None
        The argument RUN.

    Returns
    -------
    Run

    Raises
    ------
    UsageError
        No run was named, and there is no last one.
    RunError
        It is not a run folder.
    """
    run = run or load_project().run()
    if run is None:
        raise UsageError("no run: name its folder, or fit one with `seqhead fit` first")
    return Run.open(run)


def given_options(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Leave out what nobody gave: a default may have no effect, a choice must have one.

    Parameters
    ----------
    context : click.Context
        Of the command.
    options : dict
        Its options.

    Returns
    -------
    dict
    """
    default = click.core.ParameterSource.DEFAULT
    return {k: v for k, v in options.items() if context.get_parameter_source(k) is not default}


def remember(run: Path) -> None:
    """Note the last fit in featurecache.toml; a fit that succeeded does not fail over that.

    Parameters
    ----------
    run : Path
        The run folder.
    """
    try:
        remember_run(Path(), run)
    except (OSError, FeatureCacheError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        echo_note(
            f"Note: featurecache.toml could not be changed ({reason}), so `seqhead evaluate` needs "
            f"the run's name: {run}"
        )


def is_folder_of_scans(path: Location) -> bool:
    """Tell a folder of scans from a store, also from one that has lost its root.

    Parameters
    ----------
    path : Path or str
        What stands for STORE.

    Returns
    -------
    bool
    """
    if not isinstance(path, Path) or not path.is_dir():
        return False
    return not (path / "zarr.json").exists() and not any(path.glob("part-*/zarr.json"))


@contextlib.contextmanager
def new_file(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Find out before the work whether a file can be written; it is whole, or not there.

    Parameters
    ----------
    path : Path or None
        The file; None: stdout.

    Yields
    ------
    callable
        Takes the whole text.

    Raises
    ------
    UsageError
        The file exists, or its folder cannot be written.
    """
    if path is None:
        yield lambda text: click.echo(printable(text), nl=False)
        return
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} exists already: choose another --out, or remove it first")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        _publish(Path(temporary), path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> None:
    """Give a file its name, without taking it from another one."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise UsageError(f"{path} was made in the meantime: choose another --out") from None
    except OSError:  # a file system without hard links
        temporary.rename(path)


def write_predictions(predictions: "Predictions", write: Callable[[str], object] | None) -> None:
    """Write predictions as CSV, and what is to be said of them to stderr.

    Parameters
    ----------
    predictions : Predictions
        Of a run on a store or a folder.
    write : callable or None
        Takes the text of the file.
    """
    from cli.text import scan_text
    from seqhead.predicted import FolderPredictions

    if write is not None:
        write(predictions.table.to_csv(index=False, float_format="%.6g"))
    if isinstance(predictions, FolderPredictions):
        echo_note(scan_text(predictions.account))
    for note in predictions.notes:
        echo_note(f"Note: {note}")
    for text, series in (
        ("predicted without their failed slices", predictions.partial_series),
        ("without any readable slice, so without prediction", predictions.empty_series),
    ):
        if series:
            echo_note(f"Note: {len(series)} series {text}: {', '.join(series)}")
