"""Run a function over items in child processes that may crash, hang or eat memory.

Reading foreign files means running C decoders on damaged bytes. Every such call happens in a
child with a memory limit and a time-out; a child that dies is replaced and the run goes on.

The children are plain ``python -c`` processes rather than :mod:`multiprocessing` ones: those
import the parent's ``__main__`` again, which fails for a notebook or a script without a guard and
would import torch for nothing.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import connection
from time import monotonic
from typing import Any, TypeVar

from featurecache.crew import MEMORY_BYTES, Crew, Task, Workers, number_of
from featurecache.errors import FeatureCacheError
from featurecache.reasons import KILLED, TIME_OUT
from featurecache.worker import Child, Failure

__all__ = ["Failure", "default_workers", "isolated_map"]

Item = TypeVar("Item")

_QUEUE_DEPTH = 2  # one batch runs, one waits: a child never idles for want of a message
_POLL_S = 0.2
_START_S = 120.0
_START_ATTEMPTS = 3


@dataclass(slots=True)
class _Batch:
    """Items that travel together; ``alone`` marks one that is suspected of killing."""

    first: int
    items: list[Any]
    alone: bool = False


@dataclass(slots=True)
class _Seat:
    """A child and the batches it has been given, the running one first."""

    child: Child
    queue: deque[_Batch] = field(default_factory=deque)
    progress: int = 0
    since_s: float = field(default_factory=monotonic)


def default_workers() -> int:
    """Return the number of processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def isolated_map(
    function: Callable[[Item], Any],
    items: Iterable[Item],
    *,
    workers: Workers,
    timeout_s: float = 60.0,
    memory_bytes: int | None = MEMORY_BYTES,
    lookahead: int | None = None,
    chunk: int = 1,
    initializer: Callable[[], None] | None = None,
) -> Generator[tuple[Item, Any], None, None]:
    """Yield ``(item, function(item))`` in the order of the items, computed in child processes.

    Parameters
    ----------
    function : callable
        Importable by name (or a :func:`functools.partial` of one); items and results must
        survive :mod:`pickle`. Large arrays in a result travel through shared memory.
    items : iterable
        May be a generator without end: at most `lookahead` items are in flight. It is consumed
        in the caller's thread.
    workers : int or Crew
        Number of child processes, at least 1; fewer are started when there is little to do. A
        crew's children stay for the next call.
    timeout_s : float
        Seconds one item may take. A child that takes longer is killed.
    memory_bytes : int or None
        Address space of a child (``RLIMIT_AS``); None for no limit.
    lookahead : int, optional
        Items in flight; by default four times what the children can hold.
    chunk : int
        Items sent to a child at once; raise it where one item takes microseconds.
    initializer : callable, optional
        Called once in each child.

    Yields
    ------
    tuple of (item, result or Failure)
        ``Failure`` where the function raised ``ReadError`` (its reason), ran out of memory, raised
        anything else ("reader error"), or where the child died or hung twice: once in company,
        once alone in a fresh start.

    Raises
    ------
    FeatureCacheError
        If child processes cannot be started at all.
    ValueError
        If `workers`, `chunk` or `timeout_s` is not positive.
    """
    crew = workers if isinstance(workers, Crew) else None
    count = number_of(workers)
    if count < 1 or chunk < 1 or timeout_s <= 0:
        raise ValueError(
            "workers, chunk and timeout_s must be positive. "
            f"Got workers={count}, chunk={chunk}, timeout_s={timeout_s}."
        )
    room = max(lookahead or count * chunk * 2 * _QUEUE_DEPTH, 1)
    task = (function, initializer, memory_bytes)
    hire = partial(_Pump, task, count, timeout_s, crew)
    return _consume(hire, iter(items), room, min(chunk, room))


def _consume(
    hire: "Callable[[], _Pump]", source: Iterator[Any], room: int, chunk: int
) -> Generator[tuple[Any, Any], None, None]:
    """Feed the pump, hand out results in order; closing the generator ends it."""
    pump = hire()
    waiting: deque[Any] = deque()
    submitted = yielded = 0
    exhausted = False
    try:
        while True:
            while not exhausted and len(waiting) + chunk <= room:
                batch: list[Any] = []
                for item in source:
                    batch.append(item)
                    if len(batch) == chunk:
                        break
                exhausted = len(batch) < chunk
                if batch:
                    pump.submit(_Batch(submitted, batch))
                    submitted += len(batch)
                    waiting.extend(batch)
            if not waiting:
                return
            result = pump.take(yielded)
            yielded += 1
            yield waiting.popleft(), result
    finally:
        pump.close()


