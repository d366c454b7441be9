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
from seqhead.evaluate import evaluate_run
from seqhead.evaluation import Evaluation
from seqhead.evaluation_text import evaluation_text
from seqhead.external import External, evaluate_external, parse_renamed
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
    files : list of Path
        Curves that were drawn.
    """

    run: Run
    evaluation: Evaluation
    readers: dict[str, Any] | None = None
    of_labels: bool = False
    files: list[Path] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead evaluate --json``."""
        readers = {"readers": self.readers} if self.readers else {}
        files = {"curves": [file.as_posix() for file in self.files]} if self.files else {}
        return {**self.evaluation.document(), **readers, **files}

    def lines(self, *, details: bool) -> list[str]:
        """Tables."""
        lines = evaluation_text(self.evaluation, self.run.path.as_posix(), details=details)
        if self.readers:
            lines += reader_lines(self.readers, of_labels=self.of_labels)
        if self.files:
            lines += ["", f"{len(self.files)} files in {self.files[0].parent.as_posix()}"]
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
    if options["store"] is not None:
        evaluation, external = _external(run, options, renamed)
    else:
        _refuse_idle(options)
        evaluation = evaluate_run(
            run, options["level"], combine=options["combine"],
            operating_point=options["operating_point"], by=options["by"],
            kinds=_kinds(run, options),
        )  # fmt: skip
    result = Result(run, evaluation)
    if options["readers"] is not None:
        _add_readers(result, options, external, renamed)
    if options["curves"]:
        _draw(result, options["store"])
    return result


def _refuse_idle(options: dict[str, Any]) -> None:
    of_other = ("labels", "slice_labels", "features", "second_features")
    idle = [name for name in of_other if options[name] is not None]
    if idle:
        raise UsageError(
            f"--{idle[0].replace('_', '-')} is of another data set: name its features with --store"
        )
    if options["renamed"] and options["readers"] is None:
        raise UsageError("--map has no effect without --store or --readers. Leave it out")


def _external(
    run: Run, options: dict[str, Any], renamed: dict[str, str] | None
) -> tuple[Evaluation, External]:
    store, labels = options["store"], options["labels"] or options["slice_labels"]
    if labels is None:
        raise UsageError("--store needs the labels of that store: give --labels FILE")
    form = options["labels_format"] if options["labels"] is not None else "table"
    slice_labels = options["slice_labels"] if options["labels"] is not None else None
    text = [name for name in options["by"] if name in INDEX_SUBGROUPS]
    if text:
        raise UsageError(f"--by {text[0]} is for the run's own patients: leave out --store")
    return evaluate_external(
        run, Sources(store, labels, form, slice_labels, _key_of(store, options["key"])),
        renamed=renamed, level=options["level"], combine=options["combine"],
        features=options["features"], second_features=options["second_features"],
        allow_numerics=options["allow_numerics"], operating_point=options["operating_point"],
        by=options["by"], device=options["device"],
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


def _draw(result: Result, store: Location | None) -> None:
    from seqhead.curves import draw_curves

    folder = result.run.path / "curves"
    history: pd.DataFrame | None = None
    file = result.run.path / "history.csv"
    if store is not None:
        folder = folder / Path(store).stem
    elif file.is_file():
        history = pd.read_csv(file)
    result.files = draw_curves(result.evaluation, folder, history=history, readers=result.readers)
