"""Patients to training, validation and test: stratified, saved, asserted disjoint."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from seqhead.errors import LeakError, SplitError

SPLITS = ("train", "validation", "test")
"""Names of the splits; heads learn on the first, stop on the second, are scored on the third."""

DEFAULT_FRACTIONS = (0.70, 0.15, 0.15)
"""Shares of the patients, in the order of `SPLITS`."""

KEPT_TOGETHER = ("group", "patient", "study", "user_patient", "series")
"""Columns of ``folds.csv`` none of whose values may be in two splits."""


def split_patients(
    patients: Sequence[str] | np.ndarray,
    y: np.ndarray,
    *,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> np.ndarray:
    """Assign every series to the split of its patient, or group of linked patients.

    Patients are stratified by all labels at once: a patient has a finding where any of its
    series has it. Patients are taken in the order of their first series, so that the split
    does not depend on how identifiers are hashed.

    Parameters
    ----------
    patients : sequence of str (B,)
        Patient (or group, see `seqhead.groups`) of each series.
    y : float array (B, K)
        Labels of each series; NaN is unknown.
    fractions : sequence of float
        Shares of the patients for `SPLITS`; they sum to 1.
    seed : int
        Of the shuffle.

    Returns
    -------
    array of str (B,)
        A name of `SPLITS` for each series.

    Raises
    ------
    SplitError
        There are fewer than three patients, or the fractions do not sum to 1.

    References
    ----------
    Sechidis, Tsoumakas, Vlahavas 2011, On the Stratification of Multi-Label Data.
    """
    if len(fractions) != len(SPLITS) or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise SplitError(f"the three fractions must be positive and sum to 1. Got {fractions}")
    codes, unique = pd.factorize(np.asarray(patients, dtype=object))
    if len(unique) < len(SPLITS):
        raise SplitError(
            f"{len(unique)} labelled patient(s) cannot be split into training, validation and "
            "test: at least three are needed. Series that share a PatientID or StudyInstanceUID, "
            "in DICOM or in the label file, count as one patient"
        )
    has = pd.DataFrame(np.nan_to_num(y)).groupby(codes).max().to_numpy()
    held_out = _pick(has, fractions[1] + fractions[2], seed, at_least=2)
    test = held_out[_pick(has[held_out], fractions[2] / (fractions[1] + fractions[2]), seed + 1)]
    of_patient = np.full(len(unique), SPLITS[0], dtype=object)
    of_patient[held_out] = SPLITS[1]
    of_patient[test] = SPLITS[2]
    return of_patient[codes]


def fold_patients(
    patients: Sequence[str] | np.ndarray, y: np.ndarray, *, folds: int, seed: int = 0
) -> np.ndarray:
    """Assign every series to the fold of its patient, or group of linked patients.

    Patients are stratified by all labels at once, as in `split_patients`.

    Parameters
    ----------
    patients : sequence of str (B,)
        Patient (or group, see `seqhead.groups`) of each series.
    y : float array (B, K)
        Labels of each series; NaN is unknown.
    folds : int
        K, how many.
    seed : int
        Of the shuffle.

    Returns
    -------
    int array (B,)
        1 to K.

    Raises
    ------
    SplitError
        There are not enough patients for every fold to be tested, stopped on and learnt from.
    """
    codes, unique = pd.factorize(np.asarray(patients, dtype=object))
    P = len(unique)
    if not 2 <= folds <= P or len(SPLITS) > P:
        raise SplitError(
            f"{P} labelled patient(s) cannot be split into {folds} folds: at least two folds and "
            f"{max(folds, len(SPLITS))} patients are needed"
        )
    has = pd.DataFrame(np.nan_to_num(y)).groupby(codes).max().to_numpy()
    return _stratified_folds(has, folds, seed)[codes] + 1


def inner_validation(
    groups: Sequence[str] | np.ndarray, y: np.ndarray, *, fraction: float, seed: int
) -> np.ndarray:
    """Choose whole groups to stop a fit on.

    Parameters
    ----------
    groups : sequence (B,)
        Patient of each series.
    y : float array (B, K)
        Labels; NaN is unknown.
    fraction : float
        Share of the groups.
    seed : int
        Of the shuffle.

    Returns
    -------
    bool array (B,)
        True where a series is held out of the fit.

    Raises
    ------
    SplitError
        There is only one group.
    """
    codes, unique = pd.factorize(np.asarray(groups, dtype=object))
    if len(unique) < 2:
        raise SplitError("one patient cannot be split into training and validation")
    has = pd.DataFrame(np.nan_to_num(y)).groupby(codes).max().to_numpy()
    return np.isin(codes, _pick(has, fraction, seed))


def check_disjoint(folds: pd.DataFrame) -> None:
    """Refuse a split that has one patient, study or series on two sides.

    Parameters
    ----------
    folds : DataFrame
        Columns `KEPT_TOGETHER` and ``split``, and in a cross-validation ``repeat`` and ``fold``:
        then each of its splits is checked. A blank ``user_patient`` says nothing.

    Raises
    ------
    LeakError
        The message names the rows.
    SplitError
        A split has another name than `SPLITS`, or a series is tested in two folds or in none.
    """
    unknown = sorted(set(folds["split"]) - set(SPLITS))
    if unknown:
        raise SplitError(f"the split must be one of {', '.join(SPLITS)}. Got {unknown[0]!r}")
    if "fold" not in folds:
        _check_sides(folds, "")
        return
    for number, rows in folds.groupby(["repeat", "fold"]):
        _check_sides(rows, " of repeat {}, fold {}".format(*number))
    for repeat, rows in folds.groupby("repeat"):
        tested = rows[rows["split"] == "test"]["series"].value_counts()
        tested = tested.reindex(rows["series"].unique(), fill_value=0)
        wrong = tested.index[tested != 1]
        if len(wrong):
            raise SplitError(
                f"series {wrong[0]} is tested in {tested[wrong[0]]} folds of repeat {repeat} "
                f"({len(wrong)} such series): every series is tested once"
            )


def _check_sides(folds: pd.DataFrame, where: str) -> None:
    for column in KEPT_TOGETHER:
        sides = folds[folds[column] != ""].groupby(column)["split"].nunique()
        leaking = sides.index[sides > 1]
        if len(leaking):
            rows = folds[folds[column] == leaking[0]]
            shown = ", ".join(
                f"{series} in {split}"
                for series, split in zip(rows["series"], rows["split"], strict=True)
            )
            raise LeakError(
                f"{column} {leaking[0]} is in more than one split{where}: {shown} "
                f"({len(leaking)} such {column}(s)). Every score would be too good; split again"
            )


def _stratified_folds(has: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold of each row of `has` (P, K), from 0; no fold is empty."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    P, chosen = len(has), None
    if P >= 10:  # with fewer there is nothing to stratify
        labels = np.column_stack([has, has]).astype(int)
        splitter = MultilabelStratifiedKFold(folds, shuffle=True, random_state=seed)
        chosen = np.empty(P, dtype=np.int64)
        for number, (_, test) in enumerate(splitter.split(np.zeros(P), labels)):
            chosen[test] = number
    if chosen is None or len(np.unique(chosen)) < folds:
        chosen = np.random.default_rng(seed).permutation(P) % folds
    return chosen


def _pick(has: np.ndarray, fraction: float, seed: int, at_least: int = 1) -> np.ndarray:
    """Rows of `has` (P, K) that make up a stratified share, sorted."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    n = len(has)
    size = min(max(round(fraction * n), at_least), n - 1)
    if n < 10:  # too few to stratify; the library may then return an empty side
        return np.sort(np.random.default_rng(seed).permutation(n)[:size])
    labels = np.column_stack([has, has]).astype(int)  # a single column would not be multi-label
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    return np.sort(next(splitter.split(np.zeros(n), labels))[1])
