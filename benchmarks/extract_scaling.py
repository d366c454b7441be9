"""How an extraction goes with the number of slices and of workers, the network left aside.

The network is timm's smallest, with random weights: what is measured is all the rest.
"""

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from commands import extract
from phantom_files import write_slices
from repeats import Figures, Table, alternate, show_medians

_NETWORK = "timm:test_resnet.r160_in1k"
_OPTIONS = {"size": 160, "precision": "fp32", "compile": "off"}


def over_workers(tree: Path, workers: list[int], repeats: int) -> Table:
    """Slices per second with different numbers of worker processes, alternating."""
    print("== workers, with next to no network")
    table = alternate({f"workers {n}": partial(_once, tree, n) for n in workers}, repeats)
    show_medians(table, repeats)
    return table


def over_slices(folder: Path, counts: list[int], patients: int) -> list[dict[str, Any]]:
    """Slices per second and memory for different numbers of slices, once each.

    Parameters
    ----------
    folder : Path
        For the files; their pixels are holes, so that 100,000 take little space.
    counts : list of int
        Numbers of slices.
    patients : int
        Phantoms that they come of.

    Returns
    -------
    list of dict
        ``slices``, ``slices_per_s``, ``whole_s`` with the scan and the start, ``peak_mb`` of the
        largest process.
    """
    print("== numbers of slices, with next to no network")
    found = []
    for count in counts:
        files = folder / f"files-{count}"
        n_slices = write_slices(files, count, patients=patients, holes=True)
        figures = _once(files / "dicom", None)
        shutil.rmtree(files)
        print(f"  {n_slices:9,d} slices: " + ", ".join(f"{k} {v:,.4g}" for k, v in figures.items()),
              flush=True)  # fmt: skip
        found.append({"slices": n_slices, **figures})
    return found


def _once(tree: Path, workers: int | None) -> Figures:
    with tempfile.TemporaryDirectory(dir=tree.parent) as folder:
        report = extract(tree, Path(folder), _NETWORK, _OPTIONS | {"workers": workers})
    return {name: report[name] for name in ("slices_per_s", "whole_s", "peak_mb")}
