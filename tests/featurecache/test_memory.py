"""Memory of an extraction does not grow with the archive."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_a_hundred_thousand_slices_take_the_memory_of_a_thousand(tmp_path):
    """In series of 32, and one series of 5,000; peaks as the operating system has them.

    In series of three there are eleven times as many lines in the tables, which are in memory.
    """
    out = tmp_path / "memory.json"
    subprocess.run(
        [sys.executable, "bench_memory.py", "--slices", "1000", "100000", "--json", str(out)],
        cwd=BENCHMARKS, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    results = json.loads(out.read_text())
    least = min(results, key=lambda one: one["slices"])
    assert {one["slices_a_series"] for one in results} == {3, 32, 5_000}
    assert max(one["slices"] for one in results) == 100_000
    for one in results:
        allowed = 1.20 if one["slices_a_series"] == 3 else 1.10
        assert one["peak_mib"] < allowed * least["peak_mib"], one
