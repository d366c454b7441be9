"""A sequence head as a scikit-learn classifier."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from seqhead.arithmetic import flushed_denormals, full_float32
from seqhead.batches import row_statistics
from seqhead.config import HeadConfig, TrainConfig
from seqhead.estimator import (
    binary_or_many,
    check_labels,
    check_matrices,
    check_slice_labels,
    classes_of,
    decide,
)
from seqhead.heads import SequenceHead
from seqhead.splits import inner_validation
from seqhead.train import Data, Progress, choose_device, probabilities, train


class SequenceClassifier(ClassifierMixin, BaseEstimator):
    """GRU, LSTM or pooling head over ragged feature matrices.

    Parameters
    ----------
    rnn : {"gru", "lstm", "none"}
        Recurrent layer.
    hidden : int
        State size of each direction.
    layers : int
        Recurrent layers.
    bidirectional : bool
        Whether the recurrent layers also read backwards.
    pool : {"last", "mean", "max", "attention", "none"}
        Over slices; ``"none"`` gives an output at each slice, and `y` is then a list of arrays
        (n, K).
    mlp : tuple of int
        Sizes of dense ReLU layers before the outputs.
    dropout : float
        Before each dense layer.
    normalise : {"standard", "batch", "none"}
        Of the input features.
    feature_attention : bool
        Multiply each slice's features with their softmax.
    loss : {"bce", "mse"}
        Of the known labels.
    epochs, batch_size, learning_rate, patience
        Adam, at most `epochs` passes, stopped after `patience` epochs without a better
        validation loss.
    validation_fraction : float
        Share of the groups that `fit` holds out to stop on; 0 trains for all epochs.
    random_state : int
        Seed of everything random.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...

    Attributes
    ----------
    classes_ : array (2,), or list of K such arrays
        ``[0, 1]``.
    head_ : SequenceHead
        The fitted head.
    history_ : History
        Losses of each epoch and the best epoch.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(n, 8)) for n in (3, 5, 4, 6, 2, 7)]
    >>> y = [0, 1, 0, 1, 0, 1]
    >>> model = SequenceClassifier(hidden=4, epochs=2, device="cpu")
    >>> model.fit(X, y, groups=list("aabbcc")).predict_proba(X).shape
    (6, 2)
    """

    def __init__(
        self,
        rnn: str = "gru",
        hidden: int = 256,
        layers: int = 1,
        bidirectional: bool = False,
        pool: str = "max",
        mlp: tuple[int, ...] = (),
        dropout: float = 0.0,
        normalise: str = "standard",
        feature_attention: bool = False,
        loss: str = "bce",
        epochs: int = 100,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        patience: int = 10,
        validation_fraction: float = 0.15,
        random_state: int = 0,
        device: str = "auto",
    ) -> None:
        self.rnn = rnn
        self.hidden = hidden
        self.layers = layers
        self.bidirectional = bidirectional
        self.pool = pool
        self.mlp = mlp
        self.dropout = dropout
        self.normalise = normalise
        self.feature_attention = feature_attention
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: Sequence[np.ndarray],
        y: Any,
        groups: Sequence[Any] | None = None,
        *,
        validation: Data | None = None,
        progress: Progress | None = None,
    ) -> "SequenceClassifier":
        """Train the head.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features of each series, slices in order.
        y : array (B,) or (B, K), or with ``pool="none"`` a list of B arrays (n, K)
            1, 0 or NaN (unknown).
        groups : sequence (B,) or None
            Patient of each series: early stopping holds out whole patients. Without it, each
            series counts as its own patient, with a warning.
        validation : (X, y) or None
            Series to stop on, instead of holding some out.
        progress : callable or None
            Called after each epoch, see `seqhead.train.train`.

        Returns
        -------
        SequenceClassifier
            Itself.

        Raises
        ------
        FitError
            Input of another form, or a loss that is not finite.
        """
        X, y = self._checked(X, y)
        training, validation = self._hold_out(X, y, groups, validation)
        K = (y[0] if isinstance(y, list) else y).shape[1]
        with torch.random.fork_rng(), full_float32(), flushed_denormals():
            torch.manual_seed(self.random_state)
            head = SequenceHead(self._head_config(X[0].shape[1], K))
            head.set_statistics(*row_statistics(training[0]))
            self.history_ = train(
                head, training, validation, self.train_config(),
                device=choose_device(self.device), progress=progress,
            )  # fmt: skip
        self._remember(head.cpu())
        return self

    def predict_proba(self, X: Sequence[np.ndarray]) -> Any:
        """Probability of each label.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features.

        Returns
        -------
        float32 array (B, 2) for one label, (B, K) for several; with ``pool="none"`` a list of
        such arrays, a row for each slice

        Raises
        ------
        FitError
            Features of another width than the fit's.
        """
        check_is_fitted(self)
        X = check_matrices(X, self.head_.config.features)
        with full_float32():
            scored = probabilities(self.head_, X, choose_device(self.device))
        self.head_.cpu()
        if self.pool == "none":
            return [binary_or_many(rows) for rows in scored]
        return binary_or_many(np.stack(scored))

    def predict(self, X: Sequence[np.ndarray]) -> Any:
        """Whether each label is more likely present than not.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features.

        Returns
        -------
        int array (B,) for one label, (B, K) for several; with ``pool="none"`` a list of such
        arrays

        Raises
        ------
        FitError
            Features of another width than the fit's.
        """
        scored = self.predict_proba(X)
        K = self.head_.config.labels
        return [decide(rows, K) for rows in scored] if self.pool == "none" else decide(scored, K)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was learnt, as arrays."""
        return {name: value.cpu().numpy() for name, value in self.head_.state_dict().items()}

    @classmethod
    def from_state(
        cls,
        head: HeadConfig,
        training: TrainConfig,
        state: dict[str, torch.Tensor],
        device: str = "auto",
    ) -> "SequenceClassifier":
        """Rebuild a fitted classifier from what a run folder holds.

        Parameters
        ----------
        head, training : HeadConfig, TrainConfig
            Its configuration.
        state : dict of tensors
            ``head_.state_dict()``.
        device : str
            Where to predict.

        Returns
        -------
        SequenceClassifier

        Raises
        ------
        RuntimeError
            Tensors are missing, unexpected, or of another shape.
        """
        of_head = head.model_dump(exclude={"features", "labels"})
        of_training = training.model_dump(exclude={"seed"})
        model = cls(**of_head, **of_training, random_state=training.seed, device=device)
        with torch.device("meta"):  # sizes are compared before anything is allocated
            module = SequenceHead(head)
        module.load_state_dict(state, assign=True)
        model._remember(module.eval())
        return model

    def _remember(self, head: SequenceHead) -> None:
        self.head_ = head
        self.classes_ = classes_of(head.config.labels)
        self.n_features_in_ = head.config.features

    def _checked(self, X: Sequence[np.ndarray], y: Any) -> tuple[list[np.ndarray], Any]:
        X = check_matrices(X)
        return X, check_slice_labels(y, X) if self.pool == "none" else check_labels(y, len(X))

    def _hold_out(
        self, X: list[np.ndarray], y: Any, groups: Sequence[Any] | None, validation: Data | None
    ) -> tuple[Data, Data | None]:
        if validation is not None:
            return (X, y), self._checked(*validation)
        if not self.validation_fraction:
            return (X, y), None
        if groups is None:
            warnings.warn(
                "fit without groups: early stopping cannot keep a patient's series together. "
                "Pass groups=patients (in cross-validation with metadata routing), or "
                "validation_fraction=0",
                stacklevel=3,
            )
            groups = list(range(len(X)))
        of_series = [_any_slice(rows) for rows in y] if isinstance(y, list) else y
        held = inner_validation(
            np.asarray(groups, dtype=object), np.asarray(of_series),
            fraction=self.validation_fraction, seed=self.random_state,
        )  # fmt: skip
        return _take(X, y, ~held), _take(X, y, held)

    def _head_config(self, D: int, K: int) -> HeadConfig:
        given = {k: v for k, v in self.get_params().items() if k in HeadConfig.model_fields}
        return HeadConfig(**{**given, "features": D, "labels": K})

    def train_config(self) -> TrainConfig:
        """The arguments that are about training."""
        given = {k: v for k, v in self.get_params().items() if k in TrainConfig.model_fields}
        return TrainConfig(**{**given, "seed": self.random_state})


def _take(X: list[np.ndarray], y: Any, rows: np.ndarray) -> Data:
    places = np.flatnonzero(rows)
    labels = [y[k] for k in places] if isinstance(y, list) else y[places]
    return [X[k] for k in places], labels


def _any_slice(rows: np.ndarray) -> np.ndarray:
    return np.nan_to_num(rows).max(axis=0)
