"""GRU and LSTM over padded slices, in one or both directions."""

import torch
from torch import nn
from torch.nn import functional

from seqhead.layers import take_slices


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
        H = self.hidden
        of_gates, of_state = self.weight_hh[: 2 * H].T, self.weight_hh[2 * H :].T
        state, states = x.new_zeros(len(x), H), []
        for given in functional.linear(x, self.weight_ih, self.bias).unbind(1):  # (B, 3H)
            gates = torch.addmm(given[:, : 2 * H], state, of_gates).sigmoid()
            update, reset = gates.chunk(2, dim=1)
            candidate = torch.addmm(given[:, 2 * H :], reset * state, of_state).tanh()
            state = torch.lerp(state, candidate, update)
            states.append(state)
        return torch.stack(states, dim=1), state.unsqueeze(0)


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
        self.input_dropout = input_dropout
        width = hidden * (2 if bidirectional else 1)
        sizes = [inputs] + [width] * (layers - 1)
        back = sizes if bidirectional else []
        self.forwards = nn.ModuleList(_cell(kind, size, hidden, reset_after) for size in sizes)
        self.backwards = nn.ModuleList(_cell(kind, size, hidden, reset_after) for size in back)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, S, D) and its mask (B, S) to states (B, S, H or 2H); padding becomes zero."""
        turned = reversal(mask) if self.backwards else None
        for number, layer in enumerate(self.forwards):
            states = layer(self._dropped(x))[0]
            if turned is not None:
                back = self.backwards[number](take_slices(self._dropped(x), turned))[0]
                states = torch.cat([states, take_slices(back, turned)], dim=-1)
            x = states
        return x * mask.unsqueeze(-1)

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        """(B, S, D) with the same features missing in all slices of a series."""
        if not (self.training and self.input_dropout):
            return x
        return x * functional.dropout(torch.ones_like(x[:, :1]), self.input_dropout)


def _cell(kind: str, inputs: int, hidden: int, reset_after: bool) -> nn.Module:
    if kind == "gru" and not reset_after:
        return ResetBeforeGRU(inputs, hidden)
    return {"gru": nn.GRU, "lstm": nn.LSTM}[kind](inputs, hidden, batch_first=True)


def reversal(mask: torch.Tensor) -> torch.Tensor:
    """Places that read each series backwards and leave its padding where it is.

    Parameters
    ----------
    mask : bool tensor (B, S)
        True where there is a slice; padding at the end.

    Returns
    -------
    int64 tensor (B, S)
    """
    place = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    backwards = mask.sum(dim=1, keepdim=True) - 1 - place
    return torch.where(mask, backwards, place)
