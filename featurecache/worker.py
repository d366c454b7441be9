"""One child process of the pool: how it is started, spoken to, limited and ended.

A child is given a task, batches of items for it, then perhaps another task. Messages travel over a
socket pair. Arrays in a result travel through an anonymous shared memory file of two slots used in
turn: the parent copies a result out before it sends the batch after the next, so a slot is free
when its turn comes again. A counter at its start tells the parent that items are being finished,
which is how one slow item is told from many quick ones.

Pickle is used between the two ends of this socket pair only; nothing from outside enters it.
"""

import contextlib
import ctypes
import json
import mmap
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from featurecache.errors import ReadError
from featurecache.reasons import MEMORY_LIMIT, READER_ERROR

_HEAD_BYTES = 4096
_SLOT_BYTES = 32 << 20
_SLOTS = 2
_PR_SET_PDEATHSIG = 1
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]);"
    "from featurecache.worker import serve; serve(*map(int, sys.argv[2:]))"
)
_ENVIRONMENT = {
    # Children are many: each computes on one core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Keep freed image buffers instead of returning them to the system after every slice.
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}


@dataclass(frozen=True)
class Failure:
    """What came instead of a result.

    Parameters
    ----------
    reason : str
        Countable words, see :mod:`featurecache.reasons`.
    detail : str
        What happened to this item.
    """

    reason: str
    detail: str


class Child:
    """The parent's end of one child process.

    Parameters
    ----------
    task : tuple
        ``(function, initializer or None, memory_bytes or None)``.
    """

    def __init__(self, task: tuple[Any, ...]) -> None:
        ours, theirs = socket.socketpair()
        arena_fd = anonymous_file(_HEAD_BYTES + _SLOTS * _SLOT_BYTES)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in kill()
        search_path = [os.fspath(entry) or os.getcwd() for entry in sys.path]  # noqa: PTH109
        numbers = (theirs.fileno(), arena_fd, os.getpid())
        # Two threads may start children at once; each must inherit its own ends only.
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, json.dumps(search_path), *map(str, numbers)],
                pass_fds=numbers[:2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=os.environ | _ENVIRONMENT,
            )
        self.channel = Connection(ours.detach())
        self._arena = mmap.mmap(arena_fd, 0)
        os.close(arena_fd)
        self._closed = False
        self._unanswered = 0
        self.assign(task)

    def assign(self, task: tuple[Any, ...]) -> None:
        """Give it a task, instead of the one it had; it must have answered all batches."""
        self._unanswered += 1
        self._say(pickle.dumps(task))

    @property
    def is_ready(self) -> bool:
        """Whether it has said of every task that it is ready for it."""
        return not self._unanswered

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return not self._closed and self._process.poll() is None

    def send(self, items: list[Any]) -> None:
        """Send a batch; a child that is gone is noticed at the next `receive`."""
        self._say(pickle.dumps(items, protocol=5))

    def receive(self) -> list[Any]:
        """Return the results of the oldest batch (an empty list: it is ready for a task).

        Raises
        ------
        EOFError, OSError
            If the child has died.
        """
        head = self.channel.recv_bytes()
        payload, spans = pickle.loads(head)  # noqa: S301  from our own child
        with memoryview(self._arena) as arena:
            buffers = [bytearray(arena[start:end]) for start, end in spans]
        results: list[Any] = pickle.loads(payload, buffers=buffers)  # noqa: S301
        self._unanswered -= not results
        return results

    def progress(self) -> int:
        """Return how many items the child has begun and finished, counted together."""
        return int(struct.unpack_from("<Q", self._arena)[0])

    def last_words(self) -> str:
        """Wait for the end of a dying child and say how it ended, for a message."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.poll()
        ended = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()
        return f"{ended}: {lines[-1]}" if lines else ended

    def kill(self) -> None:
        """End the child now and release what belongs to it; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        self._process.wait()
        self.channel.close()
        self._arena.close()
        self._errors.close()

    def _say(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self.channel.send_bytes(message)


def anonymous_file(size: int) -> int:
    """Make a file without a name, which goes when the last process that has it open ends.

    Parameters
    ----------
    size : int
        In bytes.

    Returns
    -------
    int
        A file descriptor: in memory on Linux, of a temporary file elsewhere.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("featurecache", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


def serve(channel_fd: int, arena_fd: int, parent_pid: int) -> None:
    """Answer batches until the parent closes the channel; the main function of a child.

    Parameters
    ----------
    channel_fd, arena_fd : int
        Inherited file descriptors of the socket and of the shared memory.
    parent_pid : int
        The process to die with.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to decide on
    _die_with(parent_pid)
    channel = Connection(channel_fd)
    arena = mmap.mmap(arena_fd, 0)
    warnings.simplefilter("ignore")
    slot = 0
    while True:
        try:
            message = pickle.loads(channel.recv_bytes())  # noqa: S301
        except EOFError:
            return
        if isinstance(message, tuple):  # a task; a batch is a list
            function = _begin(*message)
            channel.send_bytes(pickle.dumps((pickle.dumps([]), [])))
            _silence()
            continue
        results = [_attempt(function, item, arena) for item in message]
        channel.send_bytes(_packed(results, arena, slot))
        slot = (slot + 1) % _SLOTS


def _begin(
    function: Callable[[Any], Any], initializer: Callable[[], None] | None, memory_bytes: int | None
) -> Callable[[Any], Any]:
    """Prepare for a task; return its function."""
    _limit(memory_bytes)
    if initializer is not None:
        initializer()
    return function


def _attempt(function: Callable[[Any], Any], item: Any, arena: mmap.mmap) -> Any:
    _count(arena)
    try:
        return function(item)
    except ReadError as error:
        return Failure(error.reason, error.detail)
    except MemoryError:
        return Failure(MEMORY_LIMIT, "the reader ran into its memory limit")
    except Exception as error:
        return Failure(READER_ERROR, f"{type(error).__name__}: {error}"[:500])
    finally:
        _count(arena)


def _count(arena: mmap.mmap) -> None:
    struct.pack_into("<Q", arena, 0, struct.unpack_from("<Q", arena)[0] + 1)


def _packed(results: list[Any], arena: mmap.mmap, slot: int) -> bytes:
    """Return the message for a batch, with large buffers put into the slot where they fit."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        payload = pickle.dumps(results, protocol=5, buffer_callback=buffers.append)
        raw = [buffer.raw() for buffer in buffers]
        if sum(part.nbytes for part in raw) > _SLOT_BYTES:
            return pickle.dumps((pickle.dumps(results, protocol=5), []))
    except Exception as error:
        lost = Failure(READER_ERROR, f"result cannot be sent: {type(error).__name__}: {error}")
        return pickle.dumps((pickle.dumps([lost] * len(results)), []))
    spans = []
    start = _HEAD_BYTES + slot * _SLOT_BYTES
    for part in raw:
        arena[start : start + part.nbytes] = part
        spans.append((start, start + part.nbytes))
        start += part.nbytes
    return pickle.dumps((payload, spans))


def _limit(memory_bytes: int | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes is not None:
        with contextlib.suppress(ValueError, OSError):  # not enforced by every system
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _silence() -> None:
    """Drop what C libraries write to stderr; until here it explains a failed start."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _die_with(parent_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent_pid,), daemon=True).start()
    if os.getppid() != parent_pid:
        os._exit(1)


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(1)
    os._exit(1)
