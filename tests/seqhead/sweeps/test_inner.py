import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqhead.errors import SweepError
from seqhead.sweeps.inner import draw_inner_folds, inner_table, read_inner_folds


def problem(patients: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"p{k}" for k in range(patients)], rng.integers(1, 4, size=patients))
    y = rng.integers(2, size=(len(groups), 2)).astype(np.float32)
    validation = set(rng.choice(patients, max(1, patients // 5), replace=False).tolist())
    split = np.array(["validation" if int(g[1:]) in validation else "train" for g in groups])
    return groups.astype(object), y, split


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 40), st.integers(1, 4), st.integers(0, 5))
def test_no_patient_is_learnt_from_and_scored_and_every_one_is_scored_once(patients, folds, seed):
    groups, y, split = problem(patients, seed)
    inner = draw_inner_folds(split, groups, y, folds=folds, seed=seed)
    assert len(inner) == folds
    scored = np.sum([fold.score for fold in inner], axis=0)
    assert (scored == (1 if folds > 1 else (split == "validation"))).all()
    for fold in inner:
        assert not set(groups[fold.learn]) & set(groups[fold.stop | fold.score])
        assert fold.learn.any()
        assert fold.stop.any()
        assert fold.score.any()
        assert folds == 1 or not set(groups[fold.stop]) & set(groups[fold.score])


def test_folds_survive_being_written_down():
    groups, y, split = problem(20)
    series = [f"s{k}" for k in range(len(groups))]
    for folds in (1, 3):
        inner = draw_inner_folds(split, groups, y, folds=folds, seed=0)
        table = pd.read_csv(_csv(inner_table(inner, series, groups)), dtype=str)
        for fold, again in zip(inner, read_inner_folds(table, series), strict=True):
            assert (fold.learn == again.learn).all()
            assert (fold.stop == again.stop).all()
            assert (fold.score == again.score).all()


def test_a_table_with_a_patient_on_two_sides_is_refused():
    groups, y, split = problem(20)
    series = [f"s{k}" for k in range(len(groups))]
    table = inner_table(draw_inner_folds(split, groups, y, folds=1, seed=0), series, groups)
    table = table.astype(str)
    table.loc[table["score"] == "1", "learn"] = "1"
    with pytest.raises(SweepError, match="learns from patients that it is scored on"):
        read_inner_folds(table, series)
    with pytest.raises(SweepError, match=r"does not have the series of split\.csv"):
        read_inner_folds(table, series[1:])


def _csv(table: pd.DataFrame):
    import io

    return io.StringIO(table.to_csv(index=False))
