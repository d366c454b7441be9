"""Linear support vector machines on pooled or padded features, with calibrated probabilities."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from seqhead.batches import row_statistics
from seqhead.errors import FitError
from seqhead.estimator import (
    RaggedClassifier,
    binary_or_many,
    check_labels,
    check_matrices,
    check_slice_labels,
    classes_of,
    decide,
)
from seqhead.matrices import Matrices, lengths_of, width_of

SVM_INPUTS = ("pooled", "padded", "slices")
"""What a row of the SVM is: pooled slices, all slices of a padded series, or one slice."""

_POOLS: dict[str, Callable[..., np.ndarray]] = {
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "std": np.std,
}
_ARRAYS = ("mean_", "scale_", "coef_", "intercept_")


class PooledSVC(RaggedClassifier):
    """A calibrated linear SVM for each label, over ragged feature matrices.

    Rows are standardised and divided by the root of their width, so that `C` means the same
    for any width. Probabilities come from Platt scaling on the margins of held-out patients.
    A label with too few patients of one class for that gets the constant
    (positives + 1) / (n + 2).

    Parameters
    ----------
    input : {"pooled", "padded", "slices"}
        ``"pooled"``: statistics over slices; ``"padded"``: the N x D matrix itself, zeros at both
        ends, N the longest training series (longer ones lose slices at both ends); ``"slices"``:
        each slice for itself, with labels and outputs of slices as lists of arrays.
    pool : str
        Statistics for ``"pooled"``, joined by ``+``: mean, max, min, std.
    C : float
        Inverse regularisation.
    folds : int
        At most so many folds for the calibration.
    random_state : int
        Seed of folds and solver.

    Attributes
    ----------
    classes_ : int array (2,) for one label, (K, 2) for several
        ``[0, 1]`` of each.
    coef_ : float32 array (K, F)
        Log odds of a standardised row's features, the calibration included.
    intercept_ : float32 array (K,)
        Log odds of the mean row.

    References
    ----------
    Platt 1999, Probabilistic outputs for support vector machines.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(n, 8)) for n in (3, 5, 4, 6, 2, 7)]
    >>> PooledSVC().fit(X, [0, 1, 0, 1, 0, 1], groups=range(6)).predict_proba(X).shape
    (6, 2)
    """

    def __init__(
        self,
        input: str = "pooled",
        pool: str = "mean+max",
        C: float = 1.0,
        folds: int = 5,
        random_state: int = 0,
    ) -> None:
        self.input = input
        self.pool = pool
        self.C = C
        self.folds = folds
        self.random_state = random_state

    def fit(
        self, X: Sequence[np.ndarray], y: Any, groups: Sequence[Any] | None = None
    ) -> "PooledSVC":
        """Fit one SVM for each label.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features of each series, slices in order.
        y : array (B,) or (B, K), or with ``input="slices"`` a list of B arrays (n, K)
            1, 0 or NaN (unknown).
        groups : sequence (B,) or None
            Patient of each series: calibration holds out whole patients. Without it, each
            series counts as its own patient, with a warning.

        Returns
        -------
        PooledSVC
            Itself.

        Raises
        ------
        FitError
            Input of another form.
        """
        X = check_matrices(X)
        self._check_options()
        of_slices = self.input == "slices"
        y = np.concatenate(check_slice_labels(y, X)) if of_slices else check_labels(y, len(X))
        if groups is None:
            warnings.warn(
                "fit without groups: the calibration cannot keep a patient's series together. "
                "Pass groups=patients (in cross-validation with metadata routing)",
                stacklevel=2,
            )
            groups = range(len(X))
        self.n_features_in_ = width_of(X)
        self.n_slices_ = int(lengths_of(X).max())
        raw = self._rows(X)
        self.mean_, self.scale_ = row_statistics(X if self.input == "padded" else [raw])
        rows = self._standardised(raw, X)
        compact, basis = _compact(rows)
        owner = np.unique(np.asarray(list(groups), dtype=object).astype(str), return_inverse=True)[
            1
        ]
        if of_slices:
            owner = np.repeat(owner, lengths_of(X))
        fitted = [self._fit_label(compact, y[:, k], owner) for k in range(y.shape[1])]
        coef = np.array([coef for coef, _ in fitted])
        self.coef_ = (coef if basis is None else coef @ basis.T).astype(np.float32)
        self.intercept_ = np.array([intercept for _, intercept in fitted], dtype=np.float32)
        self.classes_ = classes_of(y.shape[1])
        return self

    def decision_function(self, X: Sequence[np.ndarray]) -> Any:
        """Log odds of each label.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features.

        Returns
        -------
        float32 array (B,) for one label, (B, K) for several; with ``input="slices"`` a list of
        such arrays, a row for each slice

        Raises
        ------
        FitError
            Features of another width than the fit's.
        """
        return self._each(X, lambda odds: odds[:, 0] if odds.shape[1] == 1 else odds)

    def predict_proba(self, X: Sequence[np.ndarray]) -> Any:
        """Probability of each label.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features.

        Returns
        -------
        float array (B, 2) for one label, (B, K) for several; with ``input="slices"`` a list of
        such arrays

        Raises
        ------
        FitError
            Features of another width than the fit's.
        """
        return self._each(X, _probability)

    def predict(self, X: Sequence[np.ndarray]) -> Any:
        """Whether each label is more likely present than not.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features.

        Returns
        -------
        int array (B,) for one label, (B, K) for several; with ``input="slices"`` a list of such
        arrays

        Raises
        ------
        FitError
            Features of another width than the fit's.
        """
        return self._each(X, lambda odds: decide(_probability(odds), len(self.coef_)))

    def check_memory(self, X: Sequence[np.ndarray]) -> None:
        """Refuse features that stay in the store where all of them are needed at once.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features.

        Raises
        ------
        FitError
            The input is not pooled, and these are `Matrices`.
        """
        if self.input != "pooled" and isinstance(X, Matrices):
            raise FitError(
                f"an SVM with input {self.input!r} needs all features in memory, and they are more "
                "than it may take: allow more (--memory), or use the pooled input"
            )

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was learnt, as arrays."""
        sizes = np.array([self.n_features_in_, self.n_slices_], dtype=np.int64)
        return {**{name: getattr(self, name) for name in _ARRAYS}, "sizes": sizes}

    @classmethod
    def from_state(cls, options: dict[str, Any], state: dict[str, np.ndarray]) -> "PooledSVC":
        """Rebuild a fitted machine from what a run folder holds.

        Parameters
        ----------
        options : dict
            Its constructor's arguments.
        state : dict of arrays
            What `state` gave.

        Returns
        -------
        PooledSVC

        Raises
        ------
        KeyError
            An array is missing.
        """
        model = cls(**options)
        for name in _ARRAYS:
            setattr(model, name, state[name])
        model.n_features_in_, model.n_slices_ = (int(size) for size in state["sizes"])
        model.classes_ = classes_of(len(model.coef_))
        return model

    def _each(
        self, X: Sequence[np.ndarray], output: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray | list[np.ndarray]:
        """An output of the log odds, of all series, or of the slices of each series."""
        check_is_fitted(self)
        X = check_matrices(X, self.n_features_in_)
        odds = self._standardised(self._rows(X), X) @ self.coef_.T + self.intercept_
        if self.input != "slices":
            return output(odds)
        ends = np.cumsum(lengths_of(X))
        return [output(rows) for rows in np.split(odds, ends[:-1])]

    def _check_options(self) -> None:
        unknown = set(self.pool.split("+")) - set(_POOLS)
        if unknown:
            raise FitError(f"pool must join {', '.join(_POOLS)} with '+'. Got {self.pool!r}")
        if self.input not in SVM_INPUTS:
            raise FitError(f"input must be one of {', '.join(SVM_INPUTS)}. Got {self.input!r}")

    def _rows(self, X: Sequence[np.ndarray]) -> np.ndarray:
        """Pooled rows (B, F), or slices (N, D); padded input is made when it is standardised."""
        self.check_memory(X)
        if self.input == "padded":
            return np.empty((len(X), 0), dtype=np.float32)
        if self.input == "slices":
            return np.concatenate(X, dtype=np.float32)
        pools = [_POOLS[name] for name in self.pool.split("+")]
        return np.stack(
            [np.concatenate([pool(matrix.astype(np.float32), axis=0) for pool in pools])
             for matrix in X]
        )  # fmt: skip

    def _standardised(self, raw: np.ndarray, X: Sequence[np.ndarray]) -> np.ndarray:
        if self.input != "padded":
            rows = (raw - self.mean_) / self.scale_
            return rows / np.float32(np.sqrt(rows.shape[1]))
        padded = np.zeros((len(X), self.n_slices_, self.n_features_in_), dtype=np.float32)
        for row, matrix in zip(padded, X, strict=True):
            cut = max(len(matrix) - self.n_slices_, 0) // 2
            inner = matrix[cut : cut + self.n_slices_]
            start = (self.n_slices_ - len(inner)) // 2
            row[start : start + len(inner)] = (inner - self.mean_) / self.scale_
        rows = padded.reshape(len(X), -1)
        rows /= np.float32(np.sqrt(rows.shape[1]))
        return rows

    def _fit_label(
        self, rows: np.ndarray, y: np.ndarray, owner: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Coefficients and intercept of the log odds."""
        known = ~np.isnan(y)
        rows, truth, owner = rows[known], y[known].astype(int), owner[known]
        splits = _patient_folds(truth, owner, self.folds, self.random_state)
        if splits is None:
            share = (truth.sum() + 1) / (len(truth) + 2)
            return np.zeros(rows.shape[1]), float(np.log(share / (1 - share)))
        machine = LinearSVC(C=self.C, random_state=self.random_state, max_iter=10_000)
        calibrated = CalibratedClassifierCV(machine, cv=splits, ensemble=False).fit(rows, truth)
        fitted = calibrated.calibrated_classifiers_[0]
        svm, platt = fitted.estimator, fitted.calibrators[0]
        return -platt.a_ * svm.coef_[0], float(-(platt.a_ * svm.intercept_[0] + platt.b_))


def _probability(odds: np.ndarray) -> np.ndarray:
    return binary_or_many(1 / (1 + np.exp(-np.clip(odds.astype(np.float64), -700, 700))))


def _compact(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Rotate wide rows into as many dimensions as there are rows.

    Inner products, and so the SVM, stay the same; N x D features of a padded series are
    200,000 wide. Returns the rotated rows (B, r) and the basis (F, r), or None if not needed.
    """
    if rows.shape[1] <= len(rows):
        return rows, None
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    keep = values > values[-1] * 1e-6
    root = np.sqrt(values[keep])
    return vectors[:, keep] * root, rows.T @ (vectors[:, keep] / root)


def _patient_folds(
    y: np.ndarray, owner: np.ndarray, most: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Folds of whole patients, each with both classes to train on; None if there are too few."""
    patients = min(len(np.unique(owner[y == answer])) for answer in (0, 1))
    for n_splits in range(min(most, patients), 1, -1):
        folds = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
        splits = list(folds.split(y, y, owner))
        if all(len(np.unique(y[train])) == 2 for train, _ in splits):
            return splits
    return None
