"""The SDLM head as a plain PyTorch or Keras script has it, and how such scripts train it.

    python benchmarks/plain_heads.py padded|loader|keras [--head gru] [--flush] [--batches 2]

``padded`` pads everything to 396 slices, as the papers do; ``loader`` is a DataLoader with series
in random order, padded to the longest of a batch; ``keras`` is Keras with a Masking layer, padded
to 396. All in float32. Some batches are measured after one that is not, and scaled to an epoch by
the slices that are computed, padding included. Prints JSON.
"""

import argparse
import json
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
from fit_data import FEATURES, LABELS, LONGEST, SLICES, features, lengths

BATCH = 32


def measure_torch(told: argparse.Namespace) -> dict[str, float]:
    """Seconds an epoch in PyTorch."""
    import torch
    from torch_heads import PlainHead

    torch.set_flush_denormal(told.flush)
    torch.manual_seed(0)
    head = PlainHead(told.head, FEATURES, LABELS, told.hidden)
    optimiser = torch.optim.Adam(head.parameters())

    def step(x: np.ndarray, n: np.ndarray, y: np.ndarray) -> None:
        logits = head(torch.from_numpy(x), torch.from_numpy(n))
        loss = (logits.sigmoid() - torch.from_numpy(y)).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return _timed(told, step)


def measure_keras(told: argparse.Namespace) -> dict[str, float]:
    """Seconds an epoch in Keras on TensorFlow."""
    import keras

    keras.utils.set_random_seed(0)
    rnn = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[told.head](told.hidden)
    model = keras.Sequential(
        [
            keras.layers.Input((LONGEST, FEATURES)),
            keras.layers.Masking(),
            keras.layers.BatchNormalization(),
            rnn,
            keras.layers.Dense(512, "relu"),
            keras.layers.Dense(256, "relu"),
            keras.layers.Dense(LABELS, "sigmoid"),
        ]
    )
    model.compile("adam", "mse")
    return _timed(told, lambda x, n, y: float(model.train_on_batch(x, y)))


def _timed(told: argparse.Namespace, step: Any) -> dict[str, float]:
    """Warm up with one batch, time the others, scale by the slices computed."""
    made, computed, seconds = list(_batches(told)), 0, 0.0
    for number, batch in enumerate(made):
        started = perf_counter()
        step(*batch)
        if number:
            seconds += perf_counter() - started
            computed += batch[0].shape[0] * batch[0].shape[1]
    whole = _whole(told)
    epoch_s = seconds * whole / computed
    return {"epoch_s": epoch_s, "slices_per_s": SLICES / epoch_s, "share": computed / whole}


def _groups(told: argparse.Namespace) -> list[np.ndarray]:
    order = np.random.default_rng(0).permutation(len(lengths()))
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def _width(told: argparse.Namespace, group: np.ndarray) -> int:
    return int(lengths()[group].max()) if told.way == "loader" else LONGEST


def _whole(told: argparse.Namespace) -> int:
    """Slices that an epoch computes, padding included."""
    return sum(len(group) * _width(told, group) for group in _groups(told))


def _batches(told: argparse.Namespace) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for group in _groups(told)[: told.batches + 1]:
        n = lengths()[group]
        X, y = features(n, seed=int(group[0]))
        x = np.zeros((len(group), _width(told, group), FEATURES), np.float32)
        for row, matrix in zip(x, X, strict=True):
            row[: len(matrix)] = matrix
        yield x, n, y


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=["padded", "loader", "keras"])
    parser.add_argument("--head", default="gru", choices=["gru", "lstm", "bigru", "attention"])
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--flush", action="store_true", help="flush denormals")
    parser.add_argument("--batches", type=int, default=2)
    told = parser.parse_args()
    print(json.dumps((measure_keras if told.way == "keras" else measure_torch)(told)))


if __name__ == "__main__":
    main()
