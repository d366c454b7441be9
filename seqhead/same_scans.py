"""One scan under two patients, found by its features: slices that are equal bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featurecache.words import plural
from seqhead.cohort import Cohort
from seqhead.errors import LeakError
from seqhead.matrices import lengths_of

_COMMON = 8  # slices that so many series have are air, not evidence
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class SameScan:
    """Two series of different patients with the same slices.

    Parameters
    ----------
    one, other : int
        Their places in the cohort.
    slices : int
        Slices that are equal.
    of : int
        Slices of the shorter one.
    """

    one: int
    other: int
    slices: int
    of: int


def same_scans(X: Sequence[np.ndarray], groups: Sequence[str] | np.ndarray) -> list[SameScan]:
    """Find series of different patients that share at least half of their slices.

    Equal pixels give equal features within an extraction, so equal features across patients mean
    one scan under two ids. Slices that many series share (air) count for nothing.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        Features.
    groups : sequence (B,)
        Patient of each series.

    Returns
    -------
    list of SameScan
        In the order of the cohort.
    """
    slices = pd.DataFrame(
        {"digest": np.concatenate([_digests(matrix) for matrix in X]),
         "series": np.repeat(np.arange(len(X)), lengths_of(X))}
    ).drop_duplicates()  # fmt: skip
    distinct = slices.groupby("series").size()
    holders = slices.groupby("digest")["series"].transform("size")
    shared = slices[(holders > 1) & (holders <= _COMMON)]
    pairs = shared.merge(shared, on="digest")
    pairs = pairs[pairs["series_x"] < pairs["series_y"]]
    group = pd.factorize(np.asarray(groups, dtype=object))[0]
    counts = pairs.groupby(["series_x", "series_y"]).size().rename("count").reset_index()
    found = []
    for one, other, count in counts.to_numpy().tolist():
        shorter = int(min(distinct[one], distinct[other]))
        apart = group[one] != group[other]
        if apart and 2 * count >= shorter and _equal_slices(X[one], X[other]) == count:
            found.append(SameScan(one, other, count, shorter))
    return found


def refuse_same_scans(cohort: Cohort) -> None:
    """Stop before one scan gets on two sides of a split.

    Parameters
    ----------
    cohort : Cohort
        What is to be split.

    Raises
    ------
    LeakError
        The message names the series and their patients.
    """
    found = same_scans(cohort.X, cohort.groups)
    if not found:
        return
    shown = "; ".join(
        f"series {_name(cohort, one.one)} and series {_name(cohort, one.other)} have the same "
        f"features in {one.slices} of {plural(one.of, 'slice')}"
        for one in found[:_SHOWN]
    )
    more = f" and {plural(len(found) - _SHOWN, 'more such pair')}" if len(found) > _SHOWN else ""
    raise LeakError(
        f"{shown}{more}: one scan under two patients, which may get on two sides of a split. If it "
        "is one patient, give the series one PatientID in the label file; --duplicate-scans "
        "together keeps them on one side"
    )


def joined_groups(cohort: Cohort) -> tuple[np.ndarray, int]:
    """Groups of patients, with those that share a scan made one.

    Parameters
    ----------
    cohort : Cohort
        B series.

    Returns
    -------
    groups : array of str (B,)
        As ``cohort.groups``.
    pairs : int
        How many pairs of series share a scan.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    found = same_scans(cohort.X, cohort.groups)
    groups = cohort.groups
    code, names = pd.factorize(groups)
    ends = np.array([[code[one.one], code[one.other]] for one in found]).reshape(-1, 2).T
    links = coo_array((np.ones(len(found)), (ends[0], ends[1])), shape=(len(names), len(names)))
    component = connected_components(links, directed=False)[1]
    first = pd.Series(np.arange(len(names))).groupby(component).transform("first").to_numpy()
    return np.asarray(names, dtype=object)[first[code]], len(found)


def _name(cohort: Cohort, place: int) -> str:
    row = cohort.series.iloc[place]
    series = row["user_series"] or cohort.series.index[place]
    return f"{series} (patient {row['user_patient'] or row['patient']})"


def _digests(matrix: np.ndarray) -> np.ndarray:
    """64 bits of each row, (n,); equal rows have equal ones."""
    raw = np.ascontiguousarray(matrix).view(np.uint8).reshape(len(matrix), -1)
    words = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 8))).view(np.uint64)
    odd = np.random.default_rng(0).integers(0, 2**63, words.shape[1], dtype=np.uint64) * 2 + 1
    return words @ odd.astype(np.uint64)


def _equal_slices(one: np.ndarray, other: np.ndarray) -> int:
    """Different rows that both have, compared byte by byte."""
    rows = [{np.ascontiguousarray(row).tobytes() for row in matrix} for matrix in (one, other)]
    return len(rows[0] & rows[1])
