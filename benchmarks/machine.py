"""What a benchmark ran on: processor, instruction sets, threads, versions, other load."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

NOT_INSTALLED = "not installed"
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "bf16")


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """The machine, as JSON values.

    Parameters
    ----------
    packages : iterable of str
        Distributions whose versions matter.

    Returns
    -------
    dict
        ``processor``, ``flags`` (those that decide what the arithmetic costs), ``cores`` (that
        this process may use), ``memory_gib``, ``system``, ``load`` (1-minute average at the
        start), ``versions``.
    """
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in _FLAGS if flag in _cpuinfo("flags").split()],
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in packages},
    }


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def show(machine: dict[str, Any]) -> None:
    """Print what `describe` found."""
    flags = " ".join(machine["flags"]) or "none of those that matter"
    print(f"{machine['processor']}, {machine['system']}: {machine['cores']} cores ({flags}), "
          f"{machine['memory_gib']} GiB, load {machine['load']} at the start")  # fmt: skip
    print(", ".join(f"{package} {number}" for package, number in machine["versions"].items()))
    print(flush=True)


def installed(package: str) -> bool:
    """Whether a distribution is there."""
    return _version(package) != NOT_INSTALLED


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # not Linux
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
