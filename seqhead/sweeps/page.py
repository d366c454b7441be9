"""The leaderboard as a page: one HTML file with everything in it."""

from importlib.resources import files
from typing import Any

from seqhead.sweeps.candidates import value_text
from seqhead.text import number
from seqhead.words import plural

METRIC_WORDS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
}
"""Metrics of a sweep in words."""


def leaderboard_page(document: dict[str, Any]) -> str:
    """Give the page of a sweep.

    Parameters
    ----------
    document : dict
        Of ``seqhead sweep --json``.

    Returns
    -------
    str
        HTML that needs nothing else.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)  # fmt: skip
    environment.filters |= {
        "number": number, "value": value_text, "count": lambda n: f"{n:,}", "option": _option,
    }  # fmt: skip
    environment.globals |= {"plural": plural, "metric_words": METRIC_WORDS}
    template = files("seqhead.sweeps") / "files" / "leaderboard.html"
    scale = _Scale.of(document)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        **document, scale=scale, fields=_varied(document)
    )


class _Scale:
    """Places of scores on a bar of 100 units."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def of(cls, document: dict[str, Any]) -> "_Scale":
        """From the lowest to the highest end of any interval."""
        ends = [
            end
            for one in document["leaderboard"]
            if one["score"] is not None
            for end in (one["score"], *(one["score_ci"] or ()))
        ]
        if not ends or min(ends) == max(ends):
            middle = ends[0] if ends else 0.5
            return cls(middle - 0.05, middle + 0.05)
        return cls(min(ends), max(ends))

    def place(self, value: float) -> str:
        """Units from the left."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}"


def _option(name: str) -> str:
    return name.replace("_", "-")


def _varied(document: dict[str, Any]) -> list[str]:
    """Fields that have more than one value among the candidates, in the order of their names."""
    seen: dict[str, set[str]] = {}
    for one in document["leaderboard"]:
        for name, value in one["values"].items():
            seen.setdefault(name, set()).add(value_text(value))
    return [name for name, values in seen.items() if len(values) > 1]
