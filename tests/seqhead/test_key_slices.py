"""The key-slice tasks against a literal reading of DrCT2's Algorithm 1."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from seqhead.key_slice_figures import key_slice_figures
from seqhead.key_slice_rows import KeySliceRow, KeySliceRows
from seqhead.key_slices import (
    TASKS,
    chance_of_a_hit,
    chosen_share,
    is_tied,
    middle_weights,
    task_scores,
)


def algorithm_1(U, task, h_of=lambda scan: int(scan[1].sum())):
    """Lines 1 to 31, word for word; U is a list of (attention, is a key slice) of each scan."""
    total = 0.0
    for scan in U:
        A, key = scan
        m_select = 5 if task in ("easy", "difficult") else h_of(scan)
        D = 0
        V = sorted(range(len(A)), key=lambda j: A[j], reverse=True)
        T = V[:m_select]
        if task == "easy":
            for j in T:
                if key[j]:
                    D = D + 1
            total = total + D / 5
        if task == "difficult" and any(key[j] for j in T):
            total = total + 1
        if task == "comprehensive":
            for j in T:
                if key[j]:
                    D = D + 1
            total = total + D / m_select
    return (total / len(U)) * 100


def belongs(key, task):
    """Section IV: five or more, five or fewer (Table 5: but some), any."""
    h = int(key.sum())
    return {"easy": h >= 5, "difficult": 1 <= h <= 5, "comprehensive": h >= 1}[task]


def scans(count=60, n=28, seed=0):
    """Random attention without ties, and runs of key slices of any length, some of none."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        key = np.zeros(n, dtype=bool)
        h = int(rng.integers(0, 12))
        start = int(rng.integers(0, n - h + 1))
        key[start : start + h] = True
        yield rng.dirichlet(np.ones(n)), key


def rows(drawn, names=("ICH",), patients=None):
    """Rows of one model, all slices with features and labels."""
    none = np.empty((0, len(names)))
    series = [
        KeySliceRow(
            f"s{k}", str(patients[k] if patients else k), np.asarray(attention)[None],
            np.asarray(key, dtype=float).reshape(len(attention), -1), none, none,
        )
        for k, (attention, key) in enumerate(drawn)
    ]  # fmt: skip
    return KeySliceRows("slices.csv", names, series, [], ())


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_those_of_algorithm_1(task):
    drawn = list(scans())
    U = [(attention, key) for attention, key in drawn if belongs(key, task)]
    found = key_slice_figures(rows(drawn))["lesion"][task]
    assert found["series"] == len(U) > 10
    assert 100 * found["attention"] == pytest.approx(algorithm_1(U, task), abs=1e-9)


def test_five_key_slices_are_an_easy_and_a_difficult_series_and_none_is_neither():
    attention = np.arange(28.0)
    assert set(task_scores(attention, attention < 5)) == set(TASKS)
    assert set(task_scores(attention, attention < 4)) == {"difficult", "comprehensive"}
    assert set(task_scores(attention, attention < 6)) == {"easy", "comprehensive"}
    assert task_scores(attention, attention < 0) == {}


small = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.integers(1, 7),
    )
)


@given(small)
def test_equal_weights_score_the_mean_over_all_orders(drawn):
    weights, lesion, k = np.array(drawn[0], float), np.array(drawn[1]), drawn[2]
    n, chosen, hits = len(weights), np.zeros(len(weights)), []
    for order in permutations(range(n)):
        top = sorted(order, key=lambda j: -weights[j])[:k]  # stable: ties stay in this order
        chosen[top] += 1
        hits.append(lesion[top].any())
    np.testing.assert_allclose(chosen_share(weights, k), chosen / len(hits))
    assert chance_of_a_hit(weights, k, lesion) == pytest.approx(np.mean(hits))
    assert is_tied(weights, k) == bool(((chosen > 0) & (chosen < len(hits))).any())


@given(st.integers(1, 40), st.data())
def test_the_chance_level_is_the_hypergeometric_one(n, data):
    h = data.draw(st.integers(1, n))
    lesion = np.arange(n) < h
    scores = task_scores(np.zeros(n), lesion)
    assert scores["comprehensive"] == pytest.approx(h / n)
    if h >= 5:
        assert scores["easy"] == pytest.approx(h / n)
    if h <= 5:
        assert scores["difficult"] == pytest.approx(1 - hypergeom(n, h, min(n, 5)).pmf(0))


