"""A dry run counts what a run then does, and writes nothing."""

from dataclasses import replace

import pytest

from featurecache.dry_run import estimate
from featurecache.errors import StoreMismatchError, UsageError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.job import Job
from featurecache.options import FeatureOptions, RunOptions, Shard
from featurecache.select import Selection

KEY = Identifiers(bytes(range(32)))
TINY = FeatureOptions(
    "tiny", "random:0", size=32, precision="fp32", dtype="float32", batch_size=4, compile="off"
)
FLAT = replace(TINY, backbone="flat", dtype="float16")
RUN = RunOptions(workers=1, unit_slices=8)


@pytest.fixture
def job(tiny, small_index, tmp_path):
    return Job(small_index, tmp_path / "cache.zarr", (TINY, FLAT), RUN, KEY)


def do(job, **options):
    how = replace(job.run, **options)
    return extract(job.index, job.store, job.features, how, job.identifiers)


def test_counts_are_those_of_the_run_that_follows(job, tmp_path, store_content):
    before = estimate(job)
    assert list(tmp_path.iterdir()) == [], "nothing was written, no lock either"
    report = do(job)
    content = store_content(job.store)
    document = before.document()
    assert document["slices_to_do"] == report.rows
    assert document["units_to_do"] == report.units
    assert document["files_to_write"] == len(content)
    chunks = sum(len(data) for key, data in content.items() if not key.endswith("zarr.json"))
    assert document["bytes_to_write"] == pytest.approx(chunks, rel=0.05)
    assert [one["dim"] for one in document["features"]] == [8, 5]
    assert document["seconds"] > 0
    assert document["measured"]["slices"] == 16
    assert all(one["embed_s"] > 0 for one in document["features"])
    assert "nothing was written" in before.text()
    assert "Measured on 16 slices" in before.text()


def test_what_is_there_already_is_not_counted(job, store_content):
    do(job)
    (job.store / "part-0000/features/tiny/c.1.0").unlink()
    before = store_content(job.store)
    left = estimate(job)
    assert (left.new_slices, left.table_files) == (0, 0)
    assert [(one.units, one.slices) for one in left.features] == [(1, 8), (0, 0)]
    assert left.slices == 8
    assert store_content(job.store) == before
    do(job)
    done = estimate(job)
    assert (done.slices, done.seconds) == (0, 0.0)
    assert "the store has it all" in done.text()


def test_a_shard_counts_its_share(job):
    shares = [estimate(replace(job, shares=(Shard(number, 2),))) for number in (1, 2)]
    whole = estimate(job)
    assert sum(one.slices for one in shares) == whole.slices
    assert all(0 < one.slices < whole.slices for one in shares)


def test_says_what_an_extraction_would_refuse(job, tmp_path):
    do(job)
    with pytest.raises(StoreMismatchError, match="size is 32, not 64"):
        estimate(replace(job, features=(replace(TINY, size=64),)))
    with pytest.raises(StoreMismatchError, match="another key"):
        estimate(replace(job, identifiers=Identifiers(bytes(32))))
    with pytest.raises(UsageError, match="took the last"):
        estimate(job, Selection.parse(["slices>=5000"]))
    with pytest.raises(UsageError, match="No index at"):
        estimate(replace(job, index=tmp_path / "none.sqlite"))
