"""Systems as lines of text."""

import json
from collections.abc import Mapping
from typing import Any

from seqhead.systems.describe import Description
from seqhead.systems.recipes import extract_command
from seqhead.systems.schema import System
from seqhead.text import table

_METRICS = ("f1", "auc", "accuracy", "precision", "recall")


def systems_text(document: Mapping[str, Any]) -> list[str]:
    """What ``seqhead systems`` prints.

    Parameters
    ----------
    document : mapping
        From `seqhead.systems.describe.systems_document`.

    Returns
    -------
    list of str
    """
    header = ["system", "paper", "level", "parameters", "paper's count", "reported", "on"]
    rows = [
        [_named(one), one["paper"], one["level"], _count(one["parameters"]),
         _count(one["parameters_paper"]), _reported(one["reported"]), one["dataset"]]
        for one in document["systems"]
    ]  # fmt: skip
    return [
        *table(header, rows),
        "",
        "paper's count: one bias vector for each recurrent gate, running statistics of batch "
        "normalisations included",
        "`seqhead describe NAME` has the layers, the features to extract and what was chosen where "
        "a paper is silent",
    ]


def description_text(description: Description) -> list[str]:
    """What ``seqhead describe`` prints.

    Parameters
    ----------
    description : Description
        The system, laid out.

    Returns
    -------
    list of str
    """
    system = description.system
    lines = [
        f"{system.name}: {system.title}",
        f"paper {system.paper}, on {system.dataset} ({system.amount}); level {system.level}, "
        f"{system.input}",
        "",
        *_layer_table(description),
        *_features(system),
        *_settings(system),
        "",
        f"split in the paper: {system.split.paper}",
        f"reported: {_everything(system.reported)}",
        "",
        "where the paper leaves something open:",
    ]
    for choice in system.choices:
        lines += [f"  {choice.about}", f"    paper: {choice.paper}", f"    here:  {choice.chosen}"]
        if choice.instead:
            lines.append(f"    instead: {' or '.join(_option(one) for one in choice.instead)}")
    return lines


def _layer_table(description: Description) -> list[str]:
    if not description.layers:
        return []
    rows = [
        [f"{layer.name}: {layer.kind}", _shape(layer.shape), _count(layer.parameters),
         _count(layer.parameters_paper)]
        for layer in description.layers
    ]  # fmt: skip
    total = ["total", "", _count(description.parameters), _count(description.parameters_paper)]
    sizes = f"D = {description.features}, K = {description.labels}"
    header = [f"layer ({sizes})", "output", "parameters", "paper's count"]
    return [*table(header, [*rows, total]), ""]


def _features(system: System) -> list[str]:
    if not system.features:
        return [f"rule: {system.rule}"]
    commands = dict.fromkeys(extract_command(spec) for spec in system.features)
    return ["features:", *(f"  {command}" for command in commands)]


def _settings(system: System) -> list[str]:
    parts = {"head": system.head, "training": system.training, "svm": system.svm}
    lines = []
    for name, config in parts.items():
        if config is not None:
            given = config.model_dump(exclude_defaults=True, exclude={"features", "labels"})
            said = ", ".join(f"{k} = {_value(v)}" for k, v in given.items())
            lines.append(f"{name}: {said or 'all defaults'}")
    return lines


def _option(instead: str) -> str:
    return f"extract {instead}" if instead.startswith("--") else f"--set {instead!r}"


def _named(one: Mapping[str, Any]) -> str:
    return f"{one['name']} ({', '.join(one['aliases'])})" if one["aliases"] else str(one["name"])


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _shape(shape: tuple[str | int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _reported(numbers: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {numbers[name]:.4f}" for name in _METRICS[:2] if name in numbers)


def _everything(numbers: Mapping[str, Any]) -> str:
    flat = [f"{k} {_value(v)}" for k, v in numbers.items()]
    return ", ".join(flat) or "nothing"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
