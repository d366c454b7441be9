"""The main job with the store in a bucket: index, key and runs stay here, credentials nowhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.s3

EXTRACT = (
    "extract", "--backbone", "squeezenet1_1", "--weights", "random:0", "--precision", "fp32",
    "--size", "64", "--batch-size", "8", "--unit-slices", "16", "--workers", "1", "--device", "cpu",
)  # fmt: skip


def call(program, *arguments, cwd, code=0, **environment):
    """Run a program; its (stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", program, *map(str, arguments)], cwd=cwd, check=False,
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


def texts(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    from featurecache.phantom import write_phantom

    folder = tmp_path_factory.mktemp("bucket") / "phantom"
    write_phantom(folder, patients=12, seed=5, series="thick", size=64)
    return folder


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.delenv("FEATURECACHE_STORE", raising=False)
    return tmp_path


def test_a_store_in_a_bucket_serves_the_whole_job(work, phantom, bucket, s3_environment):
    from featurecache import FeatureStore
    from featurecache.open_storage import open_storage

    url = f"{bucket}/head-ct/cache.zarr"
    call("featurecache", "init", phantom / "dicom", "--labels", phantom / "labels.csv",
         "--store", f"{url}/", cwd=work)  # fmt: skip
    assert f'store = "{url}"' in (work / "featurecache.toml").read_text()
    call("featurecache", *EXTRACT, cwd=work)
    document = json.loads(call("featurecache", "info", "--json", cwd=work)[0])
    assert document["features"]["squeezenet1_1"]["complete"]
    assert document["identifiers"] == "hashed"
    assert "in store" in call("featurecache", "info", "--series", url, cwd=work)[0]
    assert len(FeatureStore.open(url)["squeezenet1_1"]) == document["series"] == 12

    call("seqhead", "fit", "--rnn", "gru", "--epochs", "2", "--hidden", "4", "--out", "run",
         cwd=work)  # fmt: skip
    call("seqhead", "evaluate", cwd=work)
    rows = call("seqhead", "predict", "run", url, cwd=work)[0].splitlines()
    assert len(rows) == 13
    assert f'store = "{url}"' in (work / "run" / "config.toml").read_text()

    there = {path.name for path in work.iterdir()}
    assert there == {"featurecache.toml", "featurecache.sqlite", "featurecache.key", "run"}
    secret = s3_environment.encode()
    assert secret not in texts(work)
    assert secret not in b"".join(open_storage(url).read_below("").values())


def test_the_store_is_taken_from_the_environment_and_index_and_key_stay_here(work, phantom, bucket):
    url = f"{bucket}/c.zarr"
    call("featurecache", *EXTRACT, phantom / "dicom", cwd=work, FEATURECACHE_STORE=url)
    assert {path.name for path in work.iterdir()} == {"featurecache.sqlite", "featurecache.key"}
    said = call("featurecache", "info", cwd=work, FEATURECACHE_STORE=url)[0]
    assert said.startswith(f"{url}: 12 series")


def test_what_is_wrong_with_the_bucket_is_said_before_any_work(work, phantom, s3_environment):
    for arguments, code, words in (
        (["--store", "s3://no-such-bucket/x"], 5, "there is no bucket of this name"),
        (["--store", "s3:/lab/x"], 2, "s3:/lab/x lacks a slash; expected s3://BUCKET/PREFIX"),
        (["--store", "gs://lab/x"], 2, "gs:// is no place for a store"),
    ):
        said = call("featurecache", *EXTRACT, phantom / "dicom", *arguments, cwd=work, code=code)
        assert words in said[1]
        assert s3_environment not in said[1]
    assert list(work.iterdir()) == []
