"""`--help` of every command: quick, because it imports nothing heavy, and with an example."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.common import Command
from cli.featurecache import main as featurecache
from cli.seqhead import main as seqhead

ROOT = Path(__file__).parents[2]
PROGRAMS: dict[str, click.Group] = {"featurecache": featurecache, "seqhead": seqhead}
HEAVY = ("torch", "torchvision", "timm", "zarr", "pydicom", "sklearn", "pandas", "scipy")
_NOTE_IMPORTS = f"""
import atexit, json, sys

def note():
    print(json.dumps([name for name in {HEAVY} if name in sys.modules]), file=sys.stderr)

atexit.register(note)
sys.argv = sys.argv[1:]
__import__("cli." + sys.argv[0], fromlist=["main"]).main()
"""


def commands() -> Iterator[tuple[str, Command]]:
    """Every command with its name, e.g. ``("featurecache scan", <Command>)``."""
    for program, group in PROGRAMS.items():
        for name, command in group.commands.items():
            assert isinstance(command, Command)
            yield f"{program} {name}", command


COMMANDS = dict(commands())


@pytest.mark.parametrize("line", [*PROGRAMS, *COMMANDS])
def test_help_imports_nothing_heavy(line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NOTE_IMPORTS, *line.split(), "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "Usage:" in done.stdout
    assert json.loads(done.stderr) == []


def test_the_check_would_see_a_heavy_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import zarr\n" + _NOTE_IMPORTS, "featurecache", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "zarr" in json.loads(done.stderr)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_and_option_says_what_it_is(line: str) -> None:
    command = COMMANDS[line]

    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{line} {parameter.opts[0]} has no help"


@pytest.mark.parametrize("line", COMMANDS)
def test_the_example_is_one_that_the_command_takes(line: str) -> None:
    program, name = line.split()
    assert COMMANDS[line].example, f"{line} has no example"

    for example in COMMANDS[line].example.splitlines():
        words = shlex.split(example.removeprefix('eval "$(').removesuffix(')"'))
        if words[0] not in PROGRAMS:
            continue
        assert f"{words[0]} {words[1]}" in COMMANDS
        command = COMMANDS[f"{words[0]} {words[1]}"]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
    assert f"{program} {name}" in COMMANDS[line].example


@pytest.mark.parametrize("program", PROGRAMS)
def test_python_m_runs_the_same_program(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", program, "--version"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.startswith(f"{program} ")


@pytest.mark.parametrize("program", ["fc", "featurecache", "seqhead"])
def test_console_scripts_are_installed(program: str) -> None:
    script = Path(sys.executable).with_name(program)

    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)

    assert f"Usage: {program} " in done.stdout
