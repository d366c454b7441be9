"""The options of `seqhead fit` that say how patients are split: the fields of `Splitting`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

RULE_HELP = "youden, max-sensitivity, sensitivity=S, specificity=S, or a probability"

_OPTIONS = {
    "folds": click.option(
        "--folds",
        type=click.IntRange(min=2),
        help="Cross-validation with so many folds of patients.",
    ),
    "repeats": click.option(
        "--repeats",
        type=click.IntRange(1, 1000),
        default=1,
        show_default=True,
        help="Repeat the cross-validation with other folds.",
    ),
    "file": click.option(
        "--split",
        "--folds-file",
        "file",
        type=click.Path(path_type=Path),
        metavar="CSV",
        help="Take the split, or the folds, from a file: folds.csv of a run, or columns PatientID "
        "(or StudyInstanceUID, SeriesInstanceUID) and split or fold.",
    ),
    "protocol": click.option(
        "--protocol",
        type=click.Choice(["paper", "sdlm", "xception-rnn"]),
        help="Split as this paper did, which LEAKS patients from training into the test; only to "
        "compare with its figures. paper: as the paper of --system did, leak or not, and with its "
        "threshold.",
    ),
    "duplicate_scans": click.option(
        "--duplicate-scans",
        type=click.Choice(["refuse", "together"]),
        default="refuse",
        show_default=True,
        help="One scan under two patients, found by its features.",
    ),
    "operating_point": click.option(
        "--operating-point",
        default="youden",
        show_default=True,
        metavar="RULE",
        help=f"How thresholds are chosen on the validation patients: {RULE_HELP}.",
    ),
}

_OF_WINNER = ("file", "duplicate_scans", "operating_point")


def winner_options(function: F) -> F:
    """Add those that go with a single split: of `seqhead sweep`, which tests one winner."""
    for name, option in reversed(_OPTIONS.items()):
        if name in _OF_WINNER:
            function = option(function)
    return function


def split_options(function: F) -> F:
    """Add the options that say how patients are split."""
    for option in reversed(_OPTIONS.values()):
        function = option(function)
    return function
