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
    "npv",
    "balanced_accuracy",
    "brier",
)
"""Keys of a label's metrics, beside ``n``, ``positives`` and ``threshold``."""

_RSNA_WEIGHTS = np.array([2.0, 1.0, 1.0, 1.0, 1.0, 1.0])


def label_metrics(
    y: np.ndarray, probability: np.ndarray, threshold: float | np.ndarray
) -> dict[str, Any]:
    """Metrics of one label.

    Parameters
    ----------
    y : float array (n,)
        1, 0, or NaN for unknown.
    probability : float array (n,)
        Probability of each.
    threshold : float, or float array (n,)
        From this probability on, the label counts as predicted; rows of several folds have
        several.

    Returns
    -------
    dict
        ``n`` (known), ``positives``, ``threshold`` (the mean of several), and `METRICS`; None
        where undefined.
    """
    known = ~np.isnan(y)
    truth, score = y[known].astype(int), probability[known]
    called = (probability >= threshold)[known]
    return {
        "n": int(known.sum()),
        "positives": int(truth.sum()),
        "threshold": float(np.mean(threshold)) if np.size(threshold) else 0.5,
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
    y: np.ndarray, probability: np.ndarray, thresholds: Sequence[float] | np.ndarray
) -> dict[str, Any]:
    """Metrics of all labels' known entries taken together.

    Parameters
    ----------
    y, probability : float arrays (n, K)
        Labels and probabilities.
    thresholds : sequence of float (K,), or float array (n, K)
        Operating point of each label, or of each row and label.

    Returns
    -------
    dict
        ``n``, ``positives`` and `METRICS`.
    """
    known = ~np.isnan(y)
    truth, score = y[known].astype(int), probability[known]
    called = (probability >= np.asarray(thresholds))[known]
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
    weighted = rsna_losses(names, y, probability, eps)
    if weighted is None or not weighted[:, 1].any():
        return None
    loss, weight = weighted.sum(axis=0)
    return float(loss / weight)


def rsna_losses(
    names: Sequence[str], y: np.ndarray, probability: np.ndarray, eps: float = 1e-15
) -> np.ndarray | None:
    """Each row's part of `rsna_loss`.

    Parameters
    ----------
    names, y, probability, eps
        As for `rsna_loss`.

    Returns
    -------
    float array (n, 2) or None
        Weighted loss and weight of each row; None where the labels are not the challenge's six.
    """
    if set(names) != set(RSNA_LABELS):
        return None
    order = [list(names).index(name) for name in RSNA_LABELS]
    truth, p = y[:, order], np.clip(probability[:, order], eps, 1 - eps)
    weight = np.where(np.isnan(truth), 0.0, _RSNA_WEIGHTS)
    loss = -np.where(truth == 1, np.log(p), np.log1p(-p))
    return np.stack([(weight * loss).sum(axis=1), weight.sum(axis=1)], axis=1)


def rates(truth: np.ndarray, called: np.ndarray) -> dict[str, float | None]:
    """Metrics of calls, which need no probability.

    Parameters
    ----------
    truth : array (n,)
        1 or 0.
    called : bool array (n,)
        Whether each row is called positive.

    Returns
    -------
    dict
        ``accuracy``, ``precision``, ``recall``, ``specificity``, ``f1``, ``npv`` and
        ``balanced_accuracy``; None where undefined.
    """
    positive = truth == 1
    tp, fp = int((called & positive).sum()), int((called & ~positive).sum())
    fn, tn = int((~called & positive).sum()), int((~called & ~positive).sum())
    recall, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    return {
        "accuracy": _ratio(tp + tn, len(truth)),
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "npv": _ratio(tn, tn + fn),
        "balanced_accuracy": (
            None if recall is None or specificity is None else (recall + specificity) / 2
        ),
    }


def log_loss(truth: np.ndarray, score: np.ndarray) -> float | None:
    """Mean negative log likelihood.

    Parameters
    ----------
    truth : array (n,)
        1 or 0.
    score : float array (n,)
        Probabilities.

    Returns
    -------
    float or None
        None without a row.
    """
    if not len(truth):
        return None
    eps = np.finfo(np.float64).eps
    inside = np.clip(np.asarray(score, dtype=np.float64), eps, 1 - eps)
    return float(-np.mean(np.where(truth == 1, np.log(inside), np.log1p(-inside))))


def brier(truth: np.ndarray, score: np.ndarray) -> float | None:
    """Mean squared distance of probabilities and labels.

    Parameters
    ----------
    truth : array (n,)
        1 or 0.
    score : float array (n,)
        Probabilities.

    Returns
    -------
    float or None
        None without a row.

    References
    ----------
    Brier 1950, Monthly Weather Review 78, 1-3.
    """
    return float(np.mean((score - truth) ** 2)) if len(truth) else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _measured(truth: np.ndarray, score: np.ndarray, called: np.ndarray) -> dict[str, Any]:
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    both = positives > 0 and negatives > 0
    found = {
        **rates(truth, called),
        "auc": _defined(both, sk.roc_auc_score, truth, score),
        "average_precision": _defined(positives > 0, sk.average_precision_score, truth, score),
        "log_loss": log_loss(truth, score),
        "brier": brier(truth, score),
    }
    return {name: found[name] for name in METRICS}


def _defined(
    defined: bool, metric: Callable[..., float], *args: np.ndarray, **options: Any
) -> float | None:
    if not defined:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of float32 probabilities
        return float(metric(*args, **options))
