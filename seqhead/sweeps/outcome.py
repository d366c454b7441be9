"""What became of a candidate."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqhead.sweeps.score import Score


@dataclass(slots=True)
class Outcome:
    """What became of a candidate.

    Parameters
    ----------
    score : Score or None
        On the inner folds; None if it was given up or failed.
    seconds : float
        Wall time of fits and predictions.
    parameters : int or None
        Learnt numbers of one model.
    epochs, best_epochs : list of int
        Of each fit; empty for an SVM.
    error : str or None
        Why it could not be fitted.
    """

    score: "Score | None" = None
    seconds: float = 0.0
    parameters: int | None = None
    epochs: list[int] = field(default_factory=list)
    best_epochs: list[int] = field(default_factory=list)
    error: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON values, the resamples left out."""
        score = self.score
        return {
            "score": score.value if score else None,
            "score_ci": score.interval if score else None,
            "labels": score.labels if score else {},
            "seconds": round(self.seconds, 3),
            "parameters": self.parameters,
            "epochs": self.epochs,
            "best_epochs": self.best_epochs,
            "error": self.error,
        }
