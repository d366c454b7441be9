"""Epochs as TensorBoard scalars, on request."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from seqhead.train import Progress

FOLDER = "tensorboard"
"""Folder of the event files in a run folder."""

_EVENTS = "events.out.tfevents.0"


@contextlib.contextmanager
def epoch_scalars(
    folder: Path, progress: Progress | None, *, wanted: bool
) -> Iterator[Progress | None]:
    """Write down for TensorBoard what a fit tells of its epochs.

    Parameters
    ----------
    folder : Path
        Where the event file goes, which no two fits share.
    progress : callable or None
        Who else is told after each epoch, see `seqhead.train.train`.
    wanted : bool
        Whether anything is written.

    Yields
    ------
    callable or None
        What the fit shall tell.
    """
    if not wanted:
        yield progress
        return
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def told(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, epoch)
        if progress is not None:
            progress(epoch, epochs, figures)

    try:
        yield told
    finally:
        writer.close()
        for file in folder.iterdir():  # one, whose name says on which machine it was written
            file.rename(folder / _EVENTS)
