"""A sequence head as a scikit-learn classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from sklearn.utils.validation import check_is_fitted

from seqhead.arithmetic import flushed_denormals, full_float32
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
from seqhead.head_config import HeadConfig, ZoomConfig
from seqhead.heads import Head, make_head
from seqhead.held_out import held_out, part_of
from seqhead.matrices import lengths_of, take_series, width_of
from seqhead.train import (
    Data,
    Progress,
    attention,
    choose_device,
    probabilities,
    second_rows,
    train,
)
from seqhead.train_config import TrainConfig


@dataclass(eq=False, repr=False)
class SequenceClassifier(RaggedClassifier):
    """A sequence head over ragged feature matrices.

    The parameters up to `zoom` compose the head, see `HeadConfig`; those up to `drop_slices` say
    how it is trained, see `TrainConfig`. The most used ones:

    Parameters
    ----------
    rnn : {"gru", "lstm", "tcn", "transformer", "none"}
        What looks across slices.
    hidden : int
        State size of each direction.
    layers : int
        Layers of it.
    bidirectional : bool
        Whether a GRU or LSTM also reads backwards.
    pool : {"last", "mean", "max", "attention", "gated-attention", "none"}
        Over slices; ``"none"`` gives an output at each slice, and `y` is then a list of arrays
        (n, K).
    mlp : tuple of int
        Sizes of dense ReLU layers before the outputs.
    dropout : float or tuple of float
        Before each dense layer.
    normalise : {"standard", "batch", "none"}
        Of the input features.
    sample_to : int or None
        Series of more slices are reduced to so many.
    zoom : ZoomConfig, dict or None
        A second branch on key slices; its features lie beside the others in `X`.
    loss : {"bce", "mse", "focal"}
        Of the known labels.
    label_weights : tuple of float
        Weight of each label in the loss.
    balance : {"none", "loss", "sampling"}
        What is done about rare labels.
    epochs, batch_size, learning_rate, patience
        At most `epochs` passes, stopped after `patience` epochs without a better validation
        loss.
    validation_fraction : float
        Share of the groups that `fit` holds out to stop on; 0 trains for all epochs.
    random_state : int
        Seed of everything random.
    precision : {"auto", "fp32", "bf16"}
        Of products over slices in training; ``"auto"`` is bf16 where the hardware multiplies it.
        Predictions are in float32.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...

    Attributes
    ----------
    classes_ : int array (2,) for one label, (K, 2) for several
        ``[0, 1]`` of each.
    head_ : Head
        The fitted head.
    history_ : History
        Losses and learning rate of each epoch, the best epoch, and the precision that ``"auto"``
        chose.
    training_ : TrainConfig
        How the head was trained, with that precision.

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

    rnn: str = "gru"
    hidden: int = 256
    layers: int = 1
    bidirectional: bool = False
    pool: str = "max"
    mlp: tuple[int, ...] = ()
    dropout: float | tuple[float, ...] = 0.0
    normalise: str = "standard"
    feature_attention: bool = False
    input_dense: int = 0
    differences: bool = False
    reset_after: bool = True
    input_dropout: float = 0.0
    product: str = "none"
    step_dense: int = 0
    activation: str = "relu"
    sample_to: int | None = None
    separate: bool = False
    replace: tuple[int, int] | None = None
    zoom: ZoomConfig | dict[str, Any] | None = None
    loss: str = "bce"
    branch_loss: str | None = None
    focal_gamma: float = 2.0
    label_weights: tuple[float, ...] = ()
    balance: str = "none"
    optimiser: str = "adam"
    epochs: int = 100
    batch_size: int = 16
    learning_rate: float = 1e-3
    learning_rates: dict[str, float] | None = None
    weight_decay: float = 0.0
    schedule: str = "constant"
    patience: int = 10
    keep: str = "best"
    pad_to: int | None = None
    leftovers: bool = False
    reverse: float = 0.0
    drop_slices: float = 0.0
    precision: str = "auto"
    validation_fraction: float = 0.15
    random_state: int = 0
    device: str = "auto"

    def fit(
        self,
        X: Sequence[np.ndarray],
        y: Any,
        groups: Sequence[Any] | None = None,
        *,
        validation: Data | None = None,
        views: Sequence[Sequence[np.ndarray]] = (),
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
        views : sequence of V lists of B arrays (n, D)
            Augmented views of `X`, row by row: each epoch draws for each training series one of
            them, or the series as it is. Series to stop on are taken as they are.
        progress : callable or None
            Called after each epoch as ``progress(epoch, epochs, figures)``; `figures` has
            ``train_loss``, with validation series ``validation_loss``, and ``learning_rate``. What
            it raises (to give a poor trial up) ends the fit and reaches the caller.

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
        checked = [_checked_view(view, X) for view in views]
        held = None
        if validation is None and self.validation_fraction:
            held = held_out(y, groups, fraction=self.validation_fraction, seed=self.random_state)
        training: Data = (X, y)
        if validation is not None:
            validation = self._checked(*validation)
        elif held is not None:
            training, validation = part_of(X, y, ~held), part_of(X, y, held)
            checked = [take_series(view, np.flatnonzero(~held)) for view in checked]
        K = (y[0] if isinstance(y, list) else y).shape[1]
        with torch.random.fork_rng(), full_float32(), flushed_denormals():
            torch.manual_seed(self.random_state)
            head = make_head(self._head_config(width_of(X), K))
            head.set_statistics(*row_statistics(training[0]))
            self.history_ = train(
                head, training, validation, self.train_config(), views=checked,
                device=choose_device(self.device), progress=progress,
            )  # fmt: skip
        self._remember(
            head.cpu(),
            self.train_config().model_copy(update={"precision": self.history_.precision}),
        )
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
        X = check_matrices(X, self.n_features_in_)
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

    def attention(self, X: Sequence[np.ndarray]) -> list[np.ndarray]:
        """How much each slice counts.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features.

        Returns
        -------
        list of B float32 arrays (n,)
            Sum to 1; NaN for slices that ``sample_to`` leaves out.

        Raises
        ------
        FitError
            The head has no attention over slices, or features are of another width.
        """
        check_is_fitted(self)
        X = check_matrices(X, self.n_features_in_)
        with full_float32():
            weights = attention(self.head_, X, choose_device(self.device))
        self.head_.cpu()
        return weights

    def second_rows(self, X: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Say of which slices `predict_proba` reads the second feature set; others may be anything.

        Parameters
        ----------
        X : sequence of B arrays (n, D)
            Features; the columns of the second set have no influence.

        Returns
        -------
        list of B bool arrays (n,)

        Raises
        ------
        FitError
            Features of another width than the fit's.
        """
        check_is_fitted(self)
        X = check_matrices(X, self.n_features_in_)
        with full_float32():
            rows = second_rows(self.head_, X, choose_device(self.device))
        self.head_.cpu()
        return rows

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
            module = make_head(head)
        module.load_state_dict(state, assign=True)
        model._remember(module.eval(), training)
        return model

    def _remember(self, head: Head, training: TrainConfig) -> None:
        self.head_, self.training_ = head, training
        self.classes_ = classes_of(head.config.labels)
        self.n_features_in_ = head.config.inputs

    def _checked(self, X: Sequence[np.ndarray], y: Any) -> tuple[Sequence[np.ndarray], Any]:
        X = check_matrices(X)
        return X, check_slice_labels(y, X) if self.pool == "none" else check_labels(y, len(X))

    def _head_config(self, inputs: int, K: int) -> HeadConfig:
        given = self._given(HeadConfig)
        zoom = ZoomConfig.model_validate(self.zoom) if self.zoom else None
        D = inputs - zoom.features if zoom else inputs // (2 if self.replace else 1)
        config = HeadConfig(**{**given, "features": max(D, 1), "labels": K})
        if config.inputs != inputs:
            raise FitError(
                f"the features have {inputs} columns; the head reads {config.inputs}: "
                "those of a second feature set lie beside the first"
            )
        return config

    def train_config(self) -> TrainConfig:
        """The arguments that are about training."""
        return TrainConfig(**{**self._given(TrainConfig), "seed": self.random_state})

    def _given(self, config: type[BaseModel]) -> dict[str, Any]:
        """Arguments that are fields of a configuration; None is its default."""
        return {
            k: v
            for k, v in self.get_params(deep=False).items()
            if k in config.model_fields and v is not None
        }


def _checked_view(view: Sequence[np.ndarray], X: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    checked = check_matrices(view, width_of(X))
    if not np.array_equal(lengths_of(checked), lengths_of(X)):
        raise FitError("a view needs the same series as X, and the same slices of each")
    return checked