class _Pump:
    """The thread that owns the children: starts, feeds, listens, times out, replaces, kills."""

    def __init__(self, task: Task, workers: int, timeout_s: float, crew: Crew | None) -> None:
        self._task = task
        self._workers = workers
        self._timeout_s = timeout_s
        self._crew = crew
        self._lent = [] if crew is None else crew.lend(task)
        self._pending: deque[_Batch] = deque()
        self._retries: deque[_Batch] = deque()
        self._results: dict[int, Any] = {}
        self._error: BaseException | None = None
        self._failed_starts = 0
        self._seats = [_Seat(child) for child in self._lent]
        self._changed = threading.Condition()
        self._stop = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._run, name="featurecache-pool", daemon=True)
        self._thread.start()

    def submit(self, batch: _Batch) -> None:
        """Queue a batch for the children."""
        with self._changed:
            self._pending.append(batch)
        self._wake()

    def take(self, number: int) -> Any:
        """Wait for the result of the item with this number and hand it out."""
        with self._changed:
            while number not in self._results:
                if self._error is not None:
                    raise self._error
                self._changed.wait()
            return self._results.pop(number)

    def close(self) -> None:
        """End the thread, give back idle children of the crew, kill others; safe to call twice."""
        if self._stop:
            return
        self._stop = True
        self._wake()
        self._thread.join()
        if self._crew is not None:
            self._crew.take_back(self._idle_of_crew())
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def _run(self) -> None:
        try:
            while not self._stop:
                self._assign()
                self._listen()
                self._check_deadlines()
        except BaseException as error:  # must reach the caller, not die in a thread
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            kept = self._idle_of_crew()
            for child in {*self._lent, *(seat.child for seat in self._seats)}.difference(kept):
                child.kill()

    def _idle_of_crew(self) -> list[Child]:
        """Children that were lent, live, and owe nothing."""
        idle = [seat.child for seat in self._seats if not seat.queue]
        return [child for child in self._lent if child in idle]

    def _assign(self) -> None:
        """Give waiting batches to the children with room; suspects only to an idle child."""
        with self._changed:
            while self._retries:
                seat = self._idle_seat()
                if seat is None:
                    break
                self._give(seat, self._retries.popleft())
            while self._pending:
                seat = self._open_seat()
                if seat is None:
                    return
                self._give(seat, self._pending.popleft())

    def _idle_seat(self) -> _Seat | None:
        for seat in self._seats:
            if not seat.queue:
                return seat
        return self._new_seat()

    def _open_seat(self) -> _Seat | None:
        open_seats = [
            seat
            for seat in self._seats
            if len(seat.queue) < _QUEUE_DEPTH and not any(batch.alone for batch in seat.queue)
        ]
        best = min(open_seats, key=lambda seat: len(seat.queue), default=None)
        if best is not None and not best.queue:
            return best
        return self._new_seat() or best

    def _new_seat(self) -> _Seat | None:
        if len(self._seats) >= self._workers:
            return None
        seat = _Seat(Child(self._task))
        self._seats.append(seat)
        return seat

    def _give(self, seat: _Seat, batch: _Batch) -> None:
        if not seat.queue:
            seat.since_s = monotonic()
        seat.queue.append(batch)
        # A child that is gone is noticed by _listen, which hands its batches to another.
        seat.child.send(batch.items)

    def _listen(self) -> None:
        by_channel = {seat.child.channel: seat for seat in self._seats}
        for source in connection.wait([*by_channel, self._wake_read], timeout=_POLL_S):
            if isinstance(source, int):
                self._drain_wake_ups()
            else:
                self._hear(by_channel[source])  # type: ignore[index]

    def _drain_wake_ups(self) -> None:
        try:
            while os.read(self._wake_read, 4096):
                continue
        except BlockingIOError:
            return

    def _hear(self, seat: _Seat) -> None:
        try:
            results = seat.child.receive()
        except (EOFError, OSError):
            self._replace(seat, KILLED, seat.child.last_words())
            return
        seat.since_s = monotonic()
        if not results:  # it is ready for a task; no batch is empty
            self._failed_starts = 0
            return
        batch = seat.queue.popleft()
        with self._changed:
            self._results.update(zip(_numbers(batch), results, strict=True))
            self._changed.notify_all()

    def _check_deadlines(self) -> None:
        now_s = monotonic()
        for seat in list(self._seats):
            progress = seat.child.progress()
            if progress != seat.progress or (seat.child.is_ready and not seat.queue):
                seat.progress, seat.since_s = progress, now_s
            limit_s = self._timeout_s if seat.child.is_ready else max(_START_S, self._timeout_s)
            if now_s - seat.since_s > limit_s:
                if seat.child.channel.poll():  # it answered while we looked elsewhere
                    continue
                self._replace(seat, TIME_OUT, f"no answer within {limit_s:g} s")

    def _replace(self, seat: _Seat, reason: str, detail: str) -> None:
        """Bury a child; its running items are suspects, those behind them innocent."""
        seat.child.kill()
        self._seats.remove(seat)
        if not seat.child.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= _START_ATTEMPTS:
                raise FeatureCacheError(
                    f"Reader processes cannot be started ({_START_ATTEMPTS} attempts). "
                    f"The last one said: {detail}"
                )
        with self._changed:
            if seat.child.is_ready and seat.queue:
                self._suspect(seat.queue.popleft(), Failure(reason, detail))
            for batch in reversed(seat.queue):
                (self._retries if batch.alone else self._pending).appendleft(batch)

    def _suspect(self, batch: _Batch, failure: Failure) -> None:
        if batch.alone:
            self._results[batch.first] = failure
            self._changed.notify_all()
            return
        alone = [
            _Batch(number, [item], alone=True)
            for number, item in zip(_numbers(batch), batch.items, strict=True)
        ]
        self._retries.extend(alone)


def _numbers(batch: _Batch) -> range:
    return range(batch.first, batch.first + len(batch.items))
