"""Documentation that is checked: the reference, docstrings, README's tree, links and snippets."""

import ast
import importlib.util
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest

from cli.featurecache import main as featurecache
from cli.seqhead import main as seqhead
from featurecache import FeatureStore

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]
PROGRAMS = {"featurecache": featurecache, "fc": featurecache, "seqhead": seqhead}
SOURCES = [
    path
    for package in ("featurecache", "seqhead", "cli")
    for path in sorted((ROOT / package).rglob("*.py"))
]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- the command line reference


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs/generate_cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_reference_is_up_to_date() -> None:
    module = generator()

    assert module.PAGE.read_text(encoding="utf-8") == module.render(), (
        "run: python docs/generate_cli.py"
    )


@pytest.mark.parametrize("program", ["featurecache", "seqhead"])
def test_every_command_and_option_is_in_the_reference(program: str) -> None:
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))

    for name, command in PROGRAMS[program].commands.items():
        section = sections[f"{program} {name}"]
        for parameter in command.params:
            for option in parameter.opts:
                assert option.upper() in section.upper(), f"{program} {name} {option}"


# ---- docstrings


def public_functions(
    tree: ast.Module,
) -> Iterator[tuple[str, ast.FunctionDef, ast.ClassDef | None]]:
    """Public functions and methods with their dotted names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, None
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner, node


def raised(function: ast.FunctionDef) -> set[str]:
    """Classes that a function raises itself."""
    found = set()
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(error)
            if name[:1].isupper() or "." in name:
                found.add(name.rpartition(".")[2])
        todo.extend(ast.iter_child_nodes(node))
    return found


def section(docstring: str, title: str) -> str:
    """Text of a numpydoc section; empty where there is none."""
    pattern = rf"^{title}\n-{{3,}}\n(.*?)(?=^\w[\w ]*\n-{{3,}}\n|\Z)"
    match = re.search(pattern, docstring, re.MULTILINE | re.DOTALL)
    return match[1] if match else ""


def parameters(function: ast.FunctionDef) -> list[str]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return [one.arg for one in every if one.arg not in ("self", "cls")]


def documented(text: str) -> set[str]:
    """Names that a section lists before a colon, or on a line of their own."""
    lines = [line for line in text.splitlines() if line and not line.startswith(" ")]
    return {
        name.strip().lstrip("*") for line in lines for name in line.partition(" :")[0].split(",")
    }


def returns_something(function: ast.FunctionDef) -> bool:
    nothing = ("None", "Iterator[None]", "NoReturn")
    return function.returns is not None and ast.unparse(function.returns) not in nothing


def is_property(function: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(one) for one in function.decorator_list)


def gaps(source: str, *, library: bool) -> list[str]:
    """What is missing in the docstrings of one module."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [] if ast.get_docstring(node) else [f"{node.name} has no docstring"]
    for name, function, owner in public_functions(tree):
        docstring = ast.get_docstring(function)
        if not docstring:
            found.append(f"{name} has no docstring")
            continue
        if library and owner is None and parameters(function):
            have = documented(section(docstring, "Parameters"))
            missing = [one for one in parameters(function) if one not in have]
            found += [f"{name}: Parameters lacks {', '.join(missing)}"] if missing else []
            if returns_something(function) and not re.search(
                r"^(Returns|Yields)\n---", docstring, re.MULTILINE
            ):
                found.append(f"{name}: no Returns")
        lacking = [one for one in raised(function) if one not in section(docstring, "Raises")]
        if lacking and not is_property(function):
            found.append(f"{name}: Raises lacks {', '.join(sorted(lacking))}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_public_names_say_what_they_take_give_and_raise(path: Path) -> None:
    found = gaps(path.read_text(encoding="utf-8"), library=not named(path).startswith("cli/"))

    assert not found, "\n".join(found)


def test_gaps_in_docstrings_would_be_found() -> None:
    source = '''
def scale(hu, *, width_hu: float) -> float:
    """Scale.

    Parameters
    ----------
    hu : ndarray
        Values.
    """
    if width_hu <= 0:
        raise ValueError("width")
    def inner(): raise KeyError
    return hu / width_hu

class Thing:
    def method(self): pass
'''

    assert gaps(source, library=True) == [
        "the module has no docstring",
        "Thing has no docstring",
        "scale: Parameters lacks width_hu",
        "scale: no Returns",
        "scale: Raises lacks ValueError",
        "Thing.method has no docstring",
    ]


# ---- README's tree


def tree_entries(readme: str) -> Iterator[tuple[str, str]]:
    """Paths in README's tree with their comments; folders end in ``/``."""
    folders: list[str] = []
    inside = False
    for line in readme.splitlines():
        inside = (inside or line.startswith("featurecache/")) and not line.startswith("```")
        if not inside or not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, comment = line.strip().partition(" ")
        folders = folders[:depth]
        yield "/".join([*(folder.rstrip("/") for folder in folders), name]), comment.strip()
        if name.endswith("/"):
            folders.append(name)


def test_the_tree_of_the_readme_lists_every_module_and_nothing_else() -> None:
    entries = dict(tree_entries((ROOT / "README.md").read_text(encoding="utf-8")))
    listed = {name for name in entries if name.endswith(".py")}
    packages = ("featurecache/", "seqhead/", "cli/")
    there = {
        named(path) for path in SOURCES if path.name not in ("__init__.py", "__main__.py")
    }  # fmt: skip

    assert there - listed == set(), "add these to README's tree, below what they import"
    assert {name for name in listed if name.startswith(packages)} - there == set(), "gone"
    assert [name for name in entries if not (ROOT / name).exists()] == []
    assert [name for name, comment in entries.items() if not comment] == []


# ---- links and snippets


def anchors(page: str) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)

    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{named(path)} links to {target}"
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), target


