"""The short way to find noise gives the verdict of the rule applied to every row."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from featurecache.errors import ReadError
from featurecache.sanity import _first_noisy_row, check_noise


def by_the_rule(stored: np.ndarray, slope: float) -> int | None:
    """The rule on all rows: at least 8 of them jump, then where noise to the last row begins."""
    left, right = stored[:, ::4].astype(np.int64), stored[:, 1::4].astype(np.int64)
    width = min(left.shape[1], right.shape[1])
    if width < 8 or len(stored) < 16:
        return None
    mean_step_hu = np.abs(right[:, :width] - left[:, :width]).mean(axis=1) * abs(slope)
    if (mean_step_hu > 300).sum() < 8:
        return None
    return _first_noisy_row(stored, mean_step_hu)


def found(stored: np.ndarray, slope: float) -> int | None:
    try:
        check_noise(stored, slope)
    except ReadError as error:
        return int(error.detail.split("row ")[1].split()[0])
    return None


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 60)),
    noisy_from=st.integers(0, 40),
    clean_again=st.none() | st.integers(0, 40),
    slope=st.sampled_from([1.0, -1.0, 0.25, 2.0]),
    seed=st.integers(0, 99),
)
@example(shape=(32, 29), noisy_from=16, clean_again=None, slope=1.0, seed=0)
@example(shape=(32, 30), noisy_from=16, clean_again=None, slope=1.0, seed=0)
@example(shape=(40, 60), noisy_from=32, clean_again=None, slope=1.0, seed=0)
@example(shape=(40, 60), noisy_from=33, clean_again=None, slope=1.0, seed=0)
def test_the_last_rows_settle_it_as_all_rows_do(shape, noisy_from, clean_again, slope, seed):
    rng = np.random.default_rng(seed)
    stored = np.cumsum(rng.integers(-5, 6, shape), axis=1).astype(np.int16)
    noise = rng.integers(-2000, 3000, shape).astype(np.int16)
    stored[noisy_from:clean_again] = noise[noisy_from:clean_again]
    assert found(stored, slope) == by_the_rule(stored, slope)


def test_noise_from_the_middle_on_is_found():
    rng = np.random.default_rng(0)
    stored = np.zeros((64, 64), np.int16)
    stored[20:] = rng.integers(-2000, 3000, (44, 64))
    assert found(stored, 1.0) == 20
