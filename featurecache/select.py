"""Rules that say which series are used, as ``--select`` and ``featurecache.toml`` write them.

::

    thickness<=5                 SliceThickness in mm; also < >= > = and a range, thickness=1..3
    gap<=5                       median distance of neighbouring slices in mm
    slices>=20                   how many slices
    kernel=*soft*|H30*           ConvolutionKernel matches one of these patterns
    kernel!=*bone*               ... matches none of them
    description=*PLAIN*          SeriesDescription
    description!=*CONTRAST* unless *PRE*|*NON*
    one per study                the thinnest; ``one per study: thickest`` or ``most slices``
    all                          everything (stands alone)

A series is used if it keeps every rule. Patterns are those of a shell (``*``, ``?``, ``[a-z]``),
match the whole text and ignore case and repeated spaces. A thickness within 0.001 mm of a limit and
a gap within 0.01 mm of it equal the limit: positions are rounded, most of all those of a tilted
gantry. A series whose thickness or gap is unknown keeps no rule on it. ``one per study`` chooses
last, among what the other rules left; between equals (and unknown thickness comes last) the one
with the most slices, or the thinnest, then the first SeriesInstanceUID in alphabetical order.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from featurecache.errors import UsageError

NOT_SELECTED = "not selected: "
"""How the reason of every series begins that a rule leaves out."""

CQ500_RULES = (
    "description!=*CONTRAST* unless *PRE*CONTRAST*|*NON*CONTRAST*|*NO CONTRAST*|*WITHOUT*|*W/O*"
    "|WO CONTRAST*|* WO CONTRAST*",
    "description!=*POST CONTR*|*POSTCONTR*|*POST CON",
    "description!=*CECT*",
    "description!=*[0-9]CC*SEC*",
    "description!=*ORAL*IV*",
    "description!=*ANGIO*|CTA|CTA *|* CTA|* CTA *",
    "description!=C+*|* C+*|C +*|* C +* unless *WITHOUT*|*W/O*",
)
"""What leaves out the series of CQ500 with contrast; its labels were read without."""

PRESET_RULES = {"cq500": CQ500_RULES, "rsna": ("all",)}
"""The selection of each preset of ``featurecache init``."""

_NUMBERS = {"thickness": (" mm", 0.001), "gap": (" mm", 0.01), "slices": ("", 0.0)}
_TEXTS = ("description", "kernel")
_CHOICES = ("thinnest", "thickest", "most slices")
_NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)"
_FORMS = re.compile(
    rf"(?P<number>{'|'.join(_NUMBERS)})\s*"
    rf"(?:(?P<order><=|>=|<|>|=)\s*(?P<limit>{_NUMBER})"
    rf"|=\s*(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER}))(?:\s*mm)?"
    rf"|(?P<text>{'|'.join(_TEXTS)})\s*(?P<equal>!?=)\s*(?P<patterns>.+)"
    rf"|(?P<one>one[ -]per[ -]study)(?:\s*[:=]\s*(?P<choice>.+))?"
    r"|(?P<all>all)",
    re.IGNORECASE,
)


class Candidate(NamedTuple):
    """What rules look at: one usable stack of the index.

    Parameters
    ----------
    key, patient_id, study_uid : str
        As in `Stack`.
    thickness, gap : float
        Slice thickness and median distance of slices, mm; NaN where unknown.
    slices : int
        How many.
    description, kernel : str
        SeriesDescription, ConvolutionKernel.
    """

    key: str
    patient_id: str
    study_uid: str
    thickness: float
    gap: float
    slices: int
    description: str
    kernel: str


@dataclass(frozen=True, slots=True)
class NumberRule:
    """A number must lie in a range, infinite where a side is open; near an end is at it."""

    text: str
    field: str
    low: float
    high: float
    with_ends: bool

    def objection(self, series: Candidate) -> str | None:
        """Why a series is left out, or None."""
        value = getattr(series, self.field)
        if math.isnan(value):
            return f"{self.field} unknown, {self.text} asked"
        near = _NUMBERS[self.field][1] * (1 if self.with_ends else -1)
        low, high = self.low - near, self.high + near
        inside = low <= value <= high if self.with_ends else low < value < high
        return None if inside else f"{self.field} is not {self.text.removeprefix(self.field)}"


@dataclass(frozen=True, slots=True)
class TextRule:
    """A text must match one of some patterns, or none of them."""

    text: str
    field: str
    patterns: tuple[str, ...]
    unless: tuple[str, ...]
    exclude: bool

    def objection(self, series: Candidate) -> str | None:
        """Why a series is left out, or None."""
        value = _plain(getattr(series, self.field))
        found = next((pattern for pattern in self.patterns if _matches(value, pattern)), None)
        if any(_matches(value, pattern) for pattern in self.unless):
            found = None
        if self.exclude:
            return None if found is None else f"{self.field} matches {found}"
        if found is not None:
            return None
        return f"{self.field} does not match {self.text.partition('=')[2]}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Parsed rules.

    Parameters
    ----------
    rules : tuple of NumberRule or TextRule
        A series must keep all of them.
    one_per_study : {"thinnest", "thickest", "most slices"} or None
        Which series of a study, or None for all.
    """

    rules: tuple[NumberRule | TextRule, ...] = ()
    one_per_study: str | None = None

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Selection":
        """Read rules as the module describes them.

        Raises
        ------
        UsageError
            A rule is none of these forms, or ``all`` does not stand alone.
        """
        rules: list[NumberRule | TextRule] = []
        given, choices = list(texts), set()
        for text in given:
            match = _FORMS.fullmatch(text.strip())
            if match is None:
                raise UsageError(_not_a_rule(text))
            if match["all"] and len(given) > 1:
                raise UsageError("the rule 'all' takes every series: leave it out, or the others")
            if match["one"]:
                choices.add(_choice(text, match["choice"] or _CHOICES[0]))
            elif match["number"]:
                rules.append(_number_rule(text, match))
            elif match["text"]:
                rules.append(_text_rule(text, match))
        if len(choices) > 1:
            raise UsageError(f"one per study, but which? Got {' and '.join(sorted(choices))}")
        return cls(tuple(rules), next(iter(choices), None))

    @property
    def texts(self) -> tuple[str, ...]:
        """The rules in their usual spelling; ``("all",)`` if there is none."""
        texts = [rule.text for rule in self.rules]
        if self.one_per_study:
            texts.append(f"one per study: {self.one_per_study}")
        return tuple(texts) or ("all",)

    def left_out(self, series: Sequence[Candidate]) -> dict[str, str]:
        """Say which series are not used.

        Parameters
        ----------
        series : sequence of Candidate
            All usable series, in any order.

        Returns
        -------
        dict
            Key of the series -> reason, beginning with `NOT_SELECTED`.

        """
        reasons: dict[str, str] = {}
        for rule, kept in self._steps(series):
            for one in kept:
                objection = rule.objection(one)
                if objection is not None:
                    reasons[one.key] = NOT_SELECTED + objection
        if self.one_per_study:
            kept = [one for one in series if one.key not in reasons]
            chosen = _one_per_study(kept, _PREFERENCES[self.one_per_study])
            reason = f"{NOT_SELECTED}one per study: {self.one_per_study}"
            reasons |= {one.key: reason for one in kept if one.key not in chosen}
        return reasons

    def last_taker(self, series: Sequence[Candidate]) -> str | None:
        """Name the rule that took the last of these series, and how many those were.

        Parameters
        ----------
        series : sequence of Candidate
            All usable series.

        Returns
        -------
        str or None
            None where some series are left, or there were none.
        """
        for rule, kept in self._steps(series):
            if kept and all(rule.objection(one) for one in kept):
                left = "" if len(kept) == len(series) else " that other rules had left"
                return f"the rule {rule.text!r} took the last {len(kept)} of {len(series)}{left}"
        return None

    def _steps(
        self, series: Sequence[Candidate]
    ) -> Iterator[tuple[NumberRule | TextRule, list[Candidate]]]:
        """Yield each rule with what the rules before it left."""
        kept = list(series)
        for rule in self.rules:
            yield rule, kept
            kept = [one for one in kept if rule.objection(one) is None]


