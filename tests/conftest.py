"""Fixtures that several packages' tests share."""

import hashlib
import http.client
import itertools
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve other workers

# No test asserts seconds. CI repeats the same examples; a developer's run looks for new ones.
settings.register_profile("ours", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("ours")

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """Folder of real head CT, or a skip that says why."""
    if not (SHARED / "data" / "head-ge").is_dir():
        pytest.skip("real scans are not here: ../shared/data is missing")
    return SHARED / "data"


@pytest.fixture(scope="session")
def squeezenet_weights() -> Path:
    """File of real ImageNet weights, or a skip that says why."""
    path = SHARED / "weights" / "squeezenet1_1-imagenet-features.safetensors"
    if not path.is_file():
        pytest.skip("real weights are not here: ../shared/weights is missing")
    return path


@pytest.fixture(scope="session")
def s3_server():
    """Address of an S3 server on this machine (moto), which honours conditional writes."""
    pytest.importorskip("obstore")
    pytest.importorskip("moto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert server.poll() is None, "moto did not start"
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


_bucket_numbers = itertools.count()


@pytest.fixture
def s3_environment(s3_server, monkeypatch):
    """The variables that point at the server; the secret among them."""
    secret = "a-secret-that-is-written-nowhere"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id-of-the-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    return secret


@pytest.fixture
def bucket(s3_server, s3_environment):
    """URL of an empty bucket."""
    name = f"bucket-{next(_bucket_numbers)}"
    connection = http.client.HTTPConnection(s3_server.removeprefix("http://"))
    connection.request("PUT", f"/{name}")
    assert connection.getresponse().status == 200
    connection.close()
    return f"s3://{name}"


@pytest.fixture(scope="session")
def make_store():
    """Function that writes a complete store from matrices, with ids kept."""
    from featurecache import arrays
    from featurecache.open_storage import open_storage
    from featurecache.tables import SERIES_COLUMNS, SLICES_COLUMNS, PartTables

    def make(
        where: Path, matrices: dict[str, np.ndarray], *, patients=None, studies=None, name="toy",
        dtype="float32", keep_ids=True, failed=None, gap_mm=5.0, recipe=None, unit_slices=64,
    ) -> Path:  # fmt: skip
        assert keep_ids, "hashed ids are tested through the command line"
        patients = patients or {series: f"patient of {series}" for series in matrices}
        studies = studies or {series: f"study of {patients[series]}" for series in matrices}
        failed = failed or {}
        series_rows, slice_rows, first = [], [], 0
        for number, (series, matrix) in enumerate(matrices.items()):
            n = len(matrix)
            series_rows.append(
                {
                    **dict.fromkeys(SERIES_COLUMNS, 0.5),
                    **{"series": series, "series_of": series.partition("#")[0]},
                    **{"study": studies[series], "patient": patients[series]},
                    **{"source": f"source of {series}", "first_row": first, "n_slices": n},
                    **{"z_extent_mm": gap_mm * (n - 1), "median_gap_mm": gap_mm},
                    **{"thickness_mm": gap_mm, "fov_mm": 250.0, "tilt_deg": 0.0},
                }
            )
            slice_rows += [
                {
                    **{"slice": f"{series}.{k}", "source": f"{series}.{k}", "series": number},
                    **{"position": k, "z_mm": gap_mm * k, "gap_mm": gap_mm if k else np.nan},
                }
                for k in range(n)
            ]
            first += n
        storage = open_storage(where)
        arrays.create_store(storage, None)
        tables = PartTables.of(
            pd.DataFrame(series_rows, columns=list(SERIES_COLUMNS)),
            pd.DataFrame(slice_rows, columns=list(SLICES_COLUMNS)),
        )
        part = arrays.create_part(storage, tables)
        _add_features(storage, part, name, matrices, failed, dtype, recipe, unit_slices)
        return where

    return make


@pytest.fixture
def add_features():
    """Function that adds a feature set to a store that `make_store` wrote."""
    from featurecache.open_storage import open_storage

    def add(where, matrices, name, *, recipe=None, failed=None, dtype="float32", unit_slices=64):
        _add_features(
            open_storage(where), 0, name, matrices, failed or {}, dtype, recipe, unit_slices
        )

    return add


def _add_features(storage, part, name, matrices, failed, dtype, recipe, unit_slices) -> None:
    from featurecache import arrays
    from featurecache.feature_array import FeatureArray

    values = np.concatenate(list(matrices.values()))
    status = np.concatenate(
        [[2 if k in failed.get(s, ()) else 1 for k in range(len(m))] for s, m in matrices.items()]
    )
    recipe = recipe or {"backbone": name, "windows": [[40, 80]], "size": 224}
    identity = hashlib.sha256(str(recipe).encode()).hexdigest()
    arrays.create_features(
        storage, part, name, n_slices=len(values), dim=values.shape[1], dtype=dtype,
        unit_slices=unit_slices,
        attributes={
            "recipe": recipe,
            "fingerprint": {"identity": identity, "numerics": dtype},
            "plan": {}, "reason_codes": {"2": "pixel data is short"},
        },
    )  # fmt: skip
    array = FeatureArray(storage, part, name, writable=True)
    for unit in range(array.n_units):
        rows = array.rows(unit)
        array.write_unit(unit, values[rows.start : rows.stop], status[rows.start : rows.stop])
