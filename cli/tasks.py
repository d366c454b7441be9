"""Steps that command bodies are made of: each resolves paths and calls one library function."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cli.common import echo, echo_json, echo_note, progress_bar, wait_without_spinning
from featurecache.errors import StoreMismatchError, UsageError
from featurecache.location import Location
from featurecache.project import load_project

if TYPE_CHECKING:
    from featurecache.extract import ExtractReport
    from featurecache.faults import VerifyReport
    from featurecache.identifiers import Identifiers
    from featurecache.index import Account
    from featurecache.select import Selection


def index_path(index: Path | None, store: Location | None) -> Path:
    """Resolve the index: as given, else where the project keeps it.

    Parameters
    ----------
    index : Path or None
        What ``--index`` said.
    store : Path, str or None
        The store in use; None for that of the project.

    Returns
    -------
    Path
    """
    project = load_project()
    return index or project.index_for(store or project.store)


def scan(source: Path | None, index: Path, **options: Any) -> "Account":
    """Scan with a progress bar.

    Parameters
    ----------
    source : Path or None
        Folder of DICOM files.
    index : Path
        Where the index is or will be.
    **options
        Of `featurecache.scan.scan`.

    Returns
    -------
    Account

    Raises
    ------
    UsageError
        `source` is None or not a folder.
    """
    from featurecache.scan import scan as scan_files

    if source is None:
        raise UsageError(
            "SOURCE is missing: name a folder of DICOM files, "
            "or run `featurecache init SOURCE --labels FILE` once"
        )
    if not source.is_dir():
        came = "is a file" if source.exists() else "does not exist"
        raise UsageError(f"SOURCE {source} {came}: expected a folder of DICOM files")
    index.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar("scan") as progress:
        return scan_files(source, index, progress=progress, **options)


def selection(rules: tuple[str, ...]) -> "Selection":
    """Read the rules of ``--select``.

    Parameters
    ----------
    rules : tuple of str
        They replace those of the project, or add to them where they begin with ``+``.

    Returns
    -------
    Selection
    """
    from featurecache.select import Selection, add_rules

    return Selection.parse(add_rules(load_project().select, rules))


def print_scan(index: Path, selection: "Selection", as_json: bool) -> None:
    """Print what the index of a scan says, and what the selection makes of it.

    Parameters
    ----------
    index : Path
        The index that was written.
    selection : Selection
        Which series are used.
    as_json : bool
        The JSON document instead of the table.

    Raises
    ------
    UsageError
        The selection leaves nothing; after printing.
    """
    from cli.text import scan_text
    from featurecache.chosen import choose
    from featurecache.index import Index
    from featurecache.scan import scan_document

    project = load_project()
    ids = None
    if as_json:
        keep = project.keep_ids or _keeps_ids(project.store)
        ids = identifiers(None, project.store, keep)
    with Index.open(index, readonly=True) as opened:
        chosen = choose(opened, selection)
        document = scan_document(opened, ids, chosen, with_texts=True)
    if as_json:
        echo_json(document)
    else:
        echo(scan_text(document))
        echo(f"index: {index}")
    chosen.check()


def explain(index: Path, path: Path, selection: "Selection") -> str:
    """Say what became of one file or series folder.

    Parameters
    ----------
    index : Path
        The index of a scan.
    path : Path
        The file or folder.
    selection : Selection
        Which series are used.

    Returns
    -------
    str

    Raises
    ------
    UsageError
        There is no index yet.
    """
    from featurecache.scan import explain as explain_path

    if not index.exists():
        raise UsageError(f"there is no index {index}: run `featurecache scan` first")
    return explain_path(index, path, selection)


def identifiers(key: Path | None, store: Location, keep: bool) -> "Identifiers":
    """Load the key of a store; a new store gets a new key.

    Parameters
    ----------
    key : Path or None
        What ``--key`` said.
    store : Path or str
        The store in use.
    keep : bool
        Identifiers stay as they are; no key is needed.

    Returns
    -------
    Identifiers

    Raises
    ------
    StoreMismatchError
        The store keeps identifiers, and this run was not told to.
    """
    from featurecache.identifiers import Identifiers, create_key
    from featurecache.open_storage import open_storage

    path = key or load_project().key_for(store)
    if open_storage(store).exists("zarr.json"):
        if not keep and _keeps_ids(store):
            raise StoreMismatchError(
                f"{store} keeps identifiers as they are: add --keep-ids, or use another --store"
            )
    elif not keep:
        path.parent.mkdir(parents=True, exist_ok=True)
        if create_key(path):
            echo_note(f"wrote the key {path}; keep it: labels are joined through it")
    return Identifiers.load(path, keep=keep)


def _keeps_ids(store: Location) -> bool:
    from featurecache.open_storage import open_storage
    from featurecache.store import FeatureStore

    return open_storage(store).exists("zarr.json") and FeatureStore.open(store).keep_ids


def preflight(store: Location, options: dict[str, Any]) -> None:
    """Find what is wrong with an extraction before any file is read.

    Parameters
    ----------
    store : Path or str
        Where the features go.
    options : dict
        Fields of `featurecache.extract.ExtractOptions`.
    """
    wait_without_spinning()
    from featurecache.extract import ExtractOptions, preflight

    preflight(store, ExtractOptions(**options))


def extract(
    index: Path,
    store: Location,
    ids: "Identifiers",
    options: dict[str, Any],
    selection: "Selection",
) -> "ExtractReport":
    """Extract with a progress bar.

    Parameters
    ----------
    index : Path
        The index of a scan.
    store : Path or str
        Where the features go.
    ids : Identifiers
        The ids of the store.
    options : dict
        Fields of `featurecache.extract.ExtractOptions`.
    selection : Selection
        Which series are used.

    Returns
    -------
    ExtractReport
    """
    from featurecache.extract import ExtractOptions
    from featurecache.extract import extract as extract_features

    with progress_bar("extract", unit="slices") as progress:
        return extract_features(
            index, store, ExtractOptions(**options), ids, selection=selection, progress=progress
        )


def print_extract(report: "ExtractReport") -> None:
    """Print the account of the files and what the extraction did.

    Parameters
    ----------
    report : ExtractReport
        What `extract` returned.
    """
    from cli.text import scan_text

    echo(scan_text(report.scan))
    echo()
    echo(report.text())


def describe(store: Location) -> dict[str, Any]:
    """Give the document of ``info --json``.

    Parameters
    ----------
    store : Path or str
        The feature store.

    Returns
    -------
    dict
    """
    from featurecache.store import describe as describe_store

    return describe_store(store)


def series_list(store: Location, index: Path, key: Path | None) -> list[dict[str, Any]]:
    """List series with their store id, SeriesInstanceUID and folder side by side.

    Parameters
    ----------
    store : Path or str
        The feature store.
    index : Path
        The index of the scan it was made from.
    key : Path or None
        What ``--key`` said.

    Returns
    -------
    list of dict
        ``series``, ``series_instance_uid``, ``folder``, ``n_slices``, ``in_store``.

    Raises
    ------
    UsageError
        There is no index, or no key.
    """
    from featurecache.identifiers import Identifiers
    from featurecache.index import Index
    from featurecache.store import FeatureStore

    opened = FeatureStore.open(store)
    stored = {str(name) for table in opened.series_parts for name in table["series"]}
    if not index.exists():
        raise UsageError(
            f"there is no index {index}: --series needs that of the scan; name it with --index"
        )
    ids = Identifiers.load(key or load_project().key_for(store), keep=opened.keep_ids)
    ids.check(opened.key_digest)
    with Index.open(index, readonly=True) as scanned:
        return [
            {
                "series": ids.series(stack.key),
                "series_instance_uid": stack.series_uid,
                "folder": str(PurePosixPath(stack.slices[0].path).parent),
                "n_slices": len(stack.slices),
                "in_store": ids.series(stack.key) in stored,
            }
            for stack in scanned.stacks()
        ]


def verify(store: Path, progress: Callable[[int, int], None]) -> "VerifyReport":
    """Read a whole store.

    Parameters
    ----------
    store : Path
        The feature store.
    progress : callable
        Called with (units read, units there).

    Returns
    -------
    VerifyReport
    """
    from featurecache.verify import verify as verify_store

    return verify_store(store, progress)


def repair(
    store: Path,
    index: Path | None,
    key: Path | None,
    machine: dict[str, Any],
    progress: Callable[[int, int], None],
) -> "VerifyReport":
    """Read a whole store and write again what is damaged.

    Parameters
    ----------
    store : Path
        The feature store.
    index, key : Path or None
        What ``--index`` and ``--key`` said.
    machine : dict
        Fields of `featurecache.repair_units.Machine`.
    progress : callable
        Called with (done, to do) of each step.

    Returns
    -------
    VerifyReport
    """
    wait_without_spinning()
    from featurecache.identifiers import Identifiers
    from featurecache.pool import default_workers
    from featurecache.repair import repair as repair_store
    from featurecache.repair_units import Machine

    path = key or load_project().key_for(store)
    machine["workers"] = machine["workers"] or default_workers()
    return repair_store(
        store,
        index_path(index, store),
        lambda: Identifiers.load(path),
        Machine(**machine),
        progress,
    )


def features_to_export(store: Path, name: str | None) -> str:
    """The feature set to export: the named one, or the only one.

    Parameters
    ----------
    store : Path
        The feature store.
    name : str or None
        What ``--features`` said.

    Returns
    -------
    str

    Raises
    ------
    UsageError
        None was named, and the store has not exactly one.
    """
    from featurecache.store import FeatureStore

    if name is not None:
        return name
    names = FeatureStore.open(store).names
    if len(names) != 1:
        raise UsageError(f"{store} has {', '.join(names) or 'no features yet'}: name --features")
    return names[0]
