"""Does the fast way learn as well? The same head, padded in float32 and ours, over several seeds.

    python benchmarks/fit_accuracy.py [--seeds 5] [--series 400]

A faint finding in a few slices of synthetic series; AUC on series that were not learnt from. Also
compares logits and gradients of both on the same weights. Prints JSON.
"""

import argparse
import json

import numpy as np
import torch
from fit_data import planted
from sklearn.metrics import roc_auc_score
from torch_heads import PlainHead

from seqhead import SequenceClassifier
from seqhead.arithmetic import start_up
from seqhead.head_config import HeadConfig
from seqhead.heads import make_head

HIDDEN, SIZES, BATCH, RATE = 64, (32,), 32, 2e-3


def padded_auc(train: tuple, test: tuple, seed: int, epochs: int) -> float:
    """A plain script: everything padded to the longest series of all, float32."""
    torch.manual_seed(seed)
    S = max(len(matrix) for matrix in train[0] + test[0])
    sides = []
    for X, y in (train, test):
        x = np.zeros((len(X), S, X[0].shape[1]), np.float32)
        for row, matrix in zip(x, X, strict=True):
            row[: len(matrix)] = matrix
        n = torch.tensor([len(matrix) for matrix in X])
        sides.append((torch.from_numpy(x), n, torch.from_numpy(y)))
    head = PlainHead("gru", sides[0][0].shape[2], 1, HIDDEN, SIZES)
    optimiser = torch.optim.Adam(head.parameters(), RATE)
    x, n, y = sides[0]
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            loss = (head(x[rows], n[rows]).sigmoid() - y[rows]).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    head.eval()
    with torch.no_grad():
        scored = head(*sides[1][:2])
    return float(roc_auc_score(test[1], scored))


def our_auc(train: tuple, test: tuple, seed: int, epochs: int, precision: str) -> float:
    """Ours."""
    model = SequenceClassifier(
        rnn="gru", pool="last", normalise="batch", hidden=HIDDEN, mlp=SIZES, loss="mse",
        epochs=epochs, batch_size=BATCH, learning_rate=RATE, validation_fraction=0,
        random_state=seed, precision=precision, device="cpu",
    )  # fmt: skip
    return float(roc_auc_score(test[1], model.fit(*train).predict_proba(test[0])[:, 1]))


def largest_difference() -> float:
    """Of logits and gradients on the same weights in float32, relative to the largest of each."""
    torch.manual_seed(0)
    plain = PlainHead("gru", 24, 3, 48, (16, 8))
    ours = make_head(HeadConfig(
        features=24, labels=3, rnn="gru", hidden=48, normalise="batch", pool="last", mlp=(16, 8),
    ))  # fmt: skip
    theirs = dict(plain.named_parameters())
    for name, parameter in ours.named_parameters():
        of = name.replace("normalise.norm", "norm").replace("rnn.forwards.0", "rnn")
        parameter.data.copy_(theirs[of])
    x, S = torch.randn(8, 60, 24), 60
    each = []
    for logits, head in (
        (plain(x, torch.full((8,), S)), plain),
        (ours(x, torch.ones(8, S, dtype=torch.bool)), ours),
    ):
        grads = torch.autograd.grad(logits.square().sum(), list(head.parameters()))
        named = dict(zip((name for name, _ in head.named_parameters()), grads, strict=True))
        each.append((logits, named))
    (one, mine), (other, found) = each
    differences = [_relative(one, other)]
    for name, grad in found.items():
        of = name.replace("normalise.norm", "norm").replace("rnn.forwards.0", "rnn")
        differences.append(_relative(mine[of], grad))
    return max(differences)


def _relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max())


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--precision", default="auto")
    told = parser.parse_args()
    start_up()
    torch.set_flush_denormal(True)
    test = planted(told.series, 999)
    auc: dict[str, list[float]] = {"padded": [], "ours": []}
    for seed in range(told.seeds):
        train = planted(told.series, seed)
        auc["padded"].append(padded_auc(train, test, seed, told.epochs))
        auc["ours"].append(our_auc(train, test, seed, told.epochs, told.precision))
    print(json.dumps({"auc": auc, "largest_difference": largest_difference()}))


if __name__ == "__main__":
    main()
