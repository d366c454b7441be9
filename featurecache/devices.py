"""Which device runs the backbone, and what it computes in natively."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from featurecache.errors import MissingResourceError, UsageError

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _NEVER = -1, -4, 2**31 - 1  # malloc.h

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of ``--precision`` and the types that weights and activations then have."""


def resolve_devices(text: str) -> list[torch.device]:
    """The devices for ``--device``; each gets a process of its own where there are several.

    Parameters
    ----------
    text : str
        ``auto`` (all of CUDA, else MPS, else the CPU), ``cpu``, ``cuda`` (all), ``cuda:N``,
        ``mps``, or several separated by commas.

    Returns
    -------
    list of torch.device
        At least one, all of one kind.

    Raises
    ------
    UsageError
        The text names no device, or devices of different kinds.
    MissingResourceError
        A device is not there.
    """
    n_cuda = torch.cuda.device_count()
    if text == "auto" and n_cuda:
        text = "cuda"
    if text == "cuda" and n_cuda > 1:
        text = ",".join(f"cuda:{number}" for number in range(n_cuda))
    devices = [resolve_device(one.strip()) for one in text.split(",")]
    if len({device.type for device in devices}) > 1:
        raise UsageError(
            f"--device {text}: features of different kinds of devices differ in their last bits; "
            "name devices of one kind"
        )
    return devices


def resolve_device(text: str) -> torch.device:
    """One device.

    Parameters
    ----------
    text : str
        ``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns
    -------
    torch.device

    Raises
    ------
    UsageError
        The text names no device.
    MissingResourceError
        The device is not there.
    """
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
        if text == "cpu" and torch.backends.mps.is_available():
            text = "mps"
    expected = "expected auto, cpu, cuda, cuda:N, mps, or several of a kind separated by commas"
    try:
        device = torch.device(text)
    except RuntimeError:
        raise UsageError(f"--device {text}: {expected}") from None
    there = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in there:
        raise UsageError(f"--device {text}: {expected}")
    if not there[device.type]:
        raise MissingResourceError(
            f"--device {text} is not there: `featurecache doctor` lists what torch sees"
        )
    return device


@contextmanager
def threads_kept() -> Iterator[int]:
    """Give torch back its number of CPU threads afterwards; yields that number.

    A feature set is computed with the threads of its plan, which is nobody else's business.
    """
    before = torch.get_num_threads()
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def native_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware.

    Parameters
    ----------
    device : torch.device
        From `resolve_device`.

    Returns
    -------
    bool
        True for CUDA from compute capability 8.0, and for CPUs with AVX512-BF16 or AMX.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        probes = (getattr(torch.cpu, name, None) for name in names)
        return any(probe is not None and probe() for probe in probes)
    return False


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next batch instead of giving it back.

    Every batch allocates the same large tensors; mapping them anew each time cost a quarter of
    the processor time of an extraction on CPU. Does nothing on other C libraries.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
