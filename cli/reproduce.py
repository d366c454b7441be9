"""`seqhead reproduce`: from DICOM to the row of a paper's table, and ours beside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import Command, echo, echo_json, wait_without_spinning
from cli.extract_options import scan_options
from cli.options import (
    ENVIRONMENT,
    StoreType,
    index_option,
    json_option,
    keep_ids_option,
    key_option,
    labels_options,
    nifti_ids_option,
    source_argument,
    system_select_option,
    workers_option,
)
from featurecache.errors import UsageError
from featurecache.location import Location

if TYPE_CHECKING:
    from featurecache.extract import ExtractReport
    from featurecache.select import Selection
    from seqhead.options import FitOptions
    from seqhead.systems import System

_SCAN = ("assume_hu", "min_slices", "nifti_ids")


@click.command(
    cls=Command,
    resumable=True,
    example="seqhead reproduce sdlm /data/cq500 --labels reads.csv --labels-format cq500\n"
    "seqhead reproduce xception-gru /data/stage_2_train --labels stage_2_train.csv "
    "--labels-format rsna\n"
    "seqhead reproduce drct2 /data/cq500 --labels reads.csv --weights random:0",
)
@click.argument("name")
@source_argument
@labels_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reproduce"),
    show_default=True,
    metavar="DIR",
    help="Gets DIR/NAME with the runs, and features and index where no project has them.",
)
@click.option(
    "--store",
    type=StoreType(),
    metavar="PATH",
    envvar=ENVIRONMENT["store"],
    show_default="featurecache.toml, else DIR/cache.zarr",
    help="Where the features are: a folder, or s3://BUCKET/PREFIX.",
)
@click.option(
    "--weights",
    show_default="the system's",
    help="random:SEED or a file, where the system's weights cannot be had; the table says so.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PART.FIELD=VALUE",
    help="Change a setting of head, training or svm; the table says so. Repeatable.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 2),
    default=0,
    show_default=True,
    help="Of the split, the weights of the head and the order.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@index_option
@keep_ids_option
@key_option
@scan_options
@nifti_ids_option
@system_select_option
@workers_option
@json_option
@click.pass_context
def reproduce(
    context: click.Context,
    name: str,
    source: Path | None,
    out: Path,
    store: Location | None,
    key: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Do a published system from DICOM to its paper's table, and show ours beside it.

    Scans SOURCE, extracts what the store lacks (recipe, weights and series as the system has them),
    fits by the paper's protocol, and prints each number of the paper beside ours, with everything
    that differs. Where the paper's split has patients on two sides, a second run keeps them
    together. What is there already is not done again. Rules of featurecache.toml on series do not
    count here; --select does.

    Exit code 3 if files or slices failed, or series had to be left out.
    """
    wait_without_spinning()
    from cli.heads import epochs_bar, sources
    from cli.requested import selection_of
    from cli.tasks import print_extract
    from seqhead.reproduce import fitted_system
    from seqhead.reproduce import reproduce as reproduce_system
    from seqhead.reproduction_inputs import check_labels
    from seqhead.reproduction_text import reproduction_document, reproduction_text, write_document
    from seqhead.systems import load_system

    system, fitted = load_system(name), fitted_system(name)
    store = store or _default_store(out)
    labels = {one: given.pop(one) for one in ("labels", "labels_format", "slice_labels")}
    files = sources(store, key=key, **labels)
    options = _fit_options(fitted, given)
    check_labels(fitted, files)
    selection = selection_of(context, fitted.name, given.pop("select"))
    extracted = _extract(source, store, key, fitted.name, selection, given)
    with epochs_bar() as progress:
        found = reproduce_system(
            name, files, options, out / system.name, select=selection.texts, progress=progress
        )
    document = reproduction_document(found, extracted.document())
    write_document(out / system.name, document)
    if as_json:
        echo_json(document)
    else:
        print_extract(extracted)
        echo("\n".join(["", *reproduction_text(found)]))
    context.exit(max(extracted.exit_code, found.exit_code))


def _default_store(out: Path) -> Location:
    """The project's, where there is one; else in the folder of the reproductions."""
    from featurecache.project import load_project

    project = load_project()
    return project.store if project.path is not None else out / "cache.zarr"


def _fit_options(fitted: "System", given: dict[str, Any]) -> "FitOptions":
    """Options of the fit: the system's own features, or those of other weights."""
    from seqhead.options import parse_fit_options
    from seqhead.systems import extraction

    options: dict[str, Any] = {"system": fitted.name, "seed": given["seed"]}
    if fitted.kind == "sequence":
        options["device"] = given["device"]
    if given["settings"]:
        options["settings"] = given["settings"]
    if given["weights"] is not None:
        names = [one.feature_name for one in extraction(fitted.name, given["weights"]).sets]
        options |= {"any_recipe": True, "features": names[0]}
        if len(fitted.features) > 1:
            options["second_features"] = names[-1]
    return parse_fit_options(**options)


def _extract(
    source: Path | None, store: Location, key: Path | None, system: str, selection: "Selection",
    given: dict[str, Any],
) -> "ExtractReport":  # fmt: skip
    """Scan, and extract what the store lacks; it must hold no series but the selected ones."""
    from cli import tasks
    from cli.requested import Requested
    from featurecache.options import RunOptions
    from seqhead.systems import extraction

    if isinstance(store, Path):
        store.parent.mkdir(parents=True, exist_ok=True)
    asked = Requested(
        extraction(system, given["weights"]).sets,
        RunOptions(device=given["device"], workers=given["workers"]),
        selection,
    )
    extracted = tasks.extract(
        source, tasks.index_path(given["index"], store), store,
        lambda: tasks.identifiers(key, store, given["keep_ids"]), asked,
        **{name: given[name] for name in _SCAN},
    )  # fmt: skip
    if extracted.unselected_series:  # a fit reads all of a store
        raise UsageError(
            f"{store} has {extracted.unselected_series} series that the selection leaves out, and "
            "a fit reads all that a store has: give another --store or --out, or a wider --select"
        )
    return extracted
