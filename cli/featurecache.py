"""`featurecache` (also installed as `fc`): DICOM in, cached features out."""

from pathlib import Path
from typing import Any

import click

from cli.common import CONTEXT_SETTINGS, CommandGroup, echo, echo_json, progress_bar
from cli.extract_options import extract_options, scan_options
from cli.housekeeping import diff, export, gc, pack, verify
from cli.options import (
    LABELS_FORMATS,
    StoreType,
    index_option,
    init_select_option,
    json_option,
    keep_ids_option,
    key_option,
    nifti_ids_option,
    project_default,
    select_option,
    source_argument,
    store_argument,
    store_option,
    workers_option,
)
from cli.show import show
from featurecache.location import Location
from featurecache.words import plural


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from featurecache import __version__

        echo(f"featurecache {__version__}")
        context.exit()


@click.group(cls=CommandGroup, context_settings=CONTEXT_SETTINGS)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def main() -> None:
    """Cache the features of frozen CNNs for a tree of head-CT DICOM files.

    \b
    Start:   featurecache init DICOM_FOLDER --labels labels.csv
    Then:    featurecache extract --backbone vgg16
             seqhead fit --rnn gru
             seqhead evaluate

    \b
    `fc` is the same program. In bash and zsh it is their history builtin until
    you run:  eval "$(featurecache shell-init bash)"
    """


@main.command(example="featurecache init /data/cq500 --preset cq500 --labels reads.csv")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--preset",
    type=click.Choice(["cq500", "rsna"]),
    help="A public data set: sets label format and series selection, keeps identifiers.",
)
@click.option(
    "--labels", type=click.Path(path_type=Path), help="CSV of labels per patient, study or series."
)
@click.option("--labels-format", type=click.Choice(LABELS_FORMATS), help="How they are written.")
@click.option("--slice-labels", type=click.Path(path_type=Path), help="CSV of labels per slice.")
@click.option(
    "--nifti-ids",
    type=click.Path(path_type=Path),
    help="CSV that says whose scan each NIfTI file is (path, PatientID, ...).",
)
@click.option(
    "--store",
    type=StoreType(),
    metavar="PATH",
    help="Where the features will be: a folder, or s3://BUCKET/PREFIX.",
)
@click.option("--key", type=click.Path(path_type=Path), help="Key of the ids in the store.")
@click.option(
    "--keep-ids",
    is_flag=True,
    help="Keep identifiers in the store as they are: for public, de-identified data sets only.",
)
@init_select_option
@click.option("--force", is_flag=True, help="Replace a featurecache.toml that is there.")
def init(source: Path, force: bool, **options: Any) -> None:
    """Write featurecache.toml, so that no command needs to be told again.

    It goes into the working folder. Creates the secret key behind the ids of the store (mode
    0600), unless identifiers are kept.
    """
    from featurecache.setup import initialise

    echo(initialise(Path(), source=source, force=force, **options))


