"""A fitted run on a store: probabilities of every series or slice."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache.recipe import differences
from featurecache.store import FeatureSet, FeatureStore
from seqhead.config import FeaturesConfig
from seqhead.errors import FeaturesError, FitError
from seqhead.run import Run


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
    allow_numerics: bool = False,
    device: str = "auto",
) -> Predictions:
    """Score every series of a store.

    Parameters
    ----------
    run : Run
        The fitted run.
    store : FeatureStore
        A store that has the features which the run was fitted on.
    features : str or None
        Name of the feature set; None: the name of the fit.
    allow_numerics : bool
        Accept another precision or storage type.
    device : str
        Where to compute.

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
    series = chosen.series[chosen.series["n_ok"] > 0]
    if not len(series):
        raise FitError(f"{store.storage.name}: no series has features")
    X = [chosen[name] for name in series.index]
    scored = run.load_model(device).predict_proba(X)
    names = run.config.labels
    ids = pd.DataFrame({"series": series.index, "patient": series["patient"].to_numpy()})
    if run.config.level == "slice":
        ids = _slice_ids(chosen, series)
        scored = np.concatenate(scored)
    scored = scored[:, 1:] if len(names) == 1 else scored
    table = pd.concat([ids, pd.DataFrame(scored, columns=list(names))], axis=1)
    n_ok, planned = chosen.series["n_ok"], chosen.series["n_slices"]
    return Predictions(
        table,
        empty_series=chosen.series.index[n_ok == 0].tolist(),
        partial_series=chosen.series.index[(n_ok > 0) & (n_ok < planned)].tolist(),
        notes=notes,
    )


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


def _slice_ids(features: FeatureSet, series: pd.DataFrame) -> pd.DataFrame:
    places = features.slices.groupby("series", sort=False).indices
    rows = features.slices.iloc[np.concatenate([places[name] for name in series.index])]
    return pd.DataFrame(
        {
            "series": rows["series"].to_numpy(),
            "patient": series["patient"].loc[rows["series"]].to_numpy(),
            "slice": rows["slice"].to_numpy(),
            "position": rows["position"].to_numpy(),
        }
    )
