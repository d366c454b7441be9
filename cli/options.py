"""Options that several commands share, with their environment variable and project default.

Precedence: flag, environment variable, ``featurecache.toml``, default.
"""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from featurecache.location import Location, parse_location

F = TypeVar("F", bound=Callable[..., Any])

LABELS_FORMATS = ("table", "cq500", "rsna")
ENVIRONMENT = {
    "source": "FEATURECACHE_SOURCE",
    "store": "FEATURECACHE_STORE",
    "index": "FEATURECACHE_INDEX",
    "key": "FEATURECACHE_KEY",
    "keep_ids": "FEATURECACHE_KEEP_IDS",
    "labels": "FEATURECACHE_LABELS",
    "labels_format": "FEATURECACHE_LABELS_FORMAT",
    "slice_labels": "FEATURECACHE_SLICE_LABELS",
    "nifti_ids": "FEATURECACHE_NIFTI_IDS",
    "select": "FEATURECACHE_SELECT",
}


_DEFAULT_TEXT = {
    "store": "featurecache.toml, else cache.zarr",
    "index": "featurecache.toml, else featurecache.sqlite beside it or the store",
    "key": "featurecache.toml, else featurecache.key beside it or the store",
    "keep_ids": "featurecache.toml, else hashed",
    "labels_format": "featurecache.toml, else table",
    "nifti_ids": "featurecache.toml, else from the paths",
    "select": "featurecache.toml, else all",
}


def project_default(field: str) -> Callable[[], Any]:
    """Give a default that is read from ``featurecache.toml`` when a command runs.

    Parameters
    ----------
    field : str
        A field of `featurecache.project.Project`.

    Returns
    -------
    callable
        For ``default=`` of an option; not called by ``--help`` or completion.
    """

    def value() -> Any:
        context = click.get_current_context(silent=True)
        if context is not None and context.resilient_parsing:
            return None
        from featurecache.project import load_project

        return getattr(load_project(), field)

    return value


def _path(exists: bool = False) -> click.Path:
    return click.Path(exists=exists, path_type=Path)


