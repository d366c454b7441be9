"""GRU and LSTM step by step over packed rows, with a backward pass of their own.

Rows stand as `seqhead.packing` has them, so a step is a block of rows and padding costs nothing.
The inputs' part of the gates comes ready made: one product over all rows. What is left of a step
is a small product and a few passes over rows that are still in the cache. The gradient of the
recurrent weights, which torch on a CPU adds up step by step, is one product over all rows.

Products are in the type of the inputs' part (bfloat16 under autocast) and all else is in float32,
or in float64 throughout.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from featurecache.devices import native_bf16

Tensor = torch.Tensor
aten = torch.ops.aten


class GRUSteps(torch.autograd.Function):
    """A GRU whose reset gate acts after the recurrent product, as `torch.nn.GRU`'s does."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Tensor, sizes: list[int]) -> Tensor:
        """Run all steps.

        Parameters
        ----------
        given : tensor (N, 3H)
            Inputs' part of the gates r, z, n, with all biases but the recurrent one of n.
        weight : tensor (3H, H)
            Recurrent weights.
        bias : tensor (H,)
            Recurrent bias of n.
        sizes : list of int
            Rows of each step.

        Returns
        -------
        tensor (N, H)
            States.
        """
        H = weight.shape[1]
        weight_, bias_ = weight.to(given.dtype), bias.to(_wide(given))
        gates, inner, states = (_room(given, width) for width in (3 * H, H, H))
        before = given.new_empty(len(given), H)
        old, times = states.new_zeros(sizes[0], H), _product(weight_, sizes[0])
        for x, g, m, h, b in _steps(sizes, given, gates, inner, states, before):
            product = times(b.copy_(old[: len(b)]))
            rz, n = g.copy_(x).split((2 * H, H), dim=1)
            r, z = rz.add_(product[:, : 2 * H]).sigmoid_().split(H, dim=1)
            torch.add(product[:, 2 * H :], bias_, out=m)
            n.addcmul_(r, m).tanh_()
            old = torch.lerp(n, old[: len(b)], z, out=h)
        ctx.save_for_backward(gates, inner, before, weight_)
        ctx.sizes, ctx.kind = sizes, weight.dtype
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `forward`'s arguments."""
        gates, inner, before, weight = ctx.saved_tensors
        H = weight.shape[1]
        spread, of_n = before.new_empty(len(grad), 3 * H), before.new_empty(len(grad), H)
        later, times = grad[:0], _product(weight.T, ctx.sizes[0])
        for d, g, m, b, s, o in _back(ctx.sizes, grad, gates, inner, before, spread, of_n):
            r, z, n = g.split(H, dim=1)
            dh = _plus(d, later)
            later = dh * z
            dn = aten.tanh_backward(dh - later, n)
            dr = aten.sigmoid_backward(dn * m, r)
            dz = aten.sigmoid_backward((b - n).mul_(dh), z)
            o.copy_(dn)
            later += times(_joined(s, dr, dz, dn.mul_(r)))
        of_weight = torch.mm(spread.T, before)
        of_bias = spread[:, 2 * H :].sum(dim=0, dtype=grad.dtype)
        spread[:, 2 * H :] = of_n
        return spread, of_weight.to(ctx.kind), of_bias.to(ctx.kind), None


class ResetBeforeSteps(torch.autograd.Function):
    """A GRU whose reset gate acts before the recurrent product, as the papers write it."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, sizes: list[int]) -> Tensor:
        """Run all steps.

        Parameters
        ----------
        given : tensor (N, 3H)
            Inputs' part of update gate z, reset gate r and candidate n, with their biases.
        weight : tensor (3H, H)
            Recurrent weights.
        sizes : list of int
            Rows of each step.

        Returns
        -------
        tensor (N, H)
            States.
        """
        H = weight.shape[1]
        weight_ = weight.to(given.dtype)
        of_gates, of_state = (_product(part, sizes[0]) for part in weight_.split((2 * H, H)))
        gates, states = _room(given, 3 * H), _room(given, H)
        before, reset = given.new_empty(2, len(given), H)
        old = states.new_zeros(sizes[0], H)
        for x, g, h, b, k in _steps(sizes, given, gates, states, before, reset):
            old = old[: len(b)]
            zr, n = g.copy_(x).split((2 * H, H), dim=1)
            z, r = zr.add_(of_gates(b.copy_(old))).sigmoid_().split(H, dim=1)
            n.add_(of_state(k.copy_(r * old))).tanh_()
            old = torch.lerp(old, n, z, out=h)
        ctx.save_for_backward(gates, before, reset, weight_)
        ctx.sizes, ctx.kind = sizes, weight.dtype
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `forward`'s arguments."""
        gates, before, reset, weight = ctx.saved_tensors
        H = weight.shape[1]
        of_gates, of_state = (_product(w.T, ctx.sizes[0]) for w in weight.split((2 * H, H)))
        of_zr, of_n = before.new_empty(len(grad), 2 * H), before.new_empty(len(grad), H)
        later = grad[:0]
        for d, g, b, s, o in _back(ctx.sizes, grad, gates, before, of_zr, of_n):
            z, r, n = g.split(H, dim=1)
            dh = _plus(d, later)
            of_new = dh * z
            later = dh - of_new
            dk = of_state(o.copy_(aten.tanh_backward(of_new, n)))
            dr = aten.sigmoid_backward((dk * b).to(z.dtype), r)
            dz = aten.sigmoid_backward((n - b).mul_(dh), z)
            later += dk * r
            later += of_gates(_joined(s, dz, dr))
        of_weight = torch.cat([torch.mm(of_zr.T, before), torch.mm(of_n.T, reset)])
        return torch.cat([of_zr, of_n], dim=1), of_weight.to(ctx.kind), None


