"""`seqhead evaluate`: a run on patients it never saw."""

from pathlib import Path
from typing import Any

import click

from cli.common import Command, echo, echo_json, wait_without_spinning
from cli.options import LABELS_FORMATS, StoreType, index_option, json_option
from cli.split_options import RULE_HELP

_PATH = click.Path(path_type=Path)


@click.command(
    cls=Command,
    example="seqhead evaluate\nseqhead evaluate runs/vgg16-gru-1 --level patient --json\n"
    "seqhead evaluate --by thickness --by tilt --details --curves\n"
    "seqhead evaluate runs/vgg16-gru-1 --readers reads.csv\n"
    "seqhead evaluate runs/drct1-1 --key-slices --slice-labels slices.csv\n"
    "seqhead evaluate runs/xception-gru-1 --store cq500.zarr --labels reads.csv "
    "--labels-format cq500 --map any=ICH,subdural=SDH",
)
@click.argument("run", type=_PATH, required=False)
@click.option(
    "--level",
    type=click.Choice(["patient", "series", "slice"]),
    show_default="that of the fit",
    help="What is counted. Series: the largest of its slices; patient: the mean of its series.",
)
@click.option(
    "--combine",
    metavar="RULE",
    show_default="max",
    help="How the slices of a slice run make a series: max, p95, any or K-consecutive.",
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
    help="Judge kinds of scans apart; repeatable. Kernel and manufacturer are read from the index.",
)
@click.option("--details", is_flag=True, help="Show operating points and calibration too.")
@click.option(
    "--curves",
    is_flag=True,
    help="Draw ROC, precision-recall, calibration and learning curves into RUN/curves.",
)
@click.option(
    "--views",
    is_flag=True,
    help="Judge means over the images as they are and the augmented views that the store has.",
)
@click.option(
    "--key-slices",
    is_flag=True,
    help="Judge by labels of slices whether the slices of the highest attention show the lesions, "
    "and draw where they lie into RUN/curves.",
)
@click.option(
    "--readers",
    type=_PATH,
    metavar="CSV",
    help="Reads of human readers: CQ500's reads.csv, or PatientID (or StudyInstanceUID, "
    "SeriesInstanceUID) and columns READER:LABEL, or a column Reader.",
)
@click.option(
    "--store", type=StoreType(), metavar="PATH", help="Judge the run on another store instead."
)
@click.option("--labels", type=_PATH, help="Labels of the other store.")
@click.option(
    "--labels-format",
    type=click.Choice(LABELS_FORMATS),
    default="table",
    show_default=True,
    help="How they are written.",
)
@click.option(
    "--slice-labels",
    type=_PATH,
    show_default="those of the fit",
    help="Labels per slice, of the other store or for --key-slices: a table with SOPInstanceUID, "
    "or the RSNA challenge's CSV.",
)
@click.option(
    "--map",
    "renamed",
    metavar="OURS=THEIRS,...",
    help="Which label of the run is which of the other labels, or of the readers'.",
)
@click.option("--features", help="Feature set of the other store.", show_default="that of the fit")
@click.option(
    "--second-features",
    show_default="that of the fit",
    help="Its feature set of the enlarged slices, for a run that reads two.",
)
@click.option(
    "--allow-numerics",
    is_flag=True,
    help="Accept features of another precision or storage type, and say so.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Where the model computes, for --store, --views and --key-slices.",
)
@click.option("--key", type=_PATH, help="Key of the store's ids.", show_default="beside the store")
@index_option
@json_option
def evaluate(run: Path | None, **options: Any) -> None:
    """Score a run on its held-out patients, beside a baseline that knows no pixel.

    The baseline is a logistic regression on number of slices, extent, spacing, field of view and
    tilt (at slice level, on the relative position). Without RUN, the last fit of this folder.

    With --store and --labels, the run is judged on another data set, by the thresholds that its own
    validation patients chose. With --readers, human readers stand beside the model.

    With --key-slices, the slices that the head attends to are judged, beside a random choice and
    the middle of each series: DrCT2's easy, difficult and comprehensive task. The head must have
    attention (--pool attention or gated-attention, or a system that has it).
    """
    wait_without_spinning()
    from cli.heads import chosen_run
    from cli.judging import judge_run

    result = judge_run(chosen_run(run), **options)
    if options["as_json"]:
        echo_json(result.document())
    else:
        echo("\n".join(result.lines(details=options["details"])))
