"""Several processes that try candidates side by side, on features that lie in memory once.

The job goes to a child's standard input as a line of JSON; its end tells the child that the parent
is gone. A child that is killed is replaced, and what it was trying is tried again.
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
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from featurecache.errors import FeatureCacheError
from seqhead.arithmetic import start_up
from seqhead.errors import SeqHeadError
from seqhead.sweeps.folder import SweepFolder
from seqhead.sweeps.shared import SharedData, received
from seqhead.sweeps.worker import work

_BOOT = (
    "import sys, json; job = json.loads(sys.stdin.readline()); sys.path[:] = job['search_path'];"
    "from seqhead.sweeps.crew import serve; serve(job)"
)
_POLL_S = 0.2
_STOP_S = 20.0
_DEATHS_IN_A_ROW = 10
_log = logging.getLogger(__name__)


def work_side_by_side(
    folder: SweepFolder,
    shared: SharedData,
    *,
    jobs: int,
    threads: int,
    device: str = "auto",
    settled: Callable[[], int] | None = None,
) -> None:
    """Try candidates in several processes until every one is settled.

    Parameters
    ----------
    folder : SweepFolder
        The sweep.
    shared : SharedData
        What trials see.
    jobs : int
        How many processes.
    threads : int
        Of each of them.
    device : str
        Where heads are trained.
    settled : callable or None
        Called now and then; gives how many candidates are settled.

    Raises
    ------
    SeqHeadError
        Children die, and nothing comes of it.
    FeatureCacheError
        What a child ran into.
    """
    job = {
        "search_path": [os.fspath(entry) or os.getcwd() for entry in sys.path],  # noqa: PTH109
        "folder": str(folder.path.resolve()),
        "data": shared.document,
        "descriptor": shared.descriptor,
        "device": device,
        "threads": threads,
    }
    children: list[_Child] = []
    deaths, done_at_death = 0, 0
    try:
        children += [_Child(job) for _ in range(jobs)]
        while children:
            time.sleep(_POLL_S)
            done = settled() if settled is not None else 0
            for child in [child for child in children if child.process.poll() is not None]:
                children.remove(child)
                died = child.outcome()
                if died is None:
                    continue
                deaths = deaths + 1 if done == done_at_death else 1
                done_at_death = done
                if deaths >= _DEATHS_IN_A_ROW:
                    raise SeqHeadError(
                        f"{deaths} processes in a row {died} before they had tried a candidate, "
                        "perhaps for want of memory. Use fewer --jobs"
                    )
                _log.warning("a process %s; another takes its place", died)
                children.append(_Child(job))
    finally:
        _stop(children)


class _Child:
    """The parent's end of one process."""

    def __init__(self, job: dict[str, Any]) -> None:
        threads = str(job["threads"])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            pass_fds=(job["descriptor"],),
            env=os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        )  # fmt: skip
        self._answer = ""
        self._thread = threading.Thread(target=self._talk, args=(job,), daemon=True)
        self._thread.start()

    def outcome(self) -> str | None:
        """How a process that has ended died; None if it did its work.

        Raises
        ------
        FeatureCacheError
            What it ran into.
        """
        status = self.process.returncode
        self.close()
        if self._answer:
            said = json.loads(self._answer)
            raise _error(said["kind"])(said["error"])
        if status == 0:
            return None
        return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        self._thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was not read yet
                    pipe.close()

    def _talk(self, job: dict[str, Any]) -> None:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a process without pipes")
        with contextlib.suppress(BrokenPipeError):  # its status says why
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        self._answer = self.process.stdout.read()


def _stop(children: list[_Child]) -> None:
    """End those that are left; what they were trying is tried again by whoever continues."""
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + _STOP_S
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        child.close()


def serve(job: dict[str, Any]) -> None:
    """Try candidates; the main function of a child.

    Parameters
    ----------
    job : dict
        See `work_side_by_side`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to decide on
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # whatever a library prints is no answer of ours
        try:
            _serve(job)
        except FeatureCacheError as error:
            answers.write(json.dumps({"error": str(error), "kind": type(error).__name__}))
            answers.flush()


def _serve(job: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(job["threads"])
    start_up()
    folder = SweepFolder(Path(job["folder"]))
    data = received(job["data"], job["descriptor"])
    work(folder, folder.settings(), data, device=job["device"])


def _end_with_parent() -> None:
    """The parent holds our standard input open for as long as it lives."""
    os.read(0, 1)
    os._exit(1)


def _error(kind: str) -> Any:
    """The class of an error of ours."""
    for module in ("seqhead.errors", "featurecache.errors"):
        found = getattr(import_module(module), kind, None)
        if found is not None:
            return found
    return FeatureCacheError
