"""The values of one field of a search: a list to choose from, or a range."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seqhead.errors import FitError

_RANGE = ("low", "high", "log", "step")


@dataclass(frozen=True, slots=True)
class Choice:
    """Some values.

    Parameters
    ----------
    values : tuple
        One or more, all different.
    """

    values: tuple[Any, ...]

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.values) == 1

    @property
    def single(self) -> Any:
        """The first value."""
        return self.values[0]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values by which all can be judged: all of them."""
        return self.values

    def document(self) -> Any:
        """As a search file has it."""
        return list(self.values)


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two ends, both included; whole numbers where both ends are.

    Parameters
    ----------
    low, high : int or float
        The ends.
    log : bool
        Whether each factor is as likely, rather than each difference.
    step : int, float or None
        Only the low end and every so much after it.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return False

    @property
    def single(self) -> Any:
        """The low end."""
        return self.low

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values by which all can be judged: both ends."""
        return (self.low, self.high)

    @property
    def whole(self) -> bool:
        """Whether these are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def document(self) -> Any:
        """As a search file has it."""
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, **({"log": True} if self.log else {}), **step}


Values = Choice | Range


def parse_values(value: Any) -> Values:
    """Read what a search file says of one field.

    Parameters
    ----------
    value : Any
        A value, a list of values, or a table with ``low``, ``high`` and perhaps ``log`` or
        ``step``.

    Returns
    -------
    Choice or Range

    Raises
    ------
    FitError
        It is none of these.
    """
    if isinstance(value, Mapping):
        return _parse_range(value)
    values = tuple(value) if isinstance(value, list) else (value,)
    if not values:
        raise FitError("the list is empty: name at least one value")
    said = [json.dumps(one, sort_keys=True, default=str) for one in values]
    twice = next((one for k, one in enumerate(said) if one in said[:k]), None)
    if twice is not None:
        raise FitError(f"{twice} is named twice")
    return Choice(values)


def _parse_range(table: Mapping[str, Any]) -> Range:
    unknown = [key for key in table if key not in _RANGE]
    if unknown:
        raise FitError(f"a range has {', '.join(_RANGE)}. Got {unknown[0]!r}")
    missing = [key for key in _RANGE[:2] if key not in table]
    if missing:
        raise FitError(f"a range needs low and high: {missing[0]} is missing")
    low, high, log, step = (table.get(key) for key in _RANGE)
    if not _is_number(low) or not _is_number(high) or not low < high:  # type: ignore[operator]
        raise FitError(f"low must be a number below high. Got low {low!r} and high {high!r}")
    if not isinstance(log, bool | None):
        raise FitError(f"log is true or false. Got {log!r}")
    if log and (low <= 0 or step is not None):  # type: ignore[operator]
        raise FitError("a range with log has no step, and low is above 0")
    if step is not None and (not _is_number(step) or step <= 0):
        raise FitError(f"step must be a number above 0. Got {step!r}")
    found = Range(low, high, bool(log), step)  # type: ignore[arg-type]
    if found.whole and not isinstance(step, int | None):
        raise FitError(f"the step between whole numbers is a whole number. Got {step!r}")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
