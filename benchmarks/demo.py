"""`make demo`: the main job from DICOM to a table on held-out patients, on synthetic head CT.

Every step is a command that a user would type; this script only types them. It asserts nothing
about who wins: with untrained weights and few patients it is a check of the plumbing.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("demo")
LEAST_PATIENTS, MOST_PATIENTS = 16, 72  # at most 72 x 27 slices on average: under 2,000
SLICES_PER_PATIENT, EXTRACTION_S = 27, 100
MISSING_RESOURCE = 4


def step(command: str, *, allowed: tuple[int, ...] = (0,)) -> int:
    """Type one command in the demo's folder."""
    print(f"\n$ {command}", flush=True)
    code = subprocess.run(shlex.split(command), cwd=FOLDER, check=False).returncode
    if code not in allowed:
        sys.exit(f"the demo stopped: `{command}` ended with exit code {code}")
    return code


def affordable_patients() -> tuple[int, float]:
    """How many patients VGG16 gets through in `EXTRACTION_S` here, and its slices per second."""
    import torch

    from featurecache.backbones import load_backbone
    from featurecache.devices import native_bf16, resolve_device
    from featurecache.embed import Embedder
    from featurecache.recipe import Recipe

    device = resolve_device("auto")
    backbone = load_backbone("vgg16", "random:0")
    recipe = Recipe(
        backbone.name, backbone.weights, "random:0", backbone.layer, "avg", ((40.0, 80.0),), 224,
        None, backbone.mean, backbone.std, "bf16" if native_bf16(device) else "fp32", "float16",
    )  # fmt: skip
    with torch.inference_mode():
        slices_per_s = Embedder(backbone, recipe, device, 16).bare_slices_per_s()
    affordable = int(slices_per_s * EXTRACTION_S / SLICES_PER_PATIENT)
    return min(max(affordable, LEAST_PATIENTS), MOST_PATIENTS), slices_per_s


def main() -> None:
    """Run the demo in a fresh folder."""
    started = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for name in ("FEATURECACHE_STORE", "FEATURECACHE_LABELS", "FEATURECACHE_INDEX"):
        os.environ.pop(name, None)
    patients, slices_per_s = affordable_patients()
    if patients < MOST_PATIENTS:
        print(
            f"VGG16 runs at {slices_per_s:.0f} slices/s here: {patients} patients instead of "
            f"{MOST_PATIENTS}, so that the demo takes minutes"
        )
    step(f"featurecache phantom phantom --patients {patients} --seed 1 --series thick")
    step(
        "featurecache init phantom/dicom --labels phantom/labels.csv "
        "--slice-labels phantom/slices.csv"
    )
    step("featurecache scan")
    weights = "imagenet"
    if step("featurecache extract --backbone vgg16", allowed=(0, MISSING_RESOURCE)):
        weights = "random:0"
        print(
            "\nImageNet weights cannot be had here, so the demo takes untrained ones: what follows "
            "is\na check of the plumbing, not of the method.",
            flush=True,
        )
        step("featurecache extract --backbone vgg16 --weights random:0")
    step("featurecache info")
    step("seqhead labels")
    step("seqhead fit --rnn gru")
    step("seqhead evaluate")
    print(
        f"\ndone in {time.monotonic() - started:.0f} s with weights {weights}. Everything lies in "
        f"{FOLDER}/:\n"
        "  phantom/           synthetic head CT as DICOM, labels.csv, slices.csv\n"
        "  featurecache.toml  what the commands take when they are not told\n"
        "  featurecache.sqlite, featurecache.key   the index of files, the key of identifiers\n"
        "  cache.zarr/        the features\n"
        "  runs/              the fitted head, its split, predictions and metrics"
    )


if __name__ == "__main__":
    main()
