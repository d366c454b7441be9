"""The engine for a Ray cluster: actors compute units and commit them where they are.

Only the job, the names of units, counts and timings travel; features never do. The job, with the
secret key in it, is told to each actor directly: what an actor is made from is kept by the cluster.
"""

import contextlib
import logging
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from featurecache import errors
from featurecache.engines.allotment import Allotment
from featurecache.engines.cluster import Cluster, import_ray
from featurecache.errors import FeatureCacheError
from featurecache.job import Job
from featurecache.open_storage import open_storage
from featurecache.pool import default_workers
from featurecache.runner import Runner, open_runner
from featurecache.timing import Timing, in_turn, together
from featurecache.units import Unit, Work, count_slices
from featurecache.weights import WeightsSource
from featurecache.words import plural

_log = logging.getLogger(__name__)
_POLL_S, _WARN_AFTER_S = 0.25, 60.0
_STARTS = 3


def run_on(
    cluster: Cluster, job: Job, device: str, work: Work, units: Sequence[Unit], *,
    progress: Callable[[int], None],
) -> Timing:  # fmt: skip
    """Compute units on the actors of a cluster that is joined.

    Units of an actor that dies are given to others, unless they are committed.

    Parameters
    ----------
    cluster : Cluster
        From `featurecache.engines.cluster.join_cluster`.
    job : Job
        What to compute.
    device : {"cpu", "cuda"}
        Where.
    work : Work
        The same job, open here.
    units : sequence of Unit
        From ``work.units()``.
    progress : callable
        Called with the number of slices done since the last call; negative where some are lost.

    Returns
    -------
    Timing
        Summed up.

    Raises
    ------
    FeatureCacheError
        An actor has said what is wrong, or units were not computed because actors died on them.
    """
    if not units:
        return Timing.nothing(len(job.features))
    document = {**_told_anywhere(job, device).document(), "per_machine": cluster.per_machine}
    seats = [_Seat(cluster, document) for _ in range(min(cluster.n_actors, len(units)))]
    try:
        return _Engine(seats, work, units, progress).run()
    finally:
        for seat in seats:
            seat.kill()


def _told_anywhere(job: Job, device: str) -> Job:
    """The job in words that mean the same in any working folder."""
    store = job.store
    if store.folder is not None:
        store = open_storage(store.folder.absolute(), durable=job.run.durable)
    features = tuple(
        replace(one, weights=str(Path(one.weights).absolute()))
        if WeightsSource.parse(one.weights).kind == "file" else one
        for one in job.features
    )  # fmt: skip
    return replace(
        job, index=job.index.absolute(), store=store, features=features,
        run=replace(job.run, device=device),
    )  # fmt: skip