class LSTMSteps(torch.autograd.Function):
    """An LSTM, as `torch.nn.LSTM`."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, sizes: list[int]) -> Tensor:
        """Run all steps.

        Parameters
        ----------
        given : tensor (N, 4H)
            Inputs' part of the gates i, f, g, o, with all biases.
        weight : tensor (4H, H)
            Recurrent weights.
        sizes : list of int
            Rows of each step.

        Returns
        -------
        tensor (N, H)
            States.
        """
        H = weight.shape[1]
        weight_ = weight.to(given.dtype)
        gates, cells, states = (_room(given, width) for width in (4 * H, H, H))
        before = given.new_empty(len(given), H)
        (old, cell), times = states.new_zeros(2, sizes[0], H), _product(weight_, sizes[0])
        for x, a, c, h, b in _steps(sizes, given, gates, cells, states, before):
            a.copy_(x).add_(times(b.copy_(old[: len(b)])))
            i, f, g, o = a.split(H, dim=1)
            a[:, : 2 * H].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            cell = torch.mul(f, cell[: len(b)], out=c).addcmul_(i, g)
            old = torch.mul(o, cell.tanh(), out=h)
        ctx.save_for_backward(gates, cells, before, weight_)
        ctx.sizes, ctx.kind = sizes, weight.dtype
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `forward`'s arguments."""
        gates, cells, before, weight = ctx.saved_tensors
        H, sizes = weight.shape[1], ctx.sizes
        spread = before.new_empty(len(grad), 4 * H)
        first = cells.new_zeros(sizes[0], H)
        earlier = reversed([first, *cells.split(sizes)[:-1]])
        later, later_cell, times = grad[:0], grad[:0], _product(weight.T, sizes[0])
        each = _back(sizes, grad, gates, cells, spread)
        for (d, a, c, s), old in zip(each, earlier, strict=True):
            i, f, g, o = a.split(H, dim=1)
            dh, bent = _plus(d, later), c.tanh()
            dc = _plus(aten.tanh_backward(dh * o, bent), later_cell)
            di = aten.sigmoid_backward(dc * g, i)
            df = aten.sigmoid_backward(dc * old[: len(dc)], f)
            do = aten.sigmoid_backward(dh * bent, o)
            later_cell = dc * f
            dg = aten.tanh_backward(dc.mul_(i), g)
            later = times(_joined(s, di, df, dg, do))
        return spread, torch.mm(spread.T, before).to(ctx.kind), None


def _product(weight: Tensor, rows: int) -> Callable[[Tensor], Tensor]:
    """Multiply with a transposed matrix, again and again.

    For bfloat16 on a CPU the matrix is laid out for its tile registers once, as compiled models
    have it; a plain product does so each time, which takes a third of it.

    Parameters
    ----------
    weight : tensor (O, I)
        The matrix.
    rows : int
        Rows of the largest product.

    Returns
    -------
    callable
        (n, I) to (n, O).
    """
    if weight.dtype != torch.bfloat16 or not weight.is_cpu or not native_bf16(weight.device):
        return lambda x: torch.mm(x, weight.T)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
    linear = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: linear(x, laid_out, None, "none", [], "")


def _wide(given: Tensor) -> torch.dtype:
    return torch.promote_types(given.dtype, torch.float32)


def _room(given: Tensor, width: int) -> Tensor:
    """Uninitialised rows for what is not a product."""
    return given.new_empty(len(given), width, dtype=_wide(given))


def _steps(sizes: list[int], *parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Each step's rows of some tensors, which `_back` gives from the last step to the first."""
    return zip(*(part.split(sizes) for part in parts), strict=True)


def _back(sizes: list[int], *parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(reversed(part.split(sizes)) for part in parts), strict=True)


def _plus(grad: Tensor, later: Tensor) -> Tensor:
    """A step's gradient with what comes from the step after it, which has fewer rows."""
    total = grad.clone()
    total[: len(later)] += later
    return total


def _joined(into: Tensor, *parts: Tensor) -> Tensor:
    """Columns side by side, in the type of products."""
    for target, part in zip(into.split(parts[0].shape[1], dim=1), parts, strict=True):
        target.copy_(part)
    return into
