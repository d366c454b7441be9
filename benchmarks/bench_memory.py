"""Peak memory of an extraction, by the number of slices.

    python benchmarks/bench_memory.py [--slices 1000 100000] [--json FILE]

Every extraction runs in a process of its own, with a network that costs nothing, over small files;
the operating system says how much memory it held at most. Its readers hold a slice each.
Archives are series of 32 slices; of three; and one series of 5,000.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_headers import write_tree

from featurecache.scan import scan

_EXTRACT = """
import json, resource, sys
from pathlib import Path
from torch import nn
from featurecache.backbones import register_backbone
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import FeatureOptions, RunOptions

register_backbone("tiny", lambda: nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(3, 8, 1)))
index, store, batch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
tiny = FeatureOptions("tiny", "random:0", size=8, precision="fp32", compile="off", batch_size=batch)
report = extract(index, store, [tiny], RunOptions(), Identifiers(bytes(32)))
print(json.dumps({
    "slices": report.timing.slices, "seconds": report.timing.wall_s,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""
_PIXELS = 16


def measure(folder: Path, n_slices: int, series_of: int, batch: int = 16) -> dict[str, float]:
    """Write an archive, scan it, and extract in a process of its own."""
    n_slices -= n_slices % series_of if series_of < 5 else 0  # a series of one slice is not used
    name = f"{n_slices}-{series_of}"
    tree, index = folder / f"tree-{name}", folder / f"index-{name}.sqlite"
    if not tree.exists():
        write_tree(tree, n_slices, _PIXELS, series_of, one_folder=False)
        scan(tree, index)
    done = subprocess.run(
        [sys.executable, "-c", _EXTRACT, index, folder / f"{name}-{batch}.zarr", str(batch)],
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    result: dict[str, float] = json.loads(done.stdout)
    if result["slices"] != n_slices:
        raise SystemExit(f"{result['slices']} of {n_slices} slices were computed")
    return result


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    least, most = min(arguments.slices), max(arguments.slices)
    cases = [(n, 32, 16) for n in arguments.slices] + [(n, 3, 16) for n in (least, most)]
    cases += [(5_000, 5_000, 16), (5_000, 5_000, 64)]
    results = []
    print(f"{'slices':>8} {'a series':>8} {'batch':>6} {'peak MiB':>9} {'s':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for n_slices, series_of, batch in cases:
            result = measure(Path(folder), n_slices, series_of, batch)
            results.append({"slices_a_series": series_of, "batch": batch, **result})
            print(f"{n_slices:8,} {series_of:8,} {batch:6} {result['peak_mib']:9.0f} "
                  f"{result['seconds']:7.1f}", flush=True)  # fmt: skip
    first = next(one for one in results if one["slices"] == least)
    for one in results:
        ratio = one["peak_mib"] / first["peak_mib"]
        print(f"{one['slices']:,} slices, series of {one['slices_a_series']:,}, batch "
              f"{one['batch']}: {ratio:.3f} of the peak with {least:,}")  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
