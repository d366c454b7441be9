"""A feature set joined with labels: what a fit learns from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from featurecache.errors import StoreIncompleteError
from featurecache.identifiers import Identifiers
from featurecache.store import FeatureSet, FeatureStore
from seqhead.errors import FitError, LabelError
from seqhead.groups import patient_groups
from seqhead.labels.file import LabelFile
from seqhead.labels.join import Joined, join_labels
from seqhead.labels.statistics import any_of
from seqhead.matrices import lengths_of, take_series
from seqhead.stored import stored_matrices

Level = Literal["series", "slice"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the store or the label file has and a fit does not use.

    Parameters
    ----------
    unmatched_labels : list of str
        Identifiers of the label file that are not in the store.
    unlabelled_series : list of str
        Series of the store without any known label.
    empty_series : list of str
        Series of which no slice has features.
    partial_series : list of str
        Series that are used although some of their slices have no features.
    unlabelled_slices : int
        At level slice: slices of the series in use without any known label.
    unsplit_series : list of str
        Series that the split file does not name.
    """

    unmatched_labels: list[str]
    unlabelled_series: list[str]
    empty_series: list[str]
    partial_series: list[str]
    unlabelled_slices: int = 0
    unsplit_series: list[str] = field(default_factory=list)

    def document(self) -> dict[str, list[str] | int]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Cohort:
    """B labelled series of a feature set.

    Parameters
    ----------
    features : str
        Name of the feature set.
    names : tuple of str
        Names of the K labels.
    level : str
        ``"series"`` or ``"slice"``.
    series : DataFrame
        B rows of ``FeatureSet.series`` with ``group`` (see `patient_groups`), ``user_patient``
        and ``user_series`` (``""`` where the label file does not say).
    slices : DataFrame
        N rows of ``FeatureSet.slices`` with ``user_slice``; series by series in the order of
        `series`.
    X : list of B arrays (n, D), or Matrices
        Features; `Matrices` where they are more than memory may hold.
    y : float32 array (B, K), or list of B float32 arrays (n, K) at level slice
        Labels; NaN is unknown.
    series_y : float32 array (B, K)
        Labels of series. At level slice, a series has what any of its planned slices has, those
        that failed to decode included.
    left_out : LeftOut
        What is not used, and why.
    notes : tuple of str
        What was decided in joining the labels.
    second : int
        Of the columns of `X`, how many at the end are of a second feature set.
    views : tuple of V lists of B arrays (n, D)
        Augmented views of `X`, row by row; for training alone.
    """

    features: str
    names: tuple[str, ...]
    level: Level
    series: pd.DataFrame
    slices: pd.DataFrame
    X: Sequence[np.ndarray]
    y: np.ndarray | list[np.ndarray]
    series_y: np.ndarray
    left_out: LeftOut
    notes: tuple[str, ...]
    second: int = 0
    views: tuple[Sequence[np.ndarray], ...] = ()

    @property
    def flat_y(self) -> np.ndarray:
        """Labels of what is labelled: (B, K), or (N, K) at level slice."""
        return self.y if isinstance(self.y, np.ndarray) else np.concatenate(self.y)

    @property
    def groups(self) -> np.ndarray:
        """Patient of each series (B,), whatever its spellings: see `patient_groups`."""
        return self.series["group"].to_numpy(dtype=object)

    def take(self, rows: np.ndarray) -> tuple[Sequence[np.ndarray], np.ndarray | list[np.ndarray]]:
        """Features and labels of some series.

        Parameters
        ----------
        rows : int array or bool array (B,)
            Which series.

        Returns
        -------
        X, y
        """
        places = np.arange(len(self.X))[rows]
        X = take_series(self.X, places)
        if isinstance(self.y, np.ndarray):
            return X, self.y[places]
        return X, [self.y[k] for k in places]

    def only(self, rows: np.ndarray) -> "Cohort":
        """The cohort of some series.

        Parameters
        ----------
        rows : bool array (B,)
            Which.

        Returns
        -------
        Cohort
        """
        X, y = self.take(rows)
        of_slice = np.repeat(rows, lengths_of(self.X))
        places = np.flatnonzero(rows)
        return replace(
            self, X=X, y=y, series=self.series[rows], series_y=self.series_y[rows],
            slices=self.slices[of_slice].reset_index(drop=True),
            views=tuple(take_series(view, places) for view in self.views),
        )  # fmt: skip

    @property
    def owner(self) -> np.ndarray:
        """Number of the series that each slice with features belongs to, (N,)."""
        return np.repeat(np.arange(len(self.X)), lengths_of(self.X))


def choose_features(store: FeatureStore, name: str | None) -> str:
    """Name of the feature set to use: the one asked for, or the only one.

    Parameters
    ----------
    store : FeatureStore
        The store.
    name : str or None
        What ``--features`` says.

    Returns
    -------
    str

    Raises
    ------
    FitError
        There is none, or several to choose from.
    """
    if name is not None:
        return name
    if len(store.names) == 1:
        return store.names[0]
    if not store.names:
        raise FitError(
            f"{store.path} has no features yet. Run `featurecache extract --backbone NAME` first"
        )
    raise FitError(
        f"{store.path} has {len(store.names)} feature sets: choose one with --features "
        f"({', '.join(store.names)})"
    )


