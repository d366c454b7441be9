"""What a fit reads: a damaged file of the store ends it, whatever the damage."""

import numpy as np
import pytest

from featurecache.errors import StoreError
from seqhead.sources import Sources, open_sources

rng = np.random.default_rng(0)
MATRICES = {name: rng.normal(size=(5, 3)).astype("float32") for name in "abcd"}


@pytest.fixture
def sources(tmp_path, make_store):
    make_store(tmp_path / "c.zarr", {name: MATRICES[name] for name in "abc"}, failed={"a": [1]})
    make_store(tmp_path / "c.zarr", {"d": MATRICES["d"]})
    rows = "".join(f"{name},{number % 2}\n" for number, name in enumerate("abcd"))
    (tmp_path / "labels.csv").write_text(f"SeriesInstanceUID,bleeding\n{rows}")
    return Sources(tmp_path / "c.zarr", tmp_path / "labels.csv")


def test_paths_may_be_given_as_text(sources):
    as_text = Sources(str(sources.store), str(sources.labels))
    assert as_text == sources
    assert open_sources(as_text).cohort().names == ("bleeding",)
    assert (
        Sources("s3://lab/head-ct/cache.zarr/", "labels.csv").store == "s3://lab/head-ct/cache.zarr"
    )


@pytest.mark.parametrize("how", ["flipped", "deleted"])
def test_no_damaged_file_is_silent(sources, how):
    assert len(open_sources(sources).cohort().series) == 4
    silent = []
    for file in sorted(path for path in sources.store.rglob("*") if path.is_file()):
        content = file.read_bytes()
        changed = bytearray(content)
        changed[len(content) // 3] ^= 1
        file.write_bytes(changed)
        if how == "deleted":
            file.unlink()
        try:
            open_sources(sources).cohort()
            silent.append(file.relative_to(sources.store))
        except StoreError:
            file.write_bytes(content)
    assert silent == []
