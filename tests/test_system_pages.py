"""The pages of the published systems, which the documentation is built with, and their figures."""

import importlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from seqhead.systems import load_system, system_names
from seqhead.systems.describe import describe

DOCS = Path(__file__).parents[1] / "docs"
SVG = "{http://www.w3.org/2000/svg}"
QUICK = ("drct2", "drct1-512-middle", "xception-gru", "svm", "3-consecutive")
EVERY = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in system_names()
]


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    """``docs/generate_systems.py`` as conf.py has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module("generate_systems")


@pytest.mark.parametrize("name", EVERY)
def test_a_page_says_what_the_file_of_the_system_says(generator: ModuleType, name: str) -> None:
    description = describe(name)
    page, system = generator._page(description), description.system
    for choice in system.choices:
        assert choice.paper in page
        assert choice.chosen in page
    for number in generator.reported_numbers(system):
        shown = f"{number.value:,}" if number.of == "model" else f"{number.value:g}"
        assert shown in page
    for more in generator.not_compared(system):
        assert more.replace("_", " ") in page.lower()
    if description.parameters is not None and description.layers:
        assert f"{description.parameters_paper:,}" in page
        assert f"{description.parameters:,}" in page
    assert f"seqhead reproduce {name} " in page
    assert f"]({name}.svg)" in page


@pytest.mark.parametrize("name", system_names())
def test_a_figure_is_drawn_within_its_blocks_and_none_covers_another(
    generator: ModuleType, name: str
) -> None:
    svg = generator.draw(generator.composition(load_system(name)), f"Composition of {name}")
    drawn = ElementTree.fromstring(svg)  # noqa: S314  drawn by us
    width, height = float(drawn.get("width")), float(drawn.get("height"))
    boxes = [
        tuple(float(box.get(key)) for key in ("x", "y", "width", "height"))
        for box in drawn.iter(f"{SVG}rect")
        if box.get("rx") == "5"
    ]
    assert len(boxes) >= 2
    for k, (x, y, w, h) in enumerate(boxes):
        assert x >= 0 <= y and x + w <= width and y + h <= height
        for left, top, across, down in boxes[k + 1 :]:
            apart = left >= x + w or left + across <= x or top >= y + h or top + down <= y
            assert apart
    for text in drawn.iter(f"{SVG}text"):
        if text.get("text-anchor") == "middle":
            letter = 0.62 if text.get("font-weight") == "bold" else 0.55  # of a wide sans-serif
            assert len(text.text) * letter * float(text.get("font-size")) <= boxes[0][2], text.text


@pytest.mark.parametrize("name", ["sdlm-vgg16-gru", "drct2", "drct1-512-middle", "xception-gru"])
def test_shapes_in_a_figure_are_those_that_the_head_gives(generator: ModuleType, name: str) -> None:
    blocks = generator.composition(load_system(name)).blocks
    learnt = [block for block in blocks if block.kind in ("learnt", "output")]
    drawn = {tuple(re.findall(r"\d+", block.shape))[-1] for block in learnt}
    given = {str(layer.shape[-1]) for layer in describe(name).layers}
    assert drawn - {"32"} <= given | {"1024"}, "32 weights of slices are no layer's last axis"
    states = [block for block in blocks if "GRU" in block.title]
    assert len(states) == (2 if name == "drct2" else 1)


def test_the_index_lists_every_system_and_links_lead_somewhere(
    generator: ModuleType, tmp_path: Path
) -> None:
    index = generator._index()
    for name in system_names():
        assert f"[{name}]({name}.md)" in index
        assert f"\n{name}\n" in index, "in the table of contents"
    for target in re.findall(r"\]\((\.\./[^)]+)\)", index):
        assert (DOCS / "systems" / target).resolve().exists(), target


def test_pages_that_are_up_to_date_are_not_written_again(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "systems"
    monkeypatch.setattr(generator, "pages", lambda: {"a.md": "one\n", "b.md": "two\n"})
    generator.write(folder)
    (folder / "gone.md").write_text("of a system that is no more")
    (folder / "b.md").write_text("stale")
    before = (folder / "a.md").stat().st_mtime_ns
    generator.write(folder)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "a.md": "one\n", "b.md": "two\n"
    }  # fmt: skip
    assert (folder / "a.md").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", QUICK)
def test_commands_on_the_pages_can_be_typed(generator: ModuleType, name: str) -> None:
    checks = importlib.util.spec_from_file_location("test_docs", DOCS.parent / "tests/test_docs.py")
    assert checks is not None and checks.loader is not None
    module = importlib.util.module_from_spec(checks)
    checks.loader.exec_module(module)
    lines = list(module.command_lines("\n".join(generator._commands(load_system(name)))))
    assert lines
    assert [wrong for words in lines if (wrong := module.wrong_command(words))] == []
