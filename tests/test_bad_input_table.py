"""The page on bad input lists every case, and the tests that it names exist and can run."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "bad-input.md"
N_CASES = 54


def table(text: str) -> dict[int, list[tuple[str, str]]]:
    """Case number -> (file, test) of every test in its row."""
    rows: dict[int, list[tuple[str, str]]] = {}
    for number, row in re.findall(r"^\| (\d+) \|(.*)\|$", text, re.MULTILINE):
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        rows.setdefault(int(number), []).extend(named)
    return rows


@cache
def collected_in(file: str) -> frozenset[str]:
    """Functions of a test file that pytest collects."""
    path = ROOT / "tests" / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def missing(rows: dict[int, list[tuple[str, str]]]) -> list[str]:
    """What the table lacks: cases, tests of a case, tests that are named and do not exist."""
    lacks = [f"case {number}" for number in range(1, N_CASES + 1) if not rows.get(number)]
    lacks += [f"{file}::{name}" for row in rows.values() for file, name in row
              if name not in collected_in(file)]  # fmt: skip
    return lacks


def test_every_case_has_a_test_that_exists() -> None:
    rows = table(PAGE.read_text(encoding="utf-8"))

    assert missing(rows) == []
    assert set(rows) == set(range(1, N_CASES + 1))
    everywhere = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert [name for file, name in everywhere if name not in collected_in(file)] == []


def test_a_case_or_a_test_that_is_missing_would_be_found() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert missing(table(re.sub(r"^\| 17 \|.*\n", "", text, flags=re.MULTILINE))) == ["case 17"]
    assert missing(table(text.replace("test_an_empty_file_is_skipped", "test_no_such"))) == [
        "featurecache/test_header.py::test_no_such"
    ]