def test_the_middle_is_the_middle():
    assert np.flatnonzero(chosen_share(middle_weights(9), 5)).tolist() == [2, 3, 4, 5, 6]
    assert chosen_share(middle_weights(8), 5).tolist() == [0, 0.5, 1, 1, 1, 1, 0.5, 0]


def test_a_series_of_fewer_than_five_slices_has_all_of_them_chosen():
    assert chosen_share(np.array([3.0, 1.0, 2.0]), 5).tolist() == [1, 1, 1]
    assert task_scores(np.array([3.0, 1.0, 2.0]), np.array([False, True, False])) == {
        "difficult": 1.0, "comprehensive": 0.0,
    }  # fmt: skip


def test_random_and_middle_stand_beside_the_attention():
    drawn = list(scans(40, seed=1))
    found = key_slice_figures(rows(drawn))["lesion"]
    for task in TASKS:
        U = [(attention, key) for attention, key in drawn if belongs(key, task)]
        rng = np.random.default_rng(0)
        tries = [algorithm_1([(rng.random(len(a)), key) for a, key in U], task) for _ in range(300)]
        spread = np.std(tries) / np.sqrt(len(tries))
        assert 100 * found[task]["random"] == pytest.approx(np.mean(tries), abs=5 * spread)
        odd = [(a[:27], key[:27]) for a, key in drawn]  # with one slice in the middle, and no ties
        middle = [(-np.abs(np.arange(27) - 13 + 1e-9), key) for _, key in odd
                  if belongs(key, task)]  # fmt: skip
        of_odd = key_slice_figures(rows(odd))["lesion"][task]
        if task != "comprehensive":  # five nearest are one set; h nearest are two for an even h
            assert 100 * of_odd["middle"] == pytest.approx(algorithm_1(middle, task))
        assert of_odd["above_middle"] == pytest.approx(of_odd["attention"] - of_odd["middle"])


def test_slices_of_each_label_are_counted_over_all_series():
    """Table 6, in both readings: h slices of any lesion, or h of the label, are chosen."""
    rng = np.random.default_rng(5)
    drawn = [(rng.dirichlet(np.ones(20)), rng.random((20, 2)) < (0.3, 0.15)) for _ in range(30)]
    found = key_slice_figures(rows(drawn, ("IPH", "SAH")))
    for k, name in enumerate(("IPH", "SAH")):
        picked = picked_own = total = 0
        for attention, key in drawn:
            order, mine = np.argsort(-attention), key[:, k]
            picked += mine[order[: key.any(axis=1).sum()]].sum()
            picked_own += mine[order[: mine.sum()]].sum()
            total += mine.sum()
        figures = found["labels"][name]
        assert figures["slices"]["slices"] == total
        assert figures["slices"]["attention"] == pytest.approx(picked / total)
        assert figures["slices_by_own_count"]["attention"] == pytest.approx(picked_own / total)
    any_lesion = found["lesion"]["slices"]
    assert any_lesion["slices"] == sum(key.any(axis=1).sum() for _, key in drawn)


def test_intervals_resample_patients_not_series():
    drawn = list(scans(90, seed=3))
    patients = [k // 3 for k in range(90)]
    found = key_slice_figures(rows(drawn, patients=patients), seed=4)["lesion"]["comprehensive"]
    score = [task_scores(a, key).get("comprehensive", np.nan) for a, key in drawn]
    chance = [key.mean() if key.any() else np.nan for _, key in drawn]
    rng = np.random.default_rng(4)
    means, differences = [], []
    for counts in rng.multinomial(30, np.full(30, 1 / 30), size=2000):
        weight = np.repeat(counts, 3) * ~np.isnan(score)
        means.append(np.nansum(weight * score) / weight.sum())
        differences.append(means[-1] - np.nansum(weight * chance) / weight.sum())
    assert found["attention_ci"] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist())
    expected = np.quantile(differences, [0.025, 0.975]).tolist()
    assert found["above_random_ci"] == pytest.approx(expected)
    assert found["patients"] <= 30 < found["series"]


