"""Names to systems: TOML files of this package, each checked against the schema."""

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import ValidationError

from seqhead.errors import FitError
from seqhead.systems.schema import System

_PARTS = ("head", "training", "svm")
_NOT_INHERITED = ("aliases", "reported")
_NOT_SETTINGS = {
    "head.features": "the features say how wide they are",
    "head.zoom.features": "the features say how wide they are",
    "head.labels": "the label file says how many there are",
    "training.seed": "use --seed",
    "svm.random_state": "use --seed",
}


@cache
def system_names() -> tuple[str, ...]:
    """Names of all systems, aliases left out.

    Returns
    -------
    tuple of str
        In alphabetical order.
    """
    folder = files("seqhead.systems") / "files"
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))


@cache
def load_system(name: str) -> System:
    """Read a system.

    Parameters
    ----------
    name : str
        Its name, or an alias of it.

    Returns
    -------
    System

    Raises
    ------
    FitError
        There is no such system; close names are suggested.
    """
    name = _aliases().get(name, name)
    if name not in system_names():
        known = [*system_names(), *_aliases()]
        close = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "`seqhead systems` lists them"
        raise FitError(f"{name!r} is not a system: {hint}")
    return System.model_validate(_complete({**_document(name), "name": name}))


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read what ``--set`` takes.

    Parameters
    ----------
    texts : sequence of str
        ``PART.FIELD=VALUE``, where PART is head, training or svm and VALUE is TOML; words need
        no quotes.

    Returns
    -------
    dict
        Nested as a system is.

    Raises
    ------
    FitError
        One is not of this form, or a field is set twice.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        path = key.strip().split(".")
        if not equals or len(path) < 2 or path[0] not in _PARTS or not all(path):
            raise FitError(
                f"--set {text}: expected PART.FIELD=VALUE with PART one of {', '.join(_PARTS)}, "
                "for example head.pool=max"
            )
        if key.strip() in _NOT_SETTINGS:
            raise FitError(f"--set {text}: {_NOT_SETTINGS[key.strip()]}")
        inside = settings
        for part in path[:-1]:
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise FitError(f"--set {text}: {part} was set as a whole before")
        if path[-1] in inside:
            raise FitError(f"--set {text}: {key.strip()} was set before")
        inside[path[-1]] = _value(value.strip())
    return settings


def changed_system(system: System, settings: Mapping[str, Any]) -> System:
    """Change settings of a system.

    Parameters
    ----------
    system : System
        The system.
    settings : mapping
        As from `parse_settings`.

    Returns
    -------
    System

    Raises
    ------
    FitError
        A field is unknown, has another type, or does not go with the others.
    """
    document = system.model_dump(exclude_none=True)
    missing = [part for part in settings if part not in document]
    if missing:
        raise FitError(f"--set {missing[0]}...: {system.name} has no {missing[0]}")
    try:
        return System.model_validate(merged(document, settings))
    except ValidationError as error:
        raise FitError(f"{system.name}: {first_problem(error)}") from None


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested settings over others.

    Parameters
    ----------
    base, changes : mapping
        Values of `changes` win; tables are merged, lists are replaced.

    Returns
    -------
    dict
    """
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def first_problem(error: ValidationError) -> str:
    """Say what is wrong first, and where.

    Parameters
    ----------
    error : ValidationError
        From pydantic.

    Returns
    -------
    str
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


@cache
def _aliases() -> dict[str, str]:
    return {alias: name for name in system_names() for alias in _read(name).get("aliases", ())}


def _read(name: str) -> dict[str, Any]:
    file = files("seqhead.systems") / "files" / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _document(name: str) -> dict[str, Any]:
    """The file of a system, over what it extends."""
    own = _read(name)
    parent = own.pop("extends", None)
    if parent is None:
        return own
    inherited = {k: v for k, v in _document(parent).items() if k not in _NOT_INHERITED}
    more, without = own.pop("more_choices", []), own.pop("without_choices", [])
    document = merged(inherited, own)
    kept = [one for one in document.get("choices", []) if one["about"] not in without]
    return {**document, "choices": [*kept, *more]}


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    """Sizes that follow from the feature sets and the labels."""
    if "head" not in document:
        return document
    widths = [features["width"] for features in document["features"]]
    head = {**document["head"], "features": widths[0], "labels": len(document["labels"])}
    if "zoom" in head:
        head["zoom"] = {**head["zoom"], "features": widths[-1]}
    return {**document, "head": head}


def _value(text: str) -> Any:
    """A TOML value, or the word as it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
