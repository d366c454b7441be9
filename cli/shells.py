"""Shell start-up lines: completion, and the function `fc` that wins over the builtin `fc`.

Even with an executable `fc` first on PATH, bash and zsh run their history builtin. An alias is
removed on a line of its own, because a line is parsed, and aliases in it expanded, before it runs.
"""

from collections.abc import Callable, Sequence

from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_PROGRAMS = ("featurecache", "seqhead")

_FUNCTION = """\
unalias fc 2>/dev/null || :
function fc {
  case "${1-}" in
    NAMES|--help|--version) command featurecache "$@" ;;
    *) builtin fc "$@" ;;
  esac
}
"""

_BASH_FC = """\
_featurecache_fc_completion() { _featurecache_completion featurecache; }
complete -o nosort -F _featurecache_fc_completion fc
"""

_FISH = """\
function fc --description "the same program as featurecache; fish has no builtin of this name"
    command featurecache $argv
end
"""


def script(shell: str, commands: Sequence[str]) -> str:
    """Give the lines that a shell evaluates when it starts.

    Parameters
    ----------
    shell : {"bash", "zsh", "fish"}
    commands : sequence of str
        Subcommands that `fc` hands to this program; anything else goes to the builtin, where the
        shell has one.

    Returns
    -------
    str
    """
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](sorted(commands))


def _bash(commands: Sequence[str]) -> str:
    completion = "".join(_completion(BashComplete, program) for program in _PROGRAMS)
    guard = "if (( BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404 )); then"
    return f"{_function(commands)}{guard}\n{completion}{_BASH_FC}fi\n"


def _zsh(commands: Sequence[str]) -> str:
    ready = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i -D }\n"
    completion = "".join(_completion(ZshComplete, program) for program in _PROGRAMS)
    return f"{_function(commands)}{ready}{completion}compdef _featurecache_completion fc\n"


def _fish(_: Sequence[str]) -> str:
    completion = "".join(_completion(FishComplete, program) for program in _PROGRAMS)
    arguments = 'complete --no-files --command fc --arguments "(_featurecache_completion)"\n'
    return _FISH + completion + arguments


def _function(commands: Sequence[str]) -> str:
    return _FUNCTION.replace("NAMES", "|".join(commands))


def _completion(kind: Callable[..., ShellComplete], program: str) -> str:
    """Give click's completion lines, without the check that starts another shell."""
    from click import Command

    maker = kind(Command(program), {}, program, f"_{program.upper()}_COMPLETE")
    lines = (maker.source_template % maker.source_vars()).splitlines()
    return "".join(f"{line}\n" for line in lines if line.strip() and line.lstrip()[0] != "#")
