"""A run's numbers on its held-out patients, beside the baseline's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from seqhead.errors import FitError, RunError
from seqhead.evaluation import Evaluation, evaluate_judged
from seqhead.judged import FOLD_COLUMNS, judge
from seqhead.leaks import Leak, measure_leak
from seqhead.operating_points import YOUDEN, Rule, parse_rule
from seqhead.run import Run
from seqhead.subgroups import judge_subgroups, kinds_of_series, owners_of


def evaluate_run(
    run: Run,
    level: str | None = None,
    *,
    combine: str | None = None,
    seed: int = 0,
    operating_point: str | None = None,
    by: Sequence[str] = (),
    kinds: pd.DataFrame | None = None,
    averaged: tuple[pd.DataFrame, int] | None = None,
) -> Evaluation:
    """Score a run on its test patients; of a cross-validation on all, each out of its fold.

    Thresholds are the ones that the validation patients chose; at a coarser level than the
    run's own they are chosen there again, on validation patients.

    Parameters
    ----------
    run : Run
        The run.
    level : str or None
        ``"slice"``, ``"series"``, ``"patient"``, or None for the level of the fit.
    combine : str or None
        How slices make the score of a series, see `seqhead.rules`; None: as their largest.
    seed : int
        Of the bootstrap.
    operating_point : str or None
        Another rule than the run's for the thresholds, see `seqhead.operating_points`.
    by : sequence of str
        Subgroups to judge apart, see `seqhead.subgroups`.
    kinds : DataFrame or None
        ``kernel`` and ``manufacturer`` of each series, by id, for subgroups that need them.
    averaged : (DataFrame, int) or None
        Predictions to judge instead of the run's own, and over how many views they are means:
        `seqhead.averaged.averaged_predictions`.

    Returns
    -------
    Evaluation

    Raises
    ------
    RunError
        A file of the run is missing or damaged.
    LeakError
        A patient is in two splits.
    FitError
        The run is coarser than the level, no slices are combined at it, or a rule or subgroup is
        unknown.
    """
    level = level or run.config.level
    if combine is not None and (run.config.level != "slice" or level == "slice"):
        raise FitError(
            "--combine has no effect: it makes series of slices. Use it with a run of slices and "
            "--level series or patient"
        )
    rule = parse_rule(operating_point or run.config.operating_point)
    _check_same_split(run.predictions, run.folds, run.path.name)
    leak = leak_of(run)
    if leak is not None and leak.series_also_in_training and level != run.config.level:
        raise FitError(
            f"protocol {leak.protocol} splits the slices of a series, so only --level "
            f"{run.config.level} has rows that are wholly test rows"
        )
    series = run.series if run.config.level == "slice" and level != "slice" else None
    predictions, views = averaged or (run.predictions, 0)
    found = evaluate_predictions(
        predictions, run.config.labels, level, series=series, combine=combine or "max",
        seed=seed, rule=rule,
    )  # fmt: skip
    subgroups = _subgroups(run, found, by, kinds, seed)
    return replace(found, leak=leak, subgroups=subgroups, views=views)


def evaluate_predictions(
    predictions: pd.DataFrame,
    names: Sequence[str],
    level: str,
    *,
    series: pd.DataFrame | None = None,
    combine: str = "max",
    seed: int = 0,
    rule: Rule = YOUDEN,
) -> Evaluation:
    """Score predictions of the test split with thresholds of the validation split.

    Parameters
    ----------
    predictions : DataFrame
        As ``predictions.csv``: ``split``, ``series``, ``group``, ``y:NAME``, ``p:NAME``,
        ``baseline:NAME``, and ``repeat`` and ``fold`` in a cross-validation.
    names : sequence of str
        Names of the K labels.
    level : str
        ``"slice"``, ``"series"`` or ``"patient"``.
    series : DataFrame or None
        ``series.csv`` of a slice run, for the levels above slices.
    combine : str
        How slices make the score of a series, see `seqhead.rules`.
    seed : int
        Of the bootstrap.
    rule : Rule
        How the thresholds are chosen.

    Returns
    -------
    Evaluation

    Raises
    ------
    FitError
        The predictions are coarser than the level, or there are no test rows.
    RunError
        `series` lacks a series.
    """
    judged = judge(predictions, names, level, series=series, combine=combine, rule=rule)
    tested = predictions.loc[predictions["split"] == "test", "series"].nunique()
    split = "out of fold" if "fold" in predictions else "test"
    found = evaluate_judged(judged, level, split, tested, seed=seed)
    return replace(found, combine=combine if "slice" in predictions and level != "slice" else None)


def leak_of(run: Run) -> Leak | None:
    """What test and training of a run share, where its protocol allows that.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    Leak or None
    """
    protocol = run.config.split.protocol
    return None if protocol is None else measure_leak(run.folds, protocol)


def _subgroups(
    run: Run, found: Evaluation, by: Sequence[str], kinds: pd.DataFrame | None, seed: int
) -> dict[str, list[dict[str, Any]]]:
    if not by:
        return {}
    series = run.folds.drop_duplicates("series").set_index("series")
    if kinds is not None:
        series = series.join(kinds)
    ids = run.predictions
    column = {"slice": "slice", "series": "series", "patient": "group"}[found.level]
    owners = owners_of(ids[column].to_numpy(), ids["series"].to_numpy())
    return {
        name: judge_subgroups(found.judged, kinds_of_series(series, name), owners, seed=seed)
        for name in by
    }


def _check_same_split(predictions: pd.DataFrame, folds: pd.DataFrame, run: str) -> None:
    """Both files must have the same series in the same splits, and every row of each series."""
    of_folds = list(FOLD_COLUMNS) if "fold" in folds else []
    if of_folds:  # a cross-validation keeps no predictions of what its models learnt from
        folds = folds[folds["split"] != "train"]
    keys = [*of_folds, "series", "split", "group"]
    found = predictions.groupby(keys).size().rename("found").reset_index()
    both = folds[[*keys, "rows"]].merge(found, how="outer", on=keys).fillna({"rows": 0, "found": 0})
    wrong = both[both["rows"] != both["found"]]
    if len(wrong):
        row = wrong.iloc[0]
        raise RunError(
            f"{run}: series {row['series']} ({row['split']}) has {row['found']:.0f} row(s) in "
            f"predictions.csv and should have {row['rows']:.0f} by folds.csv ({len(wrong)} such "
            "series). The run folder was changed; fit again"
        )
