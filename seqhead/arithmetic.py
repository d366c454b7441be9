"""How torch computes while a head is fitted or used; as it was before, afterwards."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

from featurecache.devices import keep_freed_memory, native_bf16
from seqhead.head_config import HeadConfig

_LARGE = 1 << 20  # elements, which torch spreads over its threads

_in_bf16: ContextVar[bool] = ContextVar("_in_bf16", default=False)


def start_up() -> None:
    """Prepare a process that fits heads; to be called before torch computes anything.

    torch's threads flush denormals if the thread that starts them does, and it starts them at the
    first large operation; so that is done here. Freed memory is kept for the next batch.
    """
    with flushed_denormals():
        torch.zeros(_LARGE).add_(1)
    keep_freed_memory()


def resolve_precision(name: str, device: torch.device, head: HeadConfig) -> str:
    """What products over slices are computed in while a head is trained.

    Parameters
    ----------
    name : str
        ``"auto"``, ``"fp32"`` or ``"bf16"``.
    device : torch.device
        Where.
    head : HeadConfig
        What is trained.

    Returns
    -------
    str
        ``"fp32"`` or ``"bf16"``; ``"auto"`` is bf16 where the head has such products and the
        hardware multiplies it: CUDA from compute capability 8.0, CPUs with AMX or AVX512-BF16.
    """
    if name != "auto":
        return name
    return "bf16" if head.multiplies_slices and native_bf16(device) else "fp32"


@contextlib.contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Compute what `over_slices` surrounds in a precision.

    Parameters
    ----------
    precision : str
        ``"fp32"`` or ``"bf16"``.
    """
    before = _in_bf16.set(precision == "bf16")
    try:
        yield
    finally:
        _in_bf16.reset(before)


def over_slices(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Surround the layers of a head that see every slice; the few after pooling stay in float32.

    Parameters
    ----------
    x : tensor
        Of the device in question.

    Returns
    -------
    context manager
        Autocast to bfloat16 inside `products_in`, else nothing.
    """
    if not _in_bf16.get():
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, dtype=torch.bfloat16)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 products on CUDA in float32, not in TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take the tiniest numbers as zero: fading gradients cost 3 to 9 times the time otherwise."""
    before = bool((torch.tensor([1e-40]) * 1.0).item() == 0)  # torch cannot be asked
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
