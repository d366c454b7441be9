"""Stage 1: DICOM to cached features of frozen CNNs. Never imports seqhead.

Attributes load on first use, so that ``import featurecache`` costs nothing.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "FeatureStore": "featurecache.store",
    "FeatureOptions": "featurecache.options",
    "RunOptions": "featurecache.options",
    "Identifiers": "featurecache.identifiers",
    "Index": "featurecache.index",
    "FeatureCacheError": "featurecache.errors",
}

__all__ = [
    "FeatureCacheError",
    "FeatureOptions",
    "FeatureStore",
    "Identifiers",
    "Index",
    "RunOptions",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("featurecache")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'featurecache' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
