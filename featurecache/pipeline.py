"""Units on one device: worker processes decode, the device embeds, a thread writes, all at once."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

from featurecache.crew import Workers, number_of
from featurecache.embed import Embedder
from featurecache.gather import Gathered, Outcome
from featurecache.pixels import Decoded, DecodeJob, decode_slice
from featurecache.pool import Failure, isolated_map
from featurecache.rows import RowSource
from featurecache.timing import Timing
from featurecache.units import Target, Unit

_LOOKAHEAD_BATCHES, _LOOKAHEAD_SLICES = 4, 256
_MESSAGE_SLICES = 4  # fewer messages: each takes the time of a tenth of a decoded slice
_WRITES_IN_FLIGHT = 2
_KEPT = "computed earlier"


def run(
    units: Sequence[Unit], source: RowSource, embedders: Sequence[Embedder], *, workers: Workers,
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
    workers : int or Crew
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
    units: Sequence[Unit], source: RowSource, workers: Workers, lookahead: int, timing: Timing
) -> Generator[Outcome, None, None]:
    """Outcomes of all rows of all units in order, decoded ahead across unit boundaries."""
    known: deque[DecodeJob | str] = deque()

    def jobs() -> Iterator[DecodeJob]:
        for unit in units:
            for job, wanted in zip(source.jobs(unit.part, unit.rows), unit.wanted, strict=True):
                known.append(job if wanted else _KEPT)
                if wanted and isinstance(job, DecodeJob):
                    yield job

    at_once = max(1, min(_MESSAGE_SLICES, lookahead // (4 * number_of(workers))))
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


class _Rows(Gathered):
    """Features of one target in the making."""

    def __init__(self, target: Target, embedder: Embedder) -> None:
        super().__init__(len(target.array.rows(target.unit)), embedder)
        self.target, self.write_s = target, 0.0

    def commit(self) -> None:
        """Wait for the batches on their way and write; in the writer's thread."""
        self.finish()
        started = perf_counter()
        self.target.commit(self.values, self.status)
        self.write_s = perf_counter() - started
        self.spent.slices, self.spent.units = int(self.target.wanted.sum()), 1


def _compute(
    unit: Unit, stream: Iterator[Outcome], embedders: Sequence[Embedder], timing: Timing,
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


def _count(outcome: Outcome, timing: Timing) -> bool:
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
