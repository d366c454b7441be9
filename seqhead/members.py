"""The models of a run, loaded: one, or one for each fold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqhead.run import Run

if TYPE_CHECKING:
    from seqhead.classifier import SequenceClassifier
    from seqhead.svm import PooledSVC


@dataclass(frozen=True, slots=True)
class Member:
    """One model of a run, loaded.

    Parameters
    ----------
    run : Run
        The run of this model.
    model : SequenceClassifier or PooledSVC
        The fitted estimator.
    """

    run: Run
    model: "SequenceClassifier | PooledSVC"

    @classmethod
    def load(cls, run: Run, device: str = "auto") -> "Member":
        """Load the model of a single split, see `Run.load_one`."""
        return cls(run, run.load_one(device))

    def probabilities(self, X: Sequence[np.ndarray], calibrate: str | None = None) -> np.ndarray:
        """Score series.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features of each series.
        calibrate : str or None
            How probabilities are calibrated, by this model's own validation patients.

        Returns
        -------
        float array (B, K), or (N, K) of a run on slices
        """
        scored = self.model.predict_proba(X)
        if self.run.config.level == "slice":
            scored = np.concatenate(scored)
        scored = scored[:, 1:] if len(self.run.config.labels) == 1 else scored
        return scored if calibrate is None else self.run.calibration.apply(scored, calibrate)

    def second_rows(self, X: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Say of which slices `probabilities` reads the second feature set.

        Parameters
        ----------
        X : sequence of B arrays (n, D + D2)
            Features; those of the second set have no influence.

        Returns
        -------
        list of B bool arrays (n,)
        """
        from seqhead.classifier import SequenceClassifier

        if isinstance(self.model, SequenceClassifier):
            return self.model.second_rows(X)
        return [np.ones(len(matrix), dtype=bool) for matrix in X]


def member_scores(
    run: Run, X: Sequence[np.ndarray], device: str = "auto", calibrate: str | None = None
) -> Iterator[np.ndarray]:
    """What each model of a run says: one, or one for each fold.

    Parameters
    ----------
    run : Run
        The run.
    X : sequence of B arrays (n, D)
        Features of each series.
    device : str
        Where to compute.
    calibrate : str or None
        How probabilities are calibrated, each model's by its own validation patients.

    Yields
    ------
    float array (B, K), or (N, K) of a run on slices
        Probabilities.

    Raises
    ------
    RunError
        A model is missing or damaged.
    """
    for member in run.members:
        yield Member.load(member, device).probabilities(X, calibrate)
