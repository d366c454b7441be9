"""The engine for one machine: worker processes decode, the device embeds, a thread writes."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from featurecache.arrays import OK
from featurecache.embed import Embedder
from featurecache.feature_array import FeatureArray
from featurecache.pixels import Decoded, DecodeJob, decode_slice
from featurecache.pool import Failure, isolated_map
from featurecache.reasons import slice_reason_code
from featurecache.rows import RowSource

_LOOKAHEAD_BATCHES = 4
_KEPT = "computed earlier"


@dataclass(frozen=True, slots=True)
class Unit:
    """One chunk to compute: the unit of work and of commit.

    Parameters
    ----------
    array : FeatureArray
        Where it is written.
    number : int
        Which chunk.
    retry : frozenset of int, optional
        Rows to compute again in a chunk that is committed; all rows where None.
    """

    array: FeatureArray
    number: int
    retry: frozenset[int] | None = None

    @property
    def rows(self) -> range:
        """Rows of the part that the unit holds."""
        return self.array.rows(self.number)

    @property
    def wanted(self) -> np.ndarray:
        """Which of the rows are computed: bool (n,)."""
        return np.array([self.retry is None or row in self.retry for row in self.rows])


@dataclass(slots=True)
class Timing:
    """Where the time of a run went, in seconds.

    ``read_s`` and ``decode_s`` are summed over worker processes; ``wait_s`` is how long the
    device waited for them; ``transform_s``, ``embed_s`` and ``write_s`` are the parent's.
    """

    read_s: float = 0.0
    decode_s: float = 0.0
    wait_s: float = 0.0
    transform_s: float = 0.0
    embed_s: float = 0.0
    write_s: float = 0.0
    wall_s: float = 0.0
    slices: int = 0
    units: int = 0
    warnings: Counter[str] = field(default_factory=Counter)


def run(
    units: Iterable[Unit], source: RowSource, embedder: Embedder, *, workers: int,
    progress: Callable[[int], None] | None = None,
) -> Timing:  # fmt: skip
    """Compute and commit units, in order; every commit survives whatever comes after it.

    Parameters
    ----------
    units : iterable of Unit
        What to compute.
    source : RowSource
        Finds the file of each row.
    embedder : Embedder
        The backbone on its device.
    workers : int
        Processes that decode.
    progress : callable, optional
        Called with the number of slices done since the last call.

    Returns
    -------
    Timing
    """
    units = list(units)
    timing = Timing()
    started = perf_counter()
    stream = _decode(units, source, workers, embedder.batch_size, timing)
    with ThreadPoolExecutor(max_workers=1) as writer:
        pending: list[Future[float]] = []
        try:
            for unit in units:
                values, status = _compute(unit, stream, embedder, timing, progress)
                while len(pending) > 1:
                    timing.write_s += pending.pop(0).result()
                pending.append(writer.submit(_write, unit, values, status))
                timing.units += 1
        finally:
            stream.close()
            for future in pending:
                timing.write_s += future.result()
    timing.transform_s, timing.embed_s = embedder.transform_s, embedder.embed_s
    timing.wall_s = perf_counter() - started
    return timing


_Outcome = Decoded | Failure


def _decode(
    units: list[Unit], source: RowSource, workers: int, batch_size: int, timing: Timing
) -> Generator[_Outcome, None, None]:
    """Outcomes of all rows of all units in order, decoded ahead across unit boundaries."""
    known: deque[DecodeJob | str] = deque()

    def jobs() -> Iterator[DecodeJob]:
        for unit in units:
            jobs = source.jobs(unit.array.part, unit.rows)
            for job, wanted in zip(jobs, unit.wanted, strict=True):
                known.append(job if wanted else _KEPT)
                if wanted and isinstance(job, DecodeJob):
                    yield job

    results: Any = isolated_map(
        decode_slice, jobs(), workers=workers, lookahead=_LOOKAHEAD_BATCHES * batch_size
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


def _compute(
    unit: Unit, stream: "Iterator[_Outcome]", embedder: Embedder, timing: Timing,
    progress: Callable[[int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Features (n, D) and status (n,) of one unit, batch by batch."""
    n_rows = len(unit.rows)
    values = np.zeros((n_rows, embedder.dim), np.float32)
    status = np.zeros(n_rows, np.uint8)
    for start in range(0, n_rows, embedder.batch_size):
        stop = min(start + embedder.batch_size, n_rows)
        outcomes = [_accepted(next(stream), embedder) for _ in range(start, stop)]
        values[start:stop] = embedder([o if isinstance(o, Decoded) else None for o in outcomes])
        status[start:stop] = [_status(outcome) for outcome in outcomes]
        _count(outcomes, timing)
        if progress is not None:
            progress(stop - start)
    return values, status


def _accepted(outcome: _Outcome, embedder: Embedder) -> _Outcome:
    """Turn a slice that the recipe has no use for into a failure."""
    refusal = embedder.refusal(outcome) if isinstance(outcome, Decoded) else None
    return outcome if refusal is None else Failure(refusal, "")


def _status(outcome: _Outcome) -> int:
    return OK if isinstance(outcome, Decoded) else slice_reason_code(outcome.reason)


def _count(outcomes: list[_Outcome], timing: Timing) -> None:
    for outcome in outcomes:
        timing.slices += not (isinstance(outcome, Failure) and outcome.reason == _KEPT)
        if isinstance(outcome, Decoded):
            timing.read_s += outcome.read_s
            timing.decode_s += outcome.decode_s
            timing.warnings.update(outcome.warnings)


def _write(unit: Unit, values: np.ndarray, status: np.ndarray) -> float:
    started = perf_counter()
    if unit.retry is None:
        unit.array.write_unit(unit.number, values, status)
    else:
        unit.array.update_unit(unit.number, values, status, unit.wanted)
    return perf_counter() - started
