"""``log.txt`` of a run: when, how long, on what. The one file that equal fits do not share."""

import contextlib
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime


class RunLog:
    """Lines that are collected while a run is made."""

    def __init__(self) -> None:
        from featurecache import __version__

        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._lines = [
            f"started {now}",
            f"featurecache {__version__}, Python {platform.python_version()}",
        ]

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a part of the work.

        Parameters
        ----------
        name : str
            What is done.
        """
        started = time.monotonic()
        yield
        self._lines.append(f"{name} {time.monotonic() - started:.2f} s")

    def text(self) -> str:
        """All lines so far."""
        return "".join(f"{line}\n" for line in self._lines)
