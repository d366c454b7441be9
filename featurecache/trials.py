"""How a new feature set is best computed: precision, batch size, compilation, tried on the device.

What comes out is stored in the plan and followed by every later run. Measured times are not: they
go into the report of the run that measured them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from featurecache.backbones import Backbone
from featurecache.cuda import memory_is_short
from featurecache.devices import native_bf16
from featurecache.embed import Embedder, can_compile, precision_errors
from featurecache.options import FeatureOptions
from featurecache.plan import Plan, Planned
from featurecache.proof import prove, unproven

if TYPE_CHECKING:
    from featurecache.pixels import Decoded

_log = logging.getLogger(__name__)

FIRST_BATCH = {"cpu": 16, "mps": 128, "cuda": 32}
"""Slices of a batch by kind of device; on CUDA larger ones are tried."""

_LARGEST_BATCH, _WORTH_GROWING = 512, 1.05
_COMPILE_FROM_SLICES, _COMPILE_FROM_S = 2_000, 60.0


@dataclass(frozen=True, slots=True)
class Compilation:
    """Whether a network is compiled, and what was measured to decide it.

    Parameters
    ----------
    used : bool
        The decision.
    note : str
        Why.
    eager_slices_per_s, compiled_slices_per_s, seconds : float or None
        Speeds of the bare network and the time that compiling took; None where not measured.
    """

    used: bool
    note: str
    eager_slices_per_s: float | None = None
    compiled_slices_per_s: float | None = None
    seconds: float | None = None


Sample = Callable[[int], "Sequence[Decoded]"]
"""At most so many decoded slices of the archive."""


def make_plan(
    options: FeatureOptions, backbone: Backbone, device: torch.device, sample: Sample, *,
    n_slices: int, threads: int,
) -> tuple[Planned, Compilation]:  # fmt: skip
    """Decide how a new feature set is computed.

    Parameters
    ----------
    options : FeatureOptions
        What was asked for.
    backbone : Backbone
        Its network.
    device : torch.device
        Where it will run.
    sample : callable
        At most so many decoded slices of the archive; called where something is to be compared.
    n_slices : int
        Slices that one process will have to compute.
    threads : int
        Threads of torch on the CPU.

    Returns
    -------
    Planned
        Options and network with the plan.
    Compilation
        What was measured for it.
    """
    batch_size = options.batch_size or FIRST_BATCH[device.type]
    plain = Plan(device.type, batch_size, threads, False, options.strict, unproven("fp32"))
    planned = Planned(options, backbone, plain)
    planned = _with(planned, precision=_prove(planned, device, sample))
    if device.type == "cuda" and options.batch_size is None:
        planned = _with(planned, batch_size=grow_batch(_speed(planned.embedder(device))))
    compilation = choose_compilation(planned, device, sample, n_slices)
    return _with(planned, compiled=compilation.used, compile=compilation.note), compilation


def _with(planned: Planned, **changes: Any) -> Planned:
    return replace(planned, plan=replace(planned.plan, **changes))


def _first_batch(embedder: Embedder, sample: Sample) -> "list[Decoded]":
    slices = sample(embedder.batch_size)
    return [decoded for decoded in slices if embedder.refusal(decoded) is None]


def _prove(planned: Planned, device: torch.device, sample: Sample) -> dict[str, Any]:
    """Compare the first batch with float32 and decide."""
    options = planned.options
    fast = options.precision
    if fast == "auto":
        fast = "bf16" if native_bf16(device) else "fp32"
    if fast == "fp32":
        return unproven("fp32")
    slices = _first_batch(planned.embedder(device), sample)
    limit = options.max_relative_error if options.precision == "auto" else None

    def embed(precision: str) -> np.ndarray:
        return _with(planned, precision={"used": precision}).embedder(device)(slices)

    return prove(embed, fast, limit)


def grow_batch(speed: Callable[[int], float]) -> int:
    """The batch from which larger ones are hardly faster, or do not fit.

    Parameters
    ----------
    speed : callable
        Size of a batch -> slices per second; raises torch.OutOfMemoryError where memory is short.

    Returns
    -------
    int
        A power of two from 32 to 512.
    """
    best, fastest = FIRST_BATCH["cuda"], 0.0
    size = best
    while size <= _LARGEST_BATCH:
        try:
            now = speed(size)
        except torch.OutOfMemoryError:
            break
        if now < fastest * _WORTH_GROWING:
            break
        best, fastest, size = size, now, 2 * size
    return best


def _speed(embedder: Embedder) -> Callable[[int], float]:
    def speed(batch_size: int) -> float:
        slices_per_s = embedder.bare_slices_per_s(batch_size=batch_size, halve=False)
        if memory_is_short(embedder.device):
            raise torch.OutOfMemoryError("little is left for anything else")
        return slices_per_s

    return speed


def choose_compilation(
    planned: Planned, device: torch.device, sample: Sample, n_slices: int
) -> Compilation:
    """Decide whether the network is compiled.

    Parameters
    ----------
    planned : Planned
        As it would run uncompiled.
    device : torch.device
        Where it will run.
    sample : callable
        As in `make_plan`; what the compiled network gives is compared.
    n_slices : int
        Slices that one process will have to compute.

    Returns
    -------
    Compilation
        With ``auto``, compiled if it saves more time over these slices than it takes.
    """
    asked = planned.options.compile
    if asked == "off":
        return Compilation(False, "not asked for")
    if not can_compile(device):
        if asked == "on":
            _log.warning("--compile on: no compiler was found, so the network runs uncompiled")
        return Compilation(False, "no compiler")
    if asked == "auto" and n_slices < _COMPILE_FROM_SLICES:
        return Compilation(False, "too few slices to be worth it")
    eager = planned.embedder(device)
    eager_speed = eager.bare_slices_per_s()
    if asked == "auto" and n_slices / eager_speed < _COMPILE_FROM_S:
        return Compilation(False, "too quick to be worth it", eager_speed)
    return _try_compiled(planned, eager, eager_speed, sample, n_slices)


def _try_compiled(
    planned: Planned, eager: Embedder, eager_speed: float, sample: Sample, n_slices: int
) -> Compilation:
    compiled = _with(planned, compiled=True).embedder(eager.device)
    try:
        seconds = compiled.warm_up()
    except RuntimeError as error:  # what dynamo and inductor raise
        _log.warning("the network cannot be compiled and runs uncompiled: %s",
                     str(error).strip().splitlines()[0])  # fmt: skip
        return Compilation(False, "cannot be compiled", eager_speed)
    speed = compiled.bare_slices_per_s()
    measured = {
        "eager_slices_per_s": eager_speed, "compiled_slices_per_s": speed, "seconds": seconds,
    }  # fmt: skip
    slices = _first_batch(eager, sample)
    off = precision_errors(compiled(slices), eager(slices))[0] if slices else 0.0
    if not off <= planned.options.max_relative_error:
        _log.warning("the compiled network's features were %.1f %% off, so it runs uncompiled",
                     100 * off)  # fmt: skip
        return Compilation(False, "compiled features were off", **measured)
    if planned.options.compile == "on":
        return Compilation(True, "asked for", **measured)
    saved_s = n_slices / eager_speed - n_slices / speed
    if saved_s > seconds:
        return Compilation(True, "measured: saves more time than it takes", **measured)
    return Compilation(False, "measured: takes more time than it saves", **measured)
