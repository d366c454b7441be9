"""What a leaking split is worth: labels that mean nothing, learnt under two ways to split.

python benchmarks/leak_experiment.py [FOLDER] [--patients N] [--seeds N]

Every synthetic patient has three series and a coin-toss for a label, so nothing but who a patient
is can be learnt. Split by patients, a head can only guess. Split as the SDLM paper did, by series
at random, it recognises patients of the training set. The finding ICH stands beside it, where there
is something to learn. Prints a table and writes leak_experiment.json.
"""

import argparse
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

EXTRACT = (
    "extract", "--backbone", "squeezenet1_1", "--weights", "random:0", "--precision", "fp32",
    "--size", "96", "--batch-size", "32",
)  # fmt: skip


def prepare(folder: Path, patients: int) -> None:
    """Phantom, features, and labels.csv with the coin-toss."""
    from featurecache.phantom import write_phantom

    folder.mkdir(parents=True, exist_ok=True)
    phantom = folder / "phantom"
    if not phantom.exists():
        write_phantom(phantom, patients=patients, seed=11, series="all", size=128)
    if not (folder / "featurecache.toml").exists():
        fc(folder, "init", "phantom/dicom", "--labels", "labels.csv")
    table = pd.read_csv(phantom / "labels.csv", dtype=str)
    rng = np.random.default_rng(0)
    toss = {patient: rng.integers(2) for patient in sorted(table["PatientID"].unique())}
    columns = ["PatientID", "SeriesInstanceUID", "ICH"]
    table[columns].assign(CoinToss=table["PatientID"].map(toss)).to_csv(
        folder / "labels.csv", index=False
    )
    fc(folder, *EXTRACT)


def fc(folder: Path, *arguments: str) -> None:
    """One command of stage 1."""
    if arguments[0] == "init":
        (folder / "labels.csv").touch()
    subprocess.run([sys.executable, "-m", "featurecache", *arguments], cwd=folder, check=True)


def judge(folder: Path, protocol: str | None, seed: int) -> dict[str, float]:
    """AUC of both labels on the test series of one split, and the share of leaking patients."""
    from seqhead.evaluate import evaluate_run
    from seqhead.fit import fit
    from seqhead.leaks import measure_leak
    from seqhead.options import parse_fit_options
    from seqhead.sources import Sources
    from seqhead.splitting import Splitting

    out = folder / "runs" / f"{protocol or 'patients'}-{seed}"
    if not out.exists():
        sources = Sources(
            folder / "cache.zarr", folder / "labels.csv", key=folder / "featurecache.key"
        )
        options = parse_fit_options(hidden=64, epochs=60, patience=60, seed=seed, device="cpu")
        fit(sources, options, splitting=Splitting(protocol=protocol), out=out, project=folder)
    from seqhead.run import Run

    run = Run.open(out)
    labels = evaluate_run(run).model["labels"]
    leak = measure_leak(run.folds, protocol or "patients")
    return {
        "leaking": leak.patients_also_in_training / leak.test_patients,
        "CoinToss": labels["CoinToss"]["auc"],
        "ICH": labels["ICH"]["auc"],
    }


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path("leak-experiment"))
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    prepare(given.folder, given.patients)
    found = {
        name: pd.DataFrame([judge(given.folder, protocol, seed) for seed in range(given.seeds)])
        for name, protocol in (("by patients", None), ("by series (sdlm)", "sdlm"))
    }
    print(f"\n{given.patients} patients, three series each; {given.seeds} splits, mean (deviation)")
    print(f"{'split':18}{'leaking patients':>18}{'AUC coin-toss':>18}{'AUC ICH':>18}")
    for name, table in found.items():
        cells = [f"{table[c].mean():.2f} ({table[c].std():.2f})" for c in table]
        print(f"{name:18}" + "".join(f"{cell:>18}" for cell in cells))
    document = {name: table.to_dict("list") for name, table in found.items()}
    (given.folder / "leak_experiment.json").write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
