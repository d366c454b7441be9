"""Decoded slices that follow each other -> batches on the device -> their features."""

from collections import deque

import numpy as np

from featurecache.arrays import OK
from featurecache.embed import Embedder, Pending
from featurecache.pixels import Decoded
from featurecache.pool import Failure
from featurecache.reasons import slice_reason_code
from featurecache.timing import FeatureTiming

_BATCHES_IN_FLIGHT = 2

Outcome = Decoded | Failure
"""What became of a slice."""


class Gathered:
    """Features of some slices in the making: batches go to the device as soon as they are full.

    Parameters
    ----------
    n_rows : int
        How many slices will come.
    embedder : Embedder
        The network.

    Attributes
    ----------
    values : ndarray (n_rows, D), float32
        Their features, complete after `finish`; rows that failed mean nothing.
    status : ndarray (n_rows,), uint8
        1 where there are features, else the code of the reason.
    spent : FeatureTiming
        Seconds on the device, complete after `finish`.
    """

    def __init__(self, n_rows: int, embedder: Embedder) -> None:
        self.values = np.zeros((n_rows, embedder.dim), np.float32)
        self.status = np.zeros(n_rows, np.uint8)
        self.spent = FeatureTiming()
        self._embedder = embedder
        self._batch: list[Decoded | None] = []
        self._flying: deque[tuple[slice, Pending]] = deque()
        self._added = 0

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of the next slice; one that failed keeps its place in the batch."""
        outcome = accepted(outcome, self._embedder)
        self.status[self._added] = _status(outcome)
        self._batch.append(outcome if isinstance(outcome, Decoded) else None)
        self._added += 1
        if len(self._batch) == self._embedder.batch_size:
            self.submit()

    def submit(self) -> None:
        """Send what has been gathered, and take in what is long on its way."""
        if any(decoded is not None for decoded in self._batch):
            rows = slice(self._added - len(self._batch), self._added)
            self._flying.append((rows, self._embedder.submit(self._batch)))
        self._batch = []
        if len(self._flying) >= _BATCHES_IN_FLIGHT:
            self._land()

    def finish(self) -> None:
        """Wait for the batches on their way; another thread may do so after the last `submit`."""
        while self._flying:
            self._land()

    def _land(self) -> None:
        rows, batch = self._flying.popleft()
        done = batch.result()
        self.values[rows] = done.values
        self.spent.transform_s += done.transform_s
        self.spent.embed_s += done.embed_s


def accepted(outcome: Outcome, embedder: Embedder) -> Outcome:
    """Turn a slice that a recipe has no use for into a failure.

    Parameters
    ----------
    outcome : Decoded or Failure
        What became of a slice.
    embedder : Embedder
        A network with its recipe.

    Returns
    -------
    Decoded or Failure
    """
    refusal = embedder.refusal(outcome) if isinstance(outcome, Decoded) else None
    return outcome if refusal is None else Failure(refusal, "")


def _status(outcome: Outcome) -> int:
    return OK if isinstance(outcome, Decoded) else slice_reason_code(outcome.reason)
