"""Numbers of one model on one set: scikit-learn's, with None where they are undefined."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from seqhead.labels.rsna import RSNA_LABELS

METRICS = (
    "auc",
    "accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "average_precision",
    "log_loss",
)
"""Keys of a label's metrics, beside ``n``, ``positives`` and ``threshold``."""

_RSNA_WEIGHTS = np.array([2.0, 1.0, 1.0, 1.0, 1.0, 1.0])


def choose_threshold(y: np.ndarray, probability: np.ndarray) -> float:
    """Operating point with the largest Youden index, sensitivity + specificity - 1.

    Parameters
    ----------
    y : float array (n,)
        1, 0, or NaN for unknown, of validation rows.
    probability : float array (n,)
        Probability of each.

    Returns
    -------
    float
        In the middle of the two scores that it parts; 0.5 where one class is missing.

    References
    ----------
    Youden 1950, Index for rating diagnostic tests.
    """
    known = ~np.isnan(y)
    y, probability = y[known], probability[known]
    if not has_both_classes(y):
        return 0.5
    scores = np.unique(probability)
    cuts = np.concatenate([[scores[0]], (scores[1:] + scores[:-1]) / 2])
    positive, negative = np.sort(probability[y == 1]), np.sort(probability[y == 0])
    sensitivity = 1 - np.searchsorted(positive, cuts) / len(positive)
    specificity = np.searchsorted(negative, cuts) / len(negative)
    return float(cuts[np.argmax(sensitivity + specificity)])


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


def label_metrics(y: np.ndarray, probability: np.ndarray, threshold: float) -> dict[str, Any]:
    """Metrics of one label.

    Parameters
    ----------
    y : float array (n,)
        1, 0, or NaN for unknown.
    probability : float array (n,)
        Probability of each.
    threshold : float
        From this probability on, the label counts as predicted.

    Returns
    -------
    dict
        ``n`` (known), ``positives``, ``threshold``, and `METRICS`; None where undefined.
    """
    known = ~np.isnan(y)
    truth, score = y[known].astype(int), probability[known]
    called = (score >= threshold).astype(int)
    return {
        "n": int(known.sum()),
        "positives": int(truth.sum()),
        "threshold": float(threshold),
        **_measured(truth, score, called),
    }


def macro_metrics(per_label: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Mean over the labels for which each metric is defined.

    Parameters
    ----------
    per_label : dict
        Label name -> `label_metrics`.

    Returns
    -------
    dict
        `METRICS`, None where no label has it; ``labels``: how many there are; ``covers``: how
        many each mean is taken over.
    """
    defined = {
        name: [m[name] for m in per_label.values() if m[name] is not None] for name in METRICS
    }
    return {
        "labels": len(per_label),
        "covers": {name: len(values) for name, values in defined.items()},
        **{name: float(np.mean(v)) if v else None for name, v in defined.items()},
    }


def micro_metrics(
    y: np.ndarray, probability: np.ndarray, thresholds: Sequence[float]
) -> dict[str, Any]:
    """Metrics of all labels' known entries taken together.

    Parameters
    ----------
    y, probability : float arrays (n, K)
        Labels and probabilities.
    thresholds : sequence of float (K,)
        Operating point of each label.

    Returns
    -------
    dict
        ``n``, ``positives`` and `METRICS`.
    """
    known = ~np.isnan(y)
    truth, score = y[known].astype(int), probability[known]
    called = (probability >= np.asarray(thresholds))[known].astype(int)
    return {
        "n": int(known.sum()),
        "positives": int(truth.sum()),
        **_measured(truth, score, called),
    }


def rsna_loss(
    names: Sequence[str], y: np.ndarray, probability: np.ndarray, eps: float = 1e-15
) -> float | None:
    """Weighted log loss of the RSNA 2019 challenge: weight 2 for any, 1 for the others.

    Parameters
    ----------
    names : sequence of str
        Names of the labels.
    y, probability : float arrays (n, K)
        Labels and probabilities; NaN labels are left out of the weighted mean.
    eps : float
        Probabilities are kept so far from 0 and 1.

    Returns
    -------
    float or None
        None where the labels are not the challenge's six.
    """
    if set(names) != set(RSNA_LABELS):
        return None
    order = [list(names).index(name) for name in RSNA_LABELS]
    truth, p = y[:, order], np.clip(probability[:, order], eps, 1 - eps)
    weight = np.where(np.isnan(truth), 0.0, _RSNA_WEIGHTS)
    if not weight.any():
        return None
    loss = -np.where(truth == 1, np.log(p), np.log1p(-p))
    return float((weight * loss).sum() / weight.sum())


def _measured(truth: np.ndarray, score: np.ndarray, called: np.ndarray) -> dict[str, Any]:
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    both = positives > 0 and negatives > 0
    return {
        "auc": _defined(both, sk.roc_auc_score, truth, score),
        "accuracy": _defined(len(truth) > 0, sk.accuracy_score, truth, called),
        "precision": _defined(bool(called.any()), sk.precision_score, truth, called),
        "recall": _defined(positives > 0, sk.recall_score, truth, called),
        "specificity": _defined(negatives > 0, sk.recall_score, 1 - truth, 1 - called),
        "f1": _defined(positives > 0 or bool(called.any()), sk.f1_score, truth, called),
        "average_precision": _defined(positives > 0, sk.average_precision_score, truth, score),
        "log_loss": _defined(len(truth) > 0, sk.log_loss, truth, score, labels=[0, 1]),
    }


def _defined(
    defined: bool, metric: Callable[..., float], *args: np.ndarray, **options: Any
) -> float | None:
    if not defined:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of float32 probabilities
        return float(metric(*args, **options))
