"""Where a search space comes from: a TOML file, ``--grid``, or the default of the level."""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from seqhead.errors import FitError

_MAX_BYTES = 1 << 20
_OPENING, _CLOSING = "[{", "]}"


def read_search(path: Path) -> dict[str, Any]:
    """Read a search file.

    Parameters
    ----------
    path : Path
        A TOML file.

    Returns
    -------
    dict
        Its tables, for `seqhead.sweeps.space.parse_space`.

    Raises
    ------
    FitError
        It cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise FitError(f"--search {path}: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise FitError(f"--search {path} is larger than {_MAX_BYTES >> 20} MB: no search file")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise FitError(f"--search {path} is not TOML: {error}") from None


def default_search(level: str) -> str:
    """Text of the search file that is used where none is given.

    Parameters
    ----------
    level : str
        ``"series"`` or ``"slice"``.

    Returns
    -------
    str
    """
    folder = files("seqhead.sweeps") / "files"
    return (folder / f"{level}.toml").read_text(encoding="utf-8")


def parse_grid(texts: Sequence[str]) -> dict[str, Any]:
    """Read what ``--grid`` takes.

    Parameters
    ----------
    texts : sequence of str
        ``NAME=VALUE,VALUE,...`` with values as TOML has them; words need no quotes.

    Returns
    -------
    dict
        Name -> list of values, for `seqhead.sweeps.space.parse_space`.

    Raises
    ------
    FitError
        One is not of this form, or a name is given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not name or not values.strip():
            raise FitError(f"--grid {text}: expected NAME=VALUE,VALUE,..., e.g. hidden=128,256")
        if name in found:
            raise FitError(f"--grid {text}: {name} is given twice")
        found[name] = [_value(one.strip()) for one in _parts(values)]
    return found


def _parts(text: str) -> list[str]:
    """Split at commas that stand in no brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in _OPENING) - (char in _CLOSING)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
