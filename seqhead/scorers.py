"""Scorers for scikit-learn's model selection that leave unknown labels out.

Each is called as ``scorer(estimator, X, y)`` and returns the mean over the labels for which it
is defined, NaN if there is none.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from seqhead.estimator import label_matrix

__all__ = ["average_precision", "neg_log_loss", "roc_auc"]


def roc_auc(estimator: Any, X: Sequence[np.ndarray], y: Any) -> float:
    """Mean area under the ROC curve.

    Parameters
    ----------
    estimator : SequenceClassifier or PooledSVC
        A fitted estimator.
    X : sequence of B arrays (n, D)
        Features.
    y : array (B,) or (B, K), or a list of arrays (n, K) for an estimator of slices
        1, 0 or NaN (unknown).

    Returns
    -------
    float

    Raises
    ------
    FitError
        Features or labels have another form.
    """
    return _mean(sk.roc_auc_score, estimator, X, y)


def average_precision(estimator: Any, X: Sequence[np.ndarray], y: Any) -> float:
    """Mean average precision.

    Parameters
    ----------
    estimator, X, y
        As in `roc_auc`.

    Returns
    -------
    float
    """
    return _mean(sk.average_precision_score, estimator, X, y)


def neg_log_loss(estimator: Any, X: Sequence[np.ndarray], y: Any) -> float:
    """Mean log loss with its sign turned, so that more is better.

    Parameters
    ----------
    estimator, X, y
        As in `roc_auc`.

    Returns
    -------
    float
    """
    return -_mean(sk.log_loss, estimator, X, y)


def _mean(metric: Callable[..., float], estimator: Any, X: Sequence[np.ndarray], y: Any) -> float:
    scored = estimator.predict_proba(X)
    if isinstance(scored, list):  # slices of each series
        scored = np.concatenate(scored)
        y = np.concatenate([np.asarray(rows, dtype=np.float32) for rows in y])
    labels = label_matrix(y, len(scored))
    scored = scored[:, 1:] if labels.shape[1] == 1 else scored
    values = [
        metric(truth[~np.isnan(truth)], score[~np.isnan(truth)])
        for truth, score in zip(labels.T, scored.astype(np.float64).T, strict=True)
        if len(np.unique(truth[~np.isnan(truth)])) == 2
    ]
    return float(np.mean(values)) if values else float("nan")
