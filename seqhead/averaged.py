"""A run's predictions once more, as means over the augmented views of a store."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from featurecache.store import FeatureStore
from seqhead.digests import series_digests
from seqhead.errors import RunError
from seqhead.inputs import Inputs, read_inputs
from seqhead.predict import mean_scores
from seqhead.run import Run


def averaged_predictions(
    run: Run,
    store: FeatureStore,
    device: str = "auto",
    splits: Collection[str] = ("validation", "test"),
) -> tuple[pd.DataFrame, int]:
    """Predict rows of a run from each view, and take the mean.

    Thresholds and calibration are then chosen on validation rows that were averaged likewise.

    Parameters
    ----------
    run : Run
        The run; of a cross-validation each model predicts its own rows.
    store : FeatureStore
        The store that it was fitted on, with views of its features.
    device : str
        Where to compute.
    splits : collection of str
        Which rows; training rows are known to the model.

    Returns
    -------
    predictions : DataFrame
        ``run.predictions`` with other probabilities in these rows.
    views : int
        How many views there are, besides the images as they are.

    Raises
    ------
    FeaturesError
        The store has no views of the features that the run reads, or they lack a row.
    RunError
        Series changed since the fit, or a model is damaged.
    """
    table = run.predictions.copy()
    judged = table["split"].isin(list(splits))
    given = read_inputs(run, store, among=set(table.loc[judged, "series"]), views=True)
    _check_unchanged(run, given, table.loc[judged, "series"])
    columns = [f"p:{name}" for name in run.config.labels]
    for member in run.members:
        mine = judged
        if run.crossed:
            split = member.config.split
            mine = judged & (table["repeat"] == split.repeat) & (table["fold"] == split.fold)
        some = given.only(set(table.loc[mine, "series"]))
        places = _places(some, table[mine], run.config.level)
        table.loc[mine, columns] = mean_scores(member, some, device)[places].astype(np.float64)
    return table, len(given.views)


def _places(given: Inputs, rows: pd.DataFrame, level: str) -> np.ndarray:
    """Where each row's probability stands in what the model says of some series."""
    if level == "series":
        return given.series.index.get_indexer(pd.Index(rows["series"]))
    key = ["series", "slice", "position"]
    found = pd.MultiIndex.from_frame(given.slices[key])
    return found.get_indexer(pd.MultiIndex.from_frame(rows[key]))


def _check_unchanged(run: Run, given: Inputs, wanted: pd.Series) -> None:
    """Other features would be judged beside the labels and thresholds of the fit's."""
    known = run.folds.drop_duplicates("series").set_index("series")
    now = dict(zip(given.series.index, series_digests(given.X), strict=True))
    then = known["features_digest"] if "features_digest" in known else pd.Series(now)
    changed = [one for one in wanted.unique() if now.get(one, "") != then.get(one)]
    if changed:
        raise RunError(
            f"{len(changed)} validation or test series of {run.path.name} are not in the store as "
            f"the run read them, for example {changed[0]}: fit again, or leave --views out"
        )
