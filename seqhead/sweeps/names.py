"""Names of the fields of a search: those of the options of ``seqhead fit``."""

from difflib import get_close_matches

from pydantic import BaseModel

from seqhead.config import SvmConfig
from seqhead.errors import FitError
from seqhead.head_config import HeadConfig
from seqhead.options import FitOptions
from seqhead.train_config import TrainConfig

_PARTS: dict[str, type[BaseModel]] = {"head": HeadConfig, "training": TrainConfig, "svm": SvmConfig}
_NOT_SEARCHED = {
    "tensorboard": "it is for one fit: give it with the line of the winner",
    "settings": "name what --set would change as PART.FIELD, for example head.mlp",
    "level": "a sweep is of one level: use --level",
    "seed": "scores of other seeds are luck: use --seed for all of them",
    "device": "use --device",
    "memory": "use --memory",
    "views": "trials learn from the images as they are; fit the winner's settings with "
    "`seqhead fit --views`",
}
_SPELLINGS = {"label_weight": "label_weights"}  # the option is repeated, the field is a list


def field_name(key: str) -> str:
    """Name of the field that a user means.

    Parameters
    ----------
    key : str
        An option of ``seqhead fit`` with hyphens or underscores, or ``PART.FIELD``.

    Returns
    -------
    str
        A field of `FitOptions`, or ``PART.FIELD``.

    Raises
    ------
    FitError
        There is no such option, or it cannot be searched.
    """
    name = key.strip().replace("-", "_")
    part, dot, rest = name.partition(".")
    if dot:
        return _setting(part, rest)
    name = _SPELLINGS.get(name, name)
    if name in _NOT_SEARCHED:
        raise FitError(f"it cannot be searched: {_NOT_SEARCHED[name]}")
    known = [field for field in FitOptions.model_fields if field not in _NOT_SEARCHED]
    if name not in known:
        raise FitError(f"not an option of `seqhead fit`. {_suggest(name, known)}")
    return name


def _setting(part: str, field: str) -> str:
    if part not in _PARTS:
        raise FitError(f"expected one of {', '.join(_PARTS)} before the point. Got {part!r}")
    first = field.partition(".")[0]
    known = list(_PARTS[part].model_fields)
    if first not in known:
        raise FitError(f"{part} has no such setting. {_suggest(first, known)}")
    return f"{part}.{field}"


def _suggest(name: str, known: list[str]) -> str:
    by_initials = [one for one in known if "".join(word[0] for word in one.split("_")) == name]
    close = [one.replace("_", "-") for one in by_initials or get_close_matches(name, known)]
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(one.replace('_', '-') for one in known)}"
