"""Write docs/reference/cli.md from the commands themselves.

python docs/generate_cli.py          write the page
python docs/generate_cli.py --check  end with 1 if the page is not up to date
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).parent / "reference" / "cli.md"
_HEAD = """\
<!-- Written by docs/generate_cli.py; run it after changing a command. -->

# Commands

`featurecache` is also installed as `fc` ([the shell and its builtin](../howto/shell.md)).
What an option is not told comes, in this order, from its environment variable, from
`featurecache.toml` in the working folder, from the default. Exit codes are
[listed apart](exit-codes.md), and so are the [JSON documents](json.md).
"""


def render() -> str:
    """Give the page.

    Returns
    -------
    str
        Markdown.
    """
    from cli.featurecache import main as featurecache
    from cli.seqhead import main as seqhead

    blocks = [_HEAD]
    for program, group in (("featurecache", featurecache), ("seqhead", seqhead)):
        blocks.append(f"## {program}\n\n{_prose(group)}")
        blocks += [
            _command(f"{program} {name}", group.commands[name]) for name in sorted(group.commands)
        ]
    return "\n".join(blocks)


def _command(line: str, command: click.Command) -> str:
    options = [param for param in command.params if isinstance(param, click.Option)]
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    usage = " ".join([line, "[OPTIONS]" if options else "", *map(_argument, arguments)])
    lines = [f"### {line}", "", f"`{' '.join(usage.split())}`", "", _prose(command)]
    lines += [f"- {item}" for param in arguments for item in _argument_items(param)]
    lines += [f"- {_option(param)}" for param in options]
    example = getattr(command, "example", "")
    if example:
        lines += ["", "```bash", example, "```"]
    return "\n".join(lines) + "\n"


def _prose(command: click.Command) -> str:
    """Give the help text; lines after click's marker of preformatted text become a block."""
    out: list[str] = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            out.append("```text\n" + paragraph.removeprefix("\b\n") + "\n```")
        else:
            out.append(paragraph)
    return "\n\n".join(out) + "\n"


def _argument(param: click.Argument) -> str:
    name = param.metavar or (param.name or "").upper()
    return name if param.required else f"[{name}]"


def _argument_items(param: click.Argument) -> Iterator[str]:
    name = (param.name or "").upper()
    if param.envvar:
        yield f"`{name}` *environment: `{param.envvar}`; else featurecache.toml*"
    elif isinstance(param.type, click.Choice):
        yield f"`{name}` one of {', '.join(f'`{choice}`' for choice in param.type.choices)}"


def _option(param: click.Option) -> str:
    names = ", ".join([*param.opts, *param.secondary_opts])
    notes = [
        *(["required"] if param.required else []),
        *([f"default: {_default(param)}"] if _default(param) else []),
        *([f"environment: `{param.envvar}`"] if param.envvar else []),
    ]
    kind = "" if param.is_flag else f" {_metavar(param)}"
    return f"`{names}{kind}` {param.help}" + (f" *{'; '.join(notes)}*" if notes else "")


def _metavar(param: click.Option) -> str:
    if param.metavar:
        return param.metavar
    if isinstance(param.type, click.Choice):
        return "|".join(map(str, param.type.choices))
    if isinstance(param.type, click.Path):
        return "PATH"
    return {"integer": "N", "integer range": "N", "float range": "X"}.get(param.type.name, "TEXT")


def _default(param: click.Option) -> str:
    if isinstance(param.show_default, str):
        return param.show_default
    value = param.to_info_dict()["default"]
    return "" if value is None or value is False or callable(value) else f"`{value}`"


def main(arguments: list[str]) -> int:
    """Write or check the page.

    Parameters
    ----------
    arguments : list of str
        ``--check`` or nothing.

    Returns
    -------
    int
        Exit code.
    """
    if "--check" in arguments:
        return int(PAGE.read_text(encoding="utf-8") != render())
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main(sys.argv[1:]))
