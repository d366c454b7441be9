"""Opened files to a sweep that can be run: patients split, everything compared or saved."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from featurecache.words import plural
from seqhead.assignment import whole_series
from seqhead.build import make_estimator
from seqhead.cohort import Cohort
from seqhead.digests import series_digests
from seqhead.errors import FitError, SplitError, SweepError
from seqhead.matrices import Matrices
from seqhead.predictions import fold_table
from seqhead.same_scans import joined_groups, refuse_same_scans
from seqhead.sources import Sources
from seqhead.split_file import read_split_file
from seqhead.split_notes import notes_of
from seqhead.split_plan import plan_splits
from seqhead.splits import SPLITS, check_disjoint
from seqhead.splitting import Splitting
from seqhead.svm import PooledSVC
from seqhead.sweeps.asked import Asked
from seqhead.sweeps.candidates import check_candidates, fit_options
from seqhead.sweeps.folder import SweepFolder
from seqhead.sweeps.inner import InnerFold, draw_inner_folds, inner_table, read_inner_folds
from seqhead.sweeps.settings import FeaturesUse, Request, SweepSettings
from seqhead.sweeps.space import Candidate, Space
from seqhead.sweeps.trial_data import TrialData, bare_cohort

DEFAULT_TRIALS = 50
"""How many candidates are drawn where nobody says."""

_MOST_TRIALS = 100_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sweep that can be run.

    Parameters
    ----------
    settings : SweepSettings
        What it is told, decided.
    data : TrialData
        What trials see.
    patients : dict of str to int
        How many are in training, validation and test.
    series : dict of str to int
        How many series these have.
    notes : list of str
        What a user should know of the data.
    empty_series : list of str
        Series without features, left out.
    label_files : str
        `seqhead.sweeps.asked.label_files_digest` of what was read.
    """

    settings: SweepSettings
    data: TrialData
    patients: dict[str, int]
    series: dict[str, int]
    notes: list[str]
    empty_series: list[str]
    label_files: str


def prepare(
    asked: Asked,
    sources: Sources,
    splitting: Splitting | None,
    folder: SweepFolder,
    project: Path,
) -> Prepared:
    """Begin a sweep, or take one up again.

    Parameters
    ----------
    asked : Asked
        What to sweep, opened; its cohorts are restricted to the series in use.
    sources : Sources
        Store and labels.
    splitting : Splitting or None
        How to split; None: as the folder has it, which must be a sweep then.
    folder : SweepFolder
        Where.
    project : Path
        Folder that paths are remembered relative to.

    Returns
    -------
    Prepared

    Raises
    ------
    SweepError
        The folder has other settings, features or labels; the message names the fields.
    LabelError, SplitError, FitError, StoreError
        Files, patients or values do not allow it.
    """
    if splitting is not None and (splitting.folds or splitting.protocol):
        raise SplitError("a sweep tests its winner on one split of patients: leave --folds out")
    with folder.made():
        if folder.is_sweep:
            saved = folder.settings()
            names = _saved_split(folder, asked)
            settings = _settings(asked, splitting, sources, project, saved)
            different = settings.differences(saved)
            if different:
                raise SweepError(
                    f"{folder.path} is a sweep of other settings: {'; '.join(different)}. Choose "
                    "another --out, or give the settings that it began with"
                )
            data = _trial_data(asked, names, lambda cohort: _saved_inner(folder, cohort))
            settings = saved
            if any(isinstance(cohort.X, Matrices) for cohort in data.cohorts):
                check_candidates(asked.space, lambda one: _check(one, settings, data))
        else:
            names = _new_split(asked, splitting or Splitting(), project)
            settings = _settings(asked, splitting, sources, project, None)
            data = _trial_data(asked, names, lambda cohort: _new_inner(cohort, names, settings))
            check_candidates(asked.space, lambda one: _check(one, settings, data))
            _check_metric(settings.metric, data)
            _begin(folder, settings, asked.cohorts[0], names, data)
    cohort = asked.cohorts[0]
    return Prepared(
        settings, data,
        {side: len(np.unique(cohort.groups[names == side].astype(str))) for side in SPLITS},
        {side: int((names == side).sum()) for side in SPLITS},
        asked.notes, cohort.left_out.empty_series, asked.label_files,
    )  # fmt: skip


