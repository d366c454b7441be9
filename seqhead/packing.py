"""Slices of a batch step by step, without padding, and back."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable


@dataclass(frozen=True, slots=True)
class Packing:
    """The N slices of B padded series in the order of `torch.nn.utils.rnn.PackedSequence`.

    First come the first slices of all series, then their second ones, and so on; within a step
    the longest series come first.

    Parameters
    ----------
    shape : (int, int)
        B and S.
    sizes : list of int
        Slices of each step; none is larger than the one before.
    places : int64 tensor (N,)
        Where each slice stands among the B x S places.
    turned : int64 tensor (N,)
        Which slice stands there when every series is read backwards.
    """

    shape: tuple[int, int]
    sizes: list[int]
    places: torch.Tensor
    turned: torch.Tensor

    @classmethod
    def of(cls, mask: torch.Tensor) -> "Packing":
        """Pack what a mask says.

        Parameters
        ----------
        mask : bool tensor (B, S)
            True where there is a slice; padding at the end, at least one slice in each series.

        Returns
        -------
        Packing
        """
        lengths = mask.sum(dim=1)
        order = torch.argsort(lengths, descending=True, stable=True)
        step, rank = mask[order].T.nonzero(as_tuple=True)
        sizes = mask.sum(dim=0)
        sizes = sizes[sizes > 0]
        starts = sizes.cumsum(dim=0) - sizes
        turned = starts[lengths[order][rank] - 1 - step] + rank
        B, S = mask.shape
        return cls((B, S), sizes.tolist(), order[rank] * S + step, turned)

    @property
    def owners(self) -> torch.Tensor:
        """Series of each slice, int64 (N,)."""
        return self.places // self.shape[1]

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        """(B, S, D) to (N, D)."""
        return _TakeRows.apply(x.reshape(-1, x.shape[-1]), self.places)

    def unpack(self, rows: torch.Tensor) -> torch.Tensor:
        """(N, D) to (B, S, D); padding is zero."""
        B, S = self.shape
        return rows.new_zeros(B * S, rows.shape[1]).index_copy(0, self.places, rows).view(B, S, -1)

    def turn(self, rows: torch.Tensor) -> torch.Tensor:
        """(N, D) with every series read backwards; twice is as before."""
        return _TakeRows.apply(rows, self.turned)


class _TakeRows(torch.autograd.Function):
    """Some rows, none of them twice: so the gradient is copied back, not added up."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places)
        ctx.rows = len(x)
        return x.index_select(0, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (places,) = ctx.saved_tensors
        return grad.new_zeros(ctx.rows, grad.shape[1]).index_copy_(0, places, grad), None
