"""What the bodies of the `seqhead` commands share; imported inside them, not by ``--help``."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import echo, echo_note
from featurecache.errors import UsageError
from featurecache.project import load_project
from seqhead.run import Run
from seqhead.sources import Sources

if TYPE_CHECKING:
    from seqhead.predict import Predictions

_FILES = ("labels", "labels_format", "slice_labels", "key")


def sources(
    store: Path,
    labels: Path | None,
    labels_format: str,
    slice_labels: Path | None,
    key: Path | None,
) -> Sources:
    """Find the files that a command reads.

    Parameters
    ----------
    store : Path
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
    return Sources(store, slice_labels, "table", None, key)


def split_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the options that name files from those that say what to fit.

    Parameters
    ----------
    given : dict
        Options of a command.

    Returns
    -------
    files, options : dict
    """
    files = {name: given[name] for name in _FILES}
    return files, {name: value for name, value in given.items() if name not in _FILES}


@contextlib.contextmanager
def epochs_bar() -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """Show epochs and losses on stderr, and nothing off a terminal.

    Yields
    ------
    callable
        ``progress(epoch, epochs, losses)``.
    """
    from tqdm import tqdm

    with tqdm(desc="fit", unit="epoch", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(epoch: int, epochs: int, losses: dict[str, float]) -> None:
            bar.total = epochs
            bar.set_postfix({name.replace("_", " "): f"{v:.4f}" for name, v in losses.items()})
            bar.update(epoch - bar.n)

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


def write_predictions(predictions: "Predictions", out: Path | None) -> None:
    """Write predictions as CSV, and what is to be said of them to stderr.

    Parameters
    ----------
    predictions : Predictions
        Of a run on a store.
    out : Path or None
        The file; None: stdout.
    """
    text = predictions.table.to_csv(index=False, float_format="%.6g")
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        echo(f"{len(predictions.table)} rows in {out}")
    for note in predictions.notes:
        echo_note(f"Note: {note}")
    if predictions.empty_series:
        listed = ", ".join(predictions.empty_series)
        echo_note(f"No features, so no prediction, for: {listed}")
