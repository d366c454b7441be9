"""A feature set as one file for other tools."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from featurecache.errors import UsageError
from featurecache.housekeeping.export_formats import (
    WRITERS,
    Exported,
    check_format,
    write_failed_parquet,
)
from featurecache.store import FeatureSet, FeatureStore
from featurecache.words import plural

_FORMATS = {".npz": "npz", ".h5": "h5", ".hdf5": "h5", ".parquet": "parquet"}
_SLICE_COLUMNS = ["series", "study", "patient", "slice", "position", "z_mm", "gap_mm"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported.

    Parameters
    ----------
    out : Path
        The file.
    failed_out : Path or None
        File of the slices that are left out, where they do not stand in `out`.
    series, rows : int
        How many.
    failed : int
        Slices without features.
    """

    out: Path
    failed_out: Path | None
    series: int
    rows: int
    failed: int

    def text(self) -> str:
        """The same for people."""
        line = f"{self.out}: {plural(self.rows, 'slice')} of {self.series:,} series"
        if not self.failed:
            return line
        where = self.failed_out or "the same file"
        return f"{line}; {plural(self.failed, 'slice')} without features: see {where}"


def export(
    store: str | Path, name: str, out: Path, form: str | None = None, *, incomplete: bool = False,
    replace: bool = False, progress: Callable[[int, int], None] | None = None,
) -> ExportReport:  # fmt: skip
    """Write a feature set as one file that other tools read.

    Parameters
    ----------
    store : str or Path
        The store.
    name : str
        Name of the feature set.
    out : Path
        The file; it appears when it is whole.
    form : {"npz", "h5", "parquet"}, optional
        Format, see `featurecache.housekeeping.export_formats`; by default what the ending says.
    incomplete : bool
        Export what there is of a feature set that is not finished; what is missing is listed
        among the failed slices.
    replace : bool
        Replace a file that is there.
    progress : callable, optional
        Called with (rows done, rows to do).

    Returns
    -------
    ExportReport

    Raises
    ------
    UsageError
        The file is there already, its folder is not, or its ending says no format.
    MissingResourceError
        A package for the format is not installed.
    StoreError
        The store cannot be read, or the feature set is unfinished.
    """
    form = form or _FORMATS.get(out.suffix.lower())
    if form is None:
        raise UsageError(f"OUT {out}: its ending says no format; add --format")
    if form not in WRITERS:
        raise UsageError(f"--format {form}: expected one of {', '.join(WRITERS)}")
    check_format(form)
    failed_out = out.with_name(f"{out.name}.failed.parquet") if form == "parquet" else None
    for path in (out, *([failed_out] if failed_out else [])):
        _check_target(path, replace)
    opened = FeatureStore.open(store)
    features = opened.unfinished(name) if incomplete else opened[name]
    exported = _gather(opened, features, progress)
    if failed_out is not None:
        if len(exported.failed):
            _write(failed_out, exported, write_failed_parquet)
        else:
            failed_out.unlink(missing_ok=True)
            failed_out = None
    _write(out, exported, WRITERS[form])
    n_series = int((exported.series["n_rows"] > 0).sum())
    return ExportReport(out, failed_out, n_series, len(exported.slices), len(exported.failed))


def _check_target(path: Path, replace: bool) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file")
    if path.exists() and not replace:
        raise UsageError(f"{path} is there already: choose another name, or add --force")


def _write(path: Path, exported: Exported, writer: Callable[[Path, Exported], None]) -> None:
    """Write beside, then rename: a file of this name is always whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        writer(draft, exported)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _gather(
    store: FeatureStore, features: FeatureSet, progress: Callable[[int, int], None] | None
) -> Exported:  # fmt: skip
    owners = features.series[["study", "patient"]]
    slices = features.slices.join(owners, on="series")[_SLICE_COLUMNS]
    failed = features.failed.join(owners, on="series")[[*_SLICE_COLUMNS, "reason"]]
    series = features.series.rename(columns={"n_ok": "n_rows"}).reset_index()
    series["first_row"] = np.cumsum(series["n_rows"]) - series["n_rows"]
    about = {
        "format": "featurecache export",
        "format_version": 1,
        "features": features.name,
        "identifiers": "kept" if store.keep_ids else "hashed",
        "fingerprint": features.fingerprint,
        "recipe": features.recipe,
    }

    def matrices() -> Iterator[tuple[str, np.ndarray]]:
        done = 0
        for name, rows in features.items():
            yield name, rows
            done += len(rows)
            if progress is not None:
                progress(done, len(slices))

    return Exported(about, slices, series, _plain(failed), features.dim, features.dtype, matrices)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    return table.reset_index(drop=True)
