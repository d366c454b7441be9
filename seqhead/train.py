"""The training loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from seqhead.arithmetic import products_in, resolve_precision
from seqhead.batches import batches
from seqhead.epoch_source import EpochSource, Labels
from seqhead.errors import FitError
from seqhead.heads import Head
from seqhead.losses import Objective
from seqhead.matrices import lengths_of
from seqhead.optimise import make_optimiser, make_schedule
from seqhead.sampling import augmentation, balanced_rows, even_places, take_samples
from seqhead.train_config import TrainConfig

Data = tuple[Sequence[np.ndarray], Labels]
Progress = Callable[[int, int, dict[str, float]], None]

_TINY = torch.finfo(torch.float32).tiny


@dataclass
class History:
    """What happened, epoch by epoch.

    Parameters
    ----------
    epochs : list of dict
        ``epoch``, ``train_loss``, with validation series ``validation_loss``, and
        ``learning_rate`` (of what has no rate of its own).
    best_epoch : int
        Epoch whose weights the head has.
    precision : str
        What products over slices were computed in: ``"fp32"`` or ``"bf16"``.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    precision: str = "fp32"


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
    head: Head,
    training: Data,
    validation: Data | None,
    config: TrainConfig,
    *,
    views: Sequence[Sequence[np.ndarray]] = (),
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> History:
    """Fit a head; afterwards it has the weights of the epoch that the configuration keeps.

    Parameters
    ----------
    head : Head
        Trained in place.
    training, validation : (X, y)
        Ragged features and labels, NaN for unknown; without validation, training runs for all
        epochs and the last weights stay.
    config : TrainConfig
        Loss, optimiser and stopping.
    views : sequence of V lists of arrays (n, D)
        Augmented views of the training series, row by row: each epoch draws one of them, or the
        series as it is, for each series.
    device : torch.device or None
        Where to train; None: the CPU.
    progress : callable or None
        Called after each epoch with its number, the most there can be, and its losses and learning
        rate. What it raises ends the training and reaches the caller; nothing is kept.

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
    precision = resolve_precision(config.precision, device, head.config)
    head.to(device)
    source = EpochSource.of(*training, views, config, head.config.sample_to)
    objective = Objective.of(config, source.labels, device)
    optimiser = make_optimiser(head, config)
    schedule = make_schedule(optimiser, config)
    rng = np.random.default_rng(config.seed)
    history, best, best_state = History(precision=precision), float("inf"), None
    for epoch in range(1, config.epochs + 1):
        data = source.epoch(epoch)
        with products_in(precision):
            learnt = _learn(head, data, objective, optimiser, config, rng, device)
        losses = {"train_loss": learnt}
        if validation is not None:
            losses["validation_loss"] = mean_loss(head, validation, objective, device)
        _check_finite(losses, epoch)
        figures = {**losses, "learning_rate": optimiser.param_groups[0]["lr"]}
        history.epochs.append({"epoch": epoch, **figures})
        if progress is not None:
            progress(epoch, config.epochs, figures)
        schedule.step()
        if losses.get("validation_loss", -epoch) < best:  # without validation the last is best
            best, history.best_epoch = losses.get("validation_loss", -epoch), epoch
            best_state = {name: value.clone() for name, value in head.state_dict().items()}
        elif epoch - history.best_epoch >= config.patience:
            break
    if config.keep == "best":
        head.load_state_dict(best_state or {})
    else:
        history.best_epoch = len(history.epochs)
    head.eval()
    return history


def _learn(
    head: Head,
    data: Data,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    config: TrainConfig,
    rng: np.random.Generator,
    device: torch.device,
) -> float:
    """One pass over the training series; returns the mean loss of a known label."""
    head.train()
    among = balanced_rows(data[1], rng) if config.balance == "sampling" else None
    losses = RunningMean()
    for batch in batches(
        *data, config.batch_size, rng, device,
        among=among, pad_to=config.pad_to, pick=augmentation(config, rng),
    ):  # fmt: skip
        if batch.y is None or not batch.labelled:
            continue
        total, weight = objective.terms(head.outputs(batch.x, batch.mask), batch.y)
        optimiser.zero_grad(set_to_none=True)
        (total / weight.clamp(min=_TINY)).backward()
        optimiser.step()
        losses.add(total, weight)
    return losses.value


@torch.no_grad()
def mean_loss(head: Head, data: Data, objective: Objective, device: torch.device) -> float:
    """Mean loss of a known label, without learning.

    Parameters
    ----------
    head : Head
        The head, already on `device`.
    data : (X, y)
        Ragged features and labels.
    objective : Objective
        The loss.
    device : torch.device
        Where the head is.

    Returns
    -------
    float
    """
    head.eval()
    losses = RunningMean()
    for batch in batches(*take_samples(*data, head.config.sample_to), 64, device=device):
        if batch.y is not None:
            losses.add(*objective.terms(head.outputs(batch.x, batch.mask), batch.y))
    return losses.value


@dataclass
class RunningMean:
    """A weighted mean that grows; a device is not waited for until the mean is asked for."""

    terms: list[torch.Tensor] = field(default_factory=list)

    def add(self, total: torch.Tensor, weight: torch.Tensor) -> None:
        """Add a weighted sum () and its weight ()."""
        self.terms.append(torch.stack([total.detach(), weight]))

    @property
    def value(self) -> float:
        """The mean; 0 of nothing."""
        if not self.terms:
            return 0.0
        total, weight = torch.stack(self.terms).cpu().double().sum(dim=0).tolist()
        return total / weight if weight else 0.0


def probabilities(
    head: Head,
    X: Sequence[np.ndarray],
    device: torch.device | None = None,
    batch_size: int = 64,
) -> list[np.ndarray]:
    """Score series.

    Parameters
    ----------
    head : Head
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
    outputs = _each_series(head, X, device, batch_size, lambda x, mask: head(x, mask).sigmoid())
    if head.config.pool != "none":
        return outputs
    return [rows[:n] for rows, n in zip(outputs, lengths_of(X), strict=True)]


