"""Children that crash, hang or eat memory do not end a run (cases 41 and 42)."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from featurecache.errors import FeatureCacheError
from featurecache.pool import Failure, isolated_map


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A module that children can import, with functions that misbehave on purpose."""
    (tmp_path / "misbehaving.py").write_text(
        textwrap.dedent(
            """
            import os, sys, time
            import numpy as np
            from featurecache.errors import ReadError

            def act(item):
                name, argument = item
                if name == "crash":
                    os.abort()
                if name == "crash once":
                    if not os.path.exists(argument):
                        open(argument, "w").close()
                        os._exit(1)
                if name == "hang":
                    time.sleep(1000)
                if name == "read error":
                    raise ReadError("pixel data is short", "expected 2 bytes, came 1")
                if name == "bug":
                    raise TypeError("no such thing")
                if name == "memory":
                    return len(bytearray(argument))
                if name == "array":
                    return np.full(argument, 7, np.int16)
                if name == "sleep":
                    time.sleep(argument)
                if name == "modules":
                    return [m for m in argument if m in sys.modules]
                if name == "unpicklable":
                    return lambda: None
                if name == "grow":
                    return os.getpid()
                return argument

            def fail_to_start():
                raise OSError("no such library")
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import misbehaving

    yield misbehaving
    del sys.modules["misbehaving"]


def run(tasks, items, **options):
    options = {"workers": 2, "timeout_s": 20} | options
    return [result for _, result in isolated_map(tasks.act, items, **options)]


@pytest.mark.parametrize("chunk", [1, 3])
def test_results_come_in_the_order_of_the_items(tasks, chunk):
    items = [("sleep", 0.05 if number % 5 == 0 else 0.0) for number in range(30)]
    pairs = list(isolated_map(tasks.act, iter(items), workers=3, chunk=chunk))
    assert [item for item, _ in pairs] == items
    assert [result for _, result in pairs] == [argument for _, argument in items]


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_decoder_that_crashes_costs_only_its_own_item(tasks, chunk):
    """Case 41."""
    items = [("echo", number) for number in range(8)]
    items[3] = ("crash", None)
    results = run(tasks, items, chunk=chunk)
    assert results[3] == Failure("killed the reader", f"signal {signal.SIGABRT}")
    assert [r for n, r in enumerate(results) if n != 3] == [n for n in range(8) if n != 3]


def test_an_item_whose_reader_was_killed_by_chance_is_tried_again(tasks, tmp_path):
    flag = str(tmp_path / "flag")
    assert run(tasks, [("crash once", flag), ("echo", 1)]) == [flag, 1]


def test_a_decoder_that_hangs_is_killed_after_the_time_out(tasks):
    """Case 42."""
    started = time.monotonic()
    results = run(tasks, [("echo", 0), ("hang", None), ("echo", 2)], timeout_s=0.5)
    assert results == [0, Failure("time-out", "no answer within 0.5 s"), 2]
    assert time.monotonic() - started < 15


def test_the_time_out_is_per_item_not_per_chunk(tasks):
    assert run(tasks, [("sleep", 0.3)] * 6, chunk=6, workers=1, timeout_s=1) == [0.3] * 6


def test_a_slow_consumer_is_no_time_out(tasks):
    stream = isolated_map(tasks.act, [("echo", n) for n in range(6)], workers=1, timeout_s=0.4)
    results = []
    for _, result in stream:
        results.append(result)
        time.sleep(0.3)
    assert results == list(range(6))


def test_memory_limit_fails_the_item_and_not_the_run(tasks):
    results = run(tasks, [("memory", 4 << 30), ("memory", 1000)], memory_bytes=1 << 30)
    assert results[0].reason == "memory limit"
    assert results[1] == 1000


def test_errors_become_failures_with_their_reason(tasks):
    results = run(tasks, [("read error", None), ("bug", None), ("unpicklable", None)])
    assert results[0] == Failure("pixel data is short", "expected 2 bytes, came 1")
    assert results[1] == Failure("reader error", "TypeError: no such thing")
    assert results[2].reason == "reader error"


@pytest.mark.parametrize("chunk", [1, 3])
def test_arrays_arrive_unchanged_and_writable(tasks, chunk):
    shapes = [(5,), (512, 512), (300, 7), (2, 2)] * 5
    results = run(tasks, [("array", shape) for shape in shapes], chunk=chunk)
    for shape, array in zip(shapes, results, strict=True):
        np.testing.assert_array_equal(array, np.full(shape, 7, np.int16), strict=True)
        array += 1
    assert all((array == 8).all() for array in results)


def test_an_array_larger_than_the_shared_memory_arrives(tasks):
    (array,) = run(tasks, [("array", (20 << 20,))])
    assert array.nbytes == 40 << 20
    assert (array == 7).all()


def test_no_more_items_are_taken_than_the_lookahead(tasks):
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield "echo", number

    stream = isolated_map(tasks.act, source(), workers=2, lookahead=6, chunk=2)
    for number in range(20):
        assert next(stream)[1] == number
        assert len(taken) <= number + 1 + 6
    stream.close()


def test_closing_the_stream_kills_the_children(tasks):
    stream = isolated_map(tasks.act, [("grow", None), ("hang", None), ("hang", None)], workers=1)
    _, pid = next(stream)
    os.kill(pid, 0)
    stream.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_children_do_not_import_torch_or_the_parents_main(tasks):
    heavy = ["torch", "pytest", "zarr", "pandas"]
    assert run(tasks, [("modules", heavy)]) == [[]]


def test_readers_that_cannot_start_are_an_error_with_their_last_words(tasks):
    stream = isolated_map(tasks.act, [("echo", 1)], workers=1, initializer=tasks.fail_to_start)
    with pytest.raises(FeatureCacheError, match="no such library"):
        next(stream)


def test_children_die_with_their_parent(tasks, tmp_path):
    program = textwrap.dedent(
        f"""
        import sys; sys.path[:] = {sys.path!r}
        import misbehaving
        from featurecache.pool import isolated_map
        stream = isolated_map(misbehaving.act, [("grow", None), ("hang", None)], workers=1)
        print(next(stream)[1], flush=True)
        next(stream)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


def test_a_script_without_a_main_guard_can_use_it(tasks, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "import misbehaving\nfrom featurecache.pool import isolated_map\n"
        "print([r for _, r in isolated_map(misbehaving.act, [('echo', 5)], workers=1)])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[5]\n", done.stderr


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="workers=0"):
        isolated_map(abs, [1], workers=0)
