from pathlib import Path

import pytest

from seqhead import memory


def test_a_budget_is_what_was_said_or_half_of_what_there_is(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    assert memory.budget_bytes(0.25) == 250_000_000
    assert memory.budget_bytes(0) == 0
    assert memory.budget_bytes() == 500


def test_what_there_is_is_less_than_the_machine_has():
    import os

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory.available_bytes() <= total


def test_the_tightest_control_group_counts_without_its_page_cache_but_with_shared_memory(
    tmp_path, monkeypatch
):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    for group, limit, used, cached in (("a", "1000", 900, 300), ("a/b", "max", 10, 0)):
        (root / group).mkdir(parents=True)
        (root / group / "memory.max").write_text(limit + "\n")
        (root / group / "memory.current").write_text(f"{used}\n")
        (root / group / "memory.stat").write_text(f"anon 5\nfile {cached + 50}\nshmem 50\n")
    own.write_text("0::/a/b\n")
    places = {"/sys/fs/cgroup": root, "/proc/self/cgroup": own}
    monkeypatch.setattr(memory, "Path", lambda name: places.get(name, Path(name)))
    assert memory._of_groups() == [400]
    assert memory.available_bytes() == 400


@pytest.mark.parametrize("text", ["12:memory:/old\n", ""])
def test_other_control_groups_limit_nothing_here(tmp_path, monkeypatch, text):
    (tmp_path / "own").write_text(text)
    places = {"/sys/fs/cgroup": tmp_path, "/proc/self/cgroup": tmp_path / "own"}
    monkeypatch.setattr(memory, "Path", lambda name: places.get(name, Path(name)))
    assert memory._of_groups() == []