@main.command(
    resumable=True,
    example="featurecache scan /data/ct\nfeaturecache scan --explain /data/ct/x.dcm\n"
    "featurecache scan --select 'thickness<=5' --select 'description!=*CONTRAST* unless *PRE*'",
)
@source_argument
@index_option
@click.option(
    "--explain",
    type=click.Path(path_type=Path),
    help="Say what became of one file or series folder, and why. Reads the index only.",
)
@scan_options
@nifti_ids_option
@select_option
@workers_option
@json_option
@click.pass_context
def scan(
    context: click.Context,
    source: Path | None,
    index: Path | None,
    explain: Path | None,
    select: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Read the headers of all files below SOURCE.

    They go into the index. A second scan reads only what changed, and a killed one continues.
    Every file ends as used, skipped or failed, with a reason. Rules of --select leave series out;
    they stay in the index. Exit code 3 if files failed.
    """
    from cli import tasks

    index_path, selection = tasks.index_path(index, None), tasks.selection(select)
    if explain is not None:
        echo(tasks.explain(index_path, explain, selection, as_json))
        return
    account = tasks.scan(source, index_path, **options)
    account.check()
    tasks.print_scan(index_path, selection, as_json)
    context.exit(3 if account.failed else 0)


@main.command(
    resumable=True,
    example="featurecache extract --backbone vgg16\n"
    "featurecache extract /data/ct --backbone timm:xception --windows brain,subdural,bone\n"
    "featurecache extract --system drct2",
)
@source_argument
@extract_options
@store_option
@index_option
@keep_ids_option
@key_option
@scan_options
@nifti_ids_option
@select_option
@workers_option
@json_option
@click.pass_context
def extract(
    context: click.Context,
    source: Path | None,
    store: Location,
    index: Path | None,
    key: Path | None,
    keep_ids: bool,
    assume_hu: bool,
    min_slices: int,
    nifti_ids: Path | None,
    select: tuple[str, ...],
    as_json: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Run a frozen CNN over every slice and store the features.

    Scans first (only what changed), then extracts what the store lacks: later files become a new
    part, an interrupted run continues, another recipe under the same name is refused. A wider
    --select adds series; a narrower one removes none. --system takes the series that the system
    uses, unless --select is given; rules of featurecache.toml do not count then. Exit code 3 if
    slices or files failed; they are listed.
    """
    from cli import tasks
    from cli.requested import requested

    what = (
        source, tasks.index_path(index, store), store,
        lambda: tasks.identifiers(key, store, keep_ids, create=not dry_run),
        requested(context, options, select),
    )  # fmt: skip
    scanning: dict[str, Any] = {
        "assume_hu": assume_hu, "min_slices": min_slices, "nifti_ids": nifti_ids
    }  # fmt: skip
    if dry_run:
        estimate = tasks.dry_run(*what, **scanning)
        echo_json(estimate.document()) if as_json else echo(estimate.text())
        return
    report = tasks.extract(*what, **scanning)
    if as_json:
        echo_json(report.document())
    else:
        tasks.print_extract(report)
    context.exit(report.exit_code)


@main.command(example="featurecache info cache.zarr --json\nfeaturecache info --series")
@store_argument
@click.option(
    "--series", is_flag=True, help="List the series: store id, SeriesInstanceUID, folder."
)
@index_option
@key_option
@json_option
def info(
    store: Location, series: bool, index: Path | None, key: Path | None, as_json: bool
) -> None:
    """Describe a store: its feature sets, recipes, what is missing or failed.

    With --series also what the index has, which `show` takes; that needs a scan, and no store yet.
    """
    from cli import tasks
    from cli.text import info_text

    document = tasks.describe(store, needed=not series)
    if series:
        document["series_list"] = tasks.series_list(store, tasks.index_path(index, store), key)
    if as_json:
        echo_json(document)
    else:
        echo(info_text(store, document))


for _command in (show, verify, gc, diff, export, pack):
    main.add_command(_command)


@main.command(example="featurecache phantom phantom --patients 40 --seed 0")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--patients", type=click.IntRange(1), required=True, help="How many.")
@click.option("--seed", type=click.IntRange(0), required=True, help="Same seed, same files.")
@click.option(
    "--series",
    type=click.Choice(["thick", "all"]),
    default="all",
    show_default=True,
    help="thick: one series of 20-32 slices; all: also thin, bone kernel and a localizer.",
)
@workers_option
def phantom(out: Path, patients: int, seed: int, series: str, workers: int | None) -> None:
    """Write synthetic head CT as DICOM, with labels.

    OUT gets one folder per patient, labels.csv (nine findings per series) and slices.csv (per
    slice). Not for training models that anyone uses: it is a test object.
    """
    from featurecache.phantom import write_phantom

    with progress_bar("phantom", unit="slices") as progress:
        write_phantom(out, patients, seed, series=series, workers=workers, progress=progress)
    written = f"labels in {out / 'labels.csv'} and {out / 'slices.csv'}"
    echo(f"{plural(patients, 'patient')} in {out}; {written}")


@main.command(example="featurecache doctor --json")
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say what this machine has, and the line that installs what it lacks.

    Exit code 4 if a package is missing without which no command works.
    """
    from cli.doctor_text import report_text
    from featurecache.doctor import examine, is_broken

    document = examine(store=project_default("store")())
    if as_json:
        echo_json(document)
    else:
        echo(report_text(document))
    context.exit(4 if is_broken(document) else 0)


@main.command("shell-init", example='eval "$(featurecache shell-init bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def shell_init(shell: str) -> None:
    """Print the lines that make `fc` reach this program.

    In bash and zsh `fc` is a builtin that edits and lists the history. The printed function hands
    our subcommands to `featurecache` and everything else to the builtin. Completion comes with
    it. Put the line at the end of ~/.bashrc or ~/.zshrc; in fish:
    `featurecache shell-init fish | source` in config.fish.
    """
    from cli.shells import script

    click.echo(script(shell, list(main.commands)))