def command_lines(text: str) -> Iterator[list[str]]:
    """Words of every command in the fenced bash blocks."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r'^eval "\$\((.*)\)"', r"\1", line.removeprefix("$ "))
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]
            if words:
                yield words


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def wrong_command(words: list[str]) -> str | None:
    """Why a command line could not be typed, or None."""
    if words[0] == "make":
        unknown = set(words[1:]) - make_targets()
        return f"make has no {unknown}" if unknown else None
    if words[0] not in PROGRAMS or words[1:] in (["--help"], ["--version"], ["-l"]):
        return None
    command = PROGRAMS[words[0]].commands.get(words[1])
    if command is None:
        return f"{words[0]} has no command {words[1]}"
    known = {"--help", "-h"} | {
        option
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in [*parameter.opts, *parameter.secondary_opts]
    }
    unknown = {word for word in words[2:] if word.startswith("-")} - known
    return f"{words[0]} {words[1]} has no {', '.join(sorted(unknown))}" if unknown else None


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_commands_in_snippets_exist(path: Path) -> None:
    lines = list(command_lines(path.read_text(encoding="utf-8")))

    assert [wrong for words in lines if (wrong := wrong_command(words))] == []


def test_a_wrong_snippet_would_be_found() -> None:
    text = "```bash\n$ fc scan --jsn  # all\nmake coffee\nX=1 seqhead fly\nls -l\n```\n"

    assert [wrong_command(words) for words in command_lines(text)] == [
        "fc scan has no --jsn",
        "make has no {'coffee'}",
        "seqhead has no command fly",
        None,
    ]


def test_the_store_can_be_read_as_its_page_says_with_plain_zarr(
    tmp_path: Path, make_store: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    matrices = {f"s{n}": rng.normal(size=(5 + n, 7)).astype("float32") for n in range(4)}
    make_store(tmp_path / "cache.zarr", matrices, name="vgg16", failed={"s1": [2]})
    page = (ROOT / "docs/reference/store.md").read_text(encoding="utf-8")
    snippet = re.search(r"^```python\n(import zarr.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert snippet is not None
    assert "featurecache" not in snippet[1]
    monkeypatch.chdir(tmp_path)
    names: dict[str, dict[str, np.ndarray]] = {}

    exec(snippet[1], names)  # noqa: S102  the page is ours

    features = FeatureStore.open(tmp_path / "cache.zarr")["vgg16"]
    assert set(names["matrices"]) == set(features) == set(matrices)
    for series, matrix in names["matrices"].items():
        np.testing.assert_array_equal(matrix, features[series])
    assert len(names["matrices"]["s1"]) == 5, "one of six slices failed"
