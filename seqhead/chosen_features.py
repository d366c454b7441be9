"""Which feature sets of a store a fit reads; a system wants those of its own recipe."""

from dataclasses import dataclass, replace

from featurecache.errors import StoreIncompleteError
from featurecache.store import FeatureSet, FeatureStore
from seqhead.cohort import choose_features
from seqhead.config import SplitConfig, SystemUse
from seqhead.errors import FeaturesError
from seqhead.options import FitOptions, chosen_system, system_changes
from seqhead.sources import Opened, Sources, open_sources
from seqhead.systems.loading import load_system
from seqhead.systems.recipes import extract_command, recipe_differences, wanted_of
from seqhead.systems.schema import FeatureSpec
from seqhead.views import open_views


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    differences: tuple[str, ...] = ()


def open_for_fit(sources: Sources, options: FitOptions) -> Opened:
    """Open the files of a fit with the feature sets that its options, or its system, ask for.

    Parameters
    ----------
    sources : Sources
        Store, labels and key.
    options : FitOptions
        What to fit.

    Returns
    -------
    Opened

    Raises
    ------
    FeaturesError
        The store has no features of the system's recipe; the message says how to extract them.
    LabelError, FitError, StoreError
        As `open_sources`.
    """
    store = FeatureStore.open(sources.store)
    system = chosen_system(options)
    if system is None:
        opened, name = open_sources(sources, options.features), options.second_features
        second = None if name is None else store[name]
        return _with_views(replace(opened, second=second), store, options)
    wanted, beside = wanted_of(system)
    first = _find(store, wanted, options.features, options)
    opened = open_sources(sources, first.name)
    other = None if beside is None else _find(store, beside, options.second_features, options)
    differences = (*first.differences, *(other.differences if other else ()))
    use = SystemUse(name=system.name, changed=system_changes(options), other_features=differences)
    second = store[other.name] if other else None
    opened = replace(opened, second=second, system=use, level=system.level)
    return _with_views(opened, store, options)


def _with_views(opened: Opened, store: FeatureStore, options: FitOptions) -> Opened:
    if not options.views:
        return opened
    return replace(opened, views=open_views(store, opened.features, opened.second))


def system_notes(use: SystemUse | None, split: SplitConfig | None = None) -> list[str]:
    """What a user should know of the system that a run is of.

    Parameters
    ----------
    use : SystemUse or None
        The system, and what is not as it says.
    split : SplitConfig, optional
        How the run splits; not said where many runs are tried.

    Returns
    -------
    list of str
    """
    if use is None:
        return []
    paper = load_system(use.name).split
    same = split is None or (split.protocol, split.folds) == (paper.protocol, paper.folds)
    hint = "" if same else ". This fit splits otherwise; --protocol paper splits so"
    notes = [f"split in the paper of {use.name}: {paper.paper}{hint}"]
    if use.changed:
        notes.append(f"not as {use.name} has it: {', '.join(use.changed)}")
    if use.other_features:
        features = "; ".join(use.other_features)
        notes.append(f"not the features of {use.name}, as allowed: {features}")
    return notes


def _find(
    store: FeatureStore, wanted: FeatureSpec, name: str | None, options: FitOptions
) -> _Found:
    """The feature set that was named, or the one of the wanted recipe."""
    if name is not None:
        return _checked(store[name], wanted, options.any_recipe)
    for candidate in sorted(store.names, key=lambda one: one != wanted.name):
        features = _complete(store, candidate, wanted)
        if features is not None and not recipe_differences(wanted, features.recipe):
            return _Found(candidate)
    if not options.any_recipe:
        raise FeaturesError(_refusal(store, wanted, _nearest(store, wanted)))
    nearest = wanted.name if wanted.name in store.names else choose_features(store, None)
    return _checked(store[nearest], wanted, any_recipe=True)


def _checked(features: FeatureSet, wanted: FeatureSpec, any_recipe: bool) -> _Found:
    different = recipe_differences(wanted, features.recipe)
    if different and not any_recipe:
        raise FeaturesError(_refusal(None, wanted, (features.name, different)))
    return _Found(features.name, tuple(f"{features.name}: {one}" for one in different))


def _complete(store: FeatureStore, name: str, wanted: FeatureSpec) -> FeatureSet | None:
    try:
        return store[name]
    except StoreIncompleteError:
        if name == wanted.name:
            raise
        return None


def _nearest(store: FeatureStore, wanted: FeatureSpec) -> tuple[str, list[str]] | None:
    """The complete set that differs in the fewest fields, with these."""
    differing = [
        (name, recipe_differences(wanted, features.recipe))
        for name in store.names
        if (features := _complete(store, name, wanted)) is not None
    ]
    return min(differing, key=lambda one: len(one[1]), default=None)


def _refusal(
    store: FeatureStore | None, wanted: FeatureSpec, nearest: tuple[str, list[str]] | None
) -> str:
    where = (
        "" if store is None else f"{store.storage.name} has no features of the system's recipe. "
    )
    said = ""
    if nearest is not None:
        name, different = nearest
        said = f"{name} is of another recipe: {'; '.join(different)}. "
    return (
        f"{where}{said}Extract what the system reads:\n\n  {extract_command(wanted)}\n\n"
        "or take other features with --any-recipe, which the run will say"
    )
