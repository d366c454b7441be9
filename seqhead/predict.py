"""A fitted run on a store: probabilities of every series or slice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache.recipe import differences
from featurecache.store import FeatureSet, FeatureStore
from seqhead.config import FeaturesConfig
from seqhead.errors import FeaturesError, FitError
from seqhead.matrices import lengths_of, take_series
from seqhead.run import Run
from seqhead.stored import lay_beside, stored_matrices, too_large


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a run says of a store.

    Parameters
    ----------
    table : DataFrame
        ``series``, ``patient`` (store ids), at level slice ``slice`` and ``position``, and the
        probability of each label under its name.
    empty_series : list of str
        Series that have no features and so no prediction.
    partial_series : list of str
        Series that are predicted without their failed slices.
    notes : list of str
        What was crossed, e.g. another precision.
    """

    table: pd.DataFrame
    empty_series: list[str]
    partial_series: list[str]
    notes: list[str]


def predict_store(
    run: Run,
    store: FeatureStore,
    *,
    features: str | None = None,
    second_features: str | None = None,
    allow_numerics: bool = False,
    device: str = "auto",
    calibrate: str | None = None,
    memory_gb: float | None = None,
) -> Predictions:
    """Score every series of a store; a cross-validation says the mean of its models.

    Parameters
    ----------
    run : Run
        The fitted run.
    store : FeatureStore
        A store that has the features which the run was fitted on.
    features : str or None
        Name of the feature set; None: the name of the fit.
    second_features : str or None
        Name of the second feature set of a run that reads two; None: the name of the fit.
    allow_numerics : bool
        Accept another precision or storage type.
    device : str
        Where to compute.
    calibrate : str or None
        ``"temperature"`` or ``"isotonic"``, see `seqhead.calibration`; None: as the model says.
    memory_gb : float or None
        Memory that features may take, in 10^9 bytes; more are read batch by batch. None: half of
        what is available.

    Returns
    -------
    Predictions

    Raises
    ------
    FeaturesError
        The features were made by another recipe; the message names the fields.
    FitError
        No series of the store has features.
    RunError
        The model is missing or damaged.
    StoreError
        The store is incomplete or damaged.
    """
    chosen = store[features or run.config.features.name]
    notes = check_fingerprint(run.config.features, chosen, allow_numerics=allow_numerics)
    fitted, sets = run.config.second_features, [chosen]
    if fitted is not None:
        sets.append(store[second_features or fitted.name])
        notes += check_fingerprint(fitted, sets[1], allow_numerics=allow_numerics)
    elif second_features is not None:
        raise FitError("--second-features has no effect: this run reads one feature set")
    given = _first_set(store, chosen, streamed=too_large(sets, memory_gb) is not None)
    if fitted is not None:
        given = _both_sets(store, given, sets[1])
    names = run.config.labels
    scored = np.mean(list(member_scores(run, given.X, device, calibrate)), axis=0)
    patient = given.series["patient"].to_numpy()
    ids = pd.DataFrame({"series": given.series.index, "patient": patient})
    if run.config.level == "slice":
        ids = _slice_ids(given)
    table = pd.concat([ids, pd.DataFrame(scored, columns=list(names))], axis=1)
    used = pd.Series(lengths_of(given.X), index=given.series.index)
    used = used.reindex(chosen.series.index, fill_value=0)
    return Predictions(
        table,
        empty_series=used.index[used == 0].tolist(),
        partial_series=used.index[(used > 0) & (used < chosen.series["n_slices"])].tolist(),
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """What is predicted: B matrices (n, D), their lines of ``series``, those of their slices."""

    X: Sequence[np.ndarray]
    series: pd.DataFrame
    slices: pd.DataFrame


def _first_set(store: FeatureStore, features: FeatureSet, *, streamed: bool) -> _Given:
    series = features.series[features.series["n_ok"] > 0]
    if not len(series):
        raise FitError(f"{store.storage.name}: no series has features")
    rows, X = stored_matrices(features, series.index, streamed=streamed)
    return _Given(X, series, features.slices.iloc[rows])


def _both_sets(store: FeatureStore, first: _Given, second: FeatureSet) -> _Given:
    X, kept = lay_beside(first.X, first.slices, second)
    has_rows = lengths_of(X) > 0
    if not has_rows.any():
        raise FitError(f"{store.storage.name}: no series has features in both feature sets")
    matrices = take_series(X, np.flatnonzero(has_rows))
    return _Given(matrices, first.series[has_rows], first.slices[np.concatenate(kept)])


def member_scores(
    run: Run, X: Sequence[np.ndarray], device: str = "auto", calibrate: str | None = None
) -> Iterator[np.ndarray]:
    """What each model of a run says: one, or one for each fold.

    Parameters
    ----------
    run : Run
        The run.
    X : sequence of B arrays (n, D)
        Features of each series.
    device : str
        Where to compute.
    calibrate : str or None
        How probabilities are calibrated, each model's by its own validation patients.

    Yields
    ------
    float array (B, K), or (N, K) of a run on slices
        Probabilities.

    Raises
    ------
    RunError
        A model is missing or damaged.
    """
    for member in run.members:
        scored = member.load_one(device).predict_proba(X)
        if run.config.level == "slice":
            scored = np.concatenate(scored)
        scored = scored[:, 1:] if len(run.config.labels) == 1 else scored
        yield scored if calibrate is None else member.calibration.apply(scored, calibrate)


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


def _slice_ids(given: _Given) -> pd.DataFrame:
    rows = given.slices
    return pd.DataFrame(
        {
            "series": rows["series"].to_numpy(),
            "patient": given.series["patient"].loc[rows["series"]].to_numpy(),
            "slice": rows["slice"].to_numpy(),
            "position": rows["position"].to_numpy(),
        }
    )
