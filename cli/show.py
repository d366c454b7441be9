"""`featurecache show`: a series as the backbone sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import Command, echo, progress_bar, wait_without_spinning
from cli.extract_options import image_options
from cli.options import index_option, keep_ids_option, key_option, select_option
from featurecache.words import plural

if TYPE_CHECKING:
    from featurecache.identifiers import Identifiers


@click.command(
    cls=Command,
    example="featurecache show /data/ct/patient-1/series-2 --out sheet.png\n"
    "featurecache show 1.2.840.113619.2.5 --out sheet.png --windows brain,subdural,bone\n"
    "featurecache show /data/ct/patient-1/series-2 --out sheet.png --spacing 1 --fov 250",
)
@click.argument("series")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="PNG", help="The sheet."
)
@image_options
@click.option(
    "--columns",
    type=click.IntRange(min=1),
    show_default="a little wider than high",
    help="Slices of a row.",
)
@index_option
@key_option
@keep_ids_option
@select_option
@click.pass_context
def show(
    context: click.Context,
    series: str,
    out: Path,
    windows: str,
    columns: int | None,
    index: Path | None,
    key: Path | None,
    keep_ids: bool,
    select: tuple[str, ...],
    **image: Any,
) -> None:
    """Draw a contact sheet of a series as the backbone sees it.

    SERIES is the id in the store, the SeriesInstanceUID, or the folder of its files. Windows,
    size, fit and field of view are those of `extract`. Every slice has its position in the series
    and its z in mm; one that fails is an empty tile with the reason, and the exit code is 3. A
    series that --select leaves out is shown, with the rule.

    The sheet has no name, no date and no identifier but the one in the store. It shows the
    pixels, so treat it as you treat the scans.
    """
    wait_without_spinning()
    from cli import tasks
    from featurecache.framing import parse_framing
    from featurecache.index import Index
    from featurecache.recipe import parse_windows
    from featurecache.show import show as show_series

    levels, framing = parse_windows(windows), parse_framing(**image)
    ids, selection = _identifiers(key, keep_ids), tasks.selection(select)
    with (
        Index.open(tasks.index_path(index, None), readonly=True) as opened,
        progress_bar("show", unit="slices") as progress,
    ):
        shown = show_series(
            opened, series, out, ids, windows=levels, framing=framing, columns=columns,
            selection=selection, progress=progress,
        )  # fmt: skip
    echo(f"{out}: {plural(shown.slices, 'slice')}")
    for reason, count in sorted(shown.failed.items()):
        echo(f"  {count} failed: {reason}")
    for warning, count in sorted(shown.warnings.items()):
        echo(f"  {count} with a warning: {warning}")
    context.exit(3 if shown.failed else 0)


def _identifiers(key: Path | None, keep_ids: bool) -> "Identifiers | None":
    """The ids of the store; None where there is no key yet, since looking needs none."""
    from featurecache.identifiers import Identifiers
    from featurecache.project import load_project

    project = load_project()
    path = key or project.key_for(project.store)
    if not keep_ids and key is None and not path.exists():
        return None
    return Identifiers.load(path, keep=keep_ids)
