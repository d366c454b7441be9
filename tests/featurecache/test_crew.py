"""Reader processes that stay: the same results, without starting anybody."""

import os
import signal

import pytest

from featurecache.crew import Crew
from featurecache.pool import Failure, isolated_map
from featurecache.scan import scan


def pid_and(item):
    """Process and item."""
    return os.getpid(), item


def square(item):
    return item * item


def die_on(item):
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.fixture
def crew(monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    with Crew(2, ready_for=importable(square)) as crew:
        yield crew


def importable(function):
    """The function as children find it: in a module of this file's name."""
    import importlib

    return getattr(importlib.import_module("test_crew"), function.__name__)


def ask(crew, function, items, **options):
    results = isolated_map(importable(function), items, workers=crew, timeout_s=20, **options)
    return [result for _, result in results]


def test_the_same_children_do_one_task_after_another(crew):
    first = {pid for pid, _ in ask(crew, pid_and, range(20))}
    assert ask(crew, square, range(6), chunk=2) == [0, 1, 4, 9, 16, 25]
    assert {pid for pid, _ in ask(crew, pid_and, range(20))} == first
    assert len(first) == 2


def test_a_child_that_dies_is_replaced_and_costs_one_item(crew):
    before = {pid for pid, _ in ask(crew, pid_and, range(20))}
    results = ask(crew, die_on, range(5))
    assert [r for r in results if not isinstance(r, Failure)] == [0, 1, 2, 4]
    assert results[3].reason == "killed the reader"
    after = {pid for pid, _ in ask(crew, pid_and, range(20))}
    assert len(after) == 2
    assert after != before


def test_children_that_were_killed_between_two_calls_are_replaced(crew):
    for pid in {pid for pid, _ in ask(crew, pid_and, range(20))}:
        os.kill(pid, signal.SIGKILL)
    assert ask(crew, square, range(4)) == [0, 1, 4, 9]


def test_who_has_been_waited_for_has_started_or_is_gone(monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    with Crew(2, ready_for=importable(square)) as crew:
        idle = list(crew._idle)
        assert not any(child.is_ready for child in idle)
        os.kill(idle[0]._process.pid, signal.SIGKILL)
        crew.wait()
        assert [child.is_ready for child in idle] == [False, True]
        assert ask(crew, square, range(4)) == [0, 1, 4, 9]


def test_stopping_early_leaves_no_work_behind(crew):
    results = isolated_map(importable(square), range(1000), workers=crew)
    assert next(results) == (0, 0)
    results.close()
    assert ask(crew, square, range(3)) == [0, 1, 4]


def test_closing_ends_the_children_also_those_that_were_lent(crew):
    results = isolated_map(importable(pid_and), range(1000), workers=crew)
    pids = {next(results)[1][0] for _ in range(50)}
    crew.close()
    results.close()
    assert not any(is_there(pid) for pid in pids)
    with pytest.raises(ValueError, match="closed"):
        next(isolated_map(importable(square), range(3), workers=crew))


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_another_memory_limit_is_refused(crew):
    with pytest.raises(ValueError, match="memory limit"):
        next(isolated_map(importable(square), range(3), workers=crew, memory_bytes=1 << 30))
    with pytest.raises(ValueError, match="workers"):
        Crew(0, ready_for=square)


def test_a_scan_with_a_crew_finds_what_one_without_does(crew, small_phantom, small_index, tmp_path):
    account = scan(small_phantom, tmp_path / "index.sqlite", workers=crew)
    again = scan(small_phantom, tmp_path / "again.sqlite", workers=crew)
    assert account == again == scan(small_phantom, small_index, workers=1)
