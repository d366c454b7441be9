"""Steps that command bodies are made of: each resolves paths and calls one library function."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cli.common import echo, echo_json, echo_note, progress_bar, wait_without_spinning
from featurecache.errors import StoreMismatchError, UsageError
from featurecache.location import Location
from featurecache.project import load_project

if TYPE_CHECKING:
    from cli.requested import Requested
    from featurecache.estimate import Estimate
    from featurecache.extract import ExtractReport
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

    source = check_source(source)
    index.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar("scan") as progress:
        return scan_files(source, index, progress=progress, **options)


def check_source(source: Path | None) -> Path:
    """Refuse what cannot be scanned.

    Parameters
    ----------
    source : Path or None
        What the command was told.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        It is None or not a folder.
    """
    if source is None:
        raise UsageError(
            "SOURCE is missing: name a folder of DICOM files, "
            "or run `featurecache init SOURCE --labels FILE` once"
        )
    if not source.is_dir():
        came = "is a file" if source.exists() else "does not exist"
        raise UsageError(f"SOURCE {source} {came}: expected a folder of DICOM files")
    return source


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


def explain(index: Path, path: Path, selection: "Selection", as_json: bool) -> str:
    """Say what became of one file or series folder.

    Parameters
    ----------
    index : Path
        The index of a scan.
    path : Path
        The file or folder.
    selection : Selection
        Which series are used.
    as_json : bool
        Refused: an explanation is text.

    Returns
    -------
    str

    Raises
    ------
    UsageError
        There is no index yet, or JSON was asked for.
    """
    from featurecache.scan import explain as explain_path

    if as_json:
        raise UsageError("--explain prints text: leave out --json")

    if not index.exists():
        raise UsageError(f"there is no index {index}: run `featurecache scan` first")
    return explain_path(index, path, selection)


def identifiers(
    key: Path | None, store: Location, keep: bool, *, create: bool = True
) -> "Identifiers":
    """Load the key of a store; a new store gets a new key.

    Parameters
    ----------
    key : Path or None
        What ``--key`` said.
    store : Path or str
        The store in use.
    keep : bool
        Identifiers stay as they are; no key is needed.
    create : bool
        False: nothing is written, and a store that is not there yet gets a key of zeros.

    Returns
    -------
    Identifiers

    Raises
    ------
    StoreMismatchError
        The store keeps identifiers, and this run was not told to.
    """
    from featurecache.identifiers import Identifiers, create_key

    path = key or load_project().key_for(store)
    if _is_there(store):
        if not keep and _keeps_ids(store):
            raise StoreMismatchError(
                f"{store} keeps identifiers as they are: add --keep-ids, or use another --store"
            )
    elif not create and not path.exists():
        return Identifiers(None if keep else bytes(32))
    elif not keep:
        path.parent.mkdir(parents=True, exist_ok=True)
        if create_key(path):
            echo_note(f"wrote the key {path}; keep it: labels are joined through it")
    return Identifiers.load(path, keep=keep)


def _is_there(store: Location) -> bool:
    from featurecache.open_storage import open_storage

    return open_storage(store).exists("zarr.json")


def _keeps_ids(store: Location) -> bool:
    from featurecache.store import FeatureStore

    return _is_there(store) and FeatureStore.open(store).keep_ids


def extract(
    source: Path | None,
    index: Path,
    store: Location,
    ids: "Callable[[], Identifiers]",
    asked: "Requested",
    **scan_options: Any,
) -> "ExtractReport":
    """Scan what changed, then extract, with progress bars.

    Parameters
    ----------
    source : Path or None
        Folder of DICOM files.
    index : Path
        The index of a scan; brought up to date.
    store : Path or str
        Where the features go.
    ids : callable
        Gives the ids of the store; called when nothing is wrong with the options.
    asked : Requested
        Feature sets, how to run, and which series.
    **scan_options
        Of `featurecache.scan.scan`.

    Returns
    -------
    ExtractReport

    Raises
    ------
    UsageError
        `source` is None or not a folder.
    """
    check_source(source)
    wait_without_spinning()
    from featurecache.extract import extract as extract_features
    from featurecache.extract import preflight

    preflight(store, asked.features, asked.run)
    with progress_bar("extract", unit="slices") as progress:
        return extract_features(
            index, store, asked.features, asked.run, ids(), selection=asked.selection,
            progress=progress,
            refresh=lambda: scan(source, index, workers=asked.run.workers, **scan_options),
            waiting=lambda holder: echo_note(f"waiting for {holder}, who makes the plan"),
        )  # fmt: skip


def dry_run(
    source: Path | None,
    index: Path,
    store: Location,
    ids: "Callable[[], Identifiers]",
    asked: "Requested",
    **scan_options: Any,
) -> "Estimate":
    """Say what `extract` would do, and write nothing.

    Parameters
    ----------
    source, index, store, ids, asked, **scan_options
        As in `extract`. Where there is no index yet, files are scanned into a temporary one.

    Returns
    -------
    Estimate
    """
    wait_without_spinning()
    from featurecache.dry_run import estimate
    from featurecache.extract import preflight
    from featurecache.job import Job
    from featurecache.open_storage import open_storage

    run, storage = asked.run, open_storage(store)
    preflight(storage, asked.features, run)
    shares = () if run.shard is None else (run.shard,)
    with ExitStack() as stack:
        if not index.exists():
            check_source(source)
            folder = stack.enter_context(TemporaryDirectory())
            index = Path(folder) / "index.sqlite"
            scan(source, index, workers=run.workers, **scan_options)
        else:
            echo_note(f"as of the last scan ({index}): files that came later are not counted")
        return estimate(Job(index, storage, asked.features, run, ids(), shares), asked.selection)


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


def describe(store: Location, *, needed: bool = True) -> dict[str, Any]:
    """Give the document of ``info --json``.

    Parameters
    ----------
    store : Path or str
        The feature store.
    needed : bool
        False: a store that is not there yet is an empty one.

    Returns
    -------
    dict

    Raises
    ------
    StoreError
        The store is not there or cannot be read.
    """
    from featurecache.store import describe as describe_store

    if not needed and not _is_there(store):
        counts = {"parts": 0, "series": 0, "slices": 0}
        return {"schema_version": 1, **counts, "identifiers": None, "features": {}}
    return describe_store(store)


def series_list(store: Location, index: Path, key: Path | None) -> list[dict[str, Any]]:
    """List series with their store id, SeriesInstanceUID and folder side by side.

    Those that can be used come first, as the index has them, then those of the store that the
    index does not have, or not any more.

    Parameters
    ----------
    store : Path or str
        The feature store; it need not be there yet.
    index : Path
        The index of the scan it was made from.
    key : Path or None
        What ``--key`` said.

    Returns
    -------
    list of dict
        ``series``, ``series_instance_uid``, ``folder``, ``n_slices``, ``in_store``; the second and
        third are None for a series that is not in the index, and the first is None where there
        is neither a store nor a key yet.

    Raises
    ------
    UsageError
        There is no index, or no key for the ids of the store.
    """
    from featurecache.index import Index

    if not index.exists():
        raise UsageError(
            f"there is no index {index}: --series needs that of the scan; name it with --index"
        )
    stored, ids = _stored_series(store), _listed_ids(store, key)
    with Index.open(index, readonly=True) as scanned:
        listed = [
            {
                "series": None if ids is None else ids.series(stack.key),
                "series_instance_uid": stack.series_uid,
                "folder": str(PurePosixPath(stack.slices[0].path).parent),
                "n_slices": len(stack.slices),
                "in_store": ids is not None and ids.series(stack.key) in stored,
            }
            for stack in scanned.stacks()
        ]
    known = {one["series"] for one in listed}
    gone: dict[str, Any] = {"series_instance_uid": None, "folder": None, "in_store": True}
    return listed + [
        {"series": name, **gone, "n_slices": count}
        for name, count in sorted(stored.items())
        if name not in known
    ]


def _stored_series(store: Location) -> dict[str, int]:
    """Ids of the series that count in a store, with their slices."""
    from featurecache.store import FeatureStore

    if not _is_there(store):
        return {}
    tables = FeatureStore.open(store).series_parts
    current = [table[table["row_current"]] for table in tables]
    return {
        str(name): int(count)
        for table in current
        for name, count in zip(table["series"], table["n_slices"], strict=True)
    }


def _listed_ids(store: Location, key: Path | None) -> "Identifiers | None":
    """The ids of a store, or those that a store will have; None where that is still open."""
    from featurecache.identifiers import Identifiers
    from featurecache.store import FeatureStore

    project = load_project()
    path = key or project.key_for(store)
    if not _is_there(store):
        if not project.keep_ids and key is None and not path.exists():
            return None
        return Identifiers.load(path, keep=project.keep_ids)
    opened = FeatureStore.open(store)
    ids = Identifiers.load(path, keep=opened.keep_ids)
    ids.check(opened.key_digest)
    return ids
