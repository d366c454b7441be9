"""The files that a fit reads, opened and joined."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from featurecache.errors import UsageError
from featurecache.identifiers import Identifiers
from featurecache.location import Location, parse_location
from featurecache.store import FeatureSet, FeatureStore
from seqhead.beside import beside_cohort
from seqhead.cohort import (
    Cohort,
    Level,
    choose_features,
    first_complete_features,
    load_cohort,
    planned_slices,
)
from seqhead.config import SourcesConfig, SystemUse
from seqhead.groups import patient_groups
from seqhead.labels.file import LabelFile
from seqhead.labels.join import join_labels
from seqhead.labels.reading import read_labels, read_slice_labels
from seqhead.labels.statistics import LabelStatistics, label_statistics
from seqhead.matrices import lengths_of
from seqhead.stored import too_large
from seqhead.views import CachedView


@dataclass(frozen=True, slots=True)
class Sources:
    """Store, labels and key; paths may be given as text.

    Parameters
    ----------
    store : Path or str
        Feature store: a folder, or ``s3://BUCKET/PREFIX``.
    labels : Path
        Label file.
    labels_format : str
        ``"table"``, ``"cq500"`` or ``"rsna"``.
    slice_labels : Path or None
        Table of slice labels.
    key : Path or None
        Key of the store's ids; not needed where the store keeps them.
    """

    store: Location
    labels: Path
    labels_format: str = "table"
    slice_labels: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", parse_location(self.store))
        for name in ("labels", "slice_labels", "key"):
            given = getattr(self, name)
            object.__setattr__(self, name, None if given is None else Path(given))

    def relative_to(self, project: Path) -> SourcesConfig:
        """What a run remembers of the files: paths relative to the project folder.

        Parameters
        ----------
        project : Path
            The project folder.

        Returns
        -------
        SourcesConfig
        """

        def relative(path: Path) -> str:
            return Path(os.path.relpath(path, project)).as_posix()

        return SourcesConfig(
            store=relative(self.store) if isinstance(self.store, Path) else self.store,
            labels=relative(self.labels),
            labels_format=self.labels_format,
            slice_labels=relative(self.slice_labels) if self.slice_labels else None,
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """A feature set with the key of its store and the labels for it.

    Parameters
    ----------
    features : FeatureSet
        The features.
    identifiers : Identifiers
        The key.
    labels : LabelFile
        Labels.
    slice_labels : LabelFile or None
        Labels of slices.
    second : FeatureSet or None
        Features that are laid beside the others.
    system : SystemUse or None
        The published system that the features are for.
    level : str or None
        The level of that system.
    views : tuple of CachedView
        Augmented views that training draws from.
    """

    features: FeatureSet
    identifiers: Identifiers
    labels: LabelFile
    slice_labels: LabelFile | None
    second: FeatureSet | None = None
    system: SystemUse | None = None
    level: Level | None = None
    views: tuple[CachedView, ...] = ()

    def cohort(self, level: Level | None = None, memory_gb: float | None = None) -> Cohort:
        """Join features and labels, see `seqhead.cohort.load_cohort`.

        Parameters
        ----------
        level : str or None
            What an output says something of.
        memory_gb : float or None
            Memory that features may take, in 10^9 bytes; more stay in the store and are read batch
            by batch. None: half of what is available.

        Returns
        -------
        Cohort
            The same either way; a note says where features are not in memory.
        """
        sets = [self.features, *([] if self.second is None else [self.second])]
        of_views = [one for view in self.views for one in view.sets]
        streamed = too_large(sets, memory_gb, of_views)
        cohort = load_cohort(
            self.features, self.identifiers, self.labels, self.slice_labels, level or self.level,
            streamed=streamed is not None,
        )  # fmt: skip
        if self.second is not None:
            cohort = beside_cohort(cohort, self.second)
        if streamed is not None:
            cohort = replace(cohort, notes=(*cohort.notes, streamed))
        lengths = lengths_of(cohort.X).tolist()
        views = (
            view.matrices(cohort.slices, lengths, streamed=streamed is not None)
            for view in self.views
        )
        return replace(cohort, views=tuple(views))

    def statistics(self) -> LabelStatistics:
        """Count labels, see `seqhead.labels.statistics.label_statistics`."""
        series, slices = self.features.series, planned_slices(self.features)
        joined = join_labels(self.labels, self.identifiers, series, slices)
        of_slices = (
            join_labels(self.slice_labels, self.identifiers, series, slices)
            if self.slice_labels
            else None
        )
        files = [self.labels] if self.slice_labels is None else [self.labels, self.slice_labels]
        groups = patient_groups(series, slices, files, self.identifiers)
        return label_statistics(joined, of_slices, series.assign(group=groups), slices)


def open_sources(
    sources: Sources, features: str | None = None, *, any_features: bool = False
) -> Opened:
    """Open a store with its key and read the labels.

    Parameters
    ----------
    sources : Sources
        Store, labels and key.
    features : str or None
        Name of the feature set; None: the only one.
    any_features : bool
        Without a name, take any complete set: for what does not depend on features.

    Returns
    -------
    Opened

    Raises
    ------
    LabelError, FitError
        A label file is wrong; there are several feature sets.
    StoreError, UsageError
        The store is incomplete or damaged, or the key is missing or another one.
    """
    store = FeatureStore.open(sources.store)
    if features is None and any_features:
        features = first_complete_features(store)
    feature_set = store[choose_features(store, features)]
    _check_key(sources.key, store)
    identifiers = Identifiers.load(sources.key, keep=store.keep_ids)
    identifiers.check(store.key_digest)
    return Opened(
        feature_set,
        identifiers,
        read_labels(sources.labels, sources.labels_format),
        read_slice_labels(sources.slice_labels) if sources.slice_labels else None,
    )


def _check_key(key: Path | None, store: FeatureStore) -> None:
    if not store.keep_ids and (key is None or not key.is_file()):
        raise UsageError(
            f"the key file {key} is missing. The identifiers in {store.path} are hashed with it, "
            "and labels are joined through it: name the key that the store was made with, --key "
            "FILE"
        )