class _Engine:
    """Gives units to seats until none are left, and hears what becomes of them."""

    def __init__(
        self, seats: Sequence["_Seat"], work: Work, units: Sequence[Unit],
        progress: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._ray = import_ray()
        self._seats, self._work, self._progress = seats, work, progress
        self._allotment = Allotment(units, len(seats))
        self._errors: list[FeatureCacheError] = []
        self._quiet_since, self._warned = time.monotonic(), False

    def run(self) -> Timing:
        """Compute all units that can be computed."""
        while True:
            for seat in self._seats:
                if seat.idle and (units := self._allotment.take()):
                    seat.give(units)
            computing = any(seat.units for seat in self._seats)
            tasks = {seat.task: seat for seat in self._seats if seat.task is not None}
            if not tasks or not (computing or len(self._allotment)):
                break
            done, _ = self._ray.wait(list(tasks), num_returns=1, timeout=_POLL_S)
            for task in done:
                self._hear(tasks[task], task)
            self._look()
        self._check()
        rounds = [in_turn(seat.rounds) for seat in self._seats if seat.rounds]
        return together(rounds)

    def _hear(self, seat: "_Seat", task: Any) -> None:
        """Take the answer of an actor, or the news of its death."""
        try:
            answer = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            self._bury(seat, _words(error))
            return
        if "error" in answer:
            kind = getattr(errors, answer["kind"], FeatureCacheError)
            self._errors.append(kind(f"{answer['host']}: {answer['error']}"))
            self._allotment.close()
            seat.close()
            return
        if seat.units:
            self._progress(count_slices(seat.units) - seat.told)
        seat.finish(answer)

    def _bury(self, seat: "_Seat", reason: str) -> None:
        """Give the units of a dead actor back, but those that it has committed."""
        units, host = seat.units, seat.host
        left = self._left(units)
        if units:
            self._progress(count_slices(units) - count_slices(left) - seat.told)
            seat.rounds.append(self._committed(units, left, seat.since_s))
        _log.warning(
            "an actor on %s is gone (%s); %d of its units are given to others", host, reason,
            len(left),
        )  # fmt: skip
        if not self._errors:
            self._allotment.give_back(left, reason)
        seat.replace(reason)

    def _left(self, units: Sequence[Unit]) -> list[Unit]:
        """What is not committed yet of some units, as they are now."""
        if not units:
            return []
        mine = {unit.span for unit in units}
        return [unit for unit in self._work.units() if unit.span in mine]

    def _committed(self, units: Sequence[Unit], left: Sequence[Unit], since_s: float) -> Timing:
        """What a dead actor has done: counts, and how long it had; seconds died with it."""
        timing = Timing.nothing(len(self._work.arrays))
        timing.slices = count_slices(units) - count_slices(left)
        timing.wall_s = time.monotonic() - since_s
        for sign, some in ((1, units), (-1, left)):
            for target in (target for unit in some for target in unit.targets):
                spent = timing.features[target.place]
                spent.slices += sign * int(target.wanted.sum())
                spent.units += sign
        return timing

    def _look(self) -> None:
        """Count slices on their way, and say where nothing runs."""
        for seat in self._seats:
            if seat.units:
                self._progress(seat.look())
        if any(seat.opened for seat in self._seats):
            self._quiet_since, self._warned = time.monotonic(), False
        elif not self._warned and time.monotonic() - self._quiet_since > _WARN_AFTER_S:
            self._warned = True
            _log.warning(
                "no actor runs: the cluster has no room for one now. Each takes %s; --ray-actors "
                "makes them smaller on CPU", self._seats[0].resources,
            )  # fmt: skip

    def _check(self) -> None:
        """Raise what was said, or say which units are not computed."""
        for error in self._errors[1:]:
            _log.error("%s", error)
        if self._errors:
            raise self._errors[0]
        given_up, waiting = self._allotment.given_up, len(self._allotment)
        if not given_up and not waiting:
            return
        reason = next(iter(given_up.values()), None) or self._seats[0].last_words
        which = "; ".join(
            f"rows {first} to {last - 1} of part {part}" for part, first, last in list(given_up)[:5]
        )
        raise FeatureCacheError(
            f"{plural(len(given_up) + waiting, 'unit')} not computed, because actors died"
            f"{f' on each of them ({which})' if which else ''}. The last one: {reason}. What was "
            "written stays; run the same command again, and it continues"
        )


class _Seat:
    """One place in the cluster: an actor, or the one that replaces it, and what it is doing."""

    def __init__(self, cluster: Cluster, document: Mapping[str, Any]) -> None:
        self.rounds: list[Timing] = []
        self.resources, self.last_words = cluster.resources, ""
        self._ray, self._document, self._deaths = import_ray(), document, 0
        self._start()

    def _start(self) -> None:
        """Ask for an actor; it may have to wait for room."""
        self.units: list[Unit] = []
        self.host, self.opened, self.told, self.since_s = "its way", False, 0, time.monotonic()
        self._look: Any = None
        make = self._ray.remote(Actor).options(
            max_concurrency=2, max_restarts=0, scheduling_strategy="SPREAD", **self.resources
        )
        self._actor = make.remote()
        self.task: Any = self._actor.open.remote(self._document)

    @property
    def idle(self) -> bool:
        """Whether the actor waits for units."""
        return self.opened and self.task is None

    def give(self, units: list[Unit]) -> None:
        """Have units computed."""
        self.units, self.told, self.since_s = units, 0, time.monotonic()
        self.task = self._actor.compute.remote([unit.span for unit in units])

    def finish(self, answer: Mapping[str, Any]) -> None:
        """Take the answer to `_start` or `give`."""
        self.task, self._look, self.host, self.opened = None, None, answer["host"], True
        if self.units:
            self.rounds.append(Timing.read(answer["timing"]))
            self.units, self._deaths = [], 0

    def look(self) -> int:
        """Slices that the actor has done since it was looked at last."""
        if self._look is None:
            self._look = self._actor.done.remote()
        if not self._ray.wait([self._look], timeout=0)[0]:
            return 0
        done = self.told
        with contextlib.suppress(self._ray.exceptions.RayError):  # `task` will say so, too
            done = self._ray.get(self._look)
        self._look, before, self.told = None, self.told, done
        return self.told - before

    def replace(self, reason: str) -> None:
        """Another actor after the death of this one, unless it is the third without success."""
        self.kill()
        self.last_words, self._deaths = reason, self._deaths + 1
        if self._deaths < _STARTS:
            self._start()
        else:
            self.close()

    def close(self) -> None:
        """No more of this."""
        self.task, self.units, self.opened = None, [], False

    def kill(self) -> None:
        """End the actor, whatever it does; what it has committed stays."""
        self._ray.kill(self._actor, no_restart=True)


class Actor:
    """The end in the cluster. Ray calls it from several threads; one of its own does the work."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._stack = contextlib.ExitStack()
        self._runner: Runner | None = None
        self._done = 0

    def open(self, document: dict[str, Any]) -> dict[str, Any]:
        """Open a job; what is wrong with it is told, not raised."""
        return self._thread.submit(_answer, self._open, document).result()

    def compute(self, spans: list[tuple[int, int, int]]) -> dict[str, Any]:
        """Compute those of some units that are not committed yet; a timing, or what is wrong."""
        return self._thread.submit(_answer, self._compute, spans).result()

    def done(self) -> int:
        """Slices of this round so far."""
        return self._done

    def _open(self, document: dict[str, Any]) -> dict[str, Any]:
        sys.path += [entry for entry in document["search_path"] if entry not in sys.path]
        for module in document["modules"]:
            import_module(module)
        job, beside = Job.read(document), document["per_machine"]
        if job.run.workers is None and beside > 1:
            workers = max(1, default_workers() // beside)
            job = replace(job, run=replace(job.run, workers=workers))
        self._runner = self._stack.enter_context(open_runner(job))
        return {}

    def _compute(self, spans: list[tuple[int, int, int]]) -> dict[str, Any]:
        if self._runner is None:
            raise RuntimeError("an actor that was not told its job")
        self._done, wanted = 0, set(map(tuple, spans))
        units = [unit for unit in self._runner.work.units() if unit.span in wanted]
        return {"timing": self._runner.compute(units, self._advance).document()}

    def _advance(self, n_slices: int) -> None:
        self._done += n_slices


def _answer(function: Callable[[Any], dict[str, Any]], told: Any) -> dict[str, Any]:
    host = socket.gethostname()
    try:
        return {"host": host, **function(told)}
    except FeatureCacheError as error:
        return {"host": host, "error": str(error), "kind": type(error).__name__}


def _words(error: Exception) -> str:
    """What Ray says of a death, in one line."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return f"{type(cause).__name__}: {cause}"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
