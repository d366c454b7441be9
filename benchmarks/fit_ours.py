"""One epoch of `SequenceClassifier` or `PooledSVC` on random features, in a process of its own.

    python benchmarks/fit_ours.py [--head gru] [--precision bf16] [--share 0.3]

An epoch is what lies between two calls of the callback, the first epoch being the warm-up. Prints
JSON.
"""

import argparse
import json
import warnings
from time import perf_counter
from typing import Any

import numpy as np
from fit_data import SLICES, features, lengths

HEADS: dict[str, dict[str, Any]] = {
    "gru": {"rnn": "gru", "pool": "last"},
    "lstm": {"rnn": "lstm", "pool": "last"},
    "bigru": {"rnn": "gru", "bidirectional": True, "pool": "last"},
    "attention": {"rnn": "none", "pool": "attention"},
}


def measure(told: argparse.Namespace) -> dict[str, float]:
    """Seconds an epoch, scaled by slices where a share of the series is measured."""
    every = round(1 / told.share)
    n = np.sort(lengths())[::every]
    X, y = features(n)
    scale = SLICES / int(n.sum())
    if told.head == "svm":
        started = perf_counter()
        _svm(X, y)
        epoch_s = (perf_counter() - started) * scale
        return {"epoch_s": epoch_s, "slices_per_s": SLICES / epoch_s, "share": 1 / scale}
    from seqhead import SequenceClassifier
    from seqhead.arithmetic import start_up

    start_up()
    ends: list[float] = []
    model = SequenceClassifier(
        **HEADS[told.head], normalise="batch", hidden=told.hidden, mlp=(512, 256), loss="mse",
        epochs=1 + told.epochs, batch_size=told.batch_size, validation_fraction=0,
        precision=told.precision, device=told.device,
    )  # fmt: skip
    model.fit(X, y, progress=lambda *_: ends.append(perf_counter()))
    epoch_s = float(np.median(np.diff(ends))) * scale
    return {"epoch_s": epoch_s, "slices_per_s": SLICES / epoch_s, "share": 1 / scale}


def _svm(X: list[np.ndarray], y: np.ndarray) -> None:
    from sklearn.exceptions import ConvergenceWarning

    from seqhead import PooledSVC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # labels are noise here
        PooledSVC().fit(X, y, groups=range(len(X)))


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--head", default="gru", choices=[*HEADS, "svm"])
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1, help="measured after the warm-up")
    parser.add_argument("--share", type=float, default=1.0, help="of the series, of all lengths")
    parser.add_argument("--device", default="cpu")
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