def test_one_patient_has_no_interval_and_no_series_has_no_figure():
    drawn = [(np.arange(10.0), np.arange(10) > 3), (np.arange(10.0), np.arange(10) > 20)]
    found = key_slice_figures(rows(drawn))["lesion"]
    assert found["easy"]["attention"] == 1.0
    assert found["easy"]["attention_ci"] is None
    assert found["difficult"] == {
        "series": 0, "patients": 0,
        **{key: None for name in ("attention", "random", "middle", "above_random", "above_middle")
           for key in (name, f"{name}_ci")},
    }  # fmt: skip


def test_every_series_is_counted_once_and_what_attention_cannot_choose_is_said():
    nothing, lesion, unknown = np.zeros((6, 1)), np.eye(6)[:, :1], np.full((6, 1), np.nan)
    partly = np.where(np.arange(6)[:, None] < 2, np.nan, 1.0)
    none, weights = np.empty((0, 1)), np.linspace(0, 1, 6)[None]
    series = [
        KeySliceRow("a", "1", weights, nothing, none, none),
        KeySliceRow("b", "2", weights, lesion, np.array([[1.0], [np.nan]]), none),
        KeySliceRow("c", "3", weights, unknown, none, none),
        KeySliceRow("d", "4", weights, partly, none, none),
        KeySliceRow("e", "5", weights, nothing, np.array([[1.0]]), none),
        KeySliceRow("f", "6", weights, nothing, none, np.array([[0.0], [1.0]])),
        KeySliceRow("g", "7", weights[:, :3], lesion[:3], none, none),
        KeySliceRow("h", "8", np.ones((1, 6)), lesion, none, none),
    ]
    found = key_slice_figures(KeySliceRows("slices.csv", ("ICH",), series, ["gone"], ()))
    assert found["series"] == {
        "tested": 9, "not_in_store": 1, "unlabelled": 1, "partly_labelled": 1, "without_lesion": 1,
        "lesion_not_seen": 2, "with_lesion": 3, "fewer_than_5_slices": 1, "tied": 1,
    }  # fmt: skip
    assert found["slices"]["failed"] == {"slices": 3, "with_lesion": 2}
    assert found["slices"]["not_sampled"] == {"slices": 2, "with_lesion": 1}
    assert found["lesion"]["comprehensive"]["series"] == 3
    said = "\n".join(found["notes"])
    for words in ("1 of 9 series are not in the store", "no slice labels", "without a known label",
                  "2 of 9 series show a lesion only", "fewer than 5 slices", "equal attention",
                  "fewer than 10 series: easy (0), difficult (3), comprehensive (3)"):  # fmt: skip
        assert words in said


def test_repeats_of_a_cross_validation_count_a_series_once():
    attention = np.array([np.arange(8.0), -np.arange(8.0)])
    key = (np.arange(8) >= 6).astype(float)[:, None]
    none = np.empty((0, 1))
    row = KeySliceRow("a", "1", attention, key, none, none)
    found = key_slice_figures(KeySliceRows("slices.csv", ("ICH",), [row], [], ()))
    assert found["lesion"]["comprehensive"]["series"] == 1
    assert found["lesion"]["comprehensive"]["attention"] == pytest.approx(0.5)


def test_positions_are_those_of_the_top_five():
    drawn = list(scans(20, seed=8))
    found = key_slice_figures(rows(drawn))["positions"]
    expected = np.zeros(28)
    for attention, _ in drawn:
        expected[np.argsort(-attention)[:5]] += 1
    assert found["each_is_a_slice"]
    assert found["top"] == pytest.approx(expected.tolist())
    assert sum(found["lesions"]) == pytest.approx(sum(key.sum() for _, key in drawn))
    ill = sum(5 for _, key in drawn if key.any())
    assert sum(found["top_of_series_with_lesion"]) == pytest.approx(ill)


def test_series_of_different_lengths_are_stretched_to_one():
    drawn = [(np.ones(n), np.zeros(n, bool)) for n in (7, 28, 33)]
    found = key_slice_figures(rows(drawn))["positions"]
    assert (found["bins"], found["each_is_a_slice"]) == (20, False)
    assert found["top"] == pytest.approx([15 / 20] * 20)  # no comb of bins with one slice and two
