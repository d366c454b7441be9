"""The models of a cross-validation, taken together: the mean of their probabilities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from seqhead.classifier import SequenceClassifier
    from seqhead.svm import PooledSVC


class FoldAverage:
    """Fitted estimators that predict as one.

    Parameters
    ----------
    models : sequence of estimators
        One for each fold.
    """

    def __init__(self, models: "Sequence[SequenceClassifier | PooledSVC]") -> None:
        self.models = list(models)

    def predict_proba(self, X: Sequence[np.ndarray]) -> Any:
        """Mean probability of each label.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features of each series.

        Returns
        -------
        array (B, K) or (B, 2), or a list of B arrays (n, K) for a model of slices
        """
        return mean_of([model.predict_proba(X) for model in self.models])


def mean_of(scored: Sequence[Any]) -> Any:
    """Mean of what several models say.

    Parameters
    ----------
    scored : sequence of arrays, or of lists of arrays
        What ``predict_proba`` of each gave.

    Returns
    -------
    array, or list of arrays
    """
    if isinstance(scored[0], list):
        return [np.mean(rows, axis=0) for rows in zip(*scored, strict=True)]
    return np.mean(scored, axis=0)
