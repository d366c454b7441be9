"""Units are given out, come back from the dead, and end: computed once, or given up."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from featurecache.engines.allotment import Allotment
from featurecache.units import Unit


def units(count):
    return [Unit(0, range(4 * number, 4 * number + 4), ()) for number in range(count)]


@dataclass
class Taker:
    """Computes units in order, commits some units behind, and dies at the first deadly one."""

    deadly: set
    behind: int

    def compute(self, taken):
        """Units that are committed before it dies, and those that are left."""
        for place, unit in enumerate(taken):
            if unit.span in self.deadly:
                return taken[: max(0, place - self.behind)], taken[max(0, place - self.behind) :]
        return taken, []


@given(
    count=st.integers(0, 80), n_takers=st.integers(1, 9), behind=st.integers(0, 2),
    deadly=st.sets(st.integers(0, 79), max_size=5),
)  # fmt: skip
def test_whatever_kills_is_given_up_and_all_else_is_computed_once(count, n_takers, behind, deadly):
    todo = units(count)
    bad = {unit.span for unit in todo if unit.rows.start // 4 in deadly}
    allotment, done, tries = Allotment(todo, n_takers), [], 0
    while taken := allotment.take():
        tries += 1
        committed, left = Taker(bad, behind).compute(taken)
        done += committed
        if left:
            allotment.give_back(left, "signal 9")
    assert sorted(unit.span for unit in done) == [u.span for u in todo if u.span not in bad]
    assert allotment.given_up == dict.fromkeys(bad, "signal 9")
    assert tries <= 10 * max(count, 1)


def test_many_units_at_first_and_single_ones_at_the_end():
    allotment = Allotment(units(100), 4)
    sizes = [len(taken) for taken in iter(allotment.take, [])]
    assert sizes[0] == 12
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert sum(sizes) == 100


def test_suspects_come_last_and_alone():
    allotment = Allotment(units(10), 1)
    first = allotment.take()
    allotment.give_back(first, "gone")
    assert len(first) == 5
    order = [[unit.rows.start // 4 for unit in taken] for taken in iter(allotment.take, [])]
    assert order[-3:] == [[0], [1], [2]], "the first three may have been at work"
    assert sorted(number for taken in order for number in taken) == list(range(10))


def test_nothing_is_given_out_after_closing():
    allotment = Allotment(units(3), 1)
    allotment.close()
    assert allotment.take() == []
    assert len(allotment) == 0
