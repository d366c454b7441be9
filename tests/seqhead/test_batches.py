import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqhead.batches import batch_rows, batches, collate, row_statistics


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=80),
    st.integers(1, 20),
    st.none() | st.integers(0, 9),
)
def test_every_series_is_in_one_batch(lengths, batch_size, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    groups = batch_rows(lengths, batch_size, rng)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    assert max(len(group) for group in groups) <= batch_size


def test_batches_hold_little_padding():
    lengths = np.random.default_rng(0).integers(30, 397, size=835)
    groups = batch_rows(lengths, 16, np.random.default_rng(0))
    padded = sum(lengths[group].max() * len(group) for group in groups)
    assert padded < 1.25 * lengths.sum()


def test_shuffling_changes_which_series_meet():
    lengths = np.random.default_rng(0).integers(20, 33, size=200)
    rng = np.random.default_rng(0)
    one, other = ({frozenset(g.tolist()) for g in batch_rows(lengths, 16, rng)} for _ in range(2))
    assert not one & other


def test_padding_is_zero_masked_and_unlabelled():
    X = [np.ones((2, 3), np.float16), np.full((4, 3), 2.0, np.float32)]
    y = [np.ones((2, 1), np.float32), np.zeros((4, 1), np.float32)]
    batch = collate(X, y, np.array([0, 1]))
    assert batch.x.dtype == torch.float32
    assert batch.x.sum(dim=(1, 2)).tolist() == [6.0, 24.0]
    assert batch.mask.sum(dim=1).tolist() == [2, 4]
    assert torch.isnan(batch.y[0, 2:]).all()
    assert not torch.isnan(batch.y[batch.mask]).any()


def test_batches_carry_labels_of_their_series():
    X = [np.full((k + 1, 1), k, np.float32) for k in range(7)]
    y = np.arange(7, dtype=np.float32)[:, None]
    for batch in batches(X, y, 3, np.random.default_rng(0)):
        assert batch.x[:, 0, 0].tolist() == batch.y[:, 0].tolist() == batch.rows.tolist()


def test_row_statistics_equal_those_of_all_rows():
    rng = np.random.default_rng(0)
    X = [rng.normal(5, 3, size=(n, 4)).astype(np.float16) for n in (1, 7, 30)]
    X = [np.column_stack([x, np.full(len(x), 2.5)]) for x in X]
    rows = np.concatenate(X).astype(np.float64)
    mean, scale = row_statistics(X)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale[:4], rows[:, :4].std(axis=0), rtol=1e-6)
    assert scale[4] == 1.0  # a feature that does not vary


def test_small_numbers_are_standardised_as_large_ones_are():
    rng = np.random.default_rng(0)
    X = [rng.normal(2.0, 1.0, size=(20, 3)) for _ in range(5)]
    mean, scale = row_statistics(X)
    tiny_mean, tiny_scale = row_statistics([(matrix * 1e-7).astype(np.float32) for matrix in X])
    np.testing.assert_allclose(tiny_mean, mean * 1e-7, rtol=1e-4)
    np.testing.assert_allclose(tiny_scale, scale * 1e-7, rtol=1e-4)


def test_a_constant_is_only_centred():
    constant = [np.full((4, 2), value, np.float32) for value in (0.1, 0.1)]
    assert row_statistics(constant)[1].tolist() == [1.0, 1.0]
    assert row_statistics([np.zeros((4, 2), np.float16)])[1].tolist() == [1.0, 1.0]
