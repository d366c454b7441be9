"""The benchmarks run, verify what they time, and write what they measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_store_benchmark_compares_layouts_that_hold_the_same_features(tmp_path: Path) -> None:
    printed = run("bench_store.py", "--quick", "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    reads = found["reads"]
    assert {"memory map", "store", "Zarr array a series", ".npy a series"} <= set(reads)
    assert all(value > 0 for of in reads.values() for values in of.values() for value in values)
    assert found["writes"]["memory map"]["files"] == [1]
    assert found["writes"][".npy a series"]["files"] == [60]  # of 20 series, extrapolated
    assert set(found["ratios"]) >= {"store / memory map, read_s", "store / memory map, series_ms"}
    assert "one random series under 2 ms" in printed


@pytest.mark.slow
def test_extraction_benchmark_verifies_and_compares(tmp_path: Path) -> None:
    run("bench_extract.py", "--quick", "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    network = found["backbones"]["squeezenet1_1"]
    assert 0 < network["used"]["relative_error"] <= network["used"]["tolerance"]
    assert {"bare", "ours", "script", "loader"} <= set(network["measured"])
    assert all(of["slices_per_s"][0] > 0 for of in network["measured"].values())
    assert found["scale"][0]["slices"] >= 40


@pytest.mark.slow
def test_fit_benchmark_verifies_and_compares(tmp_path: Path) -> None:
    printed = run("bench_fit.py", "--quick", "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["accuracy"]["largest_difference"] < 1e-5
    gru = found["heads"]["gru"]
    assert {"ours", "ours fp32", "padded", "padded flushed", "loader"} <= set(gru["measured"])
    assert all(of["epoch_s"][0] > 0 for of in gru["measured"].values())
    assert gru["measured"]["padded"]["share"][0] == pytest.approx(32 / 835)
    assert len(gru["bars"]) >= 3
    assert found["heads"]["svm"]["measured"]["ours"]["epoch_s"][0] > 0
    assert found["end_to_end"]["fp32"]["epoch_h"] > 0
    assert "accuracy unchanged within seed noise" in printed


@pytest.mark.slow
def test_sweep_benchmark_ends_with_fifty_trials_however_often_it_is_killed(tmp_path: Path) -> None:
    printed = run("bench_sweep.py", "--quick", "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    trials = found["sweep"]["document"]["trials"]
    assert trials["complete"] + trials["given_up"] == trials["asked"] == 50
    assert len(found["sweep"]["killed_s"]) == 1
    assert 0 < found["sweep"]["done_when_killed"][0] < 50
    assert "trials per minute" in printed


@pytest.mark.slow
def test_header_benchmark_uses_every_file(tmp_path: Path) -> None:
    out = str(tmp_path / "found.json")
    small = ["--files", "64", "--many", "0", "--size", "16", "--repeats", "1"]
    run("bench_headers.py", *small, "--json", out)
    found = json.loads(Path(out).read_text())
    assert set(found["rates"]) >= {"pydicom loop", "scan, workers 1", "re-scan, workers 2"}


@pytest.mark.slow
def test_latency_benchmark_verifies_and_measures_every_step(tmp_path: Path) -> None:
    printed = run("bench_scan.py", "--quick", "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["systems"]["drct2"]["embedded"] == {"drct-vgg16-224": 18, "drct-vgg16-zoom512": 16}
    assert found["systems"]["sdlm"]["difference"] == 0
    for measured in found["measured"].values():
        figures = {name: values[0] for name, values in measured.items()}
        assert all(value > 0 for value in figures.values())
        assert figures["wall_s"] > figures["floor_s"]
    assert "RTX 2070" in printed


@pytest.mark.slow
def test_systems_benchmark_sets_every_kind_of_system_beside_the_baseline(tmp_path: Path) -> None:
    out = str(tmp_path / "found.json")
    only = ["sdlm-vgg16-gru", "sdlm-vgg19-gru", "drct2", "svm", "xception-gru", "max"]
    printed = run("bench_systems.py", "--quick", "--only", *only, "--json", out)
    rows = {row["system"]: row for row in json.loads(Path(out).read_text())["rows"]}
    assert set(rows) == set(only)
    assert (rows["xception-gru"]["level"], rows["max"]["level"]) == ("slice", "series")
    assert rows["max"]["n"] == rows["drct2"]["n"] == 12 < rows["xception-gru"]["n"]
    for row in rows.values():
        assert row["difference"] == pytest.approx(row["auc"] - row["baseline"])
    assert rows["sdlm-vgg16-gru"]["auc"] == rows["sdlm-vgg19-gru"]["auc"], "one fit"
    assert len({row["baseline"] for row in rows.values()}) == 2, "one a level"
    assert "of 6 are above the baseline" in printed


def test_copies_of_phantom_files_are_images_of_their_own(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from phantom_files import write_slices\n"
        "from featurecache.scan import scan\n"
        "root = Path(sys.argv[1]); n = write_slices(root, 60, patients=1, holes=True)\n"
        "account = scan(root / 'dicom', root / 'index.sqlite')\n"
        "print(n, account.used, account.skipped, account.failed)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written, used, skipped, failed = map(int, done.stdout.split()[-4:])
    assert written >= 60
    assert (used, skipped, failed) == (written, 0, 0)
