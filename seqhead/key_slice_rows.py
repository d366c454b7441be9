"""Attention of the series that a run is judged on, beside the labels of their slices."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache.identifiers import Identifiers
from featurecache.store import FeatureSet, FeatureStore
from seqhead.cohort import planned_slices
from seqhead.digests import series_digests
from seqhead.errors import FitError, LabelError, RunError
from seqhead.external import External, matched_labels
from seqhead.head_config import ATTENTION_POOLS, HeadConfig
from seqhead.inputs import read_inputs
from seqhead.labels.file import LabelFile
from seqhead.labels.join import join_labels
from seqhead.run import Run
from seqhead.systems.loading import load_system, system_names

_KEY = ["series", "slice", "position"]


@dataclass(frozen=True, slots=True)
class KeySliceRow:
    """One series: the attention of its slices, and what they show.

    Parameters
    ----------
    series : str
        Store id.
    patient : str
        Who counts as one patient, see `seqhead.groups`.
    weights : float array (M, n)
        Attention of the n slices that the head looks at, of each of M models that tested the
        series: one, or one for each repeat of a cross-validation.
    shown : float array (n, K)
        Labels of these slices; NaN is unknown.
    failed : float array (f, K)
        Labels of the slices that have no features.
    not_sampled : float array (s, K)
        Labels of the slices that the head's sampling leaves out.
    """

    series: str
    patient: str
    weights: np.ndarray
    shown: np.ndarray
    failed: np.ndarray
    not_sampled: np.ndarray


@dataclass(frozen=True, slots=True)
class KeySliceRows:
    """Series with the attention of their slices.

    Parameters
    ----------
    source : str
        Name of the slice label file.
    names : tuple of str
        Labels of the run that the file has, K.
    series : list of KeySliceRow
        The series.
    missing : list of str
        Series of the test that the store no longer has as the run read them.
    notes : tuple of str
        What else is to be said.
    """

    source: str
    names: tuple[str, ...]
    series: list[KeySliceRow]
    missing: list[str]
    notes: tuple[str, ...]


def require_attention(run: Run) -> None:
    """Refuse a run whose head gives slices no attention.

    Parameters
    ----------
    run : Run
        The run.

    Raises
    ------
    FitError
        It has none; the message names what has.
    """
    head = run.config.head
    if head is not None and _has_attention(head):
        return
    if head is None:
        why = "it is an SVM"
    elif head.separate:
        why = "each label has a head of its own"
    else:
        why = f"its pool is {head.pool}"
    pools = " or ".join(f"--pool {pool}" for pool in ATTENTION_POOLS)
    raise FitError(
        f"{run.path.name} ({run.config.model}) gives slices no attention, so it has no key slices: "
        f"{why}. Fit a head that does: {pools}, or --system with one of "
        f"{', '.join(_systems_with_attention())}"
    )


def rows_of_run(
    run: Run,
    store: FeatureStore,
    identifiers: Identifiers,
    labels: LabelFile,
    *,
    renamed: Mapping[str, str] | None = None,
    device: str = "auto",
) -> KeySliceRows:
    """Attention of the test series of a run; of a cross-validation, each by its own model.

    Parameters
    ----------
    run : Run
        The run.
    store : FeatureStore
        The store that it was fitted on.
    identifiers : Identifiers
        The key of the store.
    labels : LabelFile
        Labels of slices.
    renamed : mapping of str to str or None
        Label of the run -> label of the file; None: labels of the same name.
    device : str
        Where to compute.

    Returns
    -------
    KeySliceRows

    Raises
    ------
    FitError
        The head has no attention, or none of the test series has features.
    FeaturesError
        The store has features of another recipe now.
    LabelError
        The labels are not of slices, match nothing, or have no label of the run.
    RunError
        A model is missing or damaged.
    """
    require_attention(run)
    tests = [member.folds[member.folds["split"] == "test"] for member in run.members]
    known = pd.concat(tests).drop_duplicates("series").set_index("series")
    given = read_inputs(run, store, among=known.index)
    there = _as_they_were(given.X, given.series.index, known)
    if not there:
        raise FitError(
            f"{store.storage.name} has none of the {len(known)} test series as the run read them: "
            "its files were extracted again since. Fit again"
        )
    weights: dict[str, list[np.ndarray]] = {series: [] for series in there}
    for member, test in zip(run.members, tests, strict=True):
        its = [series for series in test["series"] if series in there]
        found = member.load_one(device).attention([there[series] for series in its]) if its else []
        for series, row in zip(its, found, strict=True):
            weights[series].append(row)
    shown = _Shown.of(given.features, identifiers, labels, run, renamed)
    rows = shown.rows(
        [np.stack(of_series) for of_series in weights.values()],
        known["group"].loc[list(there)],
        given.slices[given.slices["series"].isin(list(there))],
    )
    missing = known.index[~known.index.isin(list(there))].tolist()
    return KeySliceRows(labels.source, shown.names, rows, missing, (*given.notes, *shown.notes))


def rows_of_external(
    run: Run,
    external: External,
    labels: LabelFile,
    *,
    renamed: Mapping[str, str] | None = None,
    device: str = "auto",
) -> KeySliceRows:
    """Attention of the series of another data set; of a cross-validation the mean of its models.

    Parameters
    ----------
    run : Run
        The run.
    external : External
        The other data set.
    labels, renamed, device
        As in `rows_of_run`.

    Returns
    -------
    KeySliceRows

    Raises
    ------
    FitError, LabelError, RunError
        As in `rows_of_run`.
    """
    require_attention(run)
    cohort, opened = external.cohort, external.opened
    each = [member.load_one(device).attention(cohort.X) for member in run.members]
    shown = _Shown.of(opened.features, opened.identifiers, labels, run, renamed)
    rows = shown.rows(
        [np.mean(weights, axis=0)[None] for weights in zip(*each, strict=True)],
        cohort.series["group"], cohort.slices,
    )  # fmt: skip
    return KeySliceRows(labels.source, shown.names, rows, [], shown.notes)


@dataclass(frozen=True, slots=True)
class _Shown:
    """Labels of all planned slices, those without features included."""

    names: tuple[str, ...]
    planned: pd.DataFrame
    values: np.ndarray
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        features: FeatureSet,
        identifiers: Identifiers,
        labels: LabelFile,
        run: Run,
        renamed: Mapping[str, str] | None,
    ) -> "_Shown":
        if labels.level != "slice":
            raise LabelError(
                f"{labels.source} labels each {labels.level}, not each slice: key slices need a "
                "table with SOPInstanceUID, or the RSNA challenge's CSV, as --slice-labels"
            )
        of_run = matched_labels(run.config.labels, labels.names, renamed)
        planned = planned_slices(features)
        joined = join_labels(labels, identifiers, features.series, planned)
        values = joined.values[:, [labels.names.index(name) for name in of_run.values()]]
        known = ~np.isnan(values).all(axis=0)
        names = np.array(list(of_run), dtype=object)
        notes = [*labels.notes, *joined.notes]
        lacking = [*names[~known], *(n for n in run.config.labels if n not in of_run)]
        if lacking:
            notes.append(
                f"{labels.source} does not say which slices show {', '.join(lacking)}: slices that "
                "show nothing else count as slices without a lesion"
            )
        return cls(tuple(names[known]), planned, values[:, known], tuple(notes))

    def rows(
        self, weights: Sequence[np.ndarray], patients: pd.Series, slices: pd.DataFrame
    ) -> list[KeySliceRow]:
        """A row for each of B series, from attention (M, n) and N lines of their slices."""
        at = pd.MultiIndex.from_frame(self.planned[_KEY]).get_indexer(
            pd.MultiIndex.from_frame(slices[_KEY])
        )
        without = np.ones(len(self.planned), dtype=bool)
        without[at] = False
        failed = self.planned[without].groupby("series", sort=False).indices
        of_failed, none = self.values[without], np.empty(0, dtype=np.int64)
        ends = np.cumsum([row.shape[1] for row in weights])
        rows = []
        for (series, patient), row, places in zip(
            patients.items(), weights, np.split(at, ends[:-1]), strict=True
        ):
            seen = ~np.isnan(row).any(axis=0)
            if not seen.any():
                raise RunError(f"the attention of series {series} is not a number: fit again")
            of_series = self.values[places]
            rows.append(
                KeySliceRow(str(series), str(patient), row[:, seen], of_series[seen],
                            of_failed[failed.get(series, none)], of_series[~seen])
            )  # fmt: skip
        return rows


def _as_they_were(
    X: Sequence[np.ndarray], series: pd.Index, known: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Series whose features are still those that the run was judged on."""
    if "features_digest" not in known:
        return dict(zip(series, X, strict=True))
    before = known["features_digest"].loc[series]
    return {
        name: matrix
        for name, matrix, digest, then in zip(series, X, series_digests(X), before, strict=True)
        if digest == then
    }


def _systems_with_attention() -> Iterator[str]:
    for name in system_names():
        head = load_system(name).head
        if head is not None and _has_attention(head):
            yield name


def _has_attention(head: HeadConfig) -> bool:
    return head.pool in ATTENTION_POOLS and not head.separate
