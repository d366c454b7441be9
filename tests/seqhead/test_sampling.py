import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqhead.batches import batches, collate
from seqhead.sampling import (
    augmentation,
    balanced_rows,
    disjoint_samples,
    even_places,
    take_samples,
)
from seqhead.train_config import TrainConfig


@given(n=st.integers(1, 400), m=st.integers(1, 40))
def test_a_sample_is_spread_evenly_over_the_series(n, m):
    places = even_places(n, m)
    assert len(places) == min(n, m)
    assert (np.diff(places) > 0).all()
    assert places[0] >= 0 and places[-1] < n
    if n > m > 1:
        assert np.ptp(np.diff(places)) <= 1
        assert abs(places[0] - (n - 1 - places[-1])) <= 1  # as far from one end as from the other


def test_every_eighth_slice_of_256():
    assert even_places(256, 32).tolist() == list(range(4, 256, 8))
    assert even_places(30, 32).tolist() == list(range(30))
    assert even_places(5, None).tolist() == list(range(5))


@given(n=st.integers(1, 400), m=st.integers(1, 40))
def test_left_over_slices_make_further_samples_and_none_is_used_twice(n, m):
    samples = disjoint_samples(n, m)
    assert samples[0].tolist() == even_places(n, m).tolist()
    assert len(samples) == max(n // m, 1)
    used = np.concatenate(samples)
    assert len(set(used.tolist())) == len(used)
    for sample in samples:
        assert len(sample) == min(n, m)
        assert (np.diff(sample) > 0).all()


def test_samples_keep_the_label_of_their_series():
    X = [np.arange(n)[:, None] + 100 * k for k, n in enumerate((9, 2, 4))]
    y = np.array([[0.0], [1.0], [np.nan]])
    taken, labels = take_samples(X, y, 4, leftovers=True)
    assert [len(x) for x in taken] == [4, 4, 2, 4]
    assert [int(x[0, 0]) // 100 for x in taken] == [0, 0, 1, 2]
    np.testing.assert_array_equal(labels[:, 0], [0, 0, 1, np.nan])
    taken, labels = take_samples(X, y, 4)
    assert [len(x) for x in taken] == [4, 2, 4]
    assert take_samples(X, y, None)[0][0] is X[0]


def test_a_reversed_series_takes_its_slice_labels_along():
    pick = augmentation(TrainConfig(reverse=1.0), np.random.default_rng(0))
    X, y = [np.arange(4.0)[:, None]], [np.array([[0.0], [1.0], [np.nan], [0.0]])]
    batch = collate(X, y, np.array([0]), pad_to=6, pick=pick)
    assert batch.x[0, :, 0].tolist() == [3, 2, 1, 0, 0, 0]
    np.testing.assert_array_equal(batch.y[0, :4, 0], y[0][::-1, 0])
    assert batch.mask[0].tolist() == [True] * 4 + [False] * 2


@given(n=st.integers(1, 60), share=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_dropped_slices_leave_the_others_in_order_and_at_least_one(n, share, seed):
    pick = augmentation(TrainConfig(drop_slices=share), np.random.default_rng(seed))
    places = pick(n)
    assert 1 <= len(places) <= n
    assert (np.diff(places) > 0).all()


def test_as_many_slices_are_dropped_as_asked():
    pick = augmentation(TrainConfig(drop_slices=0.25), np.random.default_rng(0))
    assert np.mean([len(pick(100)) for _ in range(200)]) == pytest.approx(75, abs=1.5)
    assert augmentation(TrainConfig(), np.random.default_rng(0)) is None


def test_balanced_series_are_half_ill_and_each_comes_about_as_often():
    y = np.array([[1, 0]] * 3 + [[0, 0]] * 16 + [[np.nan, 0]])
    rows = balanced_rows(y, np.random.default_rng(0))
    assert len(rows) == 20
    assert (rows < 3).sum() == 10
    assert np.ptp(np.bincount(rows[rows < 3])) <= 1
    assert len(set(rows[rows >= 3])) == 10
    assert balanced_rows(np.ones((4, 1)), np.random.default_rng(0)) is None
    of_slices = [np.array([[0.0], [1.0]]), np.array([[0.0], [np.nan]])]
    assert sorted(balanced_rows(of_slices, np.random.default_rng(0))) == [0, 1]


def test_batches_take_the_series_that_are_named_as_often_as_they_are():
    X = [np.full((n, 2), n, dtype=np.float32) for n in (3, 1, 2)]
    among = np.array([2, 2, 0])
    rows = np.concatenate([b.rows for b in batches(X, None, 2, among=among, pad_to=5)])
    assert sorted(rows) == [0, 2, 2]
    assert all(b.x.shape[1] == 5 for b in batches(X, None, 2, pad_to=5))
    assert next(batches(X, None, 3, pad_to=2)).x.shape[1] == 3  # nothing is cut off
