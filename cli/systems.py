"""`seqhead systems` and `seqhead describe`, and the options of `fit` that go with them."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.common import Command, echo, echo_json
from cli.options import json_option

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--system",
        metavar="NAME",
        help="A published system, exactly as its file has it; `seqhead systems` lists them.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="PART.FIELD=VALUE",
        help="Change any setting of head, training or svm, for example head.zoom.slices=8; "
        "`seqhead describe` shows them. Repeatable.",
    ),
    click.option(
        "--any-recipe",
        is_flag=True,
        help="With --system: take features that it does not ask for, and say so.",
    ),
    click.option(
        "--second-features",
        metavar="NAME",
        show_default="what the system asks for",
        help="Feature set of the enlarged slices, for heads that read two.",
    ),
    click.option(
        "--label-weight",
        "label_weights",
        multiple=True,
        metavar="NAME=WEIGHT",
        help="Weight of a label in the loss, 1 for the others; RSNA 2019 has any=2. Repeatable.",
    ),
    click.option(
        "--balance",
        type=click.Choice(["none", "loss", "sampling"]),
        default="none",
        show_default=True,
        help="Give both answers of a label the same weight, or draw series with and without any "
        "finding equally often.",
    ),
)


def system_options(function: F) -> F:
    """Add ``--system`` and what goes with it."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command(cls=Command, example="seqhead systems\nseqhead systems --json")
@json_option
def systems(as_json: bool) -> None:
    """List the published systems, their parameters and the numbers of their papers.

    `seqhead fit --system NAME` fits one. Those that train on pixels are not among them.
    """
    from seqhead.systems.describe import systems_document
    from seqhead.systems_text import systems_text

    document = systems_document()
    if as_json:
        echo_json(document)
    else:
        echo("\n".join(systems_text(document)))


@click.command(
    cls=Command,
    example="seqhead describe sdlm\nseqhead describe drct2 --features 512 --labels 6 --json",
)
@click.argument("name")
@click.option(
    "--features",
    type=click.IntRange(1),
    metavar="D",
    show_default="those of the system's backbone",
    help="Width of the features.",
)
@click.option(
    "--labels",
    type=click.IntRange(1),
    metavar="K",
    show_default="those of the paper",
    help="How many labels.",
)
@json_option
def describe(name: str, features: int | None, labels: int | None, as_json: bool) -> None:
    """Show a system: layers, output shapes, parameter counts, and every choice.

    Parameters are counted as PyTorch does, and as the papers do: one bias vector for each recurrent
    gate, the running statistics of a batch normalisation included.
    """
    from seqhead.systems.describe import describe as describe_system
    from seqhead.systems_text import description_text

    description = describe_system(name, features, labels)
    if as_json:
        echo_json(description.document())
    else:
        echo("\n".join(description_text(description)))
