import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seqhead.labels.statistics import any_of
from seqhead.sources import Sources, open_sources


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 4)), min_size=1, max_size=30
    )
)
def test_a_whole_has_what_any_part_has(parts):
    values = np.array([value for value, _ in parts])
    owner = np.array([who for _, who in parts])
    for who, got in zip(range(5), any_of(values, owner, np.arange(5)), strict=True):
        mine = values[owner == who]
        if (mine == 1).any():
            expected = 1.0
        elif len(mine) and (mine == 0).all():
            expected = 0.0
        else:
            expected = np.nan
        np.testing.assert_equal(float(got), expected)


def test_counts_of_patients_series_and_slices(toy, planted):
    sources = Sources(toy.store, toy.labels, slice_labels=toy.slices)
    document = open_sources(sources).statistics().document()
    assert document["patients"] == len(set(planted.patients.values()))
    assert document["series"] == len(planted.matrices)
    ich = document["labels"]["ICH"]
    assert ich["patients"]["positives"] == 30
    assert ich["series"]["positives"] == sum(ich for ich, _ in planted.series.values())
    assert ich["slices"]["positives"] == sum(planted.slices.values())
    assert document["labels"]["Fracture"]["slices"] is None


def test_slices_that_failed_are_not_unmatched(tmp_path, make_store, planted):
    series = next(iter(planted.matrices))
    store = make_store(
        tmp_path / "cache.zarr", planted.matrices, patients=planted.patients, failed={series: [1]}
    )
    labels = tmp_path / "slices.csv"
    rows = [f"{s},{v}" for s, v in planted.slices.items()]
    labels.write_text("\n".join(["SOPInstanceUID,ICH", *rows]))
    statistics = open_sources(Sources(store, labels)).statistics()
    assert statistics.joined[0].unmatched_labels == []


def test_a_positive_slice_that_failed_makes_its_series_positive(tmp_path, make_store, planted):
    series = next(s for s, (ich, _) in planted.series.items() if ich)
    shown = [k for k in range(len(planted.matrices[series])) if planted.slices[f"{series}.{k}"]]
    store = make_store(
        tmp_path / "cache.zarr", planted.matrices, patients=planted.patients,
        failed={series: shown},
    )  # fmt: skip
    labels = tmp_path / "slices.csv"
    rows = [f"{s},{v}" for s, v in planted.slices.items()]
    labels.write_text("\n".join(["SOPInstanceUID,ICH", *rows]))
    cohort = open_sources(Sources(store, labels)).cohort("series")
    assert cohort.y[cohort.series.index.get_loc(series), 0] == 1.0
    assert cohort.left_out.partial_series == [series]
