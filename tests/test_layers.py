"""Imports point upward in the tree that README prints, and some packages have one door only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("featurecache", "seqhead", "cli")

# Who may import what; a name ending in a dot stands for a whole package.
DOORS = {
    "click": ("cli.",),
    "zarr": (
        "featurecache.nodes",
        "featurecache.local_storage",
        "featurecache.object_storage",
    ),
    "obstore": ("featurecache.object_storage",),
    "ray": ("featurecache.engines.cluster",),
    "pydicom": (
        "featurecache.values",
        "featurecache.header",
        "featurecache.decoders",
        "featurecache.pixels",
        "featurecache.phantom.",
        "featurecache.doctor",
    ),
    "pickle": ("featurecache.worker",),  # through the pipe to its own child, never a file
    "joblib": (),
    "optuna": ("seqhead.sweeps.",),
}
HEAVY = (
    "torch", "torchvision", "timm", "zarr", "pydicom", "sklearn", "pandas", "scipy", "optuna",
)  # fmt: skip


def module_files(root: Path) -> dict[str, Path]:
    """Module name -> file, of every package."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere in it, except for type checking only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_module(name: str, modules: dict[str, Path]) -> str | None:
    """The module of ours that an imported name lives in."""
    while name:
        if name in modules:
            return name
        name = name.rpartition(".")[0]
    return None


def downward(order: list[str], modules: dict[str, Path]) -> list[str]:
    """Imports of something that comes later in the order (or is not in it)."""
    rank = {module: place for place, module in enumerate(order)}
    wrong = []
    for module, path in modules.items():
        if module.endswith("__main__") or module not in rank:
            continue
        for name in imports(path):
            target = own_module(name, modules)
            if target in PACKAGES or target in (None, module):
                continue
            if rank.get(target, len(rank)) > rank[module]:
                wrong.append(f"{module} imports {target}, which stands below it")
    return wrong


def tree_order(readme: str) -> list[str]:
    """Modules in the order of README's tree."""
    order: list[str] = []
    folders: list[str] = []
    inside = False
    for line in readme.splitlines():
        inside = (inside or line.startswith("featurecache/")) and not line.startswith("```")
        if not inside or not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders = folders[:depth]
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
            order.append(".".join(folders))
        elif name.endswith(".py"):
            order.append(".".join([*folders, name.removesuffix(".py")]))
    return order


MODULES = module_files(ROOT)


def test_imports_point_upward_in_the_tree_of_the_readme() -> None:
    order = tree_order((ROOT / "README.md").read_text(encoding="utf-8"))

    assert set(order) >= {"featurecache.store", "seqhead.run", "cli.common"}
    wrong = downward(order, MODULES)
    assert not wrong, "\n".join(wrong)


def test_a_downward_import_would_be_found(tmp_path: Path) -> None:
    folder = tmp_path / "featurecache"
    folder.mkdir()
    (folder / "first.py").write_text("def late():\n    from featurecache.second import thing\n")
    (folder / "second.py").write_text(
        "from typing import TYPE_CHECKING\nimport featurecache.first\n"
        "if TYPE_CHECKING:\n    from featurecache.third import Type\n"
    )
    (folder / "third.py").write_text("")
    order = tree_order("```\nfeaturecache/\n  first.py  a\n  second.py  b\n  third.py\n```\nx.py")

    assert order == [
        "featurecache", "featurecache.first", "featurecache.second", "featurecache.third"
    ]  # fmt: skip
    assert downward(order, module_files(tmp_path)) == [
        "featurecache.first imports featurecache.second, which stands below it"
    ]


@pytest.mark.parametrize(
    ("package", "never"),
    [("featurecache", ("seqhead", "cli")), ("seqhead", ("cli",))],
)
def test_stages_know_only_what_comes_before_them(package: str, never: tuple[str, ...]) -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if module.split(".")[0] == package and not module.endswith("__main__")
        for name in imports(path)
        if name.split(".")[0] in never
    ]

    assert wrong == []


@pytest.mark.parametrize("outside", DOORS)
def test_some_packages_are_imported_behind_one_door(outside: str) -> None:
    def allowed(module: str) -> bool:
        return any(
            module.startswith(door) if door.endswith(".") else module == door
            for door in DOORS[outside]
        )

    wrong = [
        module
        for module, path in MODULES.items()
        if not allowed(module) and any(name.split(".")[0] == outside for name in imports(path))
    ]

    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_is_cheap(package: str) -> None:
    script = f"import sys, {package}\nprint(*(n for n in {HEAVY} if n in sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []


@pytest.mark.parametrize("package", ["featurecache", "seqhead"])
def test_public_names_can_be_had(package: str) -> None:
    module = __import__(package)

    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing
