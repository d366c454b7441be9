"""`seqhead evaluate`: a run on patients it never saw."""

from pathlib import Path

import click

from cli.common import Command, echo, echo_json
from cli.options import json_option
from cli.split_options import RULE_HELP


@click.command(
    cls=Command,
    example="seqhead evaluate\nseqhead evaluate runs/vgg16-gru-1 --level patient --json\n"
    "seqhead evaluate --by thickness --by tilt --details",
)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--level",
    type=click.Choice(["patient", "series", "slice"]),
    show_default="that of the fit",
    help="What is counted. Series: the largest of its slices; patient: the mean of its series.",
)
@click.option(
    "--operating-point",
    show_default="that of the fit",
    metavar="RULE",
    help=f"How thresholds are chosen on the validation patients: {RULE_HELP}.",
)
@click.option(
    "--by",
    multiple=True,
    type=click.Choice(["thickness", "fov", "tilt", "gap", "slices", "kernel", "manufacturer"]),
    help="Judge kinds of scans apart; repeatable. Kernel and manufacturer need the index.",
)
@click.option("--details", is_flag=True, help="Show operating points and calibration too.")
@json_option
def evaluate(
    run: Path | None,
    level: str | None,
    operating_point: str | None,
    by: tuple[str, ...],
    details: bool,
    as_json: bool,
) -> None:
    """Score a run on its held-out patients, beside a baseline that knows no pixel.

    The baseline is a logistic regression on number of slices, extent, spacing, field of view and
    tilt (at slice level, on the relative position). Without RUN, the last fit of this folder.
    """
    from cli.heads import chosen_run
    from seqhead.evaluate import evaluate_run
    from seqhead.evaluation_text import evaluation_text

    opened = chosen_run(run)
    evaluation = evaluate_run(opened, level, operating_point=operating_point, by=by)
    if as_json:
        echo_json(evaluation.document())
    else:
        echo("\n".join(evaluation_text(evaluation, opened.path.as_posix(), details=details)))