def same_settings(
    asked: Asked, sources: Sources, splitting: Splitting, folder: SweepFolder, project: Path
) -> bool:
    """Tell whether a sweep has the settings that a user asks for, digests left aside.

    Parameters
    ----------
    asked, sources, splitting, project
        As for `prepare`.
    folder : SweepFolder
        A sweep.

    Returns
    -------
    bool
    """
    saved = folder.settings()
    mine = _settings(asked, splitting, sources, project, None, digests=False)
    features = tuple(one.model_copy(update={"digest": ""}) for one in saved.features)
    bare = saved.model_copy(update={"labels_digest": "", "features": features})
    return not mine.differences(bare)


def request_of(settings: SweepSettings) -> Request:
    """What a user would have asked for to get these settings.

    Parameters
    ----------
    settings : SweepSettings
        Of a sweep folder.

    Returns
    -------
    Request
    """
    return Request(
        search=settings.search,
        sampler=settings.sampler,
        trials=None if settings.sampler == "grid" else settings.trials,
        metric=settings.metric,
        pruning=settings.pruning,
        inner_folds=settings.inner_folds,
        seed=settings.seed,
        level=settings.level,
    )


def _settings(
    asked: Asked,
    splitting: Splitting | None,
    sources: Sources,
    project: Path,
    saved: SweepSettings | None,
    *,
    digests: bool = True,
) -> SweepSettings:
    request, cohort = asked.request, asked.cohorts[0]
    how = splitting or Splitting()
    if splitting is None and saved is not None:
        rule, together, sha256 = (
            saved.operating_point, saved.duplicate_scans, saved.split_sha256
        )  # fmt: skip
    else:
        rule, together = how.operating_point, how.duplicate_scans
        sha256 = read_split_file(how.file).sha256 if how.file else None
    return SweepSettings(
        level=asked.space.level,
        metric=request.metric,
        sampler=request.sampler,
        trials=_trials(request, asked.space),
        pruning=request.sampler != "grid" if request.pruning is None else request.pruning,
        inner_folds=request.inner_folds,
        seed=request.seed,
        labels=cohort.names,
        labels_digest=_labels_digest(cohort) if digests else "",
        features=tuple(
            FeaturesUse(
                name=one.features.name,
                second=one.second.name if one.second else None,
                fingerprint=one.features.fingerprint,
                digest=_features_digest(features) if digests else "",
            )
            for one, features in zip(asked.opened, asked.cohorts, strict=True)
        ),
        operating_point=rule,
        duplicate_scans=together,
        split_sha256=sha256,
        search=asked.space.document(),
        sources=sources.relative_to(project),
    )


def _trials(request: Request, space: Space) -> int:
    if request.sampler != "grid":
        return request.trials or DEFAULT_TRIALS
    count = 0
    for _ in space.grid():
        count += 1
        if count > _MOST_TRIALS:
            raise FitError(f"the grid has more than {_MOST_TRIALS:,} candidates: search fewer")
    return count


def _new_split(asked: Asked, splitting: Splitting, project: Path) -> np.ndarray:
    """Split the patients before anything else; gives the side of each series."""
    for cohort in asked.cohorts[1:]:  # the winner may read any of them; the first is looked at next
        _look_for_same_scans(asked, cohort, splitting)
    plan = plan_splits(asked.cohorts[0], splitting, asked.request.seed, asked.opened[0], project)
    if plan.crossed:
        raise SplitError("the split file has several folds: a sweep tests its winner on one split")
    asked.notes += [*plan.notes, *notes_of(plan.cohort, plan.assignments[0])]
    asked.restrict(list(plan.cohort.series.index), plan.cohort.groups)
    asked.cohorts[0] = replace(asked.cohorts[0], left_out=plan.cohort.left_out)
    return plan.assignments[0].names


