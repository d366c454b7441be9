"""The engine for several devices of one machine: a process each, which runs its share of the units.

Parent and child talk in lines of JSON: the job goes to the child's standard input, whose end also
tells it that the parent is gone; progress and the outcome come back from its standard output.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import IO, Any

from featurecache import errors
from featurecache.errors import FeatureCacheError
from featurecache.job import Job
from featurecache.runner import open_runner
from featurecache.timing import Timing, together

_BOOT = (
    "import sys, json; job = json.loads(sys.stdin.readline()); sys.path[:] = job['search_path'];"
    "from featurecache.engines.local import serve; serve(job)"
)
_log = logging.getLogger(__name__)
_TELL_EVERY_S = 0.25
_STOP_S = 60.0


def run_on(
    jobs: Sequence[Job], *, lock: int | None, progress: Callable[[int], None] | None = None
) -> Timing:
    """Compute the units of several jobs side by side, each in a process of its own.

    Where one fails, the others finish what is theirs.

    Parameters
    ----------
    jobs : sequence of Job
        One a device.
    lock : int or None
        File descriptor of the store's lock, if it has one, which stays held while any of the
        processes lives.
    progress : callable, optional
        Called with the number of slices done since the last call, by all of them.

    Returns
    -------
    Timing
        Summed up.

    Raises
    ------
    FeatureCacheError
        A process failed or died; what it says, and for which device.
    """
    telling = threading.Lock()

    def tell(n_slices: int) -> None:
        if progress is not None:
            with telling:
                progress(n_slices)

    documents = [job.document() for job in jobs]
    children = [
        _Child(job.run.device, document, lock, tell)
        for job, document in zip(jobs, documents, strict=True)
    ]
    try:
        for child in children:
            child.thread.join()
    except BaseException:
        _stop(children)
        raise
    failed = [child.error for child in children if child.error is not None]
    for error in failed[1:]:
        _log.error("%s", error)
    if failed:
        raise failed[0]
    return together([child.timing for child in children if child.timing is not None])


class _Child:
    """The parent's end of one process, and the thread that listens to it."""

    def __init__(
        self, device: str, job: dict[str, Any], lock: int | None, progress: Callable[[int], None]
    ) -> None:
        self.timing: Timing | None = None
        self.error: FeatureCacheError | None = None
        self._device, self._progress = device, progress
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            pass_fds=() if lock is None else (lock,),
        )  # fmt: skip
        self.thread = threading.Thread(target=self._listen, args=(job,), daemon=True)
        self.thread.start()

    def _listen(self, job: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError), self.process as process:  # its status says why
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("a process without pipes")
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                self._hear(json.loads(line))
        status = self.process.wait()
        if self.timing is None and self.error is None:
            ended = f"signal {-status}" if status < 0 else f"exit status {status}"
            self.error = FeatureCacheError(
                f"the process for device {self._device} ended with {ended} before its work was "
                "done. What it wrote stays; run the same command again, and it continues"
            )

    def _hear(self, message: dict[str, Any]) -> None:
        if "slices" in message:
            self._progress(message["slices"])
        elif "timing" in message:
            self.timing = Timing.read(message["timing"])
        else:
            kind = getattr(errors, message["kind"], FeatureCacheError)
            self.error = kind(f"{self._device}: {message['error']}")


def _stop(children: Sequence[_Child]) -> None:
    """Let the processes write what is computed, and end."""
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + _STOP_S
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()


def serve(document: dict[str, Any]) -> None:
    """Compute one job and say how it went; the main function of a child.

    Parameters
    ----------
    document : dict
        Of `Job.document`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to decide on
    signal.signal(signal.SIGTERM, _interrupt)
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # whatever a library prints is no answer of ours
        with contextlib.suppress(KeyboardInterrupt):
            _answer(document, answers)


def _answer(document: dict[str, Any], answers: IO[str]) -> None:
    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        for module in document["modules"]:
            import_module(module)
        say({"timing": _compute(Job.read(document), say).document()})
    except FeatureCacheError as error:
        say({"error": str(error), "kind": type(error).__name__})


def _compute(job: Job, say: Callable[[dict[str, Any]], None]) -> Timing:
    done, told = 0, time.monotonic()

    def progress(n_slices: int) -> None:
        nonlocal done, told
        done += n_slices
        if time.monotonic() - told > _TELL_EVERY_S:
            say({"slices": done})
            done, told = 0, time.monotonic()

    with open_runner(job) as runner:
        timing = runner.compute(runner.work.units(), progress)
    say({"slices": done})
    return timing


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """The parent holds our standard input open for as long as it lives."""
    os.read(0, 1)
    os._exit(1)
