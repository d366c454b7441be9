"""What the body of `seqhead evaluate` calls; imported inside it, not by ``--help``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from featurecache.errors import StoreError, UsageError
from featurecache.identifiers import Identifiers
from featurecache.location import Location, parse_location
from featurecache.project import KEY_NAME, load_project
from featurecache.store import FeatureStore
from featurecache.words import plural
from seqhead.averaged import averaged_predictions
from seqhead.evaluate import evaluate_run
from seqhead.evaluation import Evaluation
from seqhead.evaluation_text import evaluation_text
from seqhead.external import External, evaluate_external, parse_renamed
from seqhead.key_slice_figures import key_slice_figures
from seqhead.key_slice_rows import require_attention, rows_of_external, rows_of_run
from seqhead.key_slice_text import key_slice_lines
from seqhead.labels.file import LabelFile
from seqhead.labels.reading import read_labels, read_slice_labels, slice_labels_format
from seqhead.reader_figures import reader_figures
from seqhead.reader_text import reader_lines
from seqhead.reads import read_rows
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.subgroups import INDEX_SUBGROUPS, owners_of


@dataclass(slots=True)
class Result:
    """An evaluation with what was asked for beside it.

    Parameters
    ----------
    run : Run
        The run.
    evaluation : Evaluation
        The figures.
    readers : dict or None
        Figures of human readers.
    of_labels : bool
        Whether the labels are a vote of these readers.
    key_slices : dict or None
        Figures of the key-slice tasks.
    files : list of Path
        Curves that were drawn.
    """

    run: Run
    evaluation: Evaluation
    readers: dict[str, Any] | None = None
    of_labels: bool = False
    key_slices: dict[str, Any] | None = None
    files: list[Path] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead evaluate --json``."""
        readers = {"readers": self.readers} if self.readers else {}
        files = {"curves": [file.as_posix() for file in self.files]} if self.files else {}
        tasks = {"key_slices": self.key_slices} if self.key_slices else {}
        return {**self.evaluation.document(), **readers, **tasks, **files}

    def lines(self, *, details: bool) -> list[str]:
        """Tables."""
        lines = evaluation_text(self.evaluation, self.run.path.as_posix(), details=details)
        if self.readers:
            lines += reader_lines(self.readers, of_labels=self.of_labels)
        if self.key_slices:
            lines += key_slice_lines(self.key_slices)
        if self.files:
            lines += ["", f"{plural(len(self.files), 'file')} in {self.files[0].parent.as_posix()}"]
        return lines


def judge_run(run: Run, **options: Any) -> Result:
    """Evaluate a run as the options say.

    Parameters
    ----------
    run : Run
        The run.
    **options
        Of the command.

    Returns
    -------
    Result

    Raises
    ------
    UsageError
        Options contradict each other.
    FeatureCacheError
        As the library's.
    """
    renamed = parse_renamed(options["renamed"]) if options["renamed"] else None
    external = None
    if options["key_slices"]:
        require_attention(run)
    if options["store"] is not None:
        evaluation, external = _external(run, options, renamed)
    else:
        _refuse_idle(options)
        evaluation = evaluate_run(
            run, options["level"], combine=options["combine"],
            operating_point=options["operating_point"], by=options["by"],
            kinds=_kinds(run, options), averaged=_averaged(run, options),
        )  # fmt: skip
    result = Result(run, evaluation)
    if options["readers"] is not None:
        _add_readers(result, options, external, renamed)
    if options["key_slices"]:
        _add_key_slices(result, options, external, renamed)
    if options["curves"]:
        _draw(result, options["store"])
    return result


def _averaged(run: Run, options: dict[str, Any]) -> tuple[pd.DataFrame, int] | None:
    if not options["views"]:
        return None
    return averaged_predictions(run, _own_store(run), options["device"])


def _own_store(run: Run) -> FeatureStore:
    """The store that a run was fitted on, as its paths say."""
    store = parse_location(run.config.sources.store)
    if isinstance(store, Path) and not store.exists():
        raise UsageError(
            f"the store {store} of {run.path.name} is not here: run this in the project folder, "
            "where the fit was"
        )
    return FeatureStore.open(store)


def _refuse_idle(options: dict[str, Any]) -> None:
    of_other = ("labels", "slice_labels", "features", "second_features")
    used = ("slice_labels",) if options["key_slices"] else ()
    idle = [name for name in of_other if options[name] is not None and name not in used]
    if idle:
        raise UsageError(
            f"--{idle[0].replace('_', '-')} is of another data set: name its features with --store"
        )
    if options["renamed"] and options["readers"] is None and not options["key_slices"]:
        raise UsageError(
            "--map has no effect without --store, --readers or --key-slices. Leave it out"
        )


def _external(
    run: Run, options: dict[str, Any], renamed: dict[str, str] | None
) -> tuple[Evaluation, External]:
    store, labels = options["store"], options["labels"] or options["slice_labels"]
    if labels is None:
        raise UsageError("--store needs the labels of that store: give --labels FILE")
    of_slices = options["labels"] is None
    form = slice_labels_format(labels) if of_slices else options["labels_format"]
    slice_labels = None if of_slices else options["slice_labels"]
    text = [name for name in options["by"] if name in INDEX_SUBGROUPS]
    if text:
        raise UsageError(f"--by {text[0]} is for the run's own patients: leave out --store")
    return evaluate_external(
        run, Sources(store, labels, form, slice_labels, _key_of(store, options["key"])),
        renamed=renamed, level=options["level"], combine=options["combine"],
        features=options["features"], second_features=options["second_features"],
        allow_numerics=options["allow_numerics"], operating_point=options["operating_point"],
        by=options["by"], views_beside=_own_store(run) if options["views"] else None,
        device=options["device"],
    )  # fmt: skip


