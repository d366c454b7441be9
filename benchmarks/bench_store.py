"""Seconds to write and read an archive's features: the store, a memory map, a file a series.

    python benchmarks/bench_store.py [--series 21540] [--rows 739714] [--repeats 5] [--json FILE]

The archive has the size of RSNA 2019: 739,714 rows of 512 float16 (757 MB) in 21,540 series, made
of random numbers and written by the store's own functions, without a network. The layouts
alternate (A B C, A B C, ...); files are in the page cache when they are read:

* ``write_s`` the features; ``tables_s`` what the store keeps beside them, and the others do not
* ``read_s`` opening and reading everything into one array
* ``first_ms`` opening and reading one series; ``series_ms`` one more, at random, when it is open

What keeps every series on its own is measured on a part of the series and multiplied.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import machine
import numpy as np
from archive import Archive
from layouts import (
    ArrayPerSeries,
    Hdf5,
    Layout,
    MemoryMap,
    NpyPerSeries,
    Store,
    ThroughZarr,
    ThroughZarrs,
)
from repeats import Figures, Table, alternate, ratio, show_medians, show_ratios

_PACKAGES = ("numpy", "zarr", "zarrs", "h5py", "pandas")
_PICKS = 200
_LIMIT, _OURS = "memory map", "store"
_READ_TIMES, _SERIES_MS, _FILES = 2.0, 2.0, 2000
QUICK = ["--series", "60", "--rows", "3000", "--subset", "20", "--writes", "1", "--repeats", "1"]


def write(layout: Layout, scale: float) -> Figures:
    """Write one layout once; times are multiplied by `scale`."""
    layout.remove()
    started = perf_counter()
    layout.prepare()
    prepared = perf_counter()
    layout.write()
    figures = {"write_s": (perf_counter() - prepared) * scale}
    if isinstance(layout, Store):
        figures["tables_s"] = prepared - started
    n_files = layout.n_files()
    return figures | {"files": round(n_files * scale) if n_files > 1 else 1}


def read(layout: Layout, scale: float) -> Figures:
    """Read one layout, warm; the time of the whole is multiplied by `scale`."""
    picks = random.Random(0).choices(range(len(layout.archive.n_slices)), k=_PICKS)
    for _ in range(2):  # memory that was never used yet, or long ago, costs the first one more
        started = perf_counter()
        values = layout.read(layout.open())
        read_s = perf_counter() - started
        del values
    started = perf_counter()
    opened = layout.open()
    layout.read_series(opened, picks[0])
    times_s = [perf_counter() - started]
    for pick in picks:
        started = perf_counter()
        layout.read_series(opened, pick)
        times_s.append(perf_counter() - started)
    return {
        "read_s": read_s * scale,
        "first_ms": times_s[0] * 1000,
        "series_ms": statistics.median(times_s[1:]) * 1000,
    }


def verify(layout: Layout) -> None:
    """Stop unless a layout gives back what was written; its files are then in the page cache."""
    opened, archive = layout.open(), layout.archive
    if not np.array_equal(layout.read(opened), archive.values):
        raise SystemExit(f"{layout.path.name} does not give back what was written")
    for series in range(0, len(archive.n_slices), max(1, len(archive.n_slices) // 10)):
        if not np.array_equal(
            layout.read_series(opened, series), archive.values[archive.rows(series)]
        ):
            raise SystemExit(f"{layout.path.name}: series {series} is not what was written")


def layouts(folder: Path, archive: Archive, subset: int) -> dict[str, tuple[Layout, float]]:
    """What is compared: name -> layout and the factor to the whole archive."""
    part, scale = archive.head(subset), len(archive.n_slices) / subset
    found: dict[str, tuple[Layout, float]] = {
        _LIMIT: (MemoryMap(folder / "memory-map", archive), 1.0),
        _OURS: (Store(folder / "store.zarr", archive), 1.0),
    }
    found["its array, by zarr"] = (ThroughZarr(folder / "store.zarr", archive), 1.0)
    if machine.installed("zarrs"):
        found["its array, by zarrs"] = (ThroughZarrs(folder / "store.zarr", archive), 1.0)
    found["Zarr array a series"] = (ArrayPerSeries(folder / "arrays.zarr", part), scale)
    found[".npy a series"] = (NpyPerSeries(folder / "npy", part), scale)
    if machine.installed("h5py"):
        found["HDF5 data set a series"] = (Hdf5(folder / "features.h5", part), scale)
    return found


def ratios(writes: Table, reads: Table) -> dict[str, float]:
    """The store over each of the others, by figure."""
    figures = [(reads, "read_s"), (reads, "series_ms"), (writes, "write_s")]
    return {
        f"{_OURS} / {other}, {figure}": ratio(table, _OURS, other, figure)
        for table, figure in figures
        for other in table
        if other != _OURS
    }


def bars(writes: Table, reads: Table) -> dict[str, bool]:
    """The bars of the project, and whether they are held."""
    times = ratio(reads, _OURS, _LIMIT, "read_s")
    series_ms = statistics.median(reads[_OURS]["series_ms"])
    return {
        f"open and read all within {_READ_TIMES:g} times the memory map": times <= _READ_TIMES,
        f"one random series under {_SERIES_MS:g} ms": series_ms < _SERIES_MS,
        f"fewer than {_FILES:,} files": writes[_OURS]["files"][0] < _FILES,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=21_540)
    parser.add_argument("--rows", type=int, default=739_714)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--subset", type=int, default=1500, help="series of the slow layouts")
    parser.add_argument("--writes", type=int, default=3, help="repetitions of writing")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of reading")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    told = parser.parse_args(arguments)
    if told.quick:
        told = parser.parse_args(QUICK, told)
    described = machine.describe(_PACKAGES)
    machine.show(described)
    with tempfile.TemporaryDirectory() as name:
        archive = Archive.make(told.series, told.rows, told.dim)
        size_mb = archive.values.nbytes / 1e6
        print(f"{told.series:,} series, {told.rows:,} rows x {told.dim} float16, {size_mb:,.0f} MB")
        compared = layouts(Path(name), archive, told.subset)
        written = {what: of for what, of in compared.items() if not isinstance(of[0], ThroughZarr)}
        writes = alternate({what: partial(write, *of) for what, of in written.items()}, told.writes)
        os.sync()
        for layout, _ in compared.values():
            verify(layout)
        reads = alternate({what: partial(read, *of) for what, of in compared.items()}, told.repeats)
    show_medians(writes, told.writes)
    show_medians(reads, told.repeats)
    found, held = ratios(writes, reads), bars(writes, reads)
    show_ratios(found)
    for bar, holds in held.items():
        print(f"  {'held ' if holds else 'MISSED'}  {bar}")
    if told.json:
        document = {"machine": described, "series": told.series, "rows": told.rows}
        document |= {"dim": told.dim, "subset": told.subset, "writes": writes, "reads": reads}
        document |= {"ratios": found, "bars": held}
        told.json.write_text(json.dumps(document, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
