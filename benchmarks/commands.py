"""The processes that the extraction benchmark starts, and what they report."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

_HERE = Path(__file__).parent
_KEEP_FREED_MEMORY = {  # as ours does by itself
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}


def run(command: list[str], more_environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a command that prints JSON.

    Parameters
    ----------
    command : list of str
        Arguments of Python.
    more_environment : dict, optional
        Variables beside those of this process.

    Returns
    -------
    dict
        What it printed, ``whole_s`` (seconds from start to exit) and ``peak_mb`` (its resident
        memory at most, or that of its largest child).
    """
    environment = os.environ | (more_environment or {})
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command], stdout=output, stderr=errors, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        whole_s = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read().decode()}")
        found: dict[str, Any] = json.loads(output.read())
    kilobytes = usage.ru_maxrss if sys.platform != "darwin" else usage.ru_maxrss / 1024
    return found | {"whole_s": whole_s, "peak_mb": kilobytes / 1024}


def extract(tree: Path, folder: Path, backbone: str, options: dict[str, Any]) -> dict[str, Any]:
    """``featurecache extract`` of a folder of DICOM files, with weights ``random:0``.

    Parameters
    ----------
    tree : Path
        DICOM files. Their index is kept beside it, so that they are scanned once.
    folder : Path
        ``store.zarr`` is made in it, identifiers kept.
    backbone : str
        Of ``--backbone``.
    options : dict
        Other options without their dashes; None for a default.

    Returns
    -------
    dict
        The document of ``--json``, and as `run`.
    """
    command = ["-m", "featurecache", "extract", str(tree), "--backbone", backbone]
    command += ["--weights", "random:0", "--keep-ids", "--json", "--store", f"{folder}/store.zarr"]
    command += ["--index", f"{tree.parent}/index.sqlite"]
    for name, value in options.items():
        command += [f"--{name}", str(value)] if value is not None else []
    return run(command)


def plain(
    tree: Path, backbone: str, *, size: int, slices: int, device: str, loader: int = 0,
    tuned: bool = False, out: Path | None = None,
) -> dict[str, float]:  # fmt: skip
    """``plain_script.py`` over the first series of a folder.

    Parameters
    ----------
    tree : Path
        A folder a series.
    backbone, size, device
        As for ours.
    slices : int
        Stop after so many.
    loader : int
        Processes of a DataLoader; 0 for none.
    tuned : bool
        bfloat16 and channels_last.
    out : Path, optional
        Where the features go; deleted by default.

    Returns
    -------
    dict
        ``slices_per_s`` and ``whole_s``.
    """
    with tempfile.TemporaryDirectory(dir=tree.parent) as folder:
        command = [f"{_HERE}/plain_script.py", str(tree), str(out or f"{folder}/features")]
        command += [backbone, "--size", str(size), "--slices", str(slices), "--device", device]
        command += ["--loader", str(loader), *(["--tuned"] if tuned else [])]
        found = run(command)
    return {name: found[name] for name in ("slices_per_s", "whole_s")}


def forward(
    engine: str, backbone: str, *, size: int, batch_size: int, precision: str, compiled: bool,
    device: str, seconds: float,
) -> dict[str, float]:  # fmt: skip
    """``forward.py``: the network alone.

    Parameters
    ----------
    engine : {"torch", "openvino"}
        What runs it.
    backbone, size, batch_size, precision, compiled, device
        As for ours.
    seconds : float
        How long.

    Returns
    -------
    dict
        ``slices_per_s`` and ``warm_up_s``.
    """
    command = [f"{_HERE}/forward.py", engine, backbone, "--size", str(size), "--precision"]
    command += [precision, "--batch-size", str(batch_size), "--device", device]
    command += ["--seconds", str(seconds), *(["--compile"] if compiled else [])]
    found = run(command, _KEEP_FREED_MEMORY)
    return {name: found[name] for name in ("slices_per_s", "warm_up_s")}
