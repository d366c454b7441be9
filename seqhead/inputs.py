"""What a fitted run reads of a store: the features it was fitted on, or a refusal."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from featurecache.recipe import differences
from featurecache.store import FeatureSet, FeatureStore
from seqhead.config import FeaturesConfig
from seqhead.errors import FeaturesError, FitError
from seqhead.matrices import lengths_of, take_series
from seqhead.run import Run
from seqhead.stored import lay_beside, stored_matrices, too_large
from seqhead.views import open_views


@dataclass(frozen=True, slots=True)
class Inputs:
    """B series as a run reads them.

    Parameters
    ----------
    X : list of B arrays (n, D), or Matrices
        Features, those of a second set beside them.
    series : DataFrame
        B lines of ``FeatureSet.series``.
    slices : DataFrame
        N lines of ``FeatureSet.slices``, series by series.
    features : FeatureSet
        The (first) feature set.
    notes : tuple of str
        What was crossed, e.g. another precision.
    views : tuple of V lists of B arrays (n, D)
        Augmented views of `X`, row by row.
    """

    X: Sequence[np.ndarray]
    series: pd.DataFrame
    slices: pd.DataFrame
    features: FeatureSet
    notes: tuple[str, ...] = ()
    views: tuple[Sequence[np.ndarray], ...] = ()

    def only(self, names: Collection[str]) -> "Inputs":
        """Some of the series, in the same order.

        Parameters
        ----------
        names : collection of str
            Their ids.

        Returns
        -------
        Inputs
        """
        kept = self.series.index.isin(list(names))
        places = np.flatnonzero(kept)
        of_slice = np.repeat(kept, lengths_of(self.X))
        return replace(
            self, X=take_series(self.X, places), series=self.series[kept],
            slices=self.slices[of_slice].reset_index(drop=True),
            views=tuple(take_series(view, places) for view in self.views),
        )  # fmt: skip


def read_inputs(
    run: Run,
    store: FeatureStore,
    *,
    features: str | None = None,
    second_features: str | None = None,
    allow_numerics: bool = False,
    among: Collection[str] | None = None,
    views: bool = False,
    memory_gb: float | None = None,
) -> Inputs:
    """Read the features of a store that a run was fitted on.

    Parameters
    ----------
    run : Run
        The fitted run.
    store : FeatureStore
        The store.
    features, second_features : str or None
        Names of the feature sets; None: those of the fit.
    allow_numerics : bool
        Accept another precision or storage type.
    among : collection of str or None
        Ids of the series to read, where the store has them; None: all.
    views : bool
        Read their augmented views too.
    memory_gb : float or None
        Memory that features may take, see `seqhead.stored.too_large`; more are read when they are
        wanted.

    Returns
    -------
    Inputs
        Series without features are not among them.

    Raises
    ------
    FeaturesError
        The features were made by another recipe; the message names the fields. Or views were
        asked for and there are none, or they lack a row.
    FitError
        None of the series has features, or the run reads one feature set only.
    StoreError
        The store is incomplete or damaged.
    """
    chosen = store[features or run.config.features.name]
    notes = check_fingerprint(run.config.features, chosen, allow_numerics=allow_numerics)
    fitted, second = run.config.second_features, None
    if fitted is not None:
        second = store[second_features or fitted.name]
        notes += check_fingerprint(fitted, second, allow_numerics=allow_numerics)
    elif second_features is not None:
        raise FitError("--second-features has no effect: this run reads one feature set")
    sets = [chosen] if second is None else [chosen, second]
    cached = open_views(store, chosen, second) if views else ()
    of_views = [one for view in cached for one in view.sets]
    streamed = too_large(sets, memory_gb, of_views) is not None
    given = _first_set(store, chosen, among, streamed=streamed)
    if second is not None:
        given = _both_sets(store, given, second)
    lengths = lengths_of(given.X).tolist()
    read = (one.matrices(given.slices, lengths, streamed=streamed) for one in cached)
    return replace(given, notes=tuple(notes), views=tuple(read))


def check_fingerprint(
    fitted: FeaturesConfig, offered: FeatureSet, *, allow_numerics: bool = False
) -> list[str]:
    """Refuse features that are not those of the fit.

    Parameters
    ----------
    fitted : FeaturesConfig
        What the model was fitted on.
    offered : FeatureSet
        What it is offered.
    allow_numerics : bool
        Accept another precision or storage type.

    Returns
    -------
    list of str
        What was crossed, in words.

    Raises
    ------
    FeaturesError
        The recipes differ; the message names the fields.
    """
    if fitted.fingerprint == offered.fingerprint:
        return []
    fields = differences(offered.recipe, fitted.recipe)
    said = "; ".join(fields) or "the fingerprints differ"
    if fitted.fingerprint.get("identity") != offered.fingerprint.get("identity"):
        raise FeaturesError(
            f"the features {offered.name} of this store are not those that the model was fitted "
            f"on: {said}. Extract them with the fit's recipe, or fit on these"
        )
    if not allow_numerics:
        raise FeaturesError(
            f"the features {offered.name} differ in numerics from those that the model was fitted "
            f"on: {said}. --allow-numerics accepts that; probabilities may differ slightly"
        )
    return [f"numerics differ from the fit's, as allowed: {said}"]


def _first_set(
    store: FeatureStore, features: FeatureSet, among: Collection[str] | None, *, streamed: bool
) -> Inputs:
    series = features.series[features.series["n_ok"] > 0]
    if among is not None:
        series = series[series.index.isin(list(among))]
    if not len(series):
        whose = "no series has" if among is None else "none of the series asked for has"
        raise FitError(f"{store.storage.name}: {whose} features")
    rows, X = stored_matrices(features, series.index, streamed=streamed)
    return Inputs(X, series, features.slices.iloc[rows].reset_index(drop=True), features)


def _both_sets(store: FeatureStore, first: Inputs, second: FeatureSet) -> Inputs:
    X, kept = lay_beside(first.X, first.slices, second)
    has_rows = lengths_of(X) > 0
    if not has_rows.any():
        raise FitError(f"{store.storage.name}: no series has features in both feature sets")
    matrices = take_series(X, np.flatnonzero(has_rows))
    slices = first.slices[np.concatenate(kept)].reset_index(drop=True)
    return Inputs(matrices, first.series[has_rows], slices, first.features)
