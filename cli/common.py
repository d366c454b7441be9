"""What every command shares: exit codes, errors, interruption, defaults and output conventions.

Exit codes: 0 ok, 1 internal error, 2 usage, 3 finished but some files or series failed,
4 missing weights or plugin, 5 store locked, incompatible or corrupt, 130 interrupted.
"""

import atexit
import contextlib
import json
import logging
import os
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

from featurecache.errors import FeatureCacheError

INTERRUPTED = 130
BROKEN_PIPE = 141
_DEBUG = "FEATURECACHE_DEBUG"

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

F = TypeVar("F", bound=Callable[..., Any])
Progress = Callable[[int, int | None], None]


class Interrupted(click.ClickException):
    """Ctrl-C, SIGTERM or SIGHUP reached a command; exit code 130."""

    exit_code = INTERRUPTED


class Command(click.Command):
    """A command with an example, which says after Ctrl-C whether repeating it continues.

    Parameters
    ----------
    example : str
        One or more lines of shell, printed at the end of ``--help`` and in the reference.
    resumable : bool
        Whether the same command, run again, continues where it was interrupted.
    """

    def __init__(
        self, *args: Any, example: str = "", resumable: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.resumable = resumable

    def invoke(self, ctx: click.Context) -> Any:
        """Run the body; an interruption becomes exit code 130 and says what to do.

        Raises
        ------
        Interrupted
            Ctrl-C, SIGTERM or SIGHUP came.
        Exit
            The reader of stdout went away.
        RuntimeError
            Another pipe broke.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _ignore_interruptions()
            again = "; run the same command again to continue" if self.resumable else ""
            raise Interrupted(f"interrupted{again}") from None
        except BrokenPipeError as error:  # click would end with 1 and say nothing
            if _stdout_is_gone():
                raise click.exceptions.Exit(BROKEN_PIPE) from None
            raise RuntimeError(f"a pipe that is not stdout: {error}") from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example below the options."""
        if self.example:
            with formatter.section("Example"):
                formatter.write("".join(f"  {line}\n" for line in self.example.splitlines()))
        super().format_epilog(ctx, formatter)


class CommandGroup(click.Group):
    """A group of `Command`; the one place where errors become exit codes."""

    command_class = Command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; exits with one of the documented codes unless told not to."""

        def run() -> Any:
            return super(CommandGroup, self).main(
                args, prog_name, complete_var, standalone_mode=False, **extra
            )

        if not standalone_mode:
            return run()
        if os.environ.get("NO_COLOR"):
            extra.setdefault("color", False)
        sys.exit(_guarded(run))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with the names that are close to it."""
        name = str(args[0])
        if (
            self.get_command(ctx, name) is None
            and not ctx.resilient_parsing
            and not name.startswith("-")
        ):
            close = close_matches(name, self.list_commands(ctx))
            ctx.fail(f"No such command '{name}'.{close}")
        return super().resolve_command(ctx, args)


def close_matches(word: str, choices: Sequence[str]) -> str:
    """Give ``" Did you mean 'a' or 'b'?"`` for a mistyped word, or an empty string.

    Parameters
    ----------
    word : str
        What came.
    choices : sequence of str
        What would have been accepted.

    Returns
    -------
    str
    """
    from difflib import get_close_matches

    close = get_close_matches(word, choices)
    return f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""


def _guarded(run: Callable[[], Any]) -> int:
    with _terminate_like_ctrl_c(), _plain_warnings():
        try:
            result = run()
            sys.stdout.flush()
            return result if isinstance(result, int) else 0
        except (KeyboardInterrupt, click.Abort):
            _say("interrupted")
            return INTERRUPTED
        except Interrupted as error:
            _say(error.message)
            return error.exit_code
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except FeatureCacheError as error:
            _say(f"Error: {error}")
            _traceback_if_asked()
            return error.exit_code
        except Exception as error:
            return _unexpected(error)


def _unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno is not None:
        where = f": {error.filename}" if error.filename else ""
        _say(f"Error: {error.strerror}{where}")
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = "/".join(last.filename.replace(os.sep, "/").split("/")[-2:])
        _say(f"Error: internal error: {type(error).__name__}: {error} ({place}:{last.lineno})")
        _say(f"This is a bug in the program. {_DEBUG}=1 prints the traceback to report with it.")
    _traceback_if_asked()
    return 1


def _stdout_is_gone() -> bool:
    """Tell a closed ``| head`` from a broken pipe elsewhere, and silence the flush at exit."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # not a real file
        return False
    watch = select.poll()
    watch.register(descriptor, select.POLLOUT)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


def _say(text: str) -> None:
    click.echo(printable(text), err=True)


def _traceback_if_asked() -> None:
    if os.environ.get(_DEBUG):
        traceback.print_exc()


@contextlib.contextmanager
def _terminate_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM (Slurm, systemd, docker stop) end a command as cleanly as Ctrl-C.

    And SIGHUP, of a terminal that is closed, unless it is ignored (nohup).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGTERM, interrupt)
    if before[signal.SIGHUP] is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_interruptions() -> None:
    """From here to the end: the command is over, and a second Ctrl-C would only make noise."""
    if threading.current_thread() is threading.main_thread():
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings and log records as single lines on stderr."""
    level = logging.DEBUG if os.environ.get(_DEBUG) else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", stream=sys.stderr)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_kwargs: _say(f"Warning: {message}")
        yield


def printable(text: str) -> str:
    r"""Make any text safe to print: control characters and undecodable bytes are escaped.

    Parameters
    ----------
    text : str
        May hold anything a file name can hold; line feeds and tabs stay.

    Returns
    -------
    str
        Encodable as UTF-8, e.g. ``"a\x1b[31m"`` with the escape spelled out.
    """
    escaped = (
        char
        if char in "\n\t" or char.isprintable()
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
    return "".join(escaped)


def echo(text: str = "") -> None:
    """Print results to stdout.

    Parameters
    ----------
    text : str
        Lines of text; control characters are escaped.
    """
    click.echo(printable(text))


def echo_note(text: str) -> None:
    """Print a note to stderr, beside the results.

    Parameters
    ----------
    text : str
        One line.
    """
    _say(text)


def echo_json(document: dict[str, Any]) -> None:
    """Print one JSON document to stdout.

    Parameters
    ----------
    document : dict
        Has ``schema_version``. NaN is not JSON: numbers that are not known are null.

    Raises
    ------
    ValueError
        The document lacks ``schema_version`` or holds NaN or infinity.
    """
    if "schema_version" not in document:
        raise ValueError("a JSON document of a command needs schema_version")
    click.echo(json.dumps(document, indent=2, allow_nan=False))


@contextlib.contextmanager
def progress_bar(description: str, unit: str = "files") -> Iterator[Progress]:
    """Show progress on stderr, and nothing off a terminal.

    Parameters
    ----------
    description : str
        What is going on, e.g. ``"scan"``.
    unit : str
        What is counted, in the plural.

    Yields
    ------
    callable
        ``progress(done, total)``; `total` is None while it is not known.
    """
    from tqdm import tqdm

    with tqdm(desc=description, unit=f" {unit}", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(done: int, total: int | None = None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def wait_without_spinning() -> None:
    """Let threads sleep while they wait; called before torch is imported.

    Threads that spin at the barrier of each small step take the cores that decoders need, and on a
    shared machine make a fit ten times slower. A value that the user set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
