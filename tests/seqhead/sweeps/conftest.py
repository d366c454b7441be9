"""A small sweep of the planted problem, in this process."""

from pathlib import Path

import pytest


@pytest.fixture
def sweep_in():
    """Function that sweeps a planted problem in a folder of its own."""
    from seqhead.sources import Sources
    from seqhead.sweeps.search_file import parse_grid
    from seqhead.sweeps.settings import parse_request
    from seqhead.sweeps.sweep import sweep

    def run(
        toy, grid=(), *, out="sweep", splitting=None, jobs=1, search=None, memory=None,
        progress=None, **asked,
    ):  # fmt: skip
        if grid:
            search, asked["sampler"] = parse_grid(grid), "grid"
        sources = Sources(toy.store, toy.labels, slice_labels=asked.pop("slice_labels", None))
        return sweep(
            sources, parse_request(search=search, **asked), splitting=splitting,
            out=toy.folder / out if out else None, project=toy.folder, jobs=jobs, device="cpu",
            memory=memory, progress=progress,
        )  # fmt: skip

    return run


@pytest.fixture
def small_grid() -> list[str]:
    """Four heads that are fitted in no time."""
    return ["rnn=gru,lstm", "hidden=4,6", "epochs=2", "learning-rate=0.01"]


@pytest.fixture
def folder_of():
    """Function that gives the bytes of every file of a folder whose content is to be compared."""

    def read(path: Path) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(path.iterdir()) if p.is_file()}

    return read