def load_cohort(
    features: FeatureSet,
    identifiers: Identifiers,
    labels: LabelFile,
    slice_labels: LabelFile | None = None,
    level: Level | None = None,
    *,
    streamed: bool = False,
) -> Cohort:
    """Join features with labels.

    Parameters
    ----------
    features : FeatureSet
        A complete feature set.
    identifiers : Identifiers
        The key of its store.
    labels : LabelFile
        Labels of patients, studies, series or slices.
    slice_labels : LabelFile or None
        Labels of slices, where `labels` are of something larger.
    level : str or None
        ``"series"``, ``"slice"``, or None: slices if `labels` are of slices, else series.
    streamed : bool
        Leave the features in the store, and read a series each time it is wanted.

    Returns
    -------
    Cohort

    Raises
    ------
    LabelError
        Labels do not fit the store or the level.
    FitError
        No series has both features and labels.
    StoreError
        The store is incomplete or damaged.
    """
    table, rows = features.series, features.slices
    if level is None:
        level = "slice" if labels.level == "slice" else "series"
    source = _source(labels, slice_labels, level)
    files = [labels] if slice_labels is None else [labels, slice_labels]
    planned = planned_slices(features)
    joined = join_labels(source, identifiers, table, planned)
    per_series = _per_series(joined, table, planned)  # (B, K), also of slices that failed
    known = ~np.isnan(per_series).all(axis=1)
    if level == "slice":
        known = _any_known(joined.values[: len(rows)], rows, table)
    has_rows = table["n_ok"].to_numpy() > 0
    if not (known & has_rows).any():
        raise FitError("no series has both features and a known label")
    chosen = table.index[known & has_rows]
    ordered, X = stored_matrices(features, chosen, streamed=streamed)
    y: np.ndarray | list[np.ndarray] = per_series[known & has_rows]
    if level == "slice":
        y = _split(joined.values[ordered], X)
    return Cohort(
        features=features.name, names=joined.names, level=level,
        series=_with_user_ids(table, joined, planned).assign(
            group=patient_groups(table, planned, files, identifiers)
        )[known & has_rows],
        slices=_slices_with_user_ids(rows, joined, ordered), X=X, y=y,
        series_y=per_series[known & has_rows], notes=joined.notes,
        left_out=LeftOut(
            unmatched_labels=joined.unmatched_labels,
            unlabelled_series=table.index[~known & has_rows].tolist(),
            empty_series=table.index[~has_rows].tolist(),
            partial_series=chosen[
                (table["n_ok"] < table["n_slices"]).loc[chosen].to_numpy()
            ].tolist(),
            unlabelled_slices=int(np.isnan(joined.values[ordered]).all(axis=1).sum())
            if level == "slice" else 0,
        ),
    )  # fmt: skip


def first_complete_features(store: FeatureStore) -> str:
    """Name of any feature set that is complete: what labels are joined with is in each.

    Parameters
    ----------
    store : FeatureStore
        The store.

    Returns
    -------
    str

    Raises
    ------
    FitError
        There is none.
    StoreIncompleteError
        None of them is complete.
    """
    incomplete = None
    for name in store.names:
        try:
            store[name]
        except StoreIncompleteError as error:
            incomplete = incomplete or error
        else:
            return name
    if incomplete is not None:
        raise incomplete
    return choose_features(store, None)


def planned_slices(features: FeatureSet) -> pd.DataFrame:
    """Slices with features, then those without: labels speak of both.

    Parameters
    ----------
    features : FeatureSet
        A feature set.

    Returns
    -------
    DataFrame
        As ``features.slices``, whose N rows come first.
    """
    rows = features.slices
    return pd.concat([rows, features.failed[rows.columns]], ignore_index=True)


def _source(labels: LabelFile, slice_labels: LabelFile | None, level: str) -> LabelFile:
    if level == "series" or labels.level == "slice":
        return labels
    if slice_labels is None:
        raise LabelError(
            f"{labels.source} labels each {labels.level}, not each slice. Give a table with "
            "SOPInstanceUID as --slice-labels, or use --level series"
        )
    return slice_labels


def _per_series(joined: Joined, series: pd.DataFrame, planned: pd.DataFrame) -> np.ndarray:
    if joined.level != "slice":
        return joined.values
    return any_of(joined.values, planned["series"].to_numpy(), series.index.to_numpy())


def _any_known(values: np.ndarray, rows: pd.DataFrame, series: pd.DataFrame) -> np.ndarray:
    known = rows["series"].to_numpy()[~np.isnan(values).all(axis=1)]
    return series.index.isin(known)


def _split(values: np.ndarray, X: Sequence[np.ndarray]) -> list[np.ndarray]:
    return np.split(values, np.cumsum(lengths_of(X))[:-1])


def _with_user_ids(series: pd.DataFrame, joined: Joined, planned: pd.DataFrame) -> pd.DataFrame:
    known = joined.user_ids
    if joined.level == "slice":  # the first slice that says so speaks for its series
        known = known.replace("", np.nan).groupby(planned["series"].to_numpy()).first()
        known = known.reindex(series.index).fillna("")
    return series.assign(
        **{
            f"user_{level}": known[level].to_numpy() if level in known else ""
            for level in ("patient", "series")
        }
    )


def _slices_with_user_ids(rows: pd.DataFrame, joined: Joined, ordered: np.ndarray) -> pd.DataFrame:
    table = rows.iloc[ordered].reset_index(drop=True)
    if joined.level != "slice":
        return table.assign(user_slice="")
    return table.assign(user_slice=joined.user_ids["slice"].to_numpy()[ordered])