def _key_of(store: Location, key: Path | None) -> Path:
    """The key that was named, the one beside the store, or the project's."""
    if key is None and isinstance(store, Path) and (store.parent / KEY_NAME).is_file():
        return store.parent / KEY_NAME
    return key or load_project().key_for(store)


def _identifiers(store: Location, key: Path | None) -> Identifiers | None:
    """The ids of a store; None where it, or its key, is not here."""
    try:
        opened = FeatureStore.open(store)
    except StoreError:
        return None
    path = _key_of(store, key)
    if not opened.keep_ids and not path.is_file():
        return None
    identifiers = Identifiers.load(path, keep=opened.keep_ids)
    identifiers.check(opened.key_digest)
    return identifiers


def _kinds(run: Run, options: dict[str, Any]) -> pd.DataFrame | None:
    """Kernel and manufacturer from the index; read for this evaluation, and kept nowhere."""
    if not set(options["by"]) & set(INDEX_SUBGROUPS):
        return None
    from cli.tasks import index_path
    from featurecache.index import Index

    store = parse_location(run.config.sources.store)
    identifiers = _identifiers(store, options["key"])
    if identifiers is None:
        raise UsageError(
            f"the store {store} or its key is not here: series of the index cannot be matched. "
            "Run this in the project folder, or name the key with --key FILE"
        )
    with Index.open(index_path(options["index"], store), readonly=True) as index:
        rows = [
            (identifiers.series(stack.key), stack.kernel, stack.manufacturer)
            for stack in index.stacks()
        ]
    table = pd.DataFrame(rows, columns=["series", *INDEX_SUBGROUPS])
    return table.drop_duplicates("series").set_index("series")


def _add_readers(
    result: Result,
    options: dict[str, Any],
    external: External | None,
    renamed: dict[str, str] | None,
) -> None:
    from seqhead.labels.readers import read_readers

    files = read_readers(options["readers"])
    level = result.evaluation.level
    if external is None:
        series = result.run.folds.drop_duplicates("series").set_index("series")
        rows = result.run.predictions
        used = result.run.config.sources
        store, form = parse_location(used.store), used.labels_format
        owner = rows["series"].to_numpy()
        ids = rows[{"slice": "slice", "series": "series", "patient": "group"}[level]].to_numpy()
    else:
        series, store, form = external.cohort.series, options["store"], options["labels_format"]
        owner = series.index.to_numpy()
        ids = owner if level == "series" else external.cohort.groups
    if level == "slice":
        raise UsageError("readers read scans: use --readers with --level series or patient")
    reads = read_rows(
        files, result.evaluation.judged, series, owners_of(ids, owner),
        identifiers=_identifiers(store, options["key"]), renamed=renamed,
    )  # fmt: skip
    result.readers = reader_figures(result.evaluation.judged, reads)
    result.of_labels = form == "cq500"


def _add_key_slices(
    result: Result,
    options: dict[str, Any],
    external: External | None,
    renamed: dict[str, str] | None,
) -> None:
    from seqhead.curves import draw_positions

    run, device = result.run, options["device"]
    if external is not None:
        opened = external.opened
        labels = opened.slice_labels or opened.labels
        rows = rows_of_external(run, external, labels, renamed=renamed, device=device)
    else:
        store = parse_location(run.config.sources.store)
        opened_store = _own_store(run)
        identifiers = _identifiers(store, options["key"])
        if identifiers is None:
            raise UsageError(
                f"the key of the store {store} is not here: labels of slices cannot be matched. "
                "Run this in the project folder, or name the key with --key FILE"
            )
        labels = _slice_labels(run, options["slice_labels"])
        rows = rows_of_run(
            run, opened_store, identifiers, labels, renamed=renamed, device=device
        )  # fmt: skip
    result.key_slices = key_slice_figures(rows)
    result.files += draw_positions(result.key_slices, _curves_folder(run, options["store"]))


def _slice_labels(run: Run, given: Path | None) -> LabelFile:
    """Labels of slices: the file that was named, the fit's, or the project's."""
    used = run.config.sources
    if given is None and used.slice_labels is not None:
        given = Path(used.slice_labels)
    if given is None:
        labels = read_labels(Path(used.labels), used.labels_format)
        if labels.level == "slice":
            return labels
        given = load_project().slice_labels
    if given is None:
        raise UsageError(
            "--key-slices needs labels of slices, and the fit had none: give --slice-labels FILE, "
            "a table with SOPInstanceUID or the RSNA challenge's CSV"
        )
    return read_slice_labels(given)


def _curves_folder(run: Run, store: Location | None) -> Path:
    return run.path / "curves" / ("" if store is None else Path(store).stem)


def _draw(result: Result, store: Location | None) -> None:
    from seqhead.curves import draw_curves

    history: pd.DataFrame | None = None
    file = result.run.path / "history.csv"
    if store is None and file.is_file():
        history = pd.read_csv(file)
    result.files += draw_curves(
        result.evaluation, _curves_folder(result.run, store), history=history,
        readers=result.readers,
    )  # fmt: skip
