"""Which device runs the backbone, and what it computes in natively."""

import torch

from featurecache.errors import MissingResourceError, UsageError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of ``--precision`` and the types that weights and activations then have."""


def resolve_device(text: str) -> torch.device:
    """The device for ``--device``.

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
    try:
        device = torch.device(text)
    except RuntimeError:
        raise UsageError(f"--device {text}: expected auto, cpu, cuda, cuda:N or mps") from None
    there = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in there:
        raise UsageError(f"--device {text}: expected auto, cpu, cuda, cuda:N or mps")
    if not there[device.type]:
        raise MissingResourceError(
            f"--device {text} is not there: `featurecache doctor` lists what torch sees"
        )
    return device


def native_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware (CUDA from 8.0, AVX512-BF16, AMX)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        probes = (getattr(torch.cpu, name, None) for name in names)
        return any(probe is not None and probe() for probe in probes)
    return False
