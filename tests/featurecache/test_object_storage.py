"""A store in a bucket: the same objects as files, rivals, and errors in plain words."""

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from featurecache import arrays
from featurecache.errors import MissingResourceError, StoreError, StoreIncompleteError
from featurecache.extract import extract, preflight
from featurecache.feature_array import FeatureArray
from featurecache.identifiers import Identifiers
from featurecache.open_storage import open_storage
from featurecache.store import FeatureStore, describe

OPTIONS = {
    "backbone": "squeezenet1_1", "weights": "random:0", "size": 64, "precision": "fp32",
    "dtype": "float32", "batch_size": 4, "unit_slices": 8, "workers": 1, "device": "cpu",
}  # fmt: skip
KEEP = Identifiers(None)


def objects(where):
    """Everything in a store: key -> bytes."""
    return open_storage(where).read_below("")


@pytest.fixture(scope="module")
def matrices():
    rng = np.random.default_rng(0)
    return {
        f"s{k}": rng.normal(size=(n, 5)).astype("float32") for k, n in enumerate([3, 70, 1, 90])
    }


@pytest.fixture(scope="module")
def run(small_index, split_options):
    """run(store, **options) -> report of an extraction."""

    def call(store, **options):
        return extract(small_index, store, *split_options(**{**OPTIONS, **options}), KEEP)

    return call


@pytest.fixture(scope="module")
def local(run, tmp_path_factory):
    """What an extraction leaves in a folder: key -> bytes."""
    path = tmp_path_factory.mktemp("s3") / "local.zarr"
    assert run(path).exit_code == 0
    return objects(path)


@pytest.mark.s3
def test_returns_what_was_written_and_holds_the_same_bytes_as_a_folder(
    tmp_path, bucket, make_store, matrices
):
    failed = {"s1": [0, 69], "s2": [0]}
    url, path = f"{bucket}/a/c.zarr", tmp_path / "c.zarr"
    for where in (url, path):
        make_store(where, matrices, failed=failed)
        make_store(where, {"s1": matrices["s0"], "new": matrices["s3"]})
    assert objects(url) == objects(path)
    features = FeatureStore.open(url)["toy"]
    assert list(features) == list(FeatureStore.open(path)["toy"])
    np.testing.assert_array_equal(features.to_numpy(), FeatureStore.open(path)["toy"].to_numpy())
    np.testing.assert_array_equal(features["s3"], matrices["s3"])
    assert describe(url) == describe(path)
    assert repr(FeatureStore.open(url)) == "<FeatureStore c.zarr: toy>"


@pytest.mark.s3
def test_what_is_done_takes_one_listing_an_array_however_many_units_there_are(bucket, monkeypatch):
    from featurecache.object_storage import ObjectStorage

    url, n_units = f"{bucket}/c.zarr", 1003  # a server gives a thousand names at a time
    storage = open_storage(url)
    arrays.create_store(storage, None)
    arrays.create_features(
        storage, 0, "toy", n_slices=n_units, dim=1, dtype="float32", unit_slices=1,
        attributes={"reason_codes": {}},
    )  # fmt: skip
    array = FeatureArray(storage, 0, "toy", writable=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(
            lambda unit: array.write_unit(unit, np.ones((1, 1)), np.ones(1, "uint8")),
            range(n_units),
        ))  # fmt: skip
    listings = []
    listed = ObjectStorage._listed
    monkeypatch.setattr(
        ObjectStorage,
        "_listed",
        lambda self, prefix: listings.append(prefix) or listed(self, prefix),
    )
    assert array.units_done() == set(range(n_units))
    assert listings == ["part-0000/features/toy", "part-0000/status/toy"]


@pytest.mark.s3
def test_storage_goes_to_another_process_without_credentials(bucket, make_store, matrices):
    url = make_store(f"{bucket}/c.zarr", matrices)
    packed = pickle.dumps(open_storage(url))
    assert b"secret" not in packed
    assert pickle.loads(packed).files("part-0000/status/toy") == [
        "c.0", "c.1", "c.2", "zarr.json"
    ]  # fmt: skip


