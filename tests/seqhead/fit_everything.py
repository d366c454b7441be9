"""Fit one run of each kind in a folder that has a store and labels.

python fit_everything.py FOLDER OUT [MEMORY ...]
"""

import sys
from pathlib import Path
from typing import Any

import torch

from seqhead.crossval import fit_as_split
from seqhead.options import parse_fit_options
from seqhead.sources import Sources
from seqhead.splitting import Splitting
from seqhead.sweeps import parse_request
from seqhead.sweeps.sweep import sweep

GRU: dict[str, Any] = {"hidden": 6, "epochs": 4, "dropout": 0.2, "device": "cpu"}
SDLM = ("head.hidden=6", "head.mlp=[5,4]", "training.epochs=2", "training.pad_to=20")
RUNS: dict[str, dict[str, Any]] = {
    "gru": {**GRU, "pool": "attention"},
    "augmented": {**GRU, "settings": ("training.reverse=0.5", "training.drop_slices=0.2"),
                  "balance": "sampling"},
    "slices": {**GRU, "level": "slice"},
    "svm": {"head": "svm"},
    "folds": {**GRU, "rnn": "lstm", "splitting": Splitting(folds=2)},
    "sdlm": {"system": "sdlm", "any_recipe": True, "settings": SDLM, "device": "cpu",
             "splitting": Splitting(protocol="paper")},
}  # fmt: skip
"""Options of each run."""

MEMORY = {"resident": 1.0, "streamed": 0.0}
"""What features may take, in GB."""


def main(folder: Path, out: Path, memory: list[str]) -> None:
    """Fit them all, with features in memory and, or, left in the store; and a sweep."""
    torch.set_num_threads(1)
    out.mkdir()
    for name, options in RUNS.items():
        given = dict(options)
        splitting = given.pop("splitting", Splitting())
        slices = folder / "slices.csv" if name == "slices" else None
        sources = Sources(folder / "cache.zarr", folder / "labels.csv", slice_labels=slices)
        for where in memory:
            chosen = parse_fit_options(**given, memory=MEMORY[where])
            fit_as_split(sources, chosen, splitting, out=out / where / name, project=folder)
    search = {"hidden": [4, 6], "epochs": [3], "learning_rate": {"low": 0.005, "high": 0.05}}
    sweep(
        Sources(folder / "cache.zarr", folder / "labels.csv"),
        parse_request(search=search, trials=4),
        out=out / "sweep", project=folder, jobs=1, device="cpu",
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
