"""GRU and LSTM over padded slices, in one or both directions."""

import warnings

import torch
from torch import nn
from torch.nn import functional

from seqhead.packing import Packing
from seqhead.recurrences import GRUSteps, LSTMSteps, ResetBeforeSteps


class ResetBeforeGRU(nn.Module):
    """GRU whose reset gate acts before the recurrent product, with one bias vector a gate.

    `torch.nn.GRU` multiplies with the reset gate after it. Called like `torch.nn.GRU` with
    ``batch_first=True``.

    Parameters
    ----------
    inputs, hidden : int
        D and H.

    References
    ----------
    SDLM, equation 2, and Xception-RNN, equations 2 to 5; Keras: ``reset_after=False``.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden, inputs))  # update, reset, candidate
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.bias = nn.Parameter(torch.empty(3 * hidden))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)  # as torch.nn.GRU

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, S, D) to states (B, S, H) and the last state (1, B, H)."""
        packing = Packing.of(torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
        states = packing.unpack(run_cell(self, packing.pack(x), packing.sizes))
        return states, states[:, -1].unsqueeze(0)


class MaskedRNN(nn.Module):
    """Recurrent layers, one over the other, in one or both directions.

    The backward direction reads each series from its own last slice, so that padding at the
    end never enters a state.

    Parameters
    ----------
    kind : str
        ``"gru"`` or ``"lstm"``.
    inputs : int
        D.
    hidden : int
        H, state size of each direction.
    layers : int
        Layers.
    bidirectional : bool
        Whether each layer also reads backwards; its output is then (B, S, 2H).
    reset_after : bool
        Of a GRU, see `ResetBeforeGRU`.
    input_dropout : float
        Share of each layer's inputs that is dropped in training, the same ones in all slices of
        a series.
    """

    def __init__(
        self, kind: str, inputs: int, hidden: int, layers: int = 1, bidirectional: bool = False,
        *, reset_after: bool = True, input_dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.hidden, self.input_dropout = hidden, input_dropout
        width = hidden * (2 if bidirectional else 1)
        sizes = [inputs] + [width] * (layers - 1)
        back = sizes if bidirectional else []
        self.forwards = nn.ModuleList(_cell(kind, size, hidden, reset_after) for size in sizes)
        self.backwards = nn.ModuleList(_cell(kind, size, hidden, reset_after) for size in back)

    @property
    def in_order(self) -> list[str]:
        """Names of the layers in each direction, in the order of computation."""
        sides = ("forwards", "backwards") if self.backwards else ("forwards",)
        return [f"{side}.{number}" for number in range(len(self.forwards)) for side in sides]

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to states (B, S, H or 2H); padding becomes zero."""
        packing = Packing.of(mask)
        rows = packing.pack(x)  # (N, D)
        for number, ahead in enumerate(self.forwards):
            states = run_cell(ahead, self._dropped(rows, packing), packing.sizes)
            if self.backwards:
                turned = packing.turn(self._dropped(rows, packing))
                back = run_cell(self.backwards[number], turned, packing.sizes)
                states = torch.cat([states, packing.turn(back)], dim=-1)
            rows = states
        return packing.unpack(rows)

    def _dropped(self, rows: torch.Tensor, packing: Packing) -> torch.Tensor:
        """Rows (N, D) with the same features missing in all slices of a series."""
        if not (self.training and self.input_dropout):
            return rows
        series = rows.new_ones(packing.shape[0], rows.shape[1])
        return rows * functional.dropout(series, self.input_dropout)[packing.owners]


def _cell(kind: str, inputs: int, hidden: int, reset_after: bool) -> nn.Module:
    if kind == "gru" and not reset_after:
        return ResetBeforeGRU(inputs, hidden)
    return {"gru": nn.GRU, "lstm": nn.LSTM}[kind](inputs, hidden, batch_first=True)


def run_cell(cell: nn.Module, rows: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """States of one layer in one direction.

    Products are in bfloat16 where autocast says so.

    Parameters
    ----------
    cell : nn.GRU, nn.LSTM or ResetBeforeGRU
        The layer, which only lends its parameters.
    rows : tensor (N, D)
        Inputs, packed.
    sizes : list of int
        Rows of each step.

    Returns
    -------
    float tensor (N, H)
        Not in bfloat16.
    """
    if rows.is_cuda and isinstance(cell, nn.RNNBase):
        return run_cudnn(cell, rows, sizes)
    if isinstance(cell, ResetBeforeGRU):
        given = functional.linear(rows, cell.weight_ih, cell.bias)
        return ResetBeforeSteps.apply(given, cell.weight_hh, sizes)
    of_input, of_state, bias, inner = cell.parameters()
    if isinstance(cell, nn.LSTM):
        return LSTMSteps.apply(functional.linear(rows, of_input, bias + inner), of_state, sizes)
    rz, n = inner.split((2 * len(inner) // 3, len(inner) // 3))
    given = functional.linear(rows, of_input, bias + functional.pad(rz, (0, len(n))))
    return GRUSteps.apply(given, of_state, n, sizes)


def run_cudnn(cell: nn.RNNBase, rows: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """`run_cell` by torch's own packed GRU or LSTM, which on CUDA is cuDNN's.

    Autocast would run it in float16, whatever it is told, so it is kept out.

    Parameters
    ----------
    cell : nn.GRU or nn.LSTM
        The layer.
    rows, sizes
        As in `run_cell`.

    Returns
    -------
    float tensor (N, H)
        Not in bfloat16.
    """
    kind = rows.dtype
    if torch.is_autocast_enabled(rows.device.type):
        kind = torch.get_autocast_dtype(rows.device.type)
    with torch.autocast(rows.device.type, enabled=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of")  # of a cast
        weights = [parameter.to(kind) for parameter in cell.parameters()]
        start = rows.new_zeros(1, sizes[0], cell.hidden_size, dtype=kind)
        sizes_, how = torch.tensor(sizes), (True, 1, 0.0, cell.training, False)
        if isinstance(cell, nn.LSTM):
            states = torch.lstm(rows.to(kind), sizes_, (start, start), weights, *how)[0]
        else:
            states = torch.gru(rows.to(kind), sizes_, start, weights, *how)[0]
    return states.to(torch.promote_types(kind, torch.float32))