def _look_for_same_scans(asked: Asked, cohort: Cohort, splitting: Splitting) -> None:
    """Refuse one scan under two patients, or make them one, by one more feature set."""
    if splitting.duplicate_scans == "refuse":
        refuse_same_scans(cohort)
        return
    first = asked.cohorts[0]
    groups, pairs = joined_groups(replace(cohort, series=cohort.series.assign(group=first.groups)))
    if pairs:
        asked.notes.append(
            f"{plural(pairs, 'pair')} of series are one scan under two patients in "
            f"{cohort.features}, who count as one (--duplicate-scans together)"
        )
    asked.cohorts[0] = replace(first, series=first.series.assign(group=groups))


def _saved_split(folder: SweepFolder, asked: Asked) -> np.ndarray:
    table = folder.table("split.csv", ("series", "group", "split")).set_index("series")
    gone = [name for name in table.index if name not in asked.cohorts[0].series.index]
    if gone:
        raise SweepError(
            f"{len(gone)} series of {folder.path} are not among the labelled series any more, e.g. "
            f"{gone[0]}. Sweep again into a new folder"
        )
    asked.restrict(list(table.index), table["group"].to_numpy(dtype=object))
    return table["split"].to_numpy(dtype=object)


def _trial_data(
    asked: Asked, names: np.ndarray, inner: Callable[[Cohort], tuple[InnerFold, ...]]
) -> TrialData:
    """What trials see: nothing of any test patient."""
    rest = names != SPLITS[2]
    kept = [cohort.only(rest) for cohort in asked.cohorts]
    bare = tuple(
        bare_cohort(
            features=one.features, names=one.names, level=one.level, groups=list(one.groups),
            X=one.X, y=one.y, series_y=one.series_y, second=one.second,
        )
        for one in kept
    )  # fmt: skip
    return TrialData(bare, asked.reads, inner(kept[0]))


def _new_inner(cohort: Cohort, names: np.ndarray, settings: SweepSettings) -> tuple[InnerFold, ...]:
    return draw_inner_folds(
        names[names != SPLITS[2]], cohort.groups, cohort.series_y,
        folds=settings.inner_folds, seed=settings.seed,
    )  # fmt: skip


def _saved_inner(folder: SweepFolder, cohort: Cohort) -> tuple[InnerFold, ...]:
    table = folder.table("inner.csv", ("fold", "series", "group", "learn", "stop", "score"))
    return read_inner_folds(table, list(cohort.series.index))


def _begin(
    folder: SweepFolder,
    settings: SweepSettings,
    cohort: Cohort,
    names: np.ndarray,
    data: TrialData,
) -> None:
    split = fold_table(cohort, whole_series(names))
    check_disjoint(split)
    rest = names != SPLITS[2]
    inner = inner_table(data.inner, list(cohort.series.index[rest]), cohort.groups[rest])
    folder.begin(settings, split, inner)


def _check(candidate: Candidate, settings: SweepSettings, data: TrialData) -> None:
    """A candidate can be built for these features and labels, and reads them where they are."""
    options = fit_options(candidate, level=settings.level, seed=settings.seed)
    cohort = data.of(candidate)
    model = make_estimator(options, cohort)
    if isinstance(model, PooledSVC) and isinstance(cohort.X, Matrices):
        model.check_memory(cohort.X)  # with more memory it could be fitted: not to be remembered


def _check_metric(metric: str, data: TrialData) -> None:
    """The metric is defined for some label on the inner folds."""
    cohort = data.cohorts[0]
    scored = np.any([fold.score for fold in data.inner], axis=0)
    y = cohort.series_y[scored]
    positive, negative = (y == 1).any(axis=0), (y == 0).any(axis=0)
    if metric in ("auc", "average_precision") and not (positive & negative).any():
        raise FitError(
            f"no label has both positives and negatives among the {len(y)} series that candidates "
            "are scored on: use more --inner-folds, another --seed, or --metric log_loss"
        )


def _features_digest(cohort: Cohort) -> str:
    return _sha256("".join(series_digests(cohort.X)).encode())


def _labels_digest(cohort: Cohort) -> str:
    said = json.dumps([list(cohort.names), list(cohort.series.index)]).encode()
    values = [np.ascontiguousarray(array, dtype=np.float32) for array in _label_arrays(cohort)]
    return _sha256(said + b"".join(np.nan_to_num(v, nan=-1.0).tobytes() for v in values))


def _label_arrays(cohort: Cohort) -> list[np.ndarray]:
    return [cohort.series_y, cohort.flat_y]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
