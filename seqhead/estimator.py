"""What the estimators share: checking ragged input, labels, and scikit-learn's outputs."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import ClassifierTags, InputTags, Tags

from seqhead.errors import FitError
from seqhead.matrices import Matrices, lengths_of


class RaggedClassifier(ClassifierMixin, BaseEstimator):
    """What scikit-learn is told of a classifier of feature matrices.

    With metadata routing, ``groups`` reach `fit` unasked: early stopping and calibration that do
    not know the patients would leak.
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags = ClassifierTags(multi_class=False, multi_label=True)
        tags.input_tags = InputTags(two_d_array=False, three_d_array=True)
        return tags

    def score(self, X: Sequence[np.ndarray], y: Any, sample_weight: Any = None) -> float:
        """Share of series, or slices, with all labels right: scikit-learn's score of a classifier.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features.
        y : array (B,) or (B, K), or a list of arrays (n, K) for an estimator of slices
            1 or 0.
        sample_weight : array (B,) or None
            Of each series, or slice.

        Returns
        -------
        float

        Raises
        ------
        FitError
            A label is unknown, or features or labels have another form.
        """
        said = self.predict(X)
        if isinstance(said, list):  # slices of each series
            said, y = np.concatenate(said), np.concatenate(check_slice_labels(y, X))
        labels = label_matrix(y, len(said))
        if np.isnan(labels).any():
            raise FitError(
                "score needs every label, and some are unknown: give one of seqhead.scorers, which "
                "leave those out"
            )
        right = (said.reshape(labels.shape) == labels).all(axis=1)
        return float(np.average(right, weights=sample_weight))


def check_matrices(X: Sequence[Any], width: int | None = None) -> Sequence[np.ndarray]:
    """Check a ragged list of feature matrices.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        Slices of each series; n may differ, D may not. `Matrices` stay unread, and check
        themselves when they are read.
    width : int or None
        D of the fit, for prediction.

    Returns
    -------
    sequence of B arrays (n, D)

    Raises
    ------
    FitError
        There is no series, one has no slices, widths differ, a value is not finite, or `X` is a
        mapping, such as a feature set.
    """
    if not len(X):
        raise FitError("no series: expected a list of (n_slices, D) matrices")
    if isinstance(X, Mapping):
        raise FitError(
            "X maps names to matrices, and labels have no names: give a list of matrices in the "
            "order of y, for example [features[series] for series in labels.index]"
        )
    if isinstance(X, Matrices):
        _check_sizes(X, width)
        return X
    matrices = [np.asarray(matrix) for matrix in X]
    width = width or (matrices[0].shape[1] if matrices[0].ndim == 2 else None)
    for number, matrix in enumerate(matrices):
        if matrix.ndim != 2 or not len(matrix) or matrix.shape[1] != width:
            raise FitError(
                f"series {number} has shape {matrix.shape}; expected (n_slices, {width or 'D'}) "
                "with at least one slice"
            )
        if not np.isfinite(matrix).all():
            raise FitError(f"series {number} has features that are not finite")
    return matrices


def check_labels(y: Any, n: int) -> np.ndarray:
    """Check labels of series.

    Parameters
    ----------
    y : array-like (B,) or (B, K)
        1, 0 or NaN (unknown).
    n : int
        B.

    Returns
    -------
    float32 array (B, K)

    Raises
    ------
    FitError
        Another shape, or another value.
    """
    values = label_matrix(y, n)
    if np.isnan(values).all():
        raise FitError("every label is unknown")
    return values


def check_slice_labels(y: Sequence[Any], X: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Check labels of slices.

    Parameters
    ----------
    y : sequence of B arrays (n,) or (n, K)
        1, 0 or NaN (unknown) for each slice.
    X : sequence of B arrays (n, D)
        Features.

    Returns
    -------
    list of B float32 arrays (n, K)

    Raises
    ------
    FitError
        The number of slices differs from the features', or another value.
    """
    if len(y) != len(X):
        raise FitError(f"{len(y)} label arrays for {len(X)} series")
    labels = [label_matrix(rows, n) for rows, n in zip(y, lengths_of(X).tolist(), strict=True)]
    if all(np.isnan(rows).all() for rows in labels):
        raise FitError("every label is unknown")
    return labels


def binary_or_many(probability: np.ndarray) -> np.ndarray:
    """(n, K) probabilities as scikit-learn wants them: (n, 2) for one label.

    Parameters
    ----------
    probability : array (n, K)
        Probability of each label.

    Returns
    -------
    array (n, K), or (n, 2) where K is 1
    """
    if probability.shape[1] > 1:
        return probability
    return np.hstack([1 - probability, probability])


def decide(scored: np.ndarray, K: int) -> np.ndarray:
    """Labels that are more likely present than not.

    Parameters
    ----------
    scored : array (n, 2) for one label, (n, K) for several
        Output of `binary_or_many`.
    K : int
        Number of labels.

    Returns
    -------
    int array (n,) for one label, (n, K) for several
    """
    present = (scored >= 0.5).astype(int)
    return present[:, 1] if K == 1 else present


def classes_of(K: int) -> np.ndarray:
    """Give ``classes_`` of a fitted estimator.

    Parameters
    ----------
    K : int
        Number of labels.

    Returns
    -------
    int array (2,) for one label, (K, 2) for several
        ``[0, 1]`` of each. An array, not a list: scikit-learn's scorers read either, its
        ``cross_val_predict`` arrays only.
    """
    return np.array([0, 1]) if K == 1 else np.tile([0, 1], (K, 1))


def label_matrix(y: Any, n: int) -> np.ndarray:
    """Give labels as a matrix, whether or not any is known.

    Parameters
    ----------
    y : array-like (n,) or (n, K)
        1, 0 or NaN (unknown).
    n : int
        Rows.

    Returns
    -------
    float32 array (n, K)

    Raises
    ------
    FitError
        Another shape, or another value.
    """
    values = np.asarray(y, dtype=np.float32)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != n:
        raise FitError(f"labels have shape {np.shape(y)}; expected ({n},) or ({n}, K)")
    if not (np.isnan(values) | (values == 0) | (values == 1)).all():
        raise FitError("labels must be 0, 1 or NaN (unknown)")
    return values


def _check_sizes(X: Matrices, width: int | None) -> None:
    empty = np.flatnonzero(X.lengths < 1)
    if len(empty) or X.width != (width or X.width):
        number = int(empty[0]) if len(empty) else 0
        raise FitError(
            f"series {number} has shape {(int(X.lengths[number]), X.width)}; expected (n_slices, "
            f"{width or X.width}) with at least one slice"
        )
