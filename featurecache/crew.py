"""Reader processes that wait for the next call, where starting them takes longer than their work.

A scan of 30 files needs 20 ms of reading, and half a second to start whoever reads them.
"""

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from featurecache.worker import Child

MEMORY_BYTES = 2 << 30
"""Address space of a reader process, unless `isolated_map` is told otherwise."""

_START_S = 60.0

Task = tuple[Callable[[Any], Any], Callable[[], None] | None, int | None]
"""What a child does: function, initializer, memory limit."""


class Crew:
    """Children that `isolated_map` borrows instead of starting its own.

    They have the memory limit `MEMORY_BYTES`, and end with the thread that made the crew: keep
    both to one thread. A child that dies is replaced when it is missed.

    Parameters
    ----------
    workers : int
        How many.
    ready_for : callable
        A function that they will be asked for: what it needs is imported at once.

    Examples
    --------
    >>> with Crew(2, ready_for=decode_slice) as crew:                      # doctest: +SKIP
    ...     results = isolated_map(decode_slice, jobs, workers=crew)
    """

    def __init__(self, workers: int, *, ready_for: Callable[[Any], Any]) -> None:
        if workers < 1:
            raise ValueError(f"workers must be positive. Got {workers}.")
        self.workers = workers
        self._first: Task = (ready_for, None, MEMORY_BYTES)
        self._closed = False
        self._idle: list[Child] = []
        self._fill_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def lend(self, task: Task) -> list[Child]:
        """Hand out all that idle, with a task; called in the crew's own thread.

        Parameters
        ----------
        task : tuple
            Function, initializer and memory limit.

        Returns
        -------
        list of Child
            Some may not be ready yet.

        Raises
        ------
        ValueError
            The memory limit is another one than the crew's.
        """
        if task[2] != MEMORY_BYTES:
            raise ValueError(f"a crew has the memory limit {MEMORY_BYTES}. Got {task[2]}.")
        self._fill_up()
        lent, self._idle = self._idle, []
        for child in lent:
            child.assign(task)
        return lent

    def wait(self) -> None:
        """Until those that idle have started, or failed to."""
        for child in self._idle:
            with contextlib.suppress(EOFError, OSError):  # it is replaced when it is missed
                while not child.is_ready and child.channel.poll(_START_S):
                    child.receive()

    def take_back(self, children: list[Child]) -> None:
        """Take back children that have answered all batches.

        Parameters
        ----------
        children : list of Child
            Of those that were lent.
        """
        self._idle += children
        if self._closed:
            self.close()

    def close(self) -> None:
        """End the children; safe to call twice."""
        self._closed = True
        for child in self._idle:
            child.kill()
        self._idle = []

    def _fill_up(self) -> None:
        """Replace children that died or did not come back."""
        if self._closed:
            raise ValueError("this crew is closed: make another one")
        for child in self._idle:
            if not child.is_alive:
                child.kill()
        self._idle = [child for child in self._idle if child.is_alive]
        self._idle += [Child(self._first) for _ in range(self.workers - len(self._idle))]


Workers = int | Crew
"""How many children to start, or those to borrow."""


def number_of(workers: Workers) -> int:
    """How many children `workers` means.

    Parameters
    ----------
    workers : int or Crew
        As `isolated_map` takes it.

    Returns
    -------
    int
    """
    return workers.workers if isinstance(workers, Crew) else workers
