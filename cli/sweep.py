"""`seqhead sweep`: many candidates, one winner, one test."""

from pathlib import Path
from typing import Any

import click

from cli.common import Command, echo, echo_json, wait_without_spinning
from cli.options import json_option, key_option, labels_options, store_argument
from cli.split_options import winner_options
from featurecache.location import Location


@click.command(
    cls=Command,
    resumable=True,
    example="seqhead sweep\n"
    "seqhead sweep --grid rnn=gru,lstm --grid hidden=128,256,512\n"
    "seqhead sweep --search search.toml --trials 100 --inner-folds 5 --out sweeps/heads\n"
    "seqhead sweep --features vgg16,resnet50 --grid head=svm --grid svm.C=0.01,0.1,1,10\n"
    "seqhead sweep sweeps/heads --jobs 4",
)
@store_argument
@labels_options
@key_option
@click.option(
    "--features",
    metavar="NAME,...",
    help="Which feature sets of the store, each tried; needed where it has several.",
)
@click.option(
    "--search",
    type=click.Path(path_type=Path),
    metavar="TOML",
    show_default="GRU, LSTM, BiGRU, attention and SVM; --print-search shows it",
    help="What is searched: values or ranges of the options of `seqhead fit`.",
)
@click.option(
    "--grid",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="Try every combination of these values of options of `seqhead fit`, or of its --set. "
    "Repeatable.",
)
@click.option("--print-search", is_flag=True, help="Print the default search file, and do nothing.")
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "grid"]),
    show_default="tpe; grid with --grid",
    help="How candidates are drawn: near those that did well (tpe), at random, or all of them.",
)
@click.option(
    "--trials",
    type=click.IntRange(1, 100_000),
    show_default="50; of a grid all",
    help="How many candidates.",
)
@click.option(
    "--metric",
    type=click.Choice(["auc", "average_precision", "log_loss", "brier"]),
    default="auc",
    show_default=True,
    help="What candidates are compared by: a mean over the labels that have it.",
)
@click.option(
    "--inner-folds",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="1: candidates are scored on the validation patients that they stop on; K: on K folds of "
    "all patients but the test ones.",
)
@click.option(
    "--pruning/--no-pruning",
    default=None,
    show_default="pruning, but not of a grid",
    help="Give a candidate up whose validation loss falls behind the median of those finished.",
)
@click.option(
    "--level",
    type=click.Choice(["series", "slice"]),
    show_default="that of the labels",
    help="What an output says something of.",
)
@winner_options
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 2),
    default=0,
    show_default=True,
    help="Of the split, the candidates and all fits.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    show_default="one for every 4 cores; 1 with a GPU",
    help="Processes that try candidates side by side; features lie in memory once.",
)
@click.option(
    "--memory",
    type=click.FloatRange(0),
    metavar="GB",
    show_default="half of what is available",
    help="That features may take; more are read from the store batch by batch, by one process, "
    "with equal results.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    show_default="the sweep with these settings, else sweeps/FEATURES-N",
    help="The folder of the sweep.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@json_option
@click.pass_context
def sweep(
    context: click.Context,
    store: Location,
    print_search: bool,
    jobs: int | None,
    device: str,
    memory: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Try many heads on inner folds of the patients, and test the best one on the others, once.

    The test patients (15 %, or those of --split) are set apart before anything else, and no trial
    sees their features or labels. Candidates are compared on the validation patients, or with
    --inner-folds on folds of all the others. The winner is fitted again, with thresholds chosen on
    the validation patients, and tested; its run is in SWEEP/winner, for `seqhead evaluate`,
    `predict` and `compare`. All candidates are in leaderboard.csv and leaderboard.html.

    A sweep that was interrupted or killed continues when the same command is given again, or
    `seqhead sweep SWEEP`: STORE may be the folder of a sweep. Other settings in the same folder are
    refused. Several such commands, on several machines with a shared file system, work on one
    sweep together.

    Exit code 3 if candidates could not be fitted, or series have no features; they are listed.
    """
    if print_search:
        from seqhead.sweeps.search_file import default_search

        echo(default_search(given["level"] or "series").rstrip("\n"))
        return
    wait_without_spinning()
    from cli.heads import remember, sweep_progress
    from cli.sweep_request import begun_or_continued
    from seqhead.arithmetic import start_up
    from seqhead.sweep_text import sweep_text
    from seqhead.sweeps.sweep import default_jobs

    if (jobs or default_jobs(device)) == 1:  # else children do so; here features are given back
        start_up()
    with sweep_progress() as progress:
        report = begun_or_continued(
            context, store, given, jobs=jobs, device=device, memory=memory, progress=progress
        )
    if report.winner is not None:
        remember(report.winner.run.path)
    document = report.document()
    if as_json:
        echo_json(document)
    else:
        echo("\n".join(sweep_text(document)))
    context.exit(report.exit_code)
