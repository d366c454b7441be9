"""From which probability on a label counts as predicted: rules, applied to validation patients."""

import re
from dataclasses import dataclass

import numpy as np

from seqhead.errors import FitError

STANDARD_RULES = ("youden", "max-sensitivity", "sensitivity=0.95", "specificity=0.9")
"""Rules that every evaluation shows."""

_EXPECTED = "youden, max-sensitivity, sensitivity=0.95, specificity=0.90, or a probability like 0.5"
_TARGET = re.compile(r"(sensitivity|specificity)\s*=\s*(\d*\.?\d+)")


@dataclass(frozen=True, slots=True)
class Rule:
    """How a threshold is chosen.

    Parameters
    ----------
    kind : str
        ``"youden"``: the largest sensitivity + specificity - 1; ``"max-sensitivity"``: the best
        specificity at which every positive is found; ``"sensitivity"`` or ``"specificity"``: the
        best of the other one while this one is at least `target`; ``"fixed"``: `target` itself.
    target : float or None
        Between 0 and 1.
    """

    kind: str
    target: float | None = None

    @property
    def name(self) -> str:
        """As a user writes it, e.g. ``"specificity=0.9"``."""
        if self.target is None:
            return self.kind
        return f"{self.target:g}" if self.kind == "fixed" else f"{self.kind}={self.target:g}"


def parse_rule(text: str) -> Rule:
    """Read a rule as a user writes it.

    Parameters
    ----------
    text : str
        ``youden``, ``max-sensitivity``, ``sensitivity=S``, ``specificity=S`` or a probability.

    Returns
    -------
    Rule

    Raises
    ------
    FitError
        It is none of these, or its number is not above 0 and at most 1.
    """
    text = text.strip().lower()
    if text in ("youden", "max-sensitivity"):
        return Rule(text)
    match = _TARGET.fullmatch(text)
    kind, number = (match[1], match[2]) if match else ("fixed", text)
    try:
        target = float(number)
    except ValueError:
        target = np.nan
    if not 0 < target <= 1:
        raise FitError(f"--operating-point must be {_EXPECTED}. Got {text!r}")
    return Rule(kind, target)


YOUDEN = Rule("youden")
"""The rule unless another is asked for."""


def has_both_classes(y: np.ndarray) -> bool:
    """Tell whether a label has known positives and known negatives.

    Parameters
    ----------
    y : float array (n,)
        1, 0, or NaN for unknown.

    Returns
    -------
    bool
    """
    return bool((y == 1).any() and (y == 0).any())


def choose_threshold(y: np.ndarray, probability: np.ndarray, rule: Rule = YOUDEN) -> float:
    """Threshold that a rule gives on validation rows.

    Parameters
    ----------
    y : float array (n,)
        1, 0, or NaN for unknown, of validation rows.
    probability : float array (n,)
        Probability of each.
    rule : Rule
        What is wanted of it.

    Returns
    -------
    float
        In the middle of the two scores that it parts; 0.5 where one class is missing.

    References
    ----------
    Youden 1950, Index for rating diagnostic tests.
    """
    if rule.kind == "fixed":
        return float(rule.target or 0.5)
    known = ~np.isnan(y)
    y, probability = y[known], probability[known]
    if not has_both_classes(y):
        return 0.5
    cuts, sensitivity, specificity = _at_each_cut(y, probability)
    if rule.kind == "youden":
        return float(cuts[np.argmax(sensitivity + specificity)])
    if rule.kind == "specificity":  # the first cut from below that is specific enough
        return float(cuts[np.argmax(specificity >= _least(rule.target))])
    enough = sensitivity >= _least(1.0 if rule.kind == "max-sensitivity" else rule.target)
    return float(cuts[np.flatnonzero(enough)[-1]])


def _least(target: float | None) -> float:
    return (1.0 if target is None else target) - 1e-12  # 19 of 20 is 0.95


def _at_each_cut(
    y: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts below all scores, between any two, and above all; what each finds and spares."""
    scores = np.unique(probability)
    above = np.nextafter(scores[-1], np.inf)
    cuts = np.concatenate([[scores[0]], (scores[1:] + scores[:-1]) / 2, [above]])
    positive, negative = np.sort(probability[y == 1]), np.sort(probability[y == 0])
    sensitivity = 1 - np.searchsorted(positive, cuts) / len(positive)
    return cuts, sensitivity, np.searchsorted(negative, cuts) / len(negative)
