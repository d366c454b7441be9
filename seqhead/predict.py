"""A fitted run on a store: probabilities of every series or slice."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache.recipe import differences
from featurecache.store import FeatureSet, FeatureStore
from seqhead.beside import lay_beside
from seqhead.config import FeaturesConfig
from seqhead.errors import FeaturesError, FitError
from seqhead.members import member_scores
from seqhead.predicted import Predictions
from seqhead.run import Run


def predict_store(
    run: Run,
    store: FeatureStore,
    *,
    features: str | None = None,
    second_features: str | None = None,
    allow_numerics: bool = False,
    device: str = "auto",
    calibrate: str | None = None,
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
    given = _first_set(store, chosen)
    fitted = run.config.second_features
    if fitted is not None:
        second = store[second_features or fitted.name]
        notes += check_fingerprint(fitted, second, allow_numerics=allow_numerics)
        given = _both_sets(store, given, second)
    elif second_features is not None:
        raise FitError("--second-features has no effect: this run reads one feature set")
    names = run.config.labels
    scored = np.mean(list(member_scores(run, given.X, device, calibrate)), axis=0)
    patient = given.series["patient"].to_numpy()
    ids = pd.DataFrame({"series": given.series.index, "patient": patient})
    if run.config.level == "slice":
        ids = _slice_ids(given)
    table = pd.concat([ids, pd.DataFrame(scored, columns=list(names))], axis=1)
    used = pd.Series([len(matrix) for matrix in given.X], index=given.series.index)
    used = used.reindex(chosen.series.index, fill_value=0)
    return Predictions(
        run,
        table,
        empty_series=used.index[used == 0].tolist(),
        partial_series=used.index[(used > 0) & (used < chosen.series["n_slices"])].tolist(),
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """What is predicted: B matrices (n, D), their lines of ``series``, those of their slices."""

    X: list[np.ndarray]
    series: pd.DataFrame
    slices: pd.DataFrame


def _first_set(store: FeatureStore, features: FeatureSet) -> _Given:
    series = features.series[features.series["n_ok"] > 0]
    if not len(series):
        raise FitError(f"{store.storage.name}: no series has features")
    places = features.slices.groupby("series", sort=False).indices
    rows = np.concatenate([places[name] for name in series.index])
    return _Given([features[name] for name in series.index], series, features.slices.iloc[rows])


def _both_sets(store: FeatureStore, first: _Given, second: FeatureSet) -> _Given:
    X, kept = lay_beside(first.X, first.slices, second)
    has_rows = np.array([len(matrix) > 0 for matrix in X])
    if not has_rows.any():
        raise FitError(f"{store.storage.name}: no series has features in both feature sets")
    matrices = [matrix for matrix in X if len(matrix)]
    return _Given(matrices, first.series[has_rows], first.slices[np.concatenate(kept)])


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