@pytest.mark.s3
def test_extraction_into_a_bucket_gives_the_bytes_of_a_local_one_and_is_resumed(run, local, bucket):
    url = f"{bucket}/c.zarr"
    assert run(url).exit_code == 0
    assert objects(url) == local

    storage = open_storage(url)
    features = [key for key in local if key.startswith("part-0000/features/squeezenet1_1/c.")]
    for key in (features[0], features[-1]):
        storage._obstore.delete(storage._client, key)
    with pytest.raises(StoreIncompleteError):
        FeatureStore.open(url)["squeezenet1_1"]
    report = run(url)
    assert (report.timing.units, report.exit_code) == (2, 0)
    assert objects(url) == local


RIVAL = """
import json, sys
from pathlib import Path
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import FeatureOptions, RunOptions
if __name__ == "__main__":
    features, how = json.loads(sys.argv[3]), json.loads(sys.argv[4])
    report = extract(
        Path(sys.argv[1]), sys.argv[2], [FeatureOptions(**features)], RunOptions(**how),
        Identifiers(None),
    )
    print(report.exit_code, report.units_done)
"""


@pytest.mark.s3
def test_two_extractions_at_once_leave_one_store(
    small_index, split_options, local, bucket, tmp_path
):
    [features], how = split_options(**OPTIONS)
    (tmp_path / "rival.py").write_text(RIVAL)
    told = [json.dumps(asdict(one)) for one in (features, how)]
    command = [
        sys.executable, str(tmp_path / "rival.py"), str(small_index), f"{bucket}/c.zarr", *told
    ]  # fmt: skip
    rivals = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
        for _ in range(2)
    ]
    answers = [rival.communicate(timeout=300)[0].split() for rival in rivals]
    assert [code for code, _ in answers] == ["0", "0"]
    assert objects(f"{bucket}/c.zarr") == local


@pytest.mark.s3
def test_a_stop_at_any_request_to_write_is_continued_to_the_same_bytes(bucket, faults, tmp_path):
    values = np.arange(30, dtype="float32").reshape(10, 3) + 1
    status = np.ones(10, "uint8")
    status[[1, 5]] = 8, 2
    clean = np.ones(10, "uint8")
    counting = faults.FaultyObjectStorage(f"{bucket}/whole")
    faults.small_extract(counting, values, status)
    faults.small_extract(counting, values, clean)
    whole = objects(f"{bucket}/whole")
    for n in [1, 2, 3, 20, *range(len(counting.steps) - 14, len(counting.steps) + 1)]:
        url = f"{bucket}/{n}"
        storage = faults.FaultyObjectStorage(url, at=n)
        with pytest.raises(faults.Killed):
            faults.small_extract(storage, values, status)
            faults.small_extract(storage, values, clean)
        faults.small_extract(open_storage(url), values, status)
        faults.small_extract(open_storage(url), values, clean)
        assert objects(url) == whole, counting.steps[n - 1]


@pytest.mark.s3
def test_a_rival_with_another_recipe_or_plan_is_told_apart(run, bucket):
    """The rival is faster by one request: it creates the features just before this run does."""
    from featurecache.errors import StoreMismatchError
    from featurecache.object_storage import ObjectStorage

    url = f"{bucket}/c.zarr"

    class Overtaken(ObjectStorage):
        rival = None

        def put(self, key, data, mode):
            if key.endswith("status/squeezenet1_1/zarr.json") and self.rival is not None:
                rival, Overtaken.rival = self.rival, None
                run(url, plan_only=True, **rival)
            return super().put(key, data, mode)

    Overtaken.rival = {"zoom": 96}
    with pytest.raises(StoreMismatchError, match="zoom is 96"):
        run(Overtaken(url))

    url = f"{bucket}/d.zarr"
    Overtaken.rival = {"batch_size": 8}
    report = run(Overtaken(url))
    assert report.exit_code == 0
    attributes = FeatureArray(open_storage(url), 0, "squeezenet1_1").attributes
    assert attributes["plan"]["batch_size"] == 8


@pytest.mark.s3
def test_what_lies_there_already_is_no_store(bucket):
    storage = open_storage(f"{bucket}/x")
    with pytest.raises(StoreError, match=rf"there is no store at {bucket}/x: `featurecache extr"):
        FeatureStore.open(f"{bucket}/x")
    storage.write("notes/mine.txt", b"mine")
    with pytest.raises(StoreError, match="exists and is not a store"):
        arrays.create_store(storage, None)
    with pytest.raises(StoreError, match="is not a featurecache store"):
        FeatureStore.open(f"{bucket}/x")
    assert objects(f"{bucket}/x") == {"notes/mine.txt": b"mine"}