def add_rules(settings: Sequence[str], asked: Sequence[str]) -> tuple[str, ...]:
    """Put the rules of a command and those of ``featurecache.toml`` together.

    Parameters
    ----------
    settings : sequence of str
        Rules of ``featurecache.toml``.
    asked : sequence of str
        Rules of a command. They replace those of the settings, unless they begin with ``+``.

    Returns
    -------
    tuple of str

    Raises
    ------
    UsageError
        Some begin with ``+`` and some do not.
    """
    added = [rule for rule in asked if rule.lstrip().startswith("+")]
    if not added:
        return tuple(asked)
    if len(added) < len(asked):
        raise UsageError(
            "--select +RULE adds to the rules of featurecache.toml and --select RULE replaces "
            "them: use one or the other"
        )
    base = [] if Selection.parse(settings) == Selection() else settings
    return (*base, *(rule.lstrip().removeprefix("+") for rule in added))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _matches(value: str, pattern: str) -> bool:
    return fnmatchcase(value, pattern.casefold())


def _number_rule(text: str, match: re.Match[str]) -> NumberRule:
    field, order = match["number"].lower(), match["order"]
    unit, _ = _NUMBERS[field]
    if order is None:
        low, high = float(match["low"]), float(match["high"])
        if low > high:
            raise UsageError(f"--select {text!r}: the range is empty, {low:g} is above {high:g}")
        return NumberRule(f"{field}={low:.12g}..{high:.12g}{unit}", field, low, high, True)
    limit = float(match["limit"])
    low = -math.inf if order in ("<", "<=") else limit
    high = math.inf if order in (">", ">=") else limit
    return NumberRule(f"{field}{order}{limit:.12g}{unit}", field, low, high, "=" in order)


