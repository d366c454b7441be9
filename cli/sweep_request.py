"""Options of `sweep` -> a sweep that is begun, or one that is continued."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.heads import given_options, sources
from featurecache.errors import UsageError
from featurecache.location import Location
from featurecache.project import load_project
from seqhead.splitting import Splitting, parse_splitting
from seqhead.sweeps.folder import SweepFolder
from seqhead.sweeps.search_file import parse_grid, read_search
from seqhead.sweeps.settings import Request, parse_request
from seqhead.sweeps.sweep import SweepReport, continue_sweep, sources_of
from seqhead.sweeps.sweep import sweep as run_sweep

_FILES = ("labels", "labels_format", "slice_labels", "key")
_ALSO_TO_CONTINUE = {"key", "jobs", "device", "memory", "as_json", "store", "print_search"}

Progress = Callable[[int, int, float | None], None]


def begun_or_continued(
    context: click.Context,
    store: Location,
    given: dict[str, Any],
    *,
    jobs: int | None,
    device: str,
    memory: float | None,
    progress: Progress,
) -> SweepReport:
    """Run a sweep: that of a folder which stands for STORE, or one of the options.

    Parameters
    ----------
    context : click.Context
        Of the command.
    store : Path or str
        What stands for STORE.
    given : dict
        The other options.
    jobs, device, memory, progress
        As for `seqhead.sweeps.sweep.sweep`.

    Returns
    -------
    SweepReport

    Raises
    ------
    UsageError
        STORE is a sweep, and options say otherwise.
    """
    if isinstance(store, Path) and SweepFolder(store).is_sweep:
        commandline = click.core.ParameterSource.COMMANDLINE
        other = [
            name for name in context.params
            if name not in _ALSO_TO_CONTINUE
            and context.get_parameter_source(name) is commandline
        ]  # fmt: skip
        if other:
            option = other[0].replace("_", "-")
            raise UsageError(
                f"{store} is a sweep, which has its settings: leave --{option} out, or name the "
                "store instead"
            )
        settings = SweepFolder(store).settings()
        where = sources_of(settings, None, Path()).store
        key = given["key"] or load_project().key_for(where)
        return continue_sweep(
            store, key=key, jobs=jobs, device=device, memory=memory, progress=progress
        )
    files = {name: given[name] for name in _FILES}
    chosen = given_options(context, {k: v for k, v in given.items() if k not in _FILES})
    splitting = {k: chosen.pop(k) for k in list(chosen) if k in Splitting.model_fields}
    return run_sweep(
        sources(store, **files), _request(chosen), splitting=parse_splitting(**splitting),
        out=given["out"], jobs=jobs, device=device, memory=memory, progress=progress,
    )  # fmt: skip


def _request(chosen: dict[str, Any]) -> Request:
    """The search of a file, of ``--grid`` or of the default, with the feature sets named."""
    search, grid = chosen.pop("search", None), chosen.pop("grid", ())
    features = chosen.pop("features", None)
    if search is not None and grid:
        raise UsageError("--search says what is searched, and so does --grid: leave one out")
    document = None if search is None else read_search(search)
    if grid:
        document = parse_grid(grid)
        if chosen.get("sampler", "grid") != "grid":
            raise UsageError(f"--sampler {chosen['sampler']} draws, and --grid tries all: use one")
        chosen["sampler"] = "grid"
    if features is not None:
        document = document or {}
        if "features" in document:
            raise UsageError("--features says which feature sets, and so does the search: use one")
        document["features"] = [name.strip() for name in features.split(",")]
    fields = {name: value for name, value in chosen.items() if name in Request.model_fields}
    return parse_request(**fields, search=document)
