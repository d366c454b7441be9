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
        Columns `KEPT_TOGETHER` and ``split``; a blank ``user_patient`` says nothing.

    Raises
    ------
    LeakError
        The message names the rows.
    SplitError
        A split has another name than `SPLITS`.
    """
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
                f"{column} {leaking[0]} is in more than one split: {shown} "
                f"({len(leaking)} such {column}(s)). Every score would be too good; split again"
            )
    unknown = sorted(set(folds["split"]) - set(SPLITS))
    if unknown:
        raise SplitError(f"the split must be one of {', '.join(SPLITS)}. Got {unknown[0]!r}")


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
