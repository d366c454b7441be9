"""Two feature sets side by side: recipes, series, and how far the numbers are apart."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featurecache.errors import UsageError
from featurecache.recipe import differences
from featurecache.store import FeatureSet, FeatureStore
from featurecache.words import plural

OTHER_KEYS = (
    "the stores hash identifiers with different keys (or only one keeps them), so that their "
    "series and slices cannot be matched: only recipes are compared"
)
"""What is said where ids cannot be joined."""

_ROW = ["series_of", "slice"]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Parameters
    ----------
    text : str
        What the user typed.
    store : FeatureStore
        The store.
    name : str or None
        The feature set; None where none was named.
    """

    text: str
    store: FeatureStore
    name: str | None

    @classmethod
    def parse(cls, text: str) -> "Side":
        """Read ``STORE`` or ``STORE:NAME``.

        Parameters
        ----------
        text : str
            The store may have colons in its path; a name has neither colon nor slash.

        Returns
        -------
        Side

        Raises
        ------
        UsageError
            The store has no feature set of that name.
        """
        where, colon, name = text.rpartition(":")
        if not colon or "/" in name or Path(text).exists():
            return cls(text, FeatureStore.open(text), None)
        store = FeatureStore.open(where)
        if name not in store:
            raise UsageError(
                f"{where} has no feature set {name!r}; it has: {', '.join(store.names) or 'none'}"
            )
        return cls(text, store, name)


