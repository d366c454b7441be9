"""A fitted run on a store: probabilities of every series or slice."""

import numpy as np
import pandas as pd

from featurecache.store import FeatureStore
from featurecache.words import plural
from seqhead.inputs import Inputs, read_inputs
from seqhead.matrices import lengths_of
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
    views: bool = False,
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
    views : bool
        Take the mean over the images as they are and their augmented views.
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
    given = read_inputs(
        run, store, features=features, second_features=second_features,
        allow_numerics=allow_numerics, views=views, memory_gb=memory_gb,
    )  # fmt: skip
    names = run.config.labels
    scored = mean_scores(run, given, device, calibrate)
    patient = given.series["patient"].to_numpy()
    ids = pd.DataFrame({"series": given.series.index, "patient": patient})
    if run.config.level == "slice":
        ids = _slice_ids(given)
    table = pd.concat([ids, pd.DataFrame(scored, columns=list(names))], axis=1)
    used = pd.Series(lengths_of(given.X), index=given.series.index)
    planned = given.features.series["n_slices"]
    used = used.reindex(planned.index, fill_value=0)
    return Predictions(
        run,
        table,
        empty_series=used.index[used == 0].tolist(),
        partial_series=used.index[(used > 0) & (used < planned)].tolist(),
        notes=[*given.notes, *_views_note(len(given.views))],
    )


def _views_note(views: int) -> list[str]:
    return [f"mean over the images as they are and {plural(views, 'augmented view')}"] * (views > 0)


def mean_scores(
    run: Run, given: Inputs, device: str = "auto", calibrate: str | None = None
) -> np.ndarray:
    """Mean of what the models of a run say, over the images as they are and each view.

    Parameters
    ----------
    run : Run
        The run.
    given : Inputs
        B series, and their views where there are any.
    device, calibrate
        As in `member_scores`; calibrated before the mean is taken.

    Returns
    -------
    float array (B, K), or (N, K) of a run on slices

    Raises
    ------
    RunError
        A model is missing or damaged.
    """
    matrices = (given.X, *given.views)
    scored = [np.mean(list(member_scores(run, X, device, calibrate)), axis=0) for X in matrices]
    return np.mean(scored, axis=0) if given.views else scored[0]


def _slice_ids(given: Inputs) -> pd.DataFrame:
    rows = given.slices
    return pd.DataFrame(
        {
            "series": rows["series"].to_numpy(),
            "patient": given.series["patient"].loc[rows["series"]].to_numpy(),
            "slice": rows["slice"].to_numpy(),
            "position": rows["position"].to_numpy(),
        }
    )
