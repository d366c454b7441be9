"""Exit codes, messages and interruption, on a toy group; signals on a real process."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cli.common import (
    CommandGroup,
    close_matches,
    echo,
    echo_json,
    echo_note,
    printable,
    progress_bar,
)
from featurecache.errors import (
    FeatureCacheError,
    MissingResourceError,
    ReadError,
    StoreCorruptError,
    UsageError,
)


@click.group(cls=CommandGroup)
def toy() -> None:
    """Commands that end in every way a command can."""


ERRORS = {
    "usage": UsageError("no such label"),
    "read": ReadError("pixel data is short", "a.dcm"),
    "missing": MissingResourceError("pip install x"),
    "store": StoreCorruptError("chunk 3"),
    "plain": FeatureCacheError("something"),
    "bug": ValueError("unexpected"),
    "disk": OSError(28, "No space left on device", "cache.zarr"),
}


@toy.command()
@click.argument("kind")
def fail(kind: str) -> None:
    """Raise."""
    raise ERRORS[kind]


@toy.command(resumable=True)
def resumable() -> None:
    """Be interrupted."""
    raise KeyboardInterrupt


@toy.command()
def interrupted() -> None:
    """Be interrupted."""
    raise KeyboardInterrupt


@toy.command()
@click.pass_context
def three(context: click.Context) -> None:
    """Finish, with failures."""
    echo("result")
    echo_note("note")
    context.exit(3)


@toy.command()
def colourful() -> None:
    """Print in red."""
    click.secho("red", fg="red")


def run(*args: str) -> Result:
    return CliRunner().invoke(toy, args)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("usage", 2), ("read", 3), ("missing", 4), ("store", 5), ("plain", 1), ("disk", 1)],
)
def test_errors_become_exit_codes_without_a_traceback(kind: str, code: int) -> None:
    result = run("fail", kind)

    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr


def test_an_internal_error_names_its_place_and_the_way_to_the_traceback() -> None:
    result = run("fail", "bug")

    assert result.exit_code == 1
    assert "internal error: ValueError: unexpected (cli/test_common.py:" in result.stderr
    assert "FEATURECACHE_DEBUG=1" in result.stderr


def test_debug_prints_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURECACHE_DEBUG", "1")

    assert "Traceback (most recent call last)" in run("fail", "bug").stderr


def test_interruption_says_whether_the_same_command_continues() -> None:
    assert run("interrupted").exit_code == 130
    assert run("interrupted").stderr == "interrupted\n"
    assert run("resumable").exit_code == 130
    assert run("resumable").stderr == "interrupted; run the same command again to continue\n"


def test_results_go_to_stdout_and_notes_to_stderr() -> None:
    result = run("three")

    assert (result.exit_code, result.stdout, result.stderr) == (3, "result\n", "note\n")


@pytest.mark.parametrize(
    ("args", "hint"),
    [(["tree"], "Did you mean 'three'?"), (["fail", "--hlep"], "--help")],
)
def test_a_mistyped_name_is_answered_with_close_ones(args: list[str], hint: str) -> None:
    result = run(*args)

    assert result.exit_code == 2
    assert hint in result.stderr


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    assert close_matches("zzz", ["scan", "extract"]) == ""


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m" in CliRunner().invoke(toy, ["colourful"], color=True).stdout

    monkeypatch.setenv("NO_COLOR", "1")
    assert CliRunner().invoke(toy, ["colourful"], color=True).stdout == "red\n"


def test_control_characters_and_undecodable_names_are_escaped() -> None:
    name = os.fsdecode(b"a\xff\x1b[31m\n")

    text = printable(name)

    assert text == "a\\udcff\\x1b[31m\n"
    text.encode("utf-8")


def test_json_refuses_nan_and_documents_without_a_version() -> None:
    with pytest.raises(ValueError, match="schema_version"):
        echo_json({"n": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        echo_json({"schema_version": 1, "auc": float("nan")})


def test_progress_is_silent_off_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar("scan") as progress:
        progress(1, None)
        progress(2, 2)

    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeTerminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    with progress_bar("extract", unit="slices") as progress:
        time.sleep(0.15)  # tqdm draws ten times a second at most
        progress(30, 120)

    assert "extract:  25%" in terminal.getvalue()
    assert "30/120" in terminal.getvalue()


_WAITS = """
import signal, sys, time
import click
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins with it ignored
from cli.common import CommandGroup
@click.group(cls=CommandGroup)
def main(): pass
@main.command(resumable=True)
def wait():
    click.echo("ready")
    try:
        time.sleep(60)
    finally:
        click.echo("tidied")
main(["wait"])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_let_a_command_tidy_up_and_end_with_130(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _WAITS],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)

    assert process.returncode == 130
    assert stdout == "tidied\n"
    assert "run the same command again to continue" in stderr
    assert "Traceback" not in stderr


def test_a_closed_pipe_ends_quietly() -> None:
    program = (
        "import click\nfrom cli.common import CommandGroup, echo\n"
        "@click.group(cls=CommandGroup)\ndef main(): pass\n"
        "@main.command()\ndef much():\n    [echo('x' * 1000) for _ in range(10_000)]\n"
        "main(['much'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert process.stderr.read() == b""
        assert process.wait(timeout=20) == 141


def test_a_broken_pipe_elsewhere_is_not_swallowed() -> None:
    @toy.command()
    def pipe() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    result = run("pipe")

    assert result.exit_code == 1
    assert "a pipe that is not stdout" in result.stderr
