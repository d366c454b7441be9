"""Where a backbone's weights come from: ImageNet, a file, or a seed. Never a silent fallback."""

import hashlib
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor

from featurecache.errors import MissingResourceError, UsageError

_log = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT_S = 10.0
"""A download that stands still for this long has failed, so that no network fails fast."""


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """What ``--weights`` asked for.

    Parameters
    ----------
    kind : {"imagenet", "random", "file"}
        Which of the three.
    tag : str
        Name of the published weights (may be empty), the seed, or the path.
    """

    kind: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> "WeightsSource":
        """Read ``imagenet``, ``imagenet:NAME``, ``random:SEED`` or a file's path.

        Parameters
        ----------
        text : str
            The value of ``--weights``.

        Returns
        -------
        WeightsSource

        Raises
        ------
        UsageError
            The seed is no number.
        MissingResourceError
            The file does not exist.
        """
        kind, _, tag = text.partition(":")
        if kind == "imagenet":
            return cls("imagenet", tag)
        if kind == "random":
            if not (tag.isascii() and tag.isdecimal() and int(tag) < 2**63):
                raise UsageError(f"--weights {text}: expected random:SEED, e.g. random:0")
            return cls("random", tag)
        if not Path(text).is_file():
            raise MissingResourceError(
                f"--weights {text}: there is no such file. Expected imagenet, imagenet:NAME, "
                "random:SEED, or a .safetensors or .pth file"
            )
        return cls("file", text)

    @property
    def label(self) -> str:
        """What a store records: a file's name without its folder."""
        if self.kind == "file":
            return Path(self.tag).name
        return f"{self.kind}:{self.tag}" if self.tag else self.kind


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file; nothing in it is executed.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or a ``.pth``/``.pt`` file with tensors only.

    Returns
    -------
    dict of Tensor
        Of the checkpoint's ``state_dict`` or ``model`` entry where it has one.

    Raises
    ------
    UsageError
        The file cannot be read, or has other content than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own ways to be broken
        raise UsageError(
            f"--weights {path}: not a file of tensors ({type(error).__name__}). Expected a state "
            "dict as .safetensors, or as .pth that torch.load(weights_only=True) accepts. "
            "Nothing in the file was executed"
        ) from error
    for entry in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(entry), dict):
            content = content[entry]
    if not isinstance(content, dict) or not content:
        raise UsageError(f"--weights {path}: expected a state dict, got {type(content).__name__}")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UsageError(f"--weights {path}: expected a state dict, but it holds no tensor")
    return tensors


def fit_state_dict(
    have: Mapping[str, Tensor], used: Mapping[str, Tensor], known: set[str], source: str
) -> dict[str, Tensor]:
    """Match a file's tensors with those that the backbone uses.

    Parameters
    ----------
    have : mapping of str to Tensor
        Content of the file. A common prefix (``module.``, ``backbone.``, ...) is stripped, a
        missing one (``features.``) is added.
    used : mapping of str to Tensor
        State dict of the part of the backbone that is run.
    known : set of str
        Names in the whole model: more of them than are used may be in the file.
    source : str
        Name of the file, for messages.

    Returns
    -------
    dict of Tensor
        A state dict for the part that is run.

    Raises
    ------
    UsageError
        Tensors are missing or have another shape; the message names them.
    """
    wanted = {name for name in used if not name.endswith("num_batches_tracked")}
    renamed = _rename(have, wanted)
    missing, unexpected = sorted(wanted - set(renamed)), sorted(set(renamed) - known)
    if missing:
        raise UsageError(
            f"--weights {source} does not fit: {_some(missing)} missing"
            + (f", {_some(unexpected)} not in this backbone" if unexpected else "")
        )
    wrong = [
        f"{name} is {tuple(renamed[name].shape)}, not {tuple(used[name].shape)}"
        for name in sorted(wanted)
        if renamed[name].shape != used[name].shape
    ]
    if wrong:
        raise UsageError(f"--weights {source} does not fit: {_some(wrong)}")
    if unexpected:
        _log.warning("%s: %s not in this backbone, and ignored", source, _some(unexpected))
    return {name: renamed.get(name, value) for name, value in used.items()}


def weights_digest(used: Mapping[str, Tensor], source: str) -> str:
    """SHA-256 over names, types, shapes and values of the tensors that are run.

    Parameters
    ----------
    used : mapping of str to Tensor
        State dict of the part of the backbone that is run.
    source : str
        Where it came from, for messages.

    Returns
    -------
    str
        64 hexadecimal digits; the same for the same weights from another kind of file.

    Raises
    ------
    UsageError
        A tensor has values that are not finite.
    """
    digest = hashlib.sha256()
    for name in sorted(used):
        if name.endswith("num_batches_tracked"):
            continue
        tensor = used[name].detach().cpu().contiguous()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"--weights {source}: {name} has values that are not finite")
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def bounded_download(backbone: str, cached_as: str) -> Iterator[None]:
    """Turn any failure of a download into an error that says what to do.

    Parameters
    ----------
    backbone : str
        Whose weights.
    cached_as : str
        What is downloaded, and where it is looked for first.

    Raises
    ------
    MissingResourceError
        The download failed.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        yield
    except Exception as error:
        what = str(error).splitlines()[0] if str(error) else ""
        raise MissingResourceError(
            f"the ImageNet weights of {backbone} are not here and could not be downloaded.\n"
            f"  tried: {cached_as}\n"
            f"  failed: {type(error).__name__}: {what}\n"
            "Three ways out:\n"
            "  1. put the downloaded file where it was looked for (from a machine with network)\n"
            "  2. --weights FILE        a .safetensors or .pth state dict of this backbone\n"
            "  3. --weights random:0    untrained weights: a check of the plumbing, "
            "not of the method"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def hub_without_waiting() -> Iterator[None]:
    """Let the HF hub use its cache only where it cannot be reached; it would retry for minutes."""
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname or ""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not (getproxies() or _reachable(host))
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=DOWNLOAD_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _rename(have: Mapping[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """`have` with the one prefix stripped or added under which most wanted names appear."""
    probe = min(wanted)
    strip = {name[: -len(probe)] for name in have if name.endswith(probe)}
    add = {probe[: -len(name)] for name in have if probe.endswith(name)}
    candidates = [
        *(
            {k.removeprefix(p): v for k, v in have.items() if k.startswith(p)}
            for p in sorted(strip)
        ),
        *({p + k: v for k, v in have.items()} for p in sorted(add)),
        dict(have),
    ]
    return max(candidates, key=lambda renamed: len(wanted & set(renamed)))


def _some(items: list[str]) -> str:
    more = f" and {len(items) - 5} more" if len(items) > 5 else ""
    return ", ".join(items[:5]) + more
