import mmap
import os

import numpy as np
import pytest

from seqhead.sweeps import shared as sharing
from seqhead.sweeps.inner import InnerFold
from seqhead.sweeps.shared import received, share, why_not_shared
from seqhead.sweeps.trial_data import TrialData, bare_cohort


def make_data(level: str, dtype: str = "float16") -> TrialData:
    rng = np.random.default_rng(0)
    lengths = [3, 5, 1, 4]
    series_y = np.array([[0, 1], [1, np.nan], [0, 0], [1, 1]], np.float32)

    def cohort(name: str, width: int):
        X = [rng.normal(size=(n, width)).astype(dtype) for n in lengths]
        y = series_y if level == "series" else [np.full((n, 2), n, np.float32) for n in lengths]
        return bare_cohort(features=name, names=("ICH", "EDH"), level=level, second=2, X=X, y=y,
                           groups=["a", "a", "b", "c"], series_y=series_y)  # fmt: skip

    fold = InnerFold(*(np.array([k == one for one in (0, 0, 1, 2)]) for k in range(3)))
    return TrialData((cohort("one", 6), cohort("two", 3)), {"{}": 0, "other": 1}, (fold, fold))


@pytest.mark.parametrize("level", ["series", "slice"])
def test_what_is_received_is_what_was_shared(level):
    data = make_data(level)
    shared = share(data)
    again = received(shared.document, os.dup(shared.descriptor))
    shared.close()
    assert again.reads == data.reads
    for mine, theirs in zip(data.cohorts, again.cohorts, strict=True):
        assert (mine.features, mine.names, mine.level, mine.second) == (
            theirs.features, theirs.names, theirs.level, theirs.second
        )  # fmt: skip
        assert mine.groups.tolist() == theirs.groups.tolist()
        for x, other in zip(mine.X, theirs.X, strict=True):
            assert x.dtype == other.dtype
            np.testing.assert_array_equal(x, other)
        np.testing.assert_array_equal(mine.flat_y, theirs.flat_y)
        np.testing.assert_array_equal(mine.series_y, theirs.series_y)
    for fold, other in zip(data.inner, again.inner, strict=True):
        np.testing.assert_array_equal(fold.learn, other.learn)
        np.testing.assert_array_equal(fold.score, other.score)


def test_memory_is_one_and_not_a_copy_and_cannot_be_written_by_mistake():
    data = make_data("series")
    shared = share(data)
    one, other = (received(shared.document, os.dup(shared.descriptor)) for _ in range(2))
    where = shared.document["cohorts"][0]["X"]["offset"]
    with mmap.mmap(shared.descriptor, 0) as memory:
        memory[where : where + 2] = np.float16(42).tobytes()
    shared.close()
    assert one.cohorts[0].X[0][0, 0] == other.cohorts[0].X[0][0, 0] == 42
    with pytest.raises(ValueError, match="read-only"):
        one.cohorts[0].X[0][0, 0] = 1


def test_a_copy_needs_room_before_the_first_goes(monkeypatch):
    data = make_data("series")
    size = sum(matrix.nbytes for cohort in data.cohorts for matrix in cohort.X)
    monkeypatch.setattr(sharing, "available_bytes", lambda: size)
    assert why_not_shared(data) is None
    monkeypatch.setattr(sharing, "available_bytes", lambda: size - 1)
    assert "no room for the copy" in str(why_not_shared(data))
