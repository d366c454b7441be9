"""Layers of a system with their output shapes and parameter counts; all systems as a document."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from seqhead.context import DilatedConvolutions, Transformer
from seqhead.head_config import HeadConfig
from seqhead.heads import make_head
from seqhead.layers import (
    Differences,
    FeatureAttention,
    MaskedBatchNorm,
    Product,
    SliceDense,
    Standardise,
)
from seqhead.pools import AttentionPool, LastPool, MaxPool, MeanPool
from seqhead.recurrent import MaskedRNN
from seqhead.systems.loading import load_system, system_names
from seqhead.systems.recipes import extract_command
from seqhead.systems.schema import System

_WHOLE = (
    Standardise, MaskedBatchNorm, FeatureAttention, Differences, SliceDense, Product,
    MaskedRNN, DilatedConvolutions, Transformer,
    AttentionPool, LastPool, MaxPool, MeanPool, nn.Linear,
)  # fmt: skip
"""Modules that are one line of a description."""

_BATCH, _SLICES = 2, 397  # more slices than a zoom branch takes


@dataclass(frozen=True, slots=True)
class Layer:
    """One line of a description.

    Parameters
    ----------
    name : str
        Where it is in the head.
    kind : str
        What it is.
    shape : tuple of str or int
        Of its output: B series, S slices, numbers.
    parameters : int
        That PyTorch trains.
    parameters_paper : int
        By the papers' count, see `keras_count`.
    """

    name: str
    kind: str
    shape: tuple[str | int, ...]
    parameters: int
    parameters_paper: int


@dataclass(frozen=True, slots=True)
class Description:
    """A system of some sizes.

    Parameters
    ----------
    system : System
        The system.
    features, labels : int
        D and K.
    layers : tuple of Layer
        In the order in which they are computed; empty where there is no head.
    parameters, parameters_paper : int or None
        Of the whole head; of an SVM on slices, its weights; None where they depend on the data.
    """

    system: System
    features: int
    labels: int
    layers: tuple[Layer, ...]
    parameters: int | None
    parameters_paper: int | None

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead describe --json``."""
        return {
            "schema_version": 1,
            **_summary(self.system),
            "parameters": self.parameters,
            "parameters_paper": self.parameters_paper,
            "D": self.features,
            "K": self.labels,
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "shape": list(layer.shape),
                    "parameters": layer.parameters,
                    "parameters_paper": layer.parameters_paper,
                }
                for layer in self.layers
            ],
            "extract": [extract_command(spec) for spec in self.system.features],
            **self.system.model_dump(
                mode="json",
                include={"amount", "features", "select", "head", "training", "label_weights", "svm",
                         "rule", "slices", "split", "metrics", "choices"},
            ),
        }  # fmt: skip


def describe(name: str, features: int | None = None, labels: int | None = None) -> Description:
    """Lay a system out.

    Parameters
    ----------
    name : str
        A system.
    features : int or None
        D, of each feature set; None: that of the system's own.
    labels : int or None
        K; None: that of the paper.

    Returns
    -------
    Description

    Raises
    ------
    FitError
        There is no such system.
    """
    system = load_system(name)
    D = features or (system.features[0].width if system.features else 0)
    K = labels or len(system.labels)
    if system.head is None:
        of_slices = system.svm is not None and system.svm.input == "slices"
        count = (D + 1) * K if of_slices else None
        return Description(system, D, K, (), count, count)
    head = make_head(sized(system.head, D, K))
    return Description(
        system, D, K, tuple(_layers(head)),
        sum(p.numel() for p in head.parameters()), keras_count(head),
    )  # fmt: skip


def sized(config: HeadConfig, features: int, labels: int) -> HeadConfig:
    """Give a head other sizes of its input and output.

    Parameters
    ----------
    config : HeadConfig
        The head.
    features, labels : int
        D, of each feature set, and K.

    Returns
    -------
    HeadConfig
    """
    zoom = config.zoom and config.zoom.model_copy(update={"features": features})
    return config.model_copy(update={"features": features, "labels": labels, "zoom": zoom})


