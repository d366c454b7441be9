"""The key-slice tasks over many series, beside a random choice and the middle of the series."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqhead.key_slice_rows import KeySliceRow, KeySliceRows
from seqhead.key_slices import TASKS, TOP, chosen_share, is_tied, middle_weights, task_scores
from seqhead.stats import PatientBootstrap

CHOICES = ("attention", "random", "middle")
"""Who chooses slices: the head; nobody (the mean over all orders); always the middle."""

SLICE_FIGURES = ("slices", "slices_by_own_count")
"""Figures over all slices of a label together, see `key_slice_figures`."""

_BINS = 20  # of series of different lengths
_FEW = 10  # series; fewer are warned of


def key_slice_figures(rows: KeySliceRows, *, seed: int = 0) -> dict[str, Any]:
    """Score the attention of many series against the labels of their slices.

    Parameters
    ----------
    rows : KeySliceRows
        The series.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``labels_of`` (the file), ``series`` and ``slices`` (counts of what is used and what is
        not), ``lesion`` (any label) and ``labels`` (each of them): the three tasks of
        `seqhead.key_slices`, means over series, and

        ``slices``: over all series together, how many slices of the label are among the top h,
        where h slices of the series show any lesion; ``slices_by_own_count``: where h show the
        label itself. Each with what a random choice and the middle score, the differences, and
        intervals from resampled patients. ``positions``: where the top 5 are. ``notes``.

    References
    ----------
    DrCT2, section VI.A.4, Table 5 (tasks), Table 6 (slices of each disease, which does not say how
    many are chosen: hence two figures) and Figure 7 (positions).
    """
    series = rows.series
    bootstrap = PatientBootstrap.of([row.patient for row in series], seed=seed)
    lesions = [_any_label(row.shown) for row in series]
    of_any = _figures(series, lesions, lesions, bootstrap)
    of_any.pop("slices_by_own_count")  # of any lesion, both are one
    document: dict[str, Any] = {
        "labels_of": rows.source,
        "series": _series_counts(rows, lesions),
        "slices": _slice_counts(series, lesions),
        "lesion": of_any,
        "labels": {
            name: _figures(series, [row.shown[:, k] for row in series], lesions, bootstrap)
            for k, name in enumerate(rows.names)
        },
        "positions": _positions(series, lesions),
    }
    return {**document, "notes": [*rows.notes, *_notes(document)]}


@dataclass(frozen=True, slots=True)
class _Share:
    """A ratio of two sums over series: hits of each choice (R,), and out of how many."""

    hits: dict[str, np.ndarray]
    of: np.ndarray


def _any_label(shown: np.ndarray) -> np.ndarray:
    """Whether slices show any label: 1, 0 or NaN (n,)."""
    if not shown.shape[1]:
        return np.full(len(shown), np.nan)
    found = (shown == 1).any(axis=1)
    return np.where(found, 1.0, np.where(np.isnan(shown).any(axis=1), np.nan, 0.0))


def _figures(
    series: Sequence[KeySliceRow],
    lesions: Sequence[np.ndarray],
    any_lesion: Sequence[np.ndarray],
    bootstrap: PatientBootstrap,
) -> dict[str, Any]:
    """Every figure of one kind of lesion; series with unknown slices have no part in it."""
    shares = {
        name: _Share({choice: np.zeros(len(series)) for choice in CHOICES}, np.zeros(len(series)))
        for name in (*TASKS, *SLICE_FIGURES)
    }
    for place, (row, lesion, any_of) in enumerate(zip(series, lesions, any_lesion, strict=True)):
        if np.isnan(lesion).any() or not (lesion == 1).any():
            continue
        whole = None if np.isnan(any_of).any() else any_of == 1
        for choice, weights in _choices(row):
            scored = [_hits(one, lesion == 1, whole) for one in weights]
            for name, (_, out_of) in scored[0].items():
                hits = float(np.mean([one[name][0] for one in scored]))
                shares[name].hits[choice][place] = hits
                shares[name].of[place] = out_of
    return {name: _figure(name, share, bootstrap) for name, share in shares.items()}


def _choices(row: KeySliceRow) -> list[tuple[str, np.ndarray]]:
    """Weights (M, n) that each choice gives the slices of a series."""
    n = row.weights.shape[1]
    return list(zip(CHOICES, (row.weights, np.zeros((1, n)), middle_weights(n)[None]), strict=True))


def _hits(
    weights: np.ndarray, lesion: np.ndarray, any_lesion: np.ndarray | None
) -> dict[str, tuple[float, float]]:
    """Hits, and out of how many, in each figure that a series belongs to."""
    scores, h = task_scores(weights, lesion), int(lesion.sum())
    found = {name: (score, 1.0) for name, score in scores.items()}
    found["slices_by_own_count"] = (scores["comprehensive"] * h, h)
    if any_lesion is not None:
        chosen = chosen_share(weights, int(any_lesion.sum()))
        found["slices"] = (float(chosen[lesion].sum()), h)
    return found


def _figure(name: str, share: _Share, bootstrap: PatientBootstrap) -> dict[str, Any]:
    """A share with its intervals, and how far the attention is above the other choices."""
    used = share.of > 0
    values = np.stack([*(share.hits[choice] for choice in CHOICES), share.of], axis=1)
    total = np.vstack([values.sum(axis=0), bootstrap.totals(values)])  # (1 + R, 4)
    with np.errstate(invalid="ignore"):  # resamples without such a series
        ratios = dict(zip(CHOICES, (total[:, :-1] / total[:, -1:]).T, strict=True))
    ratios |= {f"above_{other}": ratios["attention"] - ratios[other] for other in CHOICES[1:]}
    figure: dict[str, Any] = {
        "series": int(used.sum()), "patients": len(np.unique(bootstrap.code[used]))
    }  # fmt: skip
    if name in SLICE_FIGURES:
        figure["slices"] = int(share.of.sum())
    for key, ratio in ratios.items():
        figure[key] = float(ratio[0]) if used.any() else None
        several = bootstrap.several_patients(used)
        figure[f"{key}_ci"] = bootstrap.interval(ratio[1:]) if several else None
    return figure


def _series_counts(rows: KeySliceRows, lesions: Sequence[np.ndarray]) -> dict[str, int]:
    """Tested series by what became of them; the parts add up to ``tested``."""
    counts = dict.fromkeys(
        ("unlabelled", "partly_labelled", "without_lesion", "lesion_not_seen", "with_lesion"), 0
    )
    short = tied = 0
    for row, lesion in zip(rows.series, lesions, strict=True):
        kind = _kind(row, lesion)
        counts[kind] += 1
        if kind == "with_lesion":
            short += len(lesion) < TOP
            tied += any(is_tied(weights) for weights in row.weights)
    return {"tested": len(rows.series) + len(rows.missing), "not_in_store": len(rows.missing),
            **counts, f"fewer_than_{TOP}_slices": short, "tied": tied}  # fmt: skip


def _kind(row: KeySliceRow, lesion: np.ndarray) -> str:
    if np.isnan(lesion).all():
        return "unlabelled"
    if np.isnan(lesion).any():
        return "partly_labelled"
    if (lesion == 1).any():
        return "with_lesion"
    elsewhere = (row.failed == 1).any() or (row.not_sampled == 1).any()
    return "lesion_not_seen" if elsewhere else "without_lesion"


def _slice_counts(
    series: Sequence[KeySliceRow], lesions: Sequence[np.ndarray]
) -> dict[str, dict[str, int]]:
    """Slices, and those with a lesion, that attention can and cannot choose."""
    parts = {
        "seen": list(lesions),
        "failed": [_any_label(row.failed) for row in series],
        "not_sampled": [_any_label(row.not_sampled) for row in series],
    }
    return {
        name: {
            "slices": sum(map(len, of_series)),
            "with_lesion": sum(int((shown == 1).sum()) for shown in of_series),
        }
        for name, of_series in parts.items()
    }


def _positions(series: Sequence[KeySliceRow], lesions: Sequence[np.ndarray]) -> dict[str, Any]:
    """How often slices of each position are among the top 5, and how often they show a lesion."""
    lengths = {len(lesion) for lesion in lesions}
    same = len(lengths) == 1
    bins = lengths.pop() if same else _BINS
    top, with_lesion, shown = np.zeros((3, bins))
    for row, lesion in zip(series, lesions, strict=True):
        chosen = _spread(np.mean([chosen_share(one, TOP) for one in row.weights], axis=0), bins)
        top += chosen
        with_lesion += chosen * (lesion == 1).any()
        shown += _spread((lesion == 1).astype(np.float64), bins)
    return {
        "bins": bins, "each_is_a_slice": same, "top": top.tolist(),
        "top_of_series_with_lesion": with_lesion.tolist(), "lesions": shown.tolist(),
    }  # fmt: skip


def _spread(values: np.ndarray, bins: int) -> np.ndarray:
    """Sums (n,) along a series to bins of equal width; a slice may lie in several of them."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    edges = np.linspace(0, len(values), bins + 1)
    return np.diff(np.interp(edges, np.arange(len(sums)), sums))


def _notes(document: dict[str, Any]) -> list[str]:
    """What must stand beside the figures."""
    series, notes = document["series"], []
    for count, text in (
        (series["not_in_store"], "are not in the store any more as the run read them: left out"),
        (series["unlabelled"], "have no slice labels: left out"),
        (series["partly_labelled"], "have slices without a known label: left out"),
        (series["lesion_not_seen"], "show a lesion only in slices that failed or that the head's "
         "sampling leaves out: left out, no attention can find it"),
        (series[f"fewer_than_{TOP}_slices"], f"with a lesion have fewer than {TOP} slices: the "
         "difficult task cannot be missed there, by chance neither"),
        (series["tied"], f"with a lesion have equal attention at rank {TOP}: scored as the mean "
         "over all orders"),
    ):  # fmt: skip
        if count:
            notes.append(f"{count} of {series['tested']} series {text}")
    few = [
        f"{task} ({document['lesion'][task]['series']})"
        for task in TASKS
        if document["lesion"][task]["series"] < _FEW
    ]
    if few:
        notes.append(f"fewer than {_FEW} series: {', '.join(few)}. Such figures are anecdotes")
    return notes
