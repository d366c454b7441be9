"""A cache of the size of CQ500 whose features show findings, and labels for it."""

import csv
from pathlib import Path

import numpy as np
from archive import Archive

from featurecache import arrays
from featurecache.feature_array import FeatureArray
from featurecache.open_storage import open_storage
from featurecache.recipe import fingerprint_of

FINDINGS = {
    "ICH": 0.42, "IPH": 0.26, "IVH": 0.06, "SDH": 0.13, "EDH": 0.03, "SAH": 0.12,
    "Fracture": 0.08, "MassEffect": 0.26, "MidlineShift": 0.13,
}  # fmt: skip
"""Labels, and the share of the series that have them: near those of CQ500."""

_UNIT_SLICES, _SHOWN = 1024, 12


def write_planted(
    folder: Path, *, series: int, rows: int, longest: int, dim: int, strength: float
) -> tuple[Path, Path]:
    """Write a store and its labels.

    Parameters
    ----------
    folder : Path
        Where.
    series, rows, longest, dim : int
        How many series and slices, slices of the longest series, features of a slice.
    strength : float
        How far a finding moves the features of the slices that show it, in their deviations.

    Returns
    -------
    store, labels : Path
    """
    rng = np.random.default_rng(0)
    values = rng.standard_normal((rows, dim), np.float32)
    lengths = _lengths(rng, series, rows, longest)
    truth = rng.random((series, len(FINDINGS))) < list(FINDINGS.values())
    directions = rng.standard_normal((len(FINDINGS), dim)).astype(np.float32) / np.sqrt(dim)
    first = np.cumsum(lengths) - lengths
    for number, finding in zip(*np.nonzero(truth), strict=True):
        n = int(lengths[number])
        start = int(first[number] + rng.integers(0, max(n - _SHOWN, 1)))
        stop = min(start + _SHOWN, int(first[number]) + n)
        values[start:stop] += strength * np.sqrt(dim) * 0.25 * directions[finding]
    archive = Archive(values.astype(np.float16), lengths)
    store = _write_store(folder / "cache.zarr", archive, dim)
    labels = folder / "labels.csv"
    with labels.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["SeriesInstanceUID", *FINDINGS])
        table.writerows(
            [name, *row.astype(int)] for name, row in zip(archive.ids, truth, strict=True)
        )
    return store, labels


def _lengths(rng: np.random.Generator, series: int, rows: int, longest: int) -> np.ndarray:
    """Slices of each series: 30 or so of most, up to the longest of some, as thin scans have."""
    least = min(30, rows // series)
    spread = rng.pareto(0.8, series)
    lengths = least + np.floor(spread / spread.sum() * (rows - least * series)).astype(int)
    lengths = np.minimum(lengths, longest)
    while (short := rows - int(lengths.sum())) > 0:
        room = np.flatnonzero(lengths < longest)
        more = rng.choice(room, size=min(short, len(room)), replace=False)
        lengths[more] += 1
    return lengths


def _write_store(path: Path, archive: Archive, dim: int) -> Path:
    storage = open_storage(path)
    arrays.create_store(storage, None)
    part = arrays.create_part(storage, archive.tables)
    recipe = {"backbone": "planted", "windows": [[40, 80]], "size": 224, "dtype": "float16"}
    arrays.create_features(
        storage, part, "planted", n_slices=len(archive.values), dim=dim, dtype="float16",
        unit_slices=_UNIT_SLICES,
        attributes={"recipe": recipe, "fingerprint": fingerprint_of(recipe), "plan": {},
                    "reason_codes": {}},
    )  # fmt: skip
    features = FeatureArray(storage, part, "planted", writable=True)
    for unit in range(features.n_units):
        rows = features.rows(unit)
        status = np.ones(rows.stop - rows.start, np.uint8)
        features.write_unit(unit, archive.values[rows.start : rows.stop], status)
    return path
