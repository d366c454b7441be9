"""A run on another data set: its model, its thresholds, its baseline, other patients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from featurecache.store import FeatureStore
from featurecache.words import plural
from seqhead.averaged import averaged_predictions
from seqhead.baselines import PositionBaseline, series_features, slice_features
from seqhead.cohort import Cohort
from seqhead.digests import series_digests
from seqhead.errors import FeaturesError, FitError, LabelError, LeakError
from seqhead.evaluation import Evaluation, evaluate_judged
from seqhead.inputs import check_fingerprint
from seqhead.judged import averaged, decide
from seqhead.members import member_scores
from seqhead.operating_points import parse_rule
from seqhead.run import Run
from seqhead.scores import Scores, scores_at
from seqhead.sources import Opened, Sources, open_sources
from seqhead.subgroups import judge_subgroups, kinds_of_series, owners_of
from seqhead.views import open_views

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class External:
    """What another data set is, for a run.

    Parameters
    ----------
    cohort : Cohort
        Its series, with the labels named as the run's.
    names : tuple of str
        Labels of the run that it has, K.
    columns : list of int
        Their places among the run's labels.
    opened : Opened
        The feature set, the key and the labels that it was joined from.
    """

    cohort: Cohort
    names: tuple[str, ...]
    columns: list[int]
    opened: Opened


def evaluate_external(
    run: Run,
    sources: Sources,
    *,
    renamed: Mapping[str, str] | None = None,
    level: str | None = None,
    combine: str | None = None,
    features: str | None = None,
    second_features: str | None = None,
    allow_numerics: bool = False,
    operating_point: str | None = None,
    by: Sequence[str] = (),
    views_beside: FeatureStore | None = None,
    device: str = "auto",
    seed: int = 0,
) -> tuple[Evaluation, External]:
    """Score a run on the scans of another store.

    Nothing is learnt from them: thresholds and calibration are those that the run's own validation
    patients chose, the baseline is the one that was fitted with the run. A cross-validation says
    the mean of its models.

    Parameters
    ----------
    run : Run
        The run.
    sources : Sources
        The other store and its labels.
    renamed : mapping of str to str or None
        Label of the run -> label of the other file; None: labels of the same name.
    level : str or None
        What is counted; None: that of the run, or series where only series are labelled.
    combine : str or None
        How slices make the score of a series, see `seqhead.rules`; None: as their largest.
    features, second_features : str or None
        Names of the feature sets in the other store; None: those of the fit.
    allow_numerics : bool
        Accept another precision or storage type.
    operating_point : str or None
        Another rule than the run's for the thresholds.
    by : sequence of str
        Subgroups to judge apart.
    views_beside : FeatureStore or None
        The store that the run was fitted on: judge means over the images as they are and their
        augmented views, by thresholds that such means of its validation rows choose. None: judge
        the images as they are.
    device : str
        Where to compute.
    seed : int
        Of the bootstrap.

    Returns
    -------
    evaluation : Evaluation
        The figures.
    external : External
        What they are of.

    Raises
    ------
    FeaturesError
        The features were made by another recipe, or a store lacks views.
    LabelError
        The label files have no label in common, or `renamed` names one that is not there.
    LeakError
        The run learnt from some of these scans.
    FitError
        The run, or the labels, are coarser than the level.
    StoreError
        The store is incomplete or damaged.
    """
    opened, crossed = _opened(run, sources, features, second_features, allow_numerics)
    if views_beside is not None:
        store = FeatureStore.open(sources.store)
        opened = replace(opened, views=open_views(store, opened.features, opened.second))
    file_level = opened.labels.level if opened.slice_labels is None else "slice"
    level = level or ("slice" if run.config.level == file_level == "slice" else "series")
    of_slices = level == "slice"
    if combine is not None and (of_slices or run.config.level != "slice"):
        raise FitError("--combine has no effect: it makes series of slices. Leave it out")
    cohort = opened.cohort("slice" if of_slices else "series")
    external = _renamed(run, cohort, renamed, opened)
    overlap = _refuse_training_scans(run, external.cohort)
    rule = parse_rule(operating_point or run.config.operating_point)
    parts = []
    for member, scored in zip(run.members, _mean_over_views(run, external, device), strict=True):
        stop = _validation_rows(member, views_beside, external, device)
        its_series = member.series if run.config.level == "slice" and not of_slices else None
        validation = scores_at(stop, external.names, level, its_series, combine or "max")
        tested = _scores(member, external, scored[:, external.columns], level, combine or "max")
        parts.append(decide(validation, tested, rule))
    judged = averaged(parts)
    found = evaluate_judged(judged, level, "external", len(external.cohort.X), seed=seed)
    kinds = {
        name: judge_subgroups(
            judged, kinds_of_series(external.cohort.series, name), _owners(external, level),
            seed=seed,
        )
        for name in by
    }  # fmt: skip
    notes = (*crossed, *opened.labels.notes, *external.cohort.notes, *overlap)
    how = (combine or "max") if run.config.level == "slice" and not of_slices else None
    views = len(opened.views)
    return replace(found, subgroups=kinds, notes=notes, combine=how, views=views), external


def _opened(
    run: Run,
    sources: Sources,
    features: str | None,
    second_features: str | None,
    allow_numerics: bool,
) -> tuple[Opened, list[str]]:
    """The other store with the features that the run reads, and what was crossed."""
    opened = open_sources(sources, features or run.config.features.name)
    crossed = check_fingerprint(run.config.features, opened.features, allow_numerics=allow_numerics)
    fitted = run.config.second_features
    if fitted is None and second_features is not None:
        raise FitError("--second-features has no effect: this run reads one feature set")
    if fitted is None:
        return opened, crossed
    second = FeatureStore.open(sources.store)[second_features or fitted.name]
    crossed += check_fingerprint(fitted, second, allow_numerics=allow_numerics)
    return replace(opened, second=second), crossed


def parse_renamed(text: str) -> dict[str, str]:
    """Read ``--map``: ``any=ICH,epidural=EDH``.

    Parameters
    ----------
    text : str
        Pairs of a label of the run and a label of the other file.

    Returns
    -------
    dict of str to str

    Raises
    ------
    LabelError
        A pair is not one, or a label stands there twice.
    """
    renamed: dict[str, str] = {}
    for pair in text.split(","):
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and equals and theirs):
            raise LabelError(
                f"--map: {pair.strip()!r} is not RUN_LABEL=OTHER_LABEL, for example any=ICH"
            )
        if ours in renamed:
            raise LabelError(f"--map names {ours!r} twice")
        renamed[ours] = theirs
    return renamed


def matched_labels(
    of_run: Sequence[str], of_file: Sequence[str], renamed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Say which label of a run is which label of a file.

    Parameters
    ----------
    of_run, of_file : sequence of str
        Labels of the run and of the file.
    renamed : mapping of str to str or None
        Label of the run -> label of the file; None: labels of the same name.

    Returns
    -------
    dict of str to str
        Label of the run -> label of the file, in the run's order.

    Raises
    ------
    LabelError
        They have no label in common, or `renamed` names one that is not there.
    """
    if renamed is None:
        renamed = {name: name for name in of_run if name in of_file}
    for where, said, known in (
        ("the run", [*renamed], of_run),
        ("the labels", [*renamed.values()], of_file),
    ):
        unknown = [name for name in said if name not in known]
        if unknown:
            raise LabelError(
                f"--map: {where} has no label {unknown[0]!r}; it has {', '.join(known)}"
            )
    if not renamed:
        raise LabelError(
            f"the run predicts {', '.join(of_run)}, the labels are {', '.join(of_file)}: none "
            "in common. --map RUN_LABEL=OTHER_LABEL,... says which is which"
        )
    return {name: renamed[name] for name in of_run if name in renamed}


