"""`featurecache doctor`: what this machine has, and the line that installs what it lacks.

Every section stands alone: one that fails becomes a problem in the report, the others remain.
"""

import importlib
import importlib.util
import os
import platform
import shutil
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from featurecache.location import Location

REQUIRED = ("torch", "torchvision", "timm", "zarr", "pydicom", "sklearn", "safetensors")
_COMPILERS = ("c++", "g++", "clang++")
_LOW_SPACE_BYTES = 5 * 10**9
_NATIVE = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)

Problem = dict[str, str]


def examine(store: Location = Path("cache.zarr")) -> dict[str, Any]:
    """Look at everything that the commands depend on.

    Parameters
    ----------
    store : Path or str
        Where features would go; the free space there is reported.

    Returns
    -------
    dict
        The document of ``doctor --json``: ``schema_version``, ``system``, ``packages``,
        ``devices``, ``decoders``, ``weights``, ``space``, ``compiler`` and ``problems``, each
        problem with ``what`` and ``fix``. A section that failed is empty.
    """
    problems: list[Problem] = []
    document: dict[str, Any] = {"schema_version": 1}
    sections: dict[str, Callable[[list[Problem]], Any]] = {
        "system": _system,
        "packages": _packages,
        "devices": _devices,
        "decoders": _decoders,
        "weights": _weights,
        "space": lambda found: _space(store, found),
        "compiler": _compiler,
    }
    for name, section in sections.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                document[name] = section(problems)
        except Exception as error:  # the report must come whatever is broken
            document[name] = []
            what = f"{name} could not be examined: {type(error).__name__}: {error}"
            problems.append({"what": what, "fix": "make setup"})
    document["problems"] = problems
    return document


def is_broken(document: dict[str, Any]) -> bool:
    """Whether a package without which no command works cannot be imported.

    Parameters
    ----------
    document : dict
        From `examine`.

    Returns
    -------
    bool
    """
    return any(package["error"] for package in document["packages"])


def _system(problems: list[Problem]) -> dict[str, Any]:
    module = importlib.util.find_spec("dl")
    if module is not None:
        place = module.origin or ", ".join(module.submodule_search_locations or [])
        problems.append(
            {
                "what": f"{place} hides a name that python-gdcm imports: `import pydicom` may fail",
                "fix": "rename the file or folder called dl, or take its folder off PYTHONPATH",
            }
        )
    return {
        "featurecache": _version("featurecache"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _packages(problems: list[Problem]) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = []
    for name in REQUIRED:
        distribution = {"sklearn": "scikit-learn"}.get(name, name)
        error = _import_error(name)
        found.append({"name": distribution, "version": _version(distribution), "error": error})
        if error is not None:
            fix = f"pip install {distribution}"
            if name == "torchvision":
                fix = "pip install --force-reinstall torch torchvision"
            problems.append({"what": f"import {name} fails: {error}", "fix": fix})
    return found


def _import_error(name: str) -> str | None:
    try:
        importlib.import_module(name)
    except Exception as error:  # a broken binary raises anything
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _devices(problems: list[Problem]) -> list[dict[str, Any]]:
    import torch

    from featurecache.devices import native_bf16

    cpu = torch.device("cpu")
    devices = [
        {
            "device": "cpu",
            "name": _cpu_name(),
            "precisions": ["fp32", "bf16"] if native_bf16(cpu) else ["fp32"],
            "instructions": list(_instructions()),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        }
    ]
    for number in range(torch.cuda.device_count()):
        device, about = torch.device("cuda", number), torch.cuda.get_device_properties(number)
        precisions = ["fp32", "fp16", "bf16"] if native_bf16(device) else ["fp32", "fp16"]
        devices.append(
            {
                "device": str(device),
                "name": about.name,
                "precisions": precisions,
                "instructions": [f"compute capability {about.major}.{about.minor}"],
                "memory_bytes": about.total_memory,
            }
        )
    if torch.backends.mps.is_available():
        mps = {"device": "mps", "name": "Apple GPU", "precisions": ["fp32", "fp16"]}
        devices.append({**mps, "instructions": [], "memory_bytes": None})
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        cuda = torch.version.cuda or "no CUDA"
        what = f"there is an NVIDIA driver, but torch (built for {cuda}) sees no GPU"
        fix = "nvidia-smi shows the driver's CUDA version; install a torch built for it or older"
        problems.append({"what": what, "fix": fix})
    return devices


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _instructions() -> Iterator[str]:
    import torch

    for probe, name in (
        ("_is_avx2_supported", "AVX2"),
        ("_is_avx512_supported", "AVX512"),
        ("_is_avx512_bf16_supported", "AVX512-BF16"),
        ("_is_amx_tile_supported", "AMX"),
    ):
        function = getattr(torch.cpu, probe, None)
        if function is not None and function():
            yield name


def _decoders(problems: list[Problem]) -> list[dict[str, Any]]:
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    from featurecache.decoders import PLUGIN_ORDER

    found: list[dict[str, Any]] = [
        {"transfer_syntax": uid, "name": UID(uid).name, "plugins": ["built in"]} for uid in _NATIVE
    ]
    lacking: dict[str, list[str]] = {}
    for uid, (order, install) in PLUGIN_ORDER.items():
        available = get_decoder(uid).available_plugins
        plugins = [plugin for plugin in order if plugin in available]
        found.append({"transfer_syntax": uid, "name": UID(uid).name, "plugins": plugins})
        if not plugins:
            lacking.setdefault(install, []).append(uid)
    for install, uids in lacking.items():
        problems.append({"what": f"no decoder for {', '.join(uids)}", "fix": install})
    return found


def _weights(_: list[Problem]) -> list[dict[str, Any]]:
    import torch

    hub = Path(torch.hub.get_dir()) / "checkpoints"
    files = sorted(hub.glob("*.pth")) + sorted(hub.glob("*.safetensors"))
    found = [
        {"name": path.name, "bytes": path.stat().st_size, "where": "torch hub"} for path in files
    ]
    from huggingface_hub import constants

    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        size = sum(file.stat().st_size for file in folder.glob("blobs/*") if file.is_file())
        name = folder.name.removeprefix("models--").replace("--", "/")
        found.append({"name": name, "bytes": size, "where": "Hugging Face hub"})
    return found


def _space(store: Location, problems: list[Problem]) -> list[dict[str, Any]]:
    if isinstance(store, str):  # a bucket does not say
        return []
    folder = store.absolute().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < _LOW_SPACE_BYTES:
        what = f"only {human_bytes(free)} free where the store would be ({folder})"
        problems.append({"what": what, "fix": "free some, or name another place with --store"})
    return [{"path": str(folder), "free_bytes": free}]


def _compiler(problems: list[Problem]) -> list[str]:
    found = [path for name in _COMPILERS if (path := shutil.which(name))]
    if not found:
        what = "no C++ compiler: --compile on is not possible on the CPU, auto stays without"
        problems.append({"what": what, "fix": "apt-get install g++   (or your system's way)"})
    return found


def human_bytes(count: int) -> str:
    """Spell a number of bytes.

    Parameters
    ----------
    count : int
        Bytes.

    Returns
    -------
    str
        E.g. ``"528 MB"``, in powers of 1,000.
    """
    size, units = float(count), ["bytes", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return (
        f"{size:.0f} {units[0]}" if size >= 10 or units[0] == "bytes" else f"{size:.1f} {units[0]}"
    )
