"""`seqhead`: cached features and labels in, fitted heads and honest numbers out."""

from pathlib import Path
from typing import Any

import click

from cli.common import CommandGroup, echo, echo_json, wait_without_spinning
from cli.compare import compare
from cli.evaluate import evaluate
from cli.options import json_option, key_option, labels_options, store_argument
from cli.predict import predict
from cli.reproduce import reproduce
from cli.split_options import split_options
from cli.sweep import sweep
from cli.systems import describe, system_options, systems
from featurecache.location import Location


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from featurecache import __version__

        echo(f"seqhead {__version__}")
        context.exit()


_features_option = click.option(
    "--features", help="Which feature set of the store; needed where it has several."
)
_device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def main() -> None:
    """Fit sequence heads on cached features, and judge them on patients they never saw.

    \b
    Start:   featurecache extract --backbone vgg16
    Then:    seqhead labels
             seqhead fit --rnn gru
             seqhead evaluate

    What a command is not told comes from featurecache.toml, which `featurecache init` writes.
    """


@main.command(example="seqhead labels\nseqhead labels cache.zarr --labels reads.csv --json")
@store_argument
@labels_options
@key_option
@click.option("--features", help="Which feature set of the store.")
@json_option
def labels(store: Location, features: str | None, as_json: bool, **files: Any) -> None:
    """Count the labels of the patients, series and slices in a store.

    Labels that match nothing in the store, and series without labels, are counted and listed.
    Labels do not depend on features: without --features, any complete set will do.
    """
    from cli.heads import sources
    from seqhead.sources import open_sources
    from seqhead.text import labels_text

    statistics = open_sources(sources(store, **files), features, any_features=True).statistics()
    if as_json:
        echo_json(statistics.document())
    else:
        echo("\n".join(labels_text(statistics)))


@main.command(
    example="seqhead fit --rnn gru\nseqhead fit --rnn lstm --bidirectional --pool attention\n"
    "seqhead fit --head svm --svm-input padded\nseqhead fit --folds 10\n"
    "seqhead fit --features resnet50 --split runs/vgg16-gru-10-fold-1/folds.csv\n"
    "seqhead fit --system sdlm"
)
@store_argument
@labels_options
@key_option
@_features_option
@system_options
@split_options
@click.option(
    "--level",
    type=click.Choice(["series", "slice"]),
    show_default="that of the labels",
    help="What an output says something of. A series has what any of its slices has.",
)
@click.option(
    "--head",
    type=click.Choice(["sequence", "svm"]),
    default="sequence",
    show_default=True,
    help="A network over the slices, or a linear SVM on series (at level slice, on slices).",
)
@click.option(
    "--rnn",
    type=click.Choice(["gru", "lstm", "tcn", "transformer", "none"]),
    default="gru",
    show_default=True,
    help="What looks across slices: a recurrent layer, dilated convolutions (tcn) or "
    "self-attention.",
)
@click.option(
    "--views",
    is_flag=True,
    help="Learn from the augmented views that the store has too (`extract --views N`): each epoch "
    "draws one for each training series, or the series as it is.",
)
@click.option("--bidirectional", is_flag=True, help="Read the slices in both directions.")
@click.option(
    "--hidden",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="State size of each direction.",
)
@click.option(
    "--layers", type=click.IntRange(1), default=1, show_default=True, help="Layers of it."
)
@click.option(
    "--pool",
    type=click.Choice(["last", "mean", "max", "attention", "gated-attention"]),
    show_default="max",
    help="Over the slices of a series (not over the image: that is `extract --pool`).",
)
@click.option(
    "--dropout",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Before the dense layer.",
)
@click.option(
    "--loss",
    type=click.Choice(["bce", "mse", "focal"]),
    default="bce",
    show_default=True,
    help="Cross entropy, squared difference of the probabilities, or focal loss.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="At most; fitting stops earlier when the validation loss no longer falls.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Epochs without a better validation loss.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=16, show_default=True, help="In series."
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=1e-3,
    show_default=True,
    help="Of Adam.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="Of training; auto is bf16 where the hardware multiplies it. Predictions are in float32.",
)
@click.option(
    "--svm-input",
    type=click.Choice(["pooled", "padded"]),
    default="pooled",
    show_default=True,
    help="Mean and maximum over the slices, or all slices padded with zeros.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 2),
    default=0,
    show_default=True,
    help="Of the split, the weights and the order.",
)
@click.option(
    "--memory",
    type=click.FloatRange(0),
    metavar="GB",
    show_default="half of what is available",
    help="That features may take; more are read from the store batch by batch, with equal results.",
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Also write losses and learning rate of each epoch to RUN/tensorboard, for TensorBoard "
    "(tensorboard extra).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    show_default="runs/FEATURES-MODEL-N",
    help="The run folder; must not exist.",
)
@_device_option
@json_option
@click.pass_context
def fit(
    context: click.Context, store: Location, out: Path | None, as_json: bool, **given: Any
) -> None:
    """Fit a head on 70 % of the patients, stop on 15 %, keep 15 % for `seqhead evaluate`.

    Patients, never series, are split, with all labels balanced. The run folder holds the model,
    the split, the predictions and everything needed to repeat it. Series that a PatientID or a
    StudyInstanceUID connects, in DICOM or in the labels, count as one patient.

    With --system, the head, its training and the features are those of a published system; other
    options change it. Features of another recipe are refused with the command that extracts the
    right ones.

    With --views, each epoch draws a view of each training series; validation and test series are
    taken as they are.

    With --folds every patient is tested once, by a model that never saw it: a model for each fold,
    stopped on 15 % of the other folds' patients. The run folder holds all of them; `seqhead
    predict` gives the mean of what they say.

    An option that would have no effect is refused. Exit code 3 if series had to be left out because
    none of their slices has features; they are listed.
    """
    from cli.heads import epochs_bar, given_options, parted_options, remember, sources

    wait_without_spinning()
    from seqhead.arithmetic import start_up
    from seqhead.crossval import CrossValidationReport, fit_as_split
    from seqhead.options import parse_fit_options
    from seqhead.splitting import parse_splitting
    from seqhead.text import crossval_text, fit_text

    start_up()
    files, splitting, options = parted_options(given)
    chosen = parse_fit_options(**given_options(context, options))
    how = parse_splitting(**given_options(context, splitting))
    with epochs_bar() as progress:
        report = fit_as_split(sources(store, **files), chosen, how, out=out, progress=progress)
    remember(report.run.path)
    if as_json:
        echo_json(report.document())
    elif isinstance(report, CrossValidationReport):
        echo("\n".join(crossval_text(report)))
    else:
        echo("\n".join(fit_text(report)))
    context.exit(report.exit_code)


main.add_command(predict)
main.add_command(evaluate)
main.add_command(compare)
main.add_command(reproduce)
main.add_command(sweep)

main.add_command(systems)
main.add_command(describe)


if __name__ == "__main__":
    main()
