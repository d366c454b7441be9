"""Stage 2: cached features and labels to fitted heads, honest numbers and predictions.

Attributes load on first use, so that ``import seqhead`` costs nothing.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "SequenceClassifier": "seqhead.classifier",
    "PooledSVC": "seqhead.svm",
    "SeqHeadError": "seqhead.errors",
    "Predictor": "seqhead.predictor",
    "Run": "seqhead.run",
}
_MODULES = ("scorers",)

__all__ = ["PooledSVC", "Predictor", "Run", "SeqHeadError", "SequenceClassifier", "scorers"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"seqhead.{name}")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'seqhead' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
