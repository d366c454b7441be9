"""`fc` typed into real interactive shells, where it is a builtin until shell-init ran."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]
POSIX = ["bash", "zsh"]


def init_line(shell: str) -> str:
    return f'eval "$(featurecache shell-init {shell})"'


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """Give a folder with programs `fc` and `featurecache` that print how they were called."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("fc", "featurecache"):
        program = folder / name
        program.write_text(
            f"#!/bin/sh\nprintf '{name} got %s:' $#; printf ' <%s>' \"$@\"; echo; exit 3\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DICOM of one patient."""
    from featurecache.phantom import write_phantom

    folder = tmp_path_factory.mktemp("patient")
    write_phantom(folder, 1, 3, series="thick", workers=1)
    return folder


@pytest.mark.parametrize("shell", POSIX)
def test_fc_is_the_builtin_before_shell_init(shell: str, terminal: Start) -> None:
    output = terminal(shell).run("fc --help")

    assert "Cache the features" not in output


@pytest.mark.parametrize("shell", POSIX)
def test_fc_help_reaches_us(shell: str, terminal: Start) -> None:
    session = terminal(shell)
    session.run(init_line(shell))

    output = session.run("fc --help")

    assert "Cache the features" in output
    assert "status 0\n" in output


@pytest.mark.parametrize("shell", POSIX)
def test_fc_info_reaches_us_and_keeps_its_exit_code(shell: str, terminal: Start) -> None:
    session = terminal(shell)
    session.run(init_line(shell))

    output = session.run("fc info nowhere.zarr")

    assert "nowhere.zarr" in output.replace("fc info nowhere.zarr", "")
    assert "status 5\n" in output


@pytest.mark.parametrize("shell", POSIX)
def test_history_builtin_still_works(shell: str, terminal: Start) -> None:
    session = terminal(shell)
    session.run(init_line(shell))
    session.run("echo remember-$((40 + 2))")

    output = session.run("fc -l")

    assert "echo remember-$((40 + 2))" in output
    assert "status 0\n" in output


@pytest.mark.parametrize("shell", POSIX)
def test_alias_fc_does_not_get_in_the_way(shell: str, terminal: Start) -> None:
    session = terminal(shell)
    session.run("alias fc='echo ALIASED'")
    assert "ALIASED now" in session.run("fc now")

    session.run(init_line(shell))

    output = session.run("fc --version")
    assert "featurecache " in output
    assert "ALIASED" not in output


@pytest.mark.parametrize("shell", POSIX)
def test_shell_init_twice_is_harmless(shell: str, terminal: Start) -> None:
    session = terminal(shell)
    session.run(init_line(shell))

    output = session.run(init_line(shell))

    assert "status 0\n" in output
    assert "featurecache " in session.run("fc --version")


@pytest.mark.parametrize("shell", POSIX)
def test_arguments_arrive_unchanged(shell: str, terminal: Start, recorder: Path) -> None:
    session = terminal(shell)
    session.run(init_line(shell))
    session.run(f"PATH={recorder}:$PATH; hash -r")

    output = session.run("fc extract 'a b' --backbone vgg16 '' '*'")

    assert "featurecache got 6: <extract> <a b> <--backbone> <vgg16> <> <*>\n" in output
    assert "status 3\n" in output


@pytest.mark.parametrize("shell", POSIX)
def test_init_and_extract_as_typed(
    shell: str, terminal: Start, patient: Path, tmp_path: Path
) -> None:
    session = terminal(shell)
    session.run(init_line(shell))

    assert "status 0\n" in session.run(f"fc init {patient} --labels {patient}/labels.csv")
    output = session.run(
        "fc extract --backbone squeezenet1_1 --weights random:0 --size 32 --workers 1",
        timeout_s=120,
    )

    assert "status 0\n" in output
    assert "squeezenet1_1" in session.run("fc info | cat")
    assert (tmp_path / "cache.zarr" / "zarr.json").is_file()


@pytest.mark.parametrize("shell", POSIX)
@pytest.mark.parametrize("program", ["fc", "featurecache"])
def test_tab_completes_commands(shell: str, program: str, terminal: Start) -> None:
    session = terminal(shell)
    session.run(init_line(shell))

    session.type(f"{program} extr\t")

    session.read_until(f"{program} extract")


@pytest.mark.parametrize("shell", POSIX)
def test_tab_completes_options_of_seqhead(shell: str, terminal: Start) -> None:
    session = terminal(shell)
    session.run(init_line(shell))

    session.type("seqhead fit --bidir\t")

    session.read_until("seqhead fit --bidirectional")


def test_fish_reaches_us(terminal: Start, recorder: Path) -> None:
    session = terminal("fish")
    assert "rror" not in session.run("featurecache shell-init fish | source")

    session.run(f"set PATH {recorder} $PATH")

    assert "featurecache got 2: <scan> <a b>" in session.run("fc scan 'a b'")


def test_fish_completes() -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed here")
    ask = "featurecache shell-init fish | source; complete -C 'fc ext'; complete -C 'seqhead fi'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", ask],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["extract", "fit"]
