import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from seqhead.stats import PatientBootstrap, resampled_auc


@pytest.mark.parametrize("rows_per_patient", [0, 10**9])
@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 6), st.integers(0, 5)
        ),
        min_size=1, max_size=40,
    ),
    st.integers(0, 99),
)  # fmt: skip
def test_resampled_auc_is_the_weighted_auc_with_ties(rows_per_patient, rows, seed):
    y, score, code = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    code = code.astype(int)
    draws = np.random.default_rng(seed).integers(0, 4, size=(3, 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqhead.stats._ROWS_PER_PATIENT", rows_per_patient)
        resampled = resampled_auc(y, score, code, draws)
    for weights, got in zip(draws, resampled, strict=True):
        weight = np.where(np.isnan(y), 0, weights[code])
        kept = weight > 0
        if len(np.unique(y[kept])) < 2:
            assert np.isnan(got)
        else:
            expected = roc_auc_score(y[kept], score[kept], sample_weight=weight[kept])
            assert got == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 6), st.integers(0, 5)
        ),
        min_size=1, max_size=40,
    ),
    st.integers(0, 99),
)  # fmt: skip
def test_resampled_average_precision_is_the_weighted_one_with_ties(rows, seed):
    y, score, code = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    draws = np.random.default_rng(seed).integers(0, 4, size=(3, 6))
    bootstrap = PatientBootstrap(code.astype(int), draws)
    for weights, got in zip(draws, bootstrap.average_precision(y, score), strict=True):
        weight = np.where(np.isnan(y), 0, weights[bootstrap.code])
        kept = weight > 0
        if not (y[kept] == 1).any():
            assert np.isnan(got)
        else:
            expected = average_precision_score(y[kept], score[kept], sample_weight=weight[kept])
            assert got == pytest.approx(expected)


def test_totals_count_each_row_as_often_as_its_patient_was_drawn():
    rng = np.random.default_rng(0)
    patients, values = rng.integers(0, 7, 30), rng.normal(size=(30, 2))
    bootstrap = PatientBootstrap.of(patients, resamples=20)
    expected = [
        (weights[bootstrap.code][:, None] * values).sum(axis=0)
        for weights in bootstrap.draws.astype(float)
    ]
    np.testing.assert_allclose(bootstrap.totals(values), expected)
    np.testing.assert_allclose(
        bootstrap.repeated(2).totals(np.repeat(values, 2, axis=0)), 2 * np.array(expected)
    )


def test_a_p_value_is_the_level_at_which_the_interval_ends_at_zero():
    rng = np.random.default_rng(0)
    bootstrap = PatientBootstrap.of(np.arange(5))
    differences = rng.normal(0.5, 0.3, 2000)
    p = bootstrap.p_value(differences)
    low, _ = bootstrap.interval(differences, level=1 - p)
    assert low == pytest.approx(0, abs=0.02)
    assert bootstrap.p_value(-differences) == p
    assert bootstrap.p_value(np.ones(2000)) == pytest.approx(2 / 2001)
    assert bootstrap.p_value(np.zeros(2000)) == 1.0
    assert bootstrap.p_value(np.full(2000, np.nan)) is None


def test_chunks_do_not_change_a_resample(monkeypatch):
    rng = np.random.default_rng(0)
    y, score, patients = (rng.random(50) < 0.4) * 1.0, rng.random(50), np.arange(50) // 2
    bootstrap = PatientBootstrap.of(patients, resamples=100)
    whole = bootstrap.auc(y, score)
    monkeypatch.setattr("seqhead.stats._CHUNK_VALUES", 700)
    np.testing.assert_array_equal(whole, bootstrap.auc(y, score))


def test_patients_are_drawn_whole_and_from_the_seed():
    patients = np.repeat([f"p{k}" for k in range(20)], 3)
    bootstrap = PatientBootstrap.of(patients, seed=4, resamples=50)
    assert bootstrap.draws.shape == (50, 20)
    assert (bootstrap.draws.sum(axis=1) == 20).all()
    again = PatientBootstrap.of(patients, seed=4, resamples=50)
    assert (again.draws == bootstrap.draws).all()


def test_repeating_every_series_of_a_patient_does_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    y = (rng.random(60) < 0.5) * 1.0
    score = y + rng.normal(scale=1.5, size=60)
    patients = np.arange(60)
    once = PatientBootstrap.of(patients)
    thrice = PatientBootstrap.of(np.tile(patients, 3))
    np.testing.assert_allclose(
        once.interval(once.auc(y, score)),
        thrice.interval(thrice.auc(np.tile(y, 3), np.tile(score, 3))),
    )


def test_repeats_of_the_same_patients_are_no_new_evidence():
    """Two models that say nearly the same of each patient, pooled."""
    rng = np.random.default_rng(0)
    y = (rng.random(60) < 0.5) * 1.0
    score = y + rng.normal(scale=1.5, size=60)
    again = score + rng.normal(scale=0.05, size=60)
    once = PatientBootstrap.of(np.arange(60))
    twice = PatientBootstrap.of(np.tile(np.arange(60), 2))
    np.testing.assert_allclose(
        once.interval(once.auc(y, score)),
        twice.interval(twice.auc(np.tile(y, 2), np.concatenate([score, again]))),
        atol=0.01,
    )


def test_the_interval_is_close_to_the_normal_one_of_hanley_and_mcneil():
    rng = np.random.default_rng(1)
    y = np.repeat([0.0, 1.0], 150)
    score = y * 1.0 + rng.normal(size=300)
    auc = roc_auc_score(y, score)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    error = np.sqrt(
        (auc * (1 - auc) + 149 * (q1 - auc**2) + 149 * (q2 - auc**2)) / 150**2
    )  # Hanley and McNeil 1982, equation 1
    bootstrap = PatientBootstrap.of(np.arange(300))
    low, high = bootstrap.interval(bootstrap.auc(y, score))
    assert low == pytest.approx(auc - 1.96 * error, abs=0.01)
    assert high == pytest.approx(auc + 1.96 * error, abs=0.01)


def test_an_interval_needs_most_resamples_defined_and_two_patients_of_each_class():
    bootstrap = PatientBootstrap.of(np.arange(10), resamples=10)
    assert bootstrap.interval(np.array([np.nan] * 6 + [0.5] * 4)) is None
    assert bootstrap.interval(np.array([np.nan] * 4 + [0.5] * 6)) == [0.5, 0.5]
    assert not bootstrap.supports(np.array([1.0] + [0.0] * 9))
    assert bootstrap.supports(np.array([1.0, 1.0] + [0.0] * 8))
