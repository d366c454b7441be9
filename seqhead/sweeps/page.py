"""The leaderboard as a page: one HTML file with everything in it."""

from importlib.resources import files
from typing import Any

from featurecache.words import plural
from seqhead.text import number

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
    environment.filters |= {"number": number, "count": lambda count: f"{count:,}"}
    environment.globals |= {"plural": plural, "metric_words": METRIC_WORDS}
    template = files("seqhead.sweeps") / "files" / "leaderboard.html"
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        **document, scale=_Scale.of(document)
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