class StoreType(click.ParamType):
    """Where a store lies: a folder (Path) or ``s3://BUCKET/PREFIX`` (str)."""

    name = "store"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Location:
        """Tell a URL from a path."""
        return parse_location(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete folders."""
        return [CompletionItem(incomplete, type="dir")]


def _shared(field: str) -> dict[str, Any]:
    return {
        "envvar": ENVIRONMENT[field],
        "show_envvar": True,
        "default": project_default(field),
        "show_default": _DEFAULT_TEXT.get(field, "featurecache.toml"),
    }


def _argument(field: str) -> dict[str, Any]:
    return {
        "envvar": ENVIRONMENT[field],
        "default": project_default(field),
        "required": False,
        "type": StoreType() if field == "store" else _path(),
    }


def source_argument(function: F) -> F:
    """Add the argument SOURCE, a folder of DICOM files (Path or None)."""
    return click.argument("source", **_argument("source"))(function)


def store_argument(function: F) -> F:
    """Add the argument STORE, the feature store (Path, or str where it is a URL)."""
    return click.argument("store", **_argument("store"))(function)


def store_or_folder_argument(function: F) -> F:
    """Add the argument STORE, which may be a folder of scans instead (Path or str)."""
    given = _argument("store")
    return click.argument("store", metavar="STORE|DICOM_FOLDER", **given)(function)


def store_and_out_arguments(function: F) -> F:
    """Add the arguments [STORE] OUT: what is read, and what is written (Path, or str of a URL)."""

    @wraps(function)
    def command(*args: Any, out: tuple[Location, ...], **kwargs: Any) -> Any:
        if len(out) > 2:
            raise click.UsageError(f"expected [STORE] OUT, got {len(out)} paths")
        given = out[0] if len(out) == 2 else os.environ.get(ENVIRONMENT["store"])
        store = parse_location(given) if given else project_default("store")()
        return function(*args, store=store, out=out[-1], **kwargs)

    metavar = "[STORE] OUT"
    decorate = click.argument("out", nargs=-1, required=True, type=StoreType(), metavar=metavar)
    return decorate(command)  # type: ignore[return-value]


def store_option(function: F) -> F:
    """Add ``--store``, the feature store (Path, or str where it is a URL)."""
    return click.option(
        "--store",
        type=StoreType(),
        metavar="PATH",
        help="Where the features are: a folder, or s3://BUCKET/PREFIX.",
        **_shared("store"),
    )(function)


def index_option(function: F) -> F:
    """Add ``--index``, the SQLite index of the files (Path or None: `Project.index_for`)."""
    return click.option(
        "--index",
        type=_path(),
        help="The index of the files (SQLite; holds identifiers, keep it private).",
        **_shared("index"),
    )(function)


def key_option(function: F) -> F:
    """Add ``--key``, the key of the store's ids (Path or None: `Project.key_for`)."""
    return click.option(
        "--key",
        type=_path(),
        help="The secret that turns identifiers into the ids of the store.",
        **_shared("key"),
    )(function)


def keep_ids_option(function: F) -> F:
    """Add ``--keep-ids``: identifiers go into the store as they are (bool)."""
    return click.option(
        "--keep-ids/--hash-ids",
        help="Keep identifiers as they are: for public, de-identified data sets only.",
        **_shared("keep_ids"),
    )(function)


def nifti_ids_option(function: F) -> F:
    """Add ``--nifti-ids``, the table of identifiers of NIfTI files (Path or None)."""
    return click.option(
        "--nifti-ids",
        type=_path(),
        help="CSV that says whose scan each NIfTI file is (path, PatientID, ...).",
        **_shared("nifti_ids"),
    )(function)


def labels_options(function: F) -> F:
    """Add ``--labels``, ``--labels-format`` and ``--slice-labels`` (Path or None, str, Path)."""
    for decorate in (
        click.option(
            "--slice-labels",
            type=_path(),
            help="CSV of labels per slice (column SOPInstanceUID).",
            **_shared("slice_labels"),
        ),
        click.option(
            "--labels-format",
            type=click.Choice(LABELS_FORMATS),
            help="How the labels are written.",
            **_shared("labels_format"),
        ),
        click.option("--labels", type=_path(), help="CSV of labels.", **_shared("labels")),
    ):
        function = decorate(function)
    return function


class RuleType(click.ParamType):
    """A rule of `featurecache.select`; several in an environment variable are parted by ``;``."""

    name = "rule"

    def split_envvar_value(self, rv: str) -> list[str]:
        """Split at ``;``; what is empty, as after the last one, is no rule."""
        return [rule for rule in rv.split(";") if rule.strip()]


_SELECT: dict[str, Any] = {"multiple": True, "metavar": "RULE", "type": RuleType()}


def select_option(function: F) -> F:
    """Add ``--select``, the rules that say which series are used (tuple of str)."""
    return click.option(
        "--select",
        help="Use only series that keep this rule, e.g. 'thickness<=5', 'kernel!=*bone*', "
        "'one per study', or all; repeatable. +RULE adds to featurecache.toml.",
        **_SELECT,
        **_shared("select"),
    )(function)


def system_select_option(function: F) -> F:
    """Add ``--select`` of a command whose series are those of a system (tuple of str)."""
    return click.option(
        "--select",
        help="Use only series that keep this rule, see `featurecache extract`; repeatable. +RULE "
        "adds to what the system uses.",
        envvar=ENVIRONMENT["select"],
        show_envvar=True,
        show_default="what the system uses",
        **_SELECT,
    )(function)


def init_select_option(function: F) -> F:
    """Add ``--select`` of `init`, which has no settings to take it from (tuple of str)."""
    return click.option(
        "--select",
        help="Which series are used, see `scan`; +RULE adds to the preset's. Repeatable.",
        **_SELECT,
    )(function)


def workers_option(function: F) -> F:
    """Add ``--workers``, the number of reading processes (int or None)."""
    return click.option(
        "--workers",
        type=click.IntRange(min=1),
        show_default="processors",
        help="Processes that read files.",
    )(function)


def json_option(function: F) -> F:
    """Add ``--json`` as the parameter `as_json`: one JSON document on stdout instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(
        function
    )