def attention(
    head: Head,
    X: Sequence[np.ndarray],
    device: torch.device | None = None,
    batch_size: int = 64,
) -> list[np.ndarray]:
    """How much each slice counts.

    Parameters
    ----------
    head, X, device, batch_size
        As in `probabilities`.

    Returns
    -------
    list of B float32 arrays (n,)
        Sum to 1; NaN for slices that the head's sampling leaves out.

    Raises
    ------
    FitError
        The head has no attention over slices.
    """
    weights = _each_series(head, X, device, batch_size, head.attention)
    spread = []
    for n, row in zip(lengths_of(X).tolist(), weights, strict=True):
        places = even_places(n, head.config.sample_to)
        of_all = np.full(n, np.nan, dtype=np.float32)
        of_all[places] = row[: len(places)]
        spread.append(of_all)
    return spread


def second_rows(
    head: Head, X: Sequence[np.ndarray], device: torch.device | None = None, batch_size: int = 64
) -> list[np.ndarray]:
    """Of which slices a head reads the second feature set.

    Parameters
    ----------
    head, X, device, batch_size
        As in `probabilities`; the columns of the second set have no influence.

    Returns
    -------
    list of B bool arrays (n,)
    """
    rows = _each_series(head, X, device, batch_size, head.second_rows)
    spread = []
    for matrix, row in zip(X, rows, strict=True):
        places = even_places(len(matrix), head.config.sample_to)
        of_all = np.zeros(len(matrix), dtype=bool)
        of_all[places] = row[: len(places)] > 0
        spread.append(of_all)
    return spread


@torch.no_grad()
def _each_series(
    head: Head,
    X: Sequence[np.ndarray],
    device: torch.device | None,
    batch_size: int,
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> list[np.ndarray]:
    """Output of a function of padded features and mask, for each series."""
    device = device or torch.device("cpu")
    head.to(device).eval()
    X = take_samples(X, None, head.config.sample_to)[0]
    rows: list[np.ndarray] = [np.empty(0)] * len(X)
    for batch in batches(X, None, batch_size, device=device):
        outputs = function(batch.x, batch.mask).float().cpu().numpy()
        for row, output in zip(batch.rows, outputs, strict=True):
            rows[row] = output
    return rows


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
