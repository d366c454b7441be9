"""How a fit shall split its patients: the options of ``seqhead fit`` about that."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seqhead.errors import FitError
from seqhead.operating_points import Rule, parse_rule


class Splitting(BaseModel):
    """How patients are split, and how thresholds are chosen on the validation patients.

    Attributes
    ----------
    folds : int or None
        K of a cross-validation; None: one split.
    repeats : int
        How often the cross-validation is repeated with other folds.
    file : Path or None
        A split or folds that are given, see `seqhead.split_file`.
    protocol : str or None
        A published protocol that does not keep patients together, see `seqhead.protocols`; or
        ``"paper"``: that of the system that is fitted, see `seqhead.paper_split`.
    duplicate_scans : str
        What becomes of one scan under two patients: ``"refuse"``, or ``"together"``: they count
        as one patient.
    operating_point : str
        Rule for the thresholds, see `seqhead.operating_points`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folds: int | None = Field(default=None, ge=2)
    repeats: int = Field(default=1, ge=1, le=1000)
    file: Path | None = None
    protocol: str | None = None
    duplicate_scans: Literal["refuse", "together"] = "refuse"
    operating_point: str = "youden"

    @property
    def rule(self) -> Rule:
        """The rule for the thresholds."""
        return parse_rule(self.operating_point)


def parse_splitting(**given: Any) -> Splitting:
    """Check the options that say how to split.

    Parameters
    ----------
    **given
        Fields of `Splitting` that a user chose; None is the default.

    Returns
    -------
    Splitting

    Raises
    ------
    FitError
        A value is out of range, or two options contradict each other.
    """
    try:
        options = Splitting(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise FitError(f"--{name}: {first['msg']}, got {first['input']!r}") from None
    _ = options.rule  # raises for an unknown one
    ways = {"--split": options.file, "--protocol": options.protocol, "--folds": options.folds}
    chosen = [name for name, value in ways.items() if value is not None]
    if len(chosen) > 1:
        raise FitError(f"{chosen[0]} says how to split, and so does {chosen[1]}: leave one out")
    if options.repeats > 1 and options.folds is None:
        raise FitError("--repeats has no effect without --folds. Leave it out")
    return options