def _renamed(
    run: Run, cohort: Cohort, renamed: Mapping[str, str] | None, opened: Opened
) -> External:
    """The cohort with the run's labels, in the run's order."""
    of_run = run.config.labels
    matched = matched_labels(of_run, cohort.names, renamed)
    theirs = [cohort.names.index(name) for name in matched.values()]
    y = (
        cohort.y[:, theirs]
        if isinstance(cohort.y, np.ndarray)
        else [rows[:, theirs] for rows in cohort.y]
    )
    names = tuple(matched)
    chosen = replace(cohort, names=names, y=y, series_y=cohort.series_y[:, theirs])
    return External(chosen, names, [of_run.index(name) for name in names], opened)


def _refuse_training_scans(run: Run, cohort: Cohort) -> list[str]:
    """Scans that a model of the run learnt from, or stopped on, are no test of it."""
    learnt = run.folds[run.folds["split"] != "test"]
    series = cohort.series
    same = pd.Series(series.index.isin(learnt["series"]), index=series.index)
    same |= series["study"].isin(learnt["study"])
    if "features_digest" in learnt:
        same |= pd.Series(series_digests(cohort.X), index=series.index).isin(
            learnt["features_digest"]
        )
    if same.any():
        first = series.index[same][0]
        name = series.loc[first, "user_series"] or first
        raise LeakError(
            f"{int(same.sum())} of {len(series)} series of this store were learnt from, or "
            f"stopped on, by the run, for example {name}: this is no external test. `seqhead "
            "evaluate` without --store judges the run's own test patients"
        )
    shared = series["patient"].isin(learnt["patient"])
    if not shared.any():
        return []
    return [
        f"{plural(int(series['patient'][shared].nunique()), 'patient')} of this store "
        "have a PatientID that a training patient has too, but no study in common. If they are "
        "the same people, this is no external test"
    ]


