"""The published systems on cached features, a TOML file each: what they read, are and reported.

::

    files/         one file for each system; `extends` takes the rest from another one
    schema.py      what such a file may say
    loading.py     a name -> a system; a system with some settings changed
    recipes.py     the features that it wants, and whether a feature set is of that recipe
    describe.py    its layers, their shapes and parameter counts
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "System": "schema",
    "load_system": "loading",
    "system_names": "loading",
    "Extraction": "recipes",
    "extraction": "recipes",
}

__all__ = ["Extraction", "System", "extraction", "load_system", "system_names"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"seqhead.systems.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'seqhead.systems' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
