"""Slices per second: the bare backbone, extraction end to end, and the script one would write.

    python benchmarks/bench_extract.py [--backbone vgg16] [--patients 12] [--repeats 3] [--json F]

(a) the backbone alone on ready batches, at the precision that extraction chose;
(b) `featurecache.extract` from DICOM files to a committed store, planning excluded;
(c) a loop over series with pydicom and torchvision: float32, one batch a series, one .npy a series.

The three alternate in one process (A B C A B C); quote the ratios, since machines are noisy.
"""

import argparse
import json
import platform
import statistics
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from featurecache.backbones import load_backbone
from featurecache.embed import Embedder
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import FeatureOptions, RunOptions
from featurecache.phantom import write_phantom
from featurecache.plan import existing_attributes
from featurecache.recipe import Recipe
from featurecache.scan import scan

KEEP = Identifiers(None)


def bare(backbone: str, store: Path, name: str, n_slices: int) -> float:
    """(a) Slices per second of the backbone alone."""
    attributes = existing_attributes(store, name)
    recipe = {**attributes["recipe"]}
    recipe["windows"] = tuple(map(tuple, recipe["windows"]))
    plan = attributes["plan"]
    network = load_backbone(backbone, "random:0")
    embedder = Embedder(
        network, Recipe(**recipe), torch.device(plan["device"]), plan["batch_size"],
        compiled=plan["compiled"],
    )  # fmt: skip
    return embedder.bare_slices_per_s(repeats=max(2, n_slices // plan["batch_size"] // 2))


def ours(index: Path, store: Path, options: FeatureOptions) -> float:
    """(b) Slices per second from DICOM files to committed features."""
    report = extract(index, store, [options], RunOptions(), KEEP)
    return report.timing.slices / report.timing.wall_s


def plain_script(tree: Path, backbone: str, out: Path) -> float:
    """(c) What a user would write instead, in a few lines."""
    import pydicom
    import torchvision
    from torchvision.transforms.v2 import functional

    out.mkdir()
    model = torchvision.models.get_model(backbone, weights=None).eval()
    body = getattr(model, "features", None) or torch.nn.Sequential(*list(model.children())[:-2])
    started, count = perf_counter(), 0
    for folder in sorted({path.parent for path in tree.rglob("*.dcm")}):
        slices = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
        if "LOCALIZER" in slices[0].ImageType:
            continue
        slices.sort(key=lambda s: s.ImagePositionPatient[2])
        batch = []
        for dicom in slices:
            hu = dicom.pixel_array * dicom.RescaleSlope + dicom.RescaleIntercept
            grey = np.clip(hu / 80, 0, 1).astype("float32")
            image = functional.resize(torch.from_numpy(grey)[None], [224, 224], antialias=True)
            mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
            batch.append(functional.normalize(image.repeat(3, 1, 1), mean, std))
        with torch.no_grad():
            np.save(out / folder.name, body(torch.stack(batch)).mean((2, 3)).numpy())
        count += len(slices)
    return count / (perf_counter() - started)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """All repetitions, alternating."""
    tree = folder / "phantom"
    write_phantom(tree, arguments.patients, seed=0, series="thick")
    index = folder / "index.sqlite"
    account = scan(tree / "dicom", index)
    options = FeatureOptions(arguments.backbone, weights="random:0", compile=arguments.compile)
    speeds: dict[str, list[float]] = {"bare": [], "ours": [], "plain script": []}
    for repeat in range(arguments.repeats):
        store = folder / f"store-{repeat}.zarr"
        speeds["ours"].append(ours(index, store, options))
        name = options.feature_name
        speeds["bare"].append(bare(arguments.backbone, store, name, account.used))
        out = folder / f"plain-{repeat}"
        speeds["plain script"].append(plain_script(tree / "dicom", arguments.backbone, out))
        print(f"repetition {repeat + 1}: " + ", ".join(
            f"{what} {values[-1]:.1f}" for what, values in speeds.items()
        ))  # fmt: skip
    return speeds


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", default="off", choices=["on", "off"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        speeds = measure(arguments, Path(folder))
    median = {what: statistics.median(values) for what, values in speeds.items()}
    for what, value in median.items():
        print(f"{what:14s} {value:8.1f} slices/s (median of {arguments.repeats})")
    ratios = {
        f"ours / {other}": statistics.median(
            mine / theirs for mine, theirs in zip(speeds["ours"], speeds[other], strict=True)
        )
        for other in ("bare", "plain script")
    }
    for what, ratio in ratios.items():
        print(f"{what:20s} {ratio:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"speeds": speeds, "ratios": ratios}, indent=2))


if __name__ == "__main__":
    main()