def _mean_over_views(run: Run, external: External, device: str) -> Iterator[np.ndarray]:
    """What each model says of the images as they are, or its mean over them and their views."""
    cohort = external.cohort
    every = [member_scores(run, X, device) for X in (cohort.X, *cohort.views)]
    for scored in zip(*every, strict=True):
        yield np.mean(scored, axis=0) if cohort.views else scored[0]


def _validation_rows(
    member: Run, views_beside: FeatureStore | None, external: External, device: str
) -> pd.DataFrame:
    """The rows that choose a model's thresholds, scored as the other data set is."""
    predictions = member.predictions
    if views_beside is not None:
        predictions, views = averaged_predictions(member, views_beside, device, ("validation",))
        there = len(external.cohort.views)
        if views != there:
            raise FeaturesError(
                f"{views_beside.storage.name} of the run has {plural(views, 'augmented view')} and "
                f"the other store {there}: thresholds would be chosen on other means than those "
                "that are judged. Extract as many of both (--views N), or leave --views out"
            )
    return predictions[predictions["split"] == "validation"]


def _scores(
    member: Run, external: External, scored: np.ndarray, level: str, combine: str
) -> Scores:
    """What one model, and its baseline, say of the other data set."""
    cohort, names = external.cohort, external.names
    baselines = {kind: _of_labels(one, external) for kind, one in member.baselines.items()}
    of_slices = member.config.level == "slice"
    owner = cohort.owner if of_slices else np.arange(len(cohort.X))
    table = pd.DataFrame(
        {"series": cohort.series.index.to_numpy()[owner], "group": cohort.groups[owner]}
    )
    ids: list[pd.DataFrame] = [table]
    if of_slices:
        known = cohort.flat_y if cohort.level == "slice" else np.full_like(scored, np.nan)
        baseline = baselines["slice"].predict_proba(slice_features(cohort.slices, cohort.series))
        ids.append(pd.DataFrame({"slice": cohort.slices["slice"].to_numpy()}))
    else:
        known = cohort.series_y
        baseline = baselines["series"].predict_proba(series_features(cohort.series))
    predictions = pd.concat([*ids, _named(names, y=known, p=scored, baseline=baseline)], axis=1)
    of_series = None
    if of_slices and level != "slice":
        by_length = baselines["series"].predict_proba(series_features(cohort.series))
        values = _named(names, y=cohort.series_y, baseline=by_length)
        of_series = values.assign(series=cohort.series.index.to_numpy())
    return scores_at(predictions, names, level, of_series, combine)


def _of_labels(baseline: PositionBaseline, external: External) -> PositionBaseline:
    """The part of a baseline that speaks of some labels."""
    columns = external.columns
    return replace(
        baseline, labels=external.names, coef=baseline.coef[columns],
        intercept=baseline.intercept[columns],
    )  # fmt: skip


def _named(names: tuple[str, ...], **values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            f"{kind}:{name}": np.asarray(array[:, k], dtype=np.float64)
            for kind, array in values.items()
            for k, name in enumerate(names)
        }
    )


def _owners(external: External, level: str) -> pd.DataFrame:
    cohort = external.cohort
    series = cohort.series.index.to_numpy()
    if level == "slice":
        return owners_of(cohort.slices["slice"].to_numpy(), series[cohort.owner])
    return owners_of(series if level == "series" else cohort.groups, series)
