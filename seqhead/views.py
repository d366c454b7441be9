"""Augmented views that a store has of a feature set: the same rows of rotated images, ..."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache.recipe import differences
from featurecache.store import FeatureSet, FeatureStore
from featurecache.words import plural
from seqhead.config import ViewConfig
from seqhead.errors import FeaturesError
from seqhead.matrices import Matrices

_KEY = ["series", "slice", "position"]


@dataclass(frozen=True, slots=True)
class CachedView:
    """One view of every series.

    Parameters
    ----------
    config : ViewConfig
        Its number and seed.
    sets : tuple of FeatureSet
        The view of the feature set, and that of a second one where two are read.
    """

    config: ViewConfig
    sets: tuple[FeatureSet, ...]

    def matrices(
        self, slices: pd.DataFrame, lengths: Sequence[int], *, streamed: bool = False
    ) -> Sequence[np.ndarray]:
        """Features of some slices in this view.

        Parameters
        ----------
        slices : DataFrame
            N lines of ``FeatureSet.slices``, series by series.
        lengths : sequence of B int
            How many of them each series has.
        streamed : bool
            Read a series each time it is asked for, instead of all of them now.

        Returns
        -------
        list of B arrays (n, D), or (n, D + D2) of two sets; `Matrices` if streamed

        Raises
        ------
        FeaturesError
            The view lacks one of the slices, or its features are not finite.
        """
        places = [_places(one, slices) for one in self.sets]
        if streamed:
            return self._unread(slices["series"].to_numpy(), lengths, places)
        sets = zip(self.sets, places, strict=True)
        values = np.hstack([_finite(one, one.to_numpy()[lines]) for one, lines in sets])
        return np.split(values, np.cumsum(lengths)[:-1])

    def _unread(
        self, owners: np.ndarray, lengths: Sequence[int], places: Sequence[np.ndarray]
    ) -> Matrices:
        """Matrices of series whose slices stand at these places of each set."""
        ends = np.cumsum(lengths)
        names = owners[ends - 1]
        rows = []
        for one, lines in zip(self.sets, places, strict=True):
            within = one.slices.groupby("series").cumcount().to_numpy()
            rows.append(np.split(within[lines], ends[:-1]))

        def read(k: int) -> np.ndarray:
            sets = zip(self.sets, rows, strict=True)
            return np.hstack([_finite(one, one[names[k]])[lines[k]] for one, lines in sets])

        X = Matrices(lengths, sum(one.dim for one in self.sets), read)
        for _ in X:  # damage is found before any work, as it is when all of them are read
            pass
        return X


def open_views(
    store: FeatureStore, base: FeatureSet, second: FeatureSet | None = None
) -> tuple[CachedView, ...]:
    """Open the views that a store has of a feature set: ``NAME.view1``, ``NAME.view2``, ...

    Parameters
    ----------
    store : FeatureStore
        The store.
    base : FeatureSet
        The images as they are.
    second : FeatureSet or None
        A second set that is read beside it: its views must be the same ones.

    Returns
    -------
    tuple of CachedView
        By number; at least one.

    Raises
    ------
    FeaturesError
        There is none, one is of another recipe, or the second set lacks it.
    StoreError
        A view is incomplete or damaged.
    """
    pattern = re.compile(re.escape(base.name) + r"\.view([1-9]\d*)")
    numbers = sorted(int(m[1]) for name in store.names if (m := pattern.fullmatch(name)))
    if not numbers:
        raise FeaturesError(
            f"{store.storage.name} has no augmented views of {base.name}. Extract them with the "
            "options of that feature set and --views N, or leave --views out here"
        )
    return tuple(_open(store, number, base, second) for number in numbers)


def _open(
    store: FeatureStore, number: int, base: FeatureSet, second: FeatureSet | None
) -> CachedView:
    first = store[f"{base.name}.view{number}"]
    config = ViewConfig(number=number, seed=first.recipe.get("view_seed", 0))
    _check_recipe(first, base, config)
    if second is None:
        return CachedView(config, (first,))
    name = f"{second.name}.view{number}"
    if name not in store:
        raise FeaturesError(
            f"{store.storage.name} has {first.name}, but not {name}: a head that reads two feature "
            "sets needs the same views of both"
        )
    other = store[name]
    _check_recipe(other, second, config)
    return CachedView(config, (first, other))


def _check_recipe(view: FeatureSet, base: FeatureSet, config: ViewConfig) -> None:
    wanted = {**base.recipe, "view_number": config.number, "view_seed": config.seed}
    different = differences(view.recipe, wanted)
    if different:
        raise FeaturesError(
            f"{view.name} is not a view of {base.name} as it is in this store: "
            f"{'; '.join(different)}. Extract both with one recipe"
        )


def _places(view: FeatureSet, slices: pd.DataFrame) -> np.ndarray:
    """Where slices stand among the rows of a view."""
    there = pd.MultiIndex.from_frame(view.slices[_KEY])
    places = there.get_indexer(pd.MultiIndex.from_frame(slices[_KEY]))
    missing = np.flatnonzero(places < 0)
    if len(missing):
        series = slices["series"].iloc[missing]
        raise FeaturesError(
            f"{view.name} has no features of {plural(len(missing), 'slice')} in "
            f"{series.nunique()} series that are used without it, for example of series "
            f"{series.iloc[0]}: repeat its extraction with --retry-failed, or leave --views out"
        )
    return places


def _finite(view: FeatureSet, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise FeaturesError(f"features of {view.name} are not finite. Run `featurecache verify`")
    return values