def _text_rule(text: str, match: re.Match[str]) -> TextRule:
    field, equal = match["text"].lower(), match["equal"]
    wanted, *unless = re.split(r"\s+unless\s+", match["patterns"], flags=re.IGNORECASE)
    sides = [tuple(" ".join(one.split()) for one in side.split("|")) for side in (wanted, *unless)]
    if len(sides) > 2 or any("" in side for side in sides):
        raise UsageError(
            f"--select {text!r}: expected {field}{equal}PATTERN|PATTERN unless PATTERN|PATTERN, "
            "and no pattern empty"
        )
    spelled = f"{field}{equal}" + " unless ".join("|".join(side) for side in sides)
    return TextRule(spelled, field, sides[0], (sides[1:] or [()])[0], equal == "!=")


def _choice(text: str, given: str) -> str:
    choice = " ".join(given.replace("-", " ").split()).lower()
    if choice not in _CHOICES:
        raise UsageError(f"--select {text!r}: expected one of {', '.join(_CHOICES)}")
    return choice


_Order = Callable[[Candidate], tuple[float, float, str]]


def _thickness(one: Candidate, sign: int) -> float:
    return math.inf if math.isnan(one.thickness) else sign * one.thickness


_PREFERENCES: dict[str, _Order] = {
    "thinnest": lambda one: (_thickness(one, 1), -one.slices, one.key),
    "thickest": lambda one: (_thickness(one, -1), -one.slices, one.key),
    "most slices": lambda one: (-one.slices, _thickness(one, 1), one.key),
}


def _one_per_study(series: Sequence[Candidate], order: _Order) -> set[str]:
    best: dict[tuple[str, str], Candidate] = {}
    for one in series:
        study = (one.patient_id, one.study_uid)
        best[study] = min(best.get(study, one), one, key=order)
    return {one.key for one in best.values()}


def _not_a_rule(text: str) -> str:
    name = re.split(r"[<>=!:]", text.strip(), maxsplit=1)[0].strip()
    known = [*_NUMBERS, *_TEXTS, "one per study", "all"]
    close = get_close_matches(name.lower(), known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close and close[0] != name.lower() else ""
    return (
        f"--select {text!r} is not a rule{hint}: expected one like thickness<=5, slices>=20, "
        "kernel!=*bone*, description=*PLAIN*|*THIN*, 'one per study' or all"
    )
