"""How torch computes while a head is fitted or used; as it was before, afterwards."""

import contextlib
from collections.abc import Iterator

import torch


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