def diff(
    a: Side, b: Side, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:  # fmt: skip
    """Compare two feature sets, or all that two stores have under the same name.

    Parameters
    ----------
    a, b : Side
        Relative errors are relative to `a`.
    progress : callable, optional
        Called with (series done, series to do) of each pair.

    Returns
    -------
    dict
        The document of ``featurecache diff --json``.

    Raises
    ------
    UsageError
        There is nothing to compare.
    StoreError
        A feature set is unfinished or damaged.
    """
    pairs = _pairs(a, b)
    paired_a, paired_b = ({pair[side] for pair in pairs} for side in (0, 1))
    joinable = a.store.key_digest == b.store.key_digest
    features = [
        _compare(a.store[first], b.store[second], joinable, progress) for first, second in pairs
    ]
    return {
        "schema_version": 1,
        "a": a.text,
        "b": b.text,
        "equal": all(one["equal"] for one in features),
        "note": None if joinable else OTHER_KEYS,
        "only_in_a": [n for n in a.store.names if n not in paired_a] if a.name is None else [],
        "only_in_b": [n for n in b.store.names if n not in paired_b] if b.name is None else [],
        "features": features,
    }


def _pairs(a: Side, b: Side) -> list[tuple[str, str]]:
    """Names to compare: as given, the other's name, the only one there is, or all in common."""
    if a.name is not None or b.name is not None:
        return [(a.name or _partner(a, str(b.name)), b.name or _partner(b, str(a.name)))]
    common = [name for name in a.store.names if name in b.store]
    if common:
        return [(name, name) for name in common]
    if len(a.store) == len(b.store) == 1:
        return [(a.store.names[0], b.store.names[0])]
    raise UsageError(
        f"{a.text} and {b.text} have no feature set in common (they have "
        f"{', '.join(a.store.names) or 'none'}; {', '.join(b.store.names) or 'none'}): name two, "
        "e.g. STORE:NAME"
    )


def _partner(side: Side, name: str) -> str:
    if name in side.store:
        return name
    if len(side.store) == 1:
        return side.store.names[0]
    raise UsageError(
        f"{side.text} has no feature set {name!r}; it has: {', '.join(side.store.names) or 'none'}."
        " Name one, e.g. STORE:NAME"
    )


def _compare(
    a: FeatureSet, b: FeatureSet, joinable: bool, progress: Callable[[int, int], None] | None
) -> dict[str, Any]:  # fmt: skip
    document: dict[str, Any] = {
        "a": a.name,
        "b": b.name,
        "recipe": differences(a.recipe, b.recipe),
        "same_identity": a.fingerprint["identity"] == b.fingerprint["identity"],
        "same_numerics": a.fingerprint["numerics"] == b.fingerprint["numerics"],
        "dim": [a.dim, b.dim],
        "dtype": [str(a.dtype), str(b.dtype)],
        "series": None,
        "slices": None,
        "values": None,
        "equal": False,
    }
    if not joinable:
        return document
    rows_a, rows_b = _rows(a), _rows(b)
    common = rows_a.merge(rows_b, on=_ROW, suffixes=("_a", "_b"))
    document["series"] = _series(a, b)
    document["slices"] = {
        "common": len(common),
        "only_in_a": len(rows_a) - len(common),
        "only_in_b": len(rows_b) - len(common),
    }
    if a.dim == b.dim and len(common):
        document["values"] = _values(a, b, common, progress)
    document["equal"] = _equal(document)
    return document


def _equal(document: dict[str, Any]) -> bool:
    slices, values = document["slices"], document["values"]
    same = not (slices["only_in_a"] or slices["only_in_b"] or document["recipe"])
    return same and (values is None or values["identical"] == slices["common"])


def _rows(features: FeatureSet) -> pd.DataFrame:
    """One line per row: which slice it is, and where: series and row in its matrix."""
    slices = features.slices
    of = features.series["series_of"]
    table = slices[["series", "slice"]].assign(series_of=of.loc[slices["series"]].to_numpy())
    return table.assign(row=table.groupby("series", sort=False).cumcount())


def _series(a: FeatureSet, b: FeatureSet) -> dict[str, Any]:
    mine, theirs = list(a), list(b)
    return {
        "common": len(set(mine) & set(theirs)),
        "only_in_a": [series for series in mine if series not in b],
        "only_in_b": [series for series in theirs if series not in a],
    }


def _values(
    a: FeatureSet, b: FeatureSet, common: pd.DataFrame,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:  # fmt: skip
    """Numeric difference over the rows that both have; a series of each in memory at a time."""
    found = {name: np.zeros(len(common)) for name in ("identical", "max_abs", "relative", "cosine")}
    groups = common.groupby(["series_a", "series_b"], sort=False).indices
    row_a, row_b = common["row_a"].to_numpy(), common["row_b"].to_numpy()
    series_a, series_b = common["series_a"].tolist(), common["series_b"].tolist()
    for done, places in enumerate(map(np.asarray, groups.values()), 1):
        x, y = a[series_a[places[0]]], b[series_b[places[0]]]
        for name, values in _differences(x[row_a[places]], y[row_b[places]]).items():
            found[name][places] = values
        if progress is not None:
            progress(done, len(groups))
    return _summary(common.assign(**found))


def _differences(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Of each row: largest absolute difference, relative error, cosine; NaN where not defined."""
    identical = (x == y).all(axis=1)
    x, y = x.astype(np.float64), y.astype(np.float64)
    norm_x, norm_y = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.linalg.norm(x - y, axis=1) / norm_x
        cosine = (x * y).sum(axis=1) / (norm_x * norm_y)
    relative[norm_x == 0] = np.nan
    return {
        "identical": identical,
        "max_abs": np.abs(x - y).max(axis=1, initial=0.0),
        "relative": relative,
        "cosine": np.clip(cosine, -1.0, 1.0),
    }


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    relative, cosine = rows["relative"].dropna(), rows["cosine"].dropna()
    worst = rows.iloc[int(rows["relative"].argmax())] if len(relative) else None
    return {
        "identical": int(rows["identical"].sum()),
        "max_abs": float(rows["max_abs"].max()),
        "relative_error": {
            "median": _number(relative.median()),
            "worst": _number(relative.max()),
            "series": None if worst is None else str(worst["series_a"]),
            "slice": None if worst is None else str(worst["slice"]),
        },
        "cosine": {"median": _number(cosine.median()), "least": _number(cosine.min())},
        "not_defined": len(rows) - len(relative),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def diff_text(document: dict[str, Any]) -> str:
    """The comparison for people.

    Parameters
    ----------
    document : dict
        From `diff`.

    Returns
    -------
    str
    """
    lines = [f"A  {document['a']}", f"B  {document['b']}"]
    lines += [
        f"only in {side.upper()}: {', '.join(names)}"
        for side in ("a", "b")
        if (names := document[f"only_in_{side}"])
    ]
    if document["note"]:
        lines.append(document["note"])
    for features in document["features"]:
        lines += ["", *_lines(features)]
    return "\n".join(lines)


def _lines(features: dict[str, Any]) -> Iterator[str]:
    a, b = features["a"], features["b"]
    yield a if a == b else f"{a} and {b}"
    yield f"  recipe   {'; '.join(features['recipe']) or 'the same'}"
    if features["series"] is None:
        return
    for what in ("series", "slices"):
        counts = features[what]
        mine, theirs = (
            one if isinstance(one, int) else len(one)
            for one in (counts["only_in_a"], counts["only_in_b"])
        )
        yield f"  {what}   {counts['common']:,} in both, {mine:,} in A only, {theirs:,} in B only"
    yield f"  values   {_values_line(features)}"


def _values_line(features: dict[str, Any]) -> str:
    values, common = features["values"], features["slices"]["common"]
    if not common:
        return "no slice is in both"
    if values is None:
        return "D is {} and {}: they cannot be compared".format(*features["dim"])
    if values["identical"] == common:
        return "the same, bit for bit"
    relative, cosine = values["relative_error"], values["cosine"]
    return (
        f"{values['identical']:,} of {plural(common, 'slice')} identical; largest difference "
        f"{values['max_abs']:.3g}; relative error {_shown(relative['median'])} in the median, "
        f"{_shown(relative['worst'])} at worst (slice {relative['slice']}); cosine "
        f"{_shown(cosine['median'], 6)}, least {_shown(cosine['least'], 6)}"
    )


def _shown(value: float | None, digits: int = 3) -> str:
    return "n/a" if value is None else f"{value:.{digits}g}"
