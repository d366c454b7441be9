"""Units on one device: worker processes decode, the device embeds, a thread writes, all at once."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from featurecache.arrays import OK
from featurecache.embed import Embedder, Pending
from featurecache.pixels import Decoded, DecodeJob, decode_slice
from featurecache.pool import Failure, isolated_map
from featurecache.reasons import slice_reason_code
from featurecache.rows import RowSource
from featurecache.timing import FeatureTiming, Timing
from featurecache.units import Target, Unit

_LOOKAHEAD_BATCHES, _LOOKAHEAD_SLICES = 4, 256
_MESSAGE_SLICES = 4  # fewer messages: each takes the time of a tenth of a decoded slice
_BATCHES_IN_FLIGHT = 2
_WRITES_IN_FLIGHT = 2
_KEPT = "computed earlier"

_Outcome = Decoded | Failure


def run(
    units: Sequence[Unit], source: RowSource, embedders: Sequence[Embedder], *, workers: int,
    progress: Callable[[int], None] | None = None,
) -> Timing:  # fmt: skip
    """Compute and commit units, in order; every commit survives whatever comes after it.

    Parameters
    ----------
    units : sequence of Unit
        What to compute.
    source : RowSource
        Finds the file of each row.
    embedders : sequence of Embedder
        The backbone of each feature set, on its device.
    workers : int
        Processes that decode.
    progress : callable, optional
        Called with the number of slices done since the last call.

    Returns
    -------
    Timing
    """
    timing = Timing.nothing(len(embedders))
    started = perf_counter()
    batch_size = max(embedder.batch_size for embedder in embedders)
    stream = _decode(units, source, workers, _lookahead(batch_size), timing)
    with ThreadPoolExecutor(max_workers=1) as writer:
        pending: deque[Future[list[_Rows]]] = deque()
        try:
            for unit in units:
                results = _compute(unit, stream, embedders, timing, progress or _silent)
                while len(pending) >= _WRITES_IN_FLIGHT:
                    _settle(pending.popleft().result(), timing)
                pending.append(writer.submit(_commit, results))
        finally:
            stream.close()
            for future in pending:
                _settle(future.result(), timing)
    timing.wall_s = perf_counter() - started
    return timing


def _lookahead(batch_size: int) -> int:
    """Slices decoded ahead: several small batches, and fewer large ones, for they hold memory."""
    return max(min(_LOOKAHEAD_BATCHES * batch_size, _LOOKAHEAD_SLICES), 2 * batch_size)


def _silent(_: int) -> None:
    """Progress that nobody looks at."""


def _decode(
    units: Sequence[Unit], source: RowSource, workers: int, lookahead: int, timing: Timing
) -> Generator[_Outcome, None, None]:
    """Outcomes of all rows of all units in order, decoded ahead across unit boundaries."""
    known: deque[DecodeJob | str] = deque()

    def jobs() -> Iterator[DecodeJob]:
        for unit in units:
            for job, wanted in zip(source.jobs(unit.part, unit.rows), unit.wanted, strict=True):
                known.append(job if wanted else _KEPT)
                if wanted and isinstance(job, DecodeJob):
                    yield job

    at_once = max(1, min(_MESSAGE_SLICES, lookahead // (4 * workers)))
    results: Any = isolated_map(
        decode_slice, jobs(), workers=workers, lookahead=lookahead, chunk=at_once
    )
    try:
        while True:
            waiting = perf_counter()
            item = next(results, None)
            timing.wait_s += perf_counter() - waiting
            while known and isinstance(known[0], str):
                yield Failure(str(known.popleft()), "")
            if item is None:
                return
            known.popleft()
            yield item[1]
    finally:
        results.close()


class _Rows:
    """Features of one target in the making: batches go to the device as soon as they are full."""

    def __init__(self, target: Target, embedder: Embedder) -> None:
        n_rows = len(target.array.rows(target.unit))
        self.target, self.spent, self.write_s = target, FeatureTiming(), 0.0
        self._embedder = embedder
        self._values = np.zeros((n_rows, embedder.dim), np.float32)
        self._status = np.zeros(n_rows, np.uint8)
        self._batch: list[Decoded | None] = []
        self._flying: deque[tuple[slice, Pending]] = deque()
        self._added = 0

    def add(self, outcome: _Outcome) -> None:
        """Take the outcome of the next row."""
        outcome = _accepted(outcome, self._embedder)
        self._status[self._added] = _status(outcome)
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

    def commit(self) -> None:
        """Wait for the batches on their way and write; in the writer's thread."""
        while self._flying:
            self._land()
        started = perf_counter()
        self.target.commit(self._values, self._status)
        self.write_s = perf_counter() - started
        self.spent.slices, self.spent.units = int(self.target.wanted.sum()), 1

    def _land(self) -> None:
        rows, batch = self._flying.popleft()
        done = batch.result()
        self._values[rows] = done.values
        self.spent.transform_s += done.transform_s
        self.spent.embed_s += done.embed_s


def _compute(
    unit: Unit, stream: Iterator[_Outcome], embedders: Sequence[Embedder], timing: Timing,
    progress: Callable[[int], None],
) -> list[_Rows]:  # fmt: skip
    """Decode the rows of a unit once and send them through every backbone that lacks them."""
    results = [_Rows(target, embedders[target.place]) for target in unit.targets]
    for _ in unit.rows:
        outcome = next(stream)
        for rows in results:
            rows.add(outcome)
        if _count(outcome, timing):
            progress(1)
    for rows in results:
        rows.submit()
    return results


def _accepted(outcome: _Outcome, embedder: Embedder) -> _Outcome:
    """Turn a slice that the recipe has no use for into a failure."""
    refusal = embedder.refusal(outcome) if isinstance(outcome, Decoded) else None
    return outcome if refusal is None else Failure(refusal, "")


def _status(outcome: _Outcome) -> int:
    return OK if isinstance(outcome, Decoded) else slice_reason_code(outcome.reason)


def _count(outcome: _Outcome, timing: Timing) -> bool:
    """Account for one row; False if it is there already."""
    if isinstance(outcome, Failure) and outcome.reason == _KEPT:
        return False
    timing.slices += 1
    if isinstance(outcome, Decoded):
        timing.read_s += outcome.read_s
        timing.decode_s += outcome.decode_s
        timing.warnings.update(outcome.warnings)
    return True


def _commit(results: list[_Rows]) -> list[_Rows]:
    for rows in results:
        rows.commit()
    return results


def _settle(results: list[_Rows], timing: Timing) -> None:
    """Account for what is written."""
    for rows in results:
        timing.write_s += rows.write_s
        timing.features[rows.target.place].add(rows.spent)