@pytest.mark.s3
def test_missing_bucket_is_found_before_any_work_and_named(
    s3_server, s3_environment, split_options
):
    words = rf"s3://nowhere/x at {s3_server}: there is no bucket of this name"
    for call in (lambda: FeatureStore.open("s3://nowhere/x"),
                 lambda: preflight("s3://nowhere/x", *split_options(**OPTIONS))):  # fmt: skip
        with pytest.raises(StoreError, match=words):
            call()


class Answers(BaseHTTPRequestHandler):
    """Answers every request as the server is told; keeps what is put."""

    def do_PUT(self):
        self.server.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def do_GET(self):
        self._answer(self.server.kept.get(self.path))

    def do_HEAD(self):
        self._answer(self.server.kept.get(self.path))

    def _answer(self, kept=b""):
        status, body = self.server.answer
        if self.command == "PUT" and self.server.conflicts:
            self.server.conflicts -= 1
            status, body = 409, xml("ConditionalRequestConflict")
        listing = "list-type" in self.path
        if status == 200 and kept is None and not listing:
            status = 404
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        content = body if status != 200 or listing else kept or b""
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def answering(monkeypatch) -> Iterator:
    """answering(status, body): a server that answers so, after some conflicts."""
    pytest.importorskip("obstore")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.kept = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "id-of-the-key", "AWS_SECRET_ACCESS_KEY": "very-secret",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def answer(status, body=b"", conflicts=0):
        server.answer, server.conflicts = (status, body), conflicts

    yield answer
    server.shutdown()
    server.server_close()


def xml(code):
    return (
        f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>No, id-of-the-key</Message>'
        "<AWSAccessKeyId>id-of-the-key</AWSAccessKeyId></Error>"
    ).encode()


@pytest.mark.s3
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "InvalidAccessKeyId", "were not accepted: check AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "were not accepted"),
        (400, "ExpiredToken", "were not accepted"),
        (403, "AccessDenied", "access was denied"),
        (400, "AuthorizationHeaderMalformed", "set AWS_REGION"),
        (501, "NotImplemented", "no conditional writes"),
        (400, "EntityTooLarge", r"400 Bad Request \(EntityTooLarge\)"),
    ],
)
def test_refusals_are_said_in_plain_words_without_the_key(answering, status, code, words):
    answering(status, xml(code))
    with pytest.raises(StoreError, match=f"s3://lab/x at http.*{words}") as caught:
        open_storage("s3://lab/x").create("zarr.json", b"{}")
    assert "id-of-the-key" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.exit_code == 5


@pytest.mark.s3
def test_a_conflict_of_two_requests_is_settled_by_asking_again(answering, monkeypatch):
    monkeypatch.setattr("featurecache.object_storage._PAUSES_S", (0.0, 0.0))
    storage = open_storage("s3://lab/x")
    answering(200, conflicts=2)
    assert storage.create("a", b"1")
    answering(412, xml("PreconditionFailed"), conflicts=1)
    assert not storage.create("a", b"2")
    answering(200, conflicts=3)
    with pytest.raises(StoreError, match="another run is writing the same object"):
        storage.write("a", b"3")


@pytest.mark.s3
def test_a_server_that_ignores_conditions_is_refused(answering):
    answering(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    with pytest.raises(StoreError, match="ignores conditional writes"):
        arrays.create_store(open_storage("s3://lab/x"), None)


@pytest.mark.s3
def test_without_credentials_the_variables_are_named(monkeypatch):
    pytest.importorskip("obstore")
    storage = open_storage("s3://lab/x")
    text = "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1 s"
    error = storage._obstore.exceptions.GenericError(text)
    assert "there are no credentials: set AWS_ACCESS_KEY_ID" in str(storage.trouble(error))


@pytest.mark.s3
def test_an_endpoint_that_does_not_answer_is_named_without_its_password(answering, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://me:very-secret@127.0.0.1:9")
    storage = open_storage("s3://lab/x")
    error = storage._obstore.exceptions.GenericError(
        "Generic S3 error: Error performing GET https://me:very-secret@127.0.0.1:9/lab/x in 1 s, "
        "after 10 retries - HTTP error: error sending request"
    )
    said = str(storage.trouble(error))
    assert said.startswith("s3://lab/x at https://127.0.0.1:9: the server cannot be reached")
    assert "very-secret" not in said


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingResourceError, match=r"pip install 'featurecache\[s3\]'") as caught:
        FeatureStore.open("s3://lab/x")
    assert caught.value.exit_code == 4
