"""`seqhead compare`: runs side by side on the same patients."""

from pathlib import Path

import click

from cli.common import Command, echo, echo_json
from cli.options import json_option
from cli.split_options import RULE_HELP


@click.command(
    cls=Command,
    example="seqhead compare runs/vgg16-gru-1 runs/vgg16-lstm-1\n"
    "seqhead compare runs/vgg16-gru-5-fold-1 runs/resnet50-gru-5-fold-1 --level patient\n"
    "seqhead compare runs/vgg16-gru-1 runs/vgg16-svm-1 --table latex > table.tex",
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--level",
    type=click.Choice(["patient", "series", "slice"]),
    show_default="the coarsest of the fits",
    help="What is counted.",
)
@click.option(
    "--operating-point",
    show_default="each run's own",
    metavar="RULE",
    help=f"How thresholds are chosen on the validation patients: {RULE_HELP}.",
)
@click.option(
    "--table",
    "form",
    type=click.Choice(["md", "csv", "latex"]),
    help="Write a table for a paper instead of text.",
)
@json_option
def compare(
    runs: tuple[Path, ...],
    level: str | None,
    operating_point: str | None,
    form: str | None,
    as_json: bool,
) -> None:
    """Compare runs that were tested on the same patients.

    Every two runs are compared by DeLong's test, a bootstrap of patients and McNemar's test, with
    Holm's correction for several labels; cross-validations with the same folds by t-tests over the
    folds too. Runs whose test rows or labels differ are refused; `seqhead fit --split` fits on the
    split of another run.
    """
    from seqhead.compare import compare_runs
    from seqhead.compare_tables import comparison_text
    from seqhead.run import Run

    comparison = compare_runs(
        [Run.open(run) for run in runs], level, operating_point=operating_point
    )
    if as_json:
        echo_json(comparison.document())
    else:
        echo(comparison_text(comparison, form or "text"))
