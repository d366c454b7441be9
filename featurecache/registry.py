"""Networks of one's own: names that users give to functions which build them."""

import re
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import NamedTuple

from torch import nn

from featurecache.errors import UsageError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of three channels with values in [0, 1], as most weights were trained with."""

_PLUGINS = "featurecache.backbones"  # entry points: modules that register on import
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Registered(NamedTuple):
    """A network that can be built, and its normalisation."""

    factory: Callable[[], nn.Module]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


registered: dict[str, Registered] = {}
"""Name -> network."""


def register_backbone(
    name: str, factory: Callable[[], nn.Module], *,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> None:  # fmt: skip
    """Make a network of one's own available as ``--backbone NAME``.

    Parameters
    ----------
    name : str
        Letters, digits, ``.``, ``_`` and ``-``; no model of torchvision. A name that was
        registered before is replaced.
    factory : callable
        Takes nothing and builds the network: images (N, 3, H, W) in, maps (N, D, H, W), tokens
        (N, T, D) or features (N, D) out. Random weights come from the seed of
        ``--weights random:SEED``, others from ``--weights FILE``. It must be importable by name
        where several devices compute, since their processes import its module.
    mean, std : tuple of float
        Normalisation of the three channels, for values in [0, 1]; that of ImageNet by default.

    Raises
    ------
    UsageError
        The name cannot be used.
    """
    import torchvision.models as zoo

    if not _SAFE_NAME.fullmatch(name) or name in zoo.list_models(module=zoo):
        raise UsageError(
            f"a backbone cannot be called {name!r}: take letters, digits, '.', '_' and '-', and no "
            "name of a torchvision model"
        )
    registered[name] = Registered(factory, mean, std)


def is_registered(name: str) -> bool:
    """Whether a name is registered, by this process or by a package that is installed.

    Parameters
    ----------
    name : str
        As on the command line.

    Returns
    -------
    bool
    """
    if name not in registered:
        for plugin in entry_points(group=_PLUGINS, name=name):
            plugin.load()
    return name in registered


def registering_modules(names: Iterable[str]) -> list[str]:
    """Modules that another process must import before it has these backbones.

    Parameters
    ----------
    names : iterable of str
        Backbones.

    Returns
    -------
    list of str
        Sorted; empty where all are of torchvision or timm.

    Raises
    ------
    UsageError
        One was registered in a script, which cannot be imported.
    """
    modules = {name: registered[name].factory.__module__ for name in names if name in registered}
    for name, module in modules.items():
        if module == "__main__":
            raise UsageError(
                f"backbone {name!r} is registered in a script or notebook, where other processes "
                "cannot find it: put its factory and register_backbone into a module of their own"
            )
    return sorted(set(modules.values()))
