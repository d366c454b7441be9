"""`featurecache verify`, `gc`, `diff`, `export`, `pack`: what is done to a store that is there."""

from pathlib import Path
from typing import Any

import click

from cli.common import Command, echo, echo_json, progress_bar
from cli.options import (
    index_option,
    json_option,
    key_option,
    store_and_out_arguments,
    store_argument,
    workers_option,
)
from featurecache.location import Location


@click.command(
    cls=Command,
    example="featurecache verify cache.zarr\nfeaturecache verify --repair",
)
@store_argument
@click.option("--repair", is_flag=True, help="Write again what is damaged, where that is possible.")
@index_option
@key_option
@click.option("--weights", type=click.Path(path_type=Path), help="File of weights, for --repair.")
@click.option("--device", default="auto", show_default=True, help="For --repair, as in `extract`.")
@workers_option
@json_option
@click.pass_context
def verify(
    context: click.Context,
    store: Location,
    repair: bool,
    index: Path | None,
    key: Path | None,
    as_json: bool,
    **machine: Any,
) -> None:
    """Read every byte of a store and say what is not as it was written.

    Faults are damaged (bytes are not those that were written), unfinished (`extract` has work
    left) or stray (a file that does not belong there). Exit code 5 if there is any.

    With --repair, what is damaged is computed again from the files that the index lists, with the
    recorded recipe and plan, and then read once more. Nothing is replaced before its replacement is
    there, and what cannot be repaired stays as it is and is named.
    """
    from cli import tasks

    with progress_bar("verify", unit="units") as progress:
        report = (
            tasks.repair(store, index, key, machine, progress)
            if repair
            else tasks.verify(store, progress)
        )
    echo_json(report.document()) if as_json else echo(report.text())
    context.exit(report.exit_code)


@click.command(cls=Command, example="featurecache gc --dry-run\nfeaturecache gc cache.zarr")
@store_argument
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@click.pass_context
def gc(context: click.Context, store: Location, dry_run: bool, as_json: bool) -> None:
    """Remove debris of killed runs, and rows that a later part supersedes.

    Series whose files changed are in a store twice, and only the later rows count. They are
    written as one new part, which takes the place of the others in one step: readers get the same
    rows before, after and at every moment in between. Needs room for a copy of these rows. Exit
    code 5 if unfinished features stand in the way.
    """
    from featurecache.housekeeping.gc import gc as collect

    with progress_bar("gc", unit="rows") as progress:
        report = collect(store, dry_run=dry_run, progress=progress)
    echo_json(report.document()) if as_json else echo(report.text())
    context.exit(report.exit_code)


@click.command(
    cls=Command,
    example="featurecache diff cache.zarr other.zarr\n"
    "featurecache diff cache.zarr:vgg16 cache.zarr:vgg16-bf16 --json",
)
@click.argument("a")
@click.argument("b")
@json_option
def diff(a: str, b: str, as_json: bool) -> None:
    """Compare two feature sets: recipes, series, and how far the numbers are apart.

    A and B are STORE or STORE:NAME; without names, all that both stores have. Rows are joined by
    slice, and errors are relative to A. Stores with different keys have no ids in common, so that
    only their recipes are compared.
    """
    from featurecache.housekeeping.diff import Side, diff_text
    from featurecache.housekeeping.diff import diff as compare

    with progress_bar("diff", unit="series") as progress:
        document = compare(Side.parse(a), Side.parse(b), progress)
    echo_json(document) if as_json else echo(diff_text(document))


@click.command(
    cls=Command,
    example="featurecache export features.npz\n"
    "featurecache export cache.zarr --features vgg16 vgg16.parquet",
)
@store_and_out_arguments
@click.option("--features", show_default="the only one", help="Name of the feature set.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["npz", "h5", "parquet"]),
    show_default="by the ending of OUT",
    help="One .npz, one HDF5 file with a data set per series, or a Parquet table.",
)
@click.option("--incomplete", is_flag=True, help="Export what there is of unfinished features.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def export(
    store: Location,
    out: Location,
    features: str | None,
    form: str | None,
    incomplete: bool,
    force: bool,
) -> None:
    """Write a feature set as one file for other tools.

    Slices without features are left out, and listed with their reason: in the file itself, for
    Parquet in OUT.failed.parquet beside it. HDF5 and Parquet need the `export` extra.
    """
    from cli import tasks
    from featurecache.housekeeping.export import export as write

    name = tasks.features_to_export(store, features)
    with progress_bar("export", unit="slices") as progress:
        report = write(
            store, name, Path(out), form, incomplete=incomplete, replace=force, progress=progress
        )
    echo(report.text())


@click.command(
    cls=Command,
    example="featurecache pack cache-packed.zarr\n"
    "featurecache pack cache.zarr vgg16.zarr --features vgg16",
)
@store_and_out_arguments
@click.option("--features", multiple=True, help="Only this feature set; repeatable.")
def pack(store: Location, out: Location, features: tuple[str, ...]) -> None:
    """Write a store with the same rows in few files, for shipping.

    OUT is a store like any other: one part, without superseded rows, with 65,536 slices to a
    file. Every command reads it, and so does plain zarr.
    """
    from featurecache.housekeeping.pack import pack as write

    with progress_bar("pack", unit="rows") as progress:
        report = write(store, out, features, progress=progress)
    echo(report.text())
