"""A real interactive shell behind a pseudo-terminal, and the commands run in this process."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "--interactive"],
}


# A new session leader takes the pseudo-terminal as its controlling one, then becomes the shell.
_BECOME = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """Types lines into a shell and reads what it prints."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._fd, inner = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BECOME, *command],
            stdin=inner, stdout=inner, stderr=inner,
            env=environment, cwd=folder, start_new_session=True,
        )  # fmt: skip
        os.close(inner)
        self._count = 0
        self.status = "$status" if command[0] == "fish" else "$?"

    def run(self, line: str, timeout_s: float = 30) -> str:
        """Type a line; give its output, up to and including ``status N``."""
        self._count += 1
        end = f"end-{self._count}-status"
        # spelled in two pieces, so that the echo of what was typed does not match
        self.type(f"{line}\n")
        self.type(f"printf '%s%s %s\\n' end- '{self._count}-status' {self.status}\n")
        return self.read_until(end, timeout_s, then_line=True)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def read_until(self, text: str, timeout_s: float = 30, then_line: bool = False) -> str:
        """Read until `text` (and the rest of its line) was printed."""
        seen, deadline = "", time.monotonic() + timeout_s
        while True:
            at = seen.find(text)
            if at >= 0 and (not then_line or "\n" in seen[at:]):
                return seen.replace("\r", "")
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"{text!r} did not come; the terminal shows:\n{seen}")
            try:
                seen += os.read(self._fd, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"the shell ended; the terminal showed:\n{seen}") from None

    def close(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start a shell by name, with our programs (or `programs`) first on PATH."""
    opened: list[Terminal] = []

    def start(shell: str, programs: Path | None = None) -> Terminal:
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed here")
        home = tmp_path / f"home-{len(opened)}"
        home.mkdir()
        keep = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
        environment = keep | {
            "PATH": f"{programs or Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "TERM": "dumb",
            "PS1": "$ ",
        }
        opened.append(Terminal(SHELLS[shell], environment, tmp_path))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
