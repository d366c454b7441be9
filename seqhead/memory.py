"""How much memory the features of a fit may take."""

import os
from pathlib import Path

_SHARE = 0.5  # of what is available: batches, weights and gradients need some too


def budget_bytes(memory_gb: float | None = None) -> int:
    """Memory that features may take before they are read from the store batch by batch.

    Parameters
    ----------
    memory_gb : float or None
        What the user allows, in 10^9 bytes; None: half of what is available now.

    Returns
    -------
    int
        In bytes.
    """
    return int(memory_gb * 1e9) if memory_gb is not None else int(_SHARE * available_bytes())


def available_bytes() -> int:
    """Memory that this process can still get: the machine's, or its control group's if less."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in lines)
    free = int(fields["MemAvailable"].split()[0]) * 1024
    return max(0, min([free, *_of_groups()]))


def _of_groups() -> list[int]:
    """What is left in each control group (version 2) that this process is in and that has a limit.

    The page cache counts as used there, and goes when memory is wanted; what processes share does
    not, though it counts as page cache.
    """
    root, found = Path("/sys/fs/cgroup"), []
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("0::/")[2].strip()
    except OSError:
        return []
    for group in (root / own, *(root / own).parents):
        if not group.is_relative_to(root):
            break
        try:
            limit = (group / "memory.max").read_text(encoding="ascii").strip()
            used = int((group / "memory.current").read_text(encoding="ascii"))
            words = (group / "memory.stat").read_text(encoding="ascii").split()
        except OSError:  # the root has no such files, nor have groups that limit nothing
            continue
        if limit != "max":
            stat = dict(zip(words[::2], map(int, words[1::2]), strict=True))
            found.append(int(limit) - used + stat["file"] - stat.get("shmem", 0))
    return found
