"""Which series make up a new part, against a plain statement of the rule."""

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featurecache.catalogue import Catalogue, look_up, read_catalogue
from featurecache.identifiers import Identifiers
from featurecache.new_part import new_stacks
from featurecache.open_storage import open_storage
from featurecache.parts import PartSeries, digests, part_series
from featurecache.tables import PartTables, part_tables

# A stack: which series it is a part of, its number in it, which version of its files.
STACKS = st.dictionaries(
    st.tuples(st.integers(0, 4), st.integers(1, 3)), st.integers(0, 1), max_size=8
)


def series_id(stack):
    return f"{stack[0]}#{stack[1]}"


def by_the_rule(have, there, selected):
    """New are all selected stacks of a series with any change, and its kept ones."""
    theirs, ours, wanted = defaultdict(dict), defaultdict(dict), defaultdict(set)
    for stack, version in have.items():
        theirs[stack[0]][stack] = version
    for stack, version in there.items():
        ours[stack[0]][stack] = version
        if stack in selected:
            wanted[stack[0]].add(stack)
    kept = {of: dict(theirs[of].items() & ours[of].items()) for of in wanted}
    new = {
        of for of in wanted
        if len(kept[of]) < len(theirs[of]) or wanted[of] - kept[of].keys()
    }  # fmt: skip
    return {s for s in there if s[0] in new and (s in wanted[s[0]] or s in kept[s[0]])}


def catalogue_of(there, selected):
    stacks = list(there)
    return Catalogue(
        numbers=np.arange(1, len(stacks) + 1), n_slices=np.ones(len(stacks), np.int64),
        selected=np.array([stack in selected for stack in stacks], bool),
        series=digests(map(series_id, stacks)), series_of=digests(str(s[0]) for s in stacks),
        source=digests(f"{s}/{there[s]}" for s in stacks),
    )  # fmt: skip


def part_of(have, counts):
    stacks = list(have)
    n = len(stacks)
    return PartSeries(
        digests(map(series_id, stacks)), digests(str(s[0]) for s in stacks),
        digests(f"{s}/{have[s]}" for s in stacks), np.arange(n), np.ones(n, np.int64),
        np.full(n, counts),
    )  # fmt: skip


@given(have=STACKS, there=STACKS, choice=st.data())
def test_new_stacks_are_those_of_the_rule(have, there, choice):
    selected = choice.draw(st.sets(st.sampled_from(sorted(there)))) if there else set()
    superseded = dict.fromkeys(have, 5)
    parts = [part_of(superseded, False), part_of(have, True)]
    new = new_stacks(parts, catalogue_of(there, selected))
    assert {s for s, is_new in zip(there, new, strict=True) if is_new} == by_the_rule(
        have, there, selected
    )


def test_an_empty_store_takes_what_is_selected():
    there = {(0, 1): 0, (1, 1): 0}
    assert new_stacks([], catalogue_of(there, {(1, 1)})).tolist() == [False, True]


def test_ids_are_found_among_others():
    known = digests(["c", "a", "b"])
    assert look_up(digests(["a", "x", "c"]), known).tolist() == [1, -1, 0]
    assert look_up(digests(["a"]), digests([])).tolist() == [-1]
    assert len(set(digests(map(str, range(1000))).tolist())) == 1000


def test_a_part_knows_which_of_its_series_count(tmp_path, make_store):
    path = make_store(tmp_path / "c.zarr", {"a": np.zeros((2, 3)), "b": np.zeros((4, 3))})
    make_store(path, {"b": np.zeros((1, 3))})
    old, new = part_series(open_storage(path))
    assert old.rows(old.counts).tolist() == [True] * 2 + [False] * 4
    assert new.counts.tolist() == [True]
    assert old.first_row.tolist() == [0, 2]


def test_the_catalogue_goes_through_the_index_in_its_order(tmp_path, scanned, write_series):
    for number in range(3):
        write_series(tmp_path / "root", 2 + number, uid=f"1.{number}")
    found = scanned(tmp_path / "root")
    catalogue = read_catalogue(found.index, Identifiers(None), {"1.1"})
    assert catalogue.n_slices.tolist() == [2, 3, 4]
    assert catalogue.selected.tolist() == [True, False, True]
    assert catalogue.series.tolist() == digests(stack.key for stack in found.stacks).tolist()
    stacks = [found.index.numbered_stack(number) for number in catalogue.numbers.tolist()]
    assert repr(stacks) == repr(found.stacks)  # NaN is not equal to itself
    assert found.index.numbered_stack(99) is None


def stack(key, n_slices):
    slices = [
        SimpleNamespace(sop_uid=f"{key}.{k}", frame=0, source="0", z_mm=1.0 * k, gap_mm=1.0)
        for k in range(n_slices)
    ]
    lengths = dict.fromkeys(
        ("z_extent_mm", "median_gap_mm", "thickness_mm", "fov_mm", "tilt_deg", "row_spacing_mm",
         "column_spacing_mm"), 1.0,
    )  # fmt: skip
    return SimpleNamespace(
        key=key, series_uid=key, study_uid="s", patient_id="p", slices=slices, wrapped=False,
        assume_hu=False, **lengths,
    )  # fmt: skip


def test_tables_come_in_whole_chunks_whatever_the_series(monkeypatch):
    from featurecache import tables

    monkeypatch.setattr(tables, "TABLE_ROWS", 5)
    stacks = [stack(f"1.{k}", n) for k, n in enumerate([3, 9, 1, 2, 4, 1])]
    streamed = part_tables(stacks, Identifiers(None), n_series=6, n_slices=20)
    assert (streamed.n_series, streamed.n_slices) == (6, 20)
    blocks = list(streamed.blocks)
    for table, n_rows in (("series", [5, 1]), ("slices", [5, 5, 5, 5])):
        mine = [block for block in blocks if block.table == table]
        assert [len(block.rows) for block in mine] == n_rows
        assert [block.first_row for block in mine] == [5 * k for k in range(len(mine))]
    series = [row for b in blocks if b.table == "series" for row in b.rows["first_row"]]
    assert series == [0, 3, 12, 13, 15, 19]
    slices = [row for b in blocks if b.table == "slices" for row in b.rows["slice"]]
    assert slices == [f"{one.key}.{k}" for one in stacks for k in range(len(one.slices))]


def test_a_part_whose_rows_do_not_come_is_not_made(tmp_path, make_store):
    import pytest

    from featurecache import arrays
    from featurecache.errors import StoreError

    path = make_store(tmp_path / "c.zarr", {"a": np.zeros((2, 3))})
    tables = part_tables([stack("1.1", 3)], Identifiers(None), n_series=1, n_slices=4)
    with pytest.raises(StoreError, match="the index changed meanwhile"):
        arrays.create_part(open_storage(path), tables)
    assert arrays.list_parts(open_storage(path)) == [0]
    assert not list(path.glob(".*"))
    assert isinstance(tables, PartTables)
