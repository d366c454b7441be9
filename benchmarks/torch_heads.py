"""The SDLM head in plain PyTorch: what a script writes down from the paper."""

from itertools import pairwise

import torch
from torch import nn


class PlainHead(nn.Module):
    """Batch normalisation, a GRU (or LSTM, both directions, attention), 512, 256, K outputs.

    Parameters
    ----------
    kind : str
        ``"gru"``, ``"lstm"``, ``"bigru"`` or ``"attention"`` (no recurrence).
    features, labels, hidden : int
        D, K and H.
    sizes : tuple of int
        Dense layers.
    """

    def __init__(
        self, kind: str, features: int, labels: int, hidden: int,
        sizes: tuple[int, ...] = (512, 256),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = nn.BatchNorm1d(features)
        both = kind == "bigru"
        cells = {"gru": nn.GRU, "bigru": nn.GRU, "lstm": nn.LSTM}
        self.rnn = None
        if kind in cells:
            self.rnn = cells[kind](features, hidden, batch_first=True, bidirectional=both)
        width = features if self.rnn is None else hidden * (2 if both else 1)
        self.score = nn.Linear(width, 1) if self.rnn is None else None
        widths, layers = [width, *sizes], []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(widths[-1], labels))

    def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        """Padded features (B, S, D) and lengths (B,) to logits (B, K); padding is computed too."""
        x = self.norm(x.flatten(0, 1)).view(x.shape)
        if self.score is not None:
            beyond = torch.arange(x.shape[1])[None] >= n[:, None]
            weights = self.score(x).squeeze(-1).masked_fill(beyond, -torch.inf).softmax(dim=1)
            return self.mlp((weights.unsqueeze(-1) * x).sum(dim=1))
        states = self.rnn(x)[0]  # type: ignore[misc]
        return self.mlp(states[torch.arange(len(x)), n - 1])