def keras_count(module: nn.Module) -> int:
    """Count parameters as Keras, and with it the papers, count them.

    A recurrent layer has one bias vector for each gate where PyTorch has two, and the running
    mean and variance of a batch normalisation count although they are not trained.

    Parameters
    ----------
    module : nn.Module
        A head, or a part of one.

    Returns
    -------
    int
    """
    count = sum(p.numel() for p in module.parameters())
    for part in module.modules():
        if isinstance(part, nn.GRU | nn.LSTM):
            count -= sum(p.numel() for name, p in part.named_parameters() if "bias_hh" in name)
        elif isinstance(part, nn.BatchNorm1d):
            count += 2 * part.num_features
    return count


def systems_document() -> dict[str, Any]:
    """Give the document of ``seqhead systems --json``.

    Returns
    -------
    dict
    """
    return {"schema_version": 1, "systems": [_entry(name) for name in system_names()]}


def _entry(name: str) -> dict[str, Any]:
    with torch.device("meta"):  # counted, not allocated
        system = load_system(name)
        head = make_head(system.head) if system.head is not None else None
    if head is None:
        plain = describe(name)
        counts = {"parameters": plain.parameters, "parameters_paper": plain.parameters_paper}
    else:
        counts = {
            "parameters": sum(p.numel() for p in head.parameters()),
            "parameters_paper": keras_count(head),
        }
    return {**_summary(system), **counts}


def _summary(system: System) -> dict[str, Any]:
    return {
        "name": system.name,
        "aliases": list(system.aliases),
        "title": system.title,
        "paper": system.paper,
        "dataset": system.dataset,
        "level": system.level,
        "labels": list(system.labels),
        "input": system.input,
        "kind": system.kind,
        "feature_sets": [spec.name for spec in system.features],
        "reported": system.reported,
    }


def _layers(head: nn.Module) -> list[Layer]:
    """Lines in the order of computation, from one pass over series of zeros."""
    shapes: dict[str, tuple[str | int, ...]] = {}
    hooks = [module.register_forward_hook(_recorder(name, shapes)) for name, module in _lines(head)]
    config = head.config
    x = torch.zeros(_BATCH, _SLICES, config.inputs)  # type: ignore[union-attr,arg-type]
    with torch.no_grad():
        head.eval()(x, torch.ones(_BATCH, _SLICES, dtype=torch.bool))
    for hook in hooks:
        hook.remove()
    modules = dict(head.named_modules())
    return [
        Layer(
            name, _kind(modules[name]), shape,
            sum(p.numel() for p in modules[name].parameters()), keras_count(modules[name]),
        )
        for name, shape in shapes.items()
    ]  # fmt: skip


def _lines(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, _WHOLE):
            yield f"{prefix}{name}", child
        else:
            yield from _lines(child, f"{prefix}{name}.")


def _recorder(name: str, shapes: dict[str, tuple[str | int, ...]]) -> Any:
    def record(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(module, MaskedRNN):  # its layers only lend their parameters
            for layer in module.in_order:
                shapes[f"{name}.{layer}"] = ("B", "S", module.hidden)
            return
        states = output[0] if isinstance(output, tuple) else output
        shape: list[str | int] = ["B", *states.shape[1:]]
        if len(shape) == 3 and shape[1] == _SLICES:
            shape[1] = "S"
        shapes[name] = tuple(shape)

    return record


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return f"dense {module.out_features}"
    words = {
        "Standardise": "standardise",
        "MaskedBatchNorm": "batch normalisation",
        "FeatureAttention": "feature attention",
        "Differences": "differences of neighbours",
        "SliceDense": "dense on each slice",
        "Product": "product with the features",
        "GRU": "GRU, reset gate after the product",
        "ResetBeforeGRU": "GRU, reset gate before the product",
        "DilatedConvolutions": "dilated convolutions",
        "Transformer": "transformer",
        "AttentionPool": "slice attention",
        "GatedAttentionPool": "gated slice attention",
        "LastPool": "last state",
        "MaxPool": "largest over slices",
        "MeanPool": "mean over slices",
    }
    name = type(module).__name__
    return words.get(name, name)
