"""Optimisers and learning rates of a training configuration."""

import torch
from torch import nn

from seqhead.errors import FitError
from seqhead.train_config import TrainConfig

_MOMENTUM = 0.9  # of SGD, as RADnet has it


def make_optimiser(head: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimiser of a head.

    Parameters
    ----------
    head : nn.Module
        The head.
    config : TrainConfig
        Optimiser, learning rates and weight decay.

    Returns
    -------
    torch.optim.Optimizer
        One group of parameters for each learning rate.

    Raises
    ------
    FitError
        A learning rate is for a module that the head does not have.
    """
    groups = _groups(head, config)
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimiser == "rmsprop":
        return torch.optim.RMSprop(groups, rate, weight_decay=decay)
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, rate, momentum=_MOMENTUM, weight_decay=decay, fused=True)
    return torch.optim.Adam(groups, rate, weight_decay=decay, fused=True)  # one pass, not eight


def make_schedule(
    optimiser: torch.optim.Optimizer, config: TrainConfig
) -> torch.optim.lr_scheduler.LRScheduler:
    """Build the schedule of the learning rates; it steps once an epoch.

    Parameters
    ----------
    optimiser : torch.optim.Optimizer
        What it is for.
    config : TrainConfig
        Schedule and epochs.

    Returns
    -------
    torch.optim.lr_scheduler.LRScheduler
    """
    thirds = [config.epochs // 3, 2 * config.epochs // 3]
    stops = thirds if config.schedule == "step" else []
    return torch.optim.lr_scheduler.MultiStepLR(optimiser, stops, gamma=0.1)


def _groups(head: nn.Module, config: TrainConfig) -> list[dict[str, object]]:
    modules = dict(head.named_modules())
    for name in config.learning_rates:
        if not name or not _parameters(modules.get(name)):
            known = [child for child, part in head.named_children() if _parameters(part)]
            raise FitError(
                f"a learning rate is given for {name!r}, which is no part of the head that learns. "
                f"Its parts: {', '.join(known)}"
            )
    groups: list[dict[str, object]] = []
    taken: set[int] = set()
    for name in sorted(config.learning_rates, key=len, reverse=True):  # parts before their wholes
        own = [p for p in modules[name].parameters() if id(p) not in taken]
        taken.update(map(id, own))
        groups.append({"params": own, "lr": config.learning_rates[name]})
    rest = [p for p in head.parameters() if id(p) not in taken]
    return [{"params": rest}, *groups]


def _parameters(module: nn.Module | None) -> list[nn.Parameter]:
    return [] if module is None else list(module.parameters())
