"""The training loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from seqhead.batches import batches
from seqhead.config import TrainConfig
from seqhead.errors import FitError
from seqhead.heads import SequenceHead
from seqhead.losses import LOSSES, Loss

Labels = np.ndarray | Sequence[np.ndarray]
Data = tuple[Sequence[np.ndarray], Labels]
Progress = Callable[[int, int, dict[str, float]], None]


@dataclass
class History:
    """What happened, epoch by epoch.

    Parameters
    ----------
    epochs : list of dict
        ``epoch``, ``train_loss`` and, with validation series, ``validation_loss``.
    best_epoch : int
        Epoch whose weights the head has.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0


def choose_device(name: str = "auto") -> torch.device:
    """Device of a name; ``"auto"`` is CUDA, else Apple's MPS, else the CPU.

    Parameters
    ----------
    name : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Returns
    -------
    torch.device

    Raises
    ------
    FitError
        There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise FitError(f"--device {name} is not usable here: {error}") from error


def train(
    head: SequenceHead,
    training: Data,
    validation: Data | None,
    config: TrainConfig,
    *,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> History:
    """Fit a head; afterwards it has the weights of the epoch with the best validation loss.

    Parameters
    ----------
    head : SequenceHead
        Trained in place.
    training, validation : (X, y)
        Ragged features and labels, NaN for unknown; without validation, training runs for all
        epochs and the last weights stay.
    config : TrainConfig
        Loss, optimiser and stopping.
    device : torch.device or None
        Where to train; None: the CPU.
    progress : callable or None
        Called after each epoch with its number, the most there can be, and its losses.

    Returns
    -------
    History

    Raises
    ------
    FitError
        The loss is not finite, or a side has no known label.
    """
    _check_known(training, validation)
    device = device or torch.device("cpu")
    head.to(device)
    loss_of = LOSSES[config.loss]
    optimiser = torch.optim.Adam(head.parameters(), lr=config.learning_rate)
    rng = np.random.default_rng(config.seed)
    history, best, best_state = History(), float("inf"), None
    for epoch in range(1, config.epochs + 1):
        losses = {"train_loss": _learn(head, training, loss_of, optimiser, config, rng, device)}
        if validation is not None:
            losses["validation_loss"] = mean_loss(head, validation, loss_of, device)
        _check_finite(losses, epoch)
        history.epochs.append({"epoch": epoch, **losses})
        if progress is not None:
            progress(epoch, config.epochs, losses)
        if losses.get("validation_loss", -epoch) < best:  # without validation the last is best
            best, history.best_epoch = losses.get("validation_loss", -epoch), epoch
            best_state = {name: value.clone() for name, value in head.state_dict().items()}
        elif epoch - history.best_epoch >= config.patience:
            break
    head.load_state_dict(best_state or {})
    head.eval()
    return history


def _learn(
    head: SequenceHead,
    data: Data,
    loss_of: Loss,
    optimiser: torch.optim.Optimizer,
    config: TrainConfig,
    rng: np.random.Generator,
    device: torch.device,
) -> float:
    """One pass over the training series; returns the mean loss of a known label."""
    head.train()
    total, known = 0.0, 0
    for batch in batches(*data, config.batch_size, rng, device):
        count = _known(batch.y)
        if not count:
            continue
        loss = loss_of(head(batch.x, batch.mask), batch.y)  # type: ignore[arg-type]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        total, known = total + float(loss.detach()) * count, known + count
    return total / max(known, 1)


@torch.no_grad()
def mean_loss(head: SequenceHead, data: Data, loss_of: Loss, device: torch.device) -> float:
    """Mean loss of a known label, without learning.

    Parameters
    ----------
    head : SequenceHead
        The head, already on `device`.
    data : (X, y)
        Ragged features and labels.
    loss_of : Loss
        One of `seqhead.losses`.
    device : torch.device
        Where the head is.

    Returns
    -------
    float
    """
    head.eval()
    total, known = 0.0, 0
    for batch in batches(*data, 64, device=device):
        count = _known(batch.y)
        if count:
            loss = loss_of(head(batch.x, batch.mask), batch.y)  # type: ignore[arg-type]
            total, known = total + float(loss) * count, known + count
    return total / max(known, 1)


@torch.no_grad()
def probabilities(
    head: SequenceHead,
    X: Sequence[np.ndarray],
    device: torch.device | None = None,
    batch_size: int = 64,
) -> list[np.ndarray]:
    """Score series.

    Parameters
    ----------
    head : SequenceHead
        A trained head.
    X : sequence of B arrays (n, D)
        Features.
    device : torch.device or None
        Where to compute; None: the CPU.
    batch_size : int
        Series at a time; changes the last bits at most.

    Returns
    -------
    list of B float32 arrays, (K,) or (n, K) without pooling
        Probabilities, in the order of `X`.
    """
    device = device or torch.device("cpu")
    head.to(device).eval()
    scored: list[np.ndarray] = [np.empty(0)] * len(X)
    for batch in batches(X, None, batch_size, device=device):
        outputs = head(batch.x, batch.mask).float().sigmoid().cpu().numpy()
        for row, output in zip(batch.rows, outputs, strict=True):
            scored[row] = output if output.ndim == 1 else output[: len(X[row])]
    return scored


def _known(y: torch.Tensor | None) -> int:
    return 0 if y is None else int((~torch.isnan(y)).sum())


def _check_known(training: Data, validation: Data | None) -> None:
    for name, data in (("training", training), ("validation", validation)):
        if data is not None and all(np.isnan(rows).all() for rows in data[1]):
            raise FitError(f"the {name} series have no known label: there is nothing to learn from")


def _check_finite(losses: dict[str, float], epoch: int) -> None:
    for name, value in losses.items():
        if not np.isfinite(value):
            raise FitError(
                f"{name} is {value} in epoch {epoch}. Lower the learning rate, or normalise the "
                "input; `featurecache verify` checks the features"
            )
