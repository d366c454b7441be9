import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqhead.delong import delong
from seqhead.labels.rsna import RSNA_LABELS
from seqhead.measures import measure
from seqhead.metrics import METRICS, label_metrics, macro_metrics, micro_metrics, rsna_loss
from seqhead.proportions import wilson
from seqhead.stats import PatientBootstrap


def once(n):
    """A single resample that draws each of n patients once: the sample itself."""
    return PatientBootstrap(np.arange(n), np.ones((1, n), np.uint16))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            *[st.sampled_from([0.0, 1.0, np.nan])] * 2, *[st.integers(0, 10)] * 2
        ),
        min_size=1, max_size=30,
    ),
    st.floats(0.05, 0.95),
)  # fmt: skip
def test_a_resample_that_draws_everybody_once_gives_the_figures_themselves(rows, threshold):
    table = np.array(rows, dtype=float)
    y, score = table[:, :2], table[:, 2:] / 10
    cut = np.full_like(y, threshold)
    patients = np.arange(len(y))
    got = measure("ab", y, score, cut, patients, once(len(y)))
    labels = {n: label_metrics(y[:, k], score[:, k], threshold) for k, n in enumerate("ab")}
    for k, name in enumerate("ab"):
        for metric in METRICS:
            figure, resampled = labels[name][metric], got.resampled[metric][k, 0]
            assert got.document["labels"][name][metric] == figure
            assert np.isnan(resampled) if figure is None else resampled == pytest.approx(figure)
    assert got.document["macro"].items() >= macro_metrics(labels).items()
    micro = micro_metrics(y, score, [threshold] * 2)
    assert got.document["micro"].items() >= micro.items()


@pytest.fixture(scope="module")
def clustered():
    """Two labels of 150 rows of 60 patients, of which one label is rare."""
    rng = np.random.default_rng(0)
    patients = np.array([f"p{k}" for k in rng.integers(0, 60, 150)], dtype=object)
    y = (rng.random((150, 2)) < [0.4, 0.03]).astype(float)
    y[::9, 0] = np.nan
    score = np.clip(0.3 + 0.3 * np.nan_to_num(y) + rng.normal(0, 0.2, (150, 2)), 0, 1)
    cut = np.full_like(y, 0.45)
    bootstrap = PatientBootstrap.of(patients, seed=3)
    return y, score, patients, measure("ab", y, score, cut, patients, bootstrap)


def test_every_figure_has_an_interval_around_it(clustered):
    *_, got = clustered
    for figures in (got.document["labels"]["a"], got.document["macro"], got.document["micro"]):
        for metric in METRICS:
            low, high = figures[f"{metric}_ci"]
            assert low < figures[metric] < high, metric


def test_patients_are_counted_beside_rows(clustered):
    y, _, patients, got = clustered
    a = got.document["labels"]["a"]
    assert a["patients"] == len(set(patients[~np.isnan(y[:, 0])]))
    assert a["positive_patients"] == len(set(patients[y[:, 0] == 1]))
    assert a["positives"] == (y[:, 0] == 1).sum() > a["positive_patients"]


def test_delong_goes_by_patients_and_wilson_counts_each_once(clustered):
    y, score, patients, got = clustered
    a = got.document["labels"]["a"]
    assert a["auc_ci_delong"] == delong(y[:, 0], score[:, 0], patients).interval()
    assert a["auc_ci_delong"] == pytest.approx(a["auc_ci"], abs=0.02)
    positives = a["positive_patients"]
    assert a["recall_wilson"] == pytest.approx(wilson(a["recall"] * positives, positives))


def test_one_positive_patient_has_figures_and_no_intervals():
    rng = np.random.default_rng(0)
    y, score = np.zeros((20, 1)), rng.random((20, 1))
    y[:2] = 1
    patients = np.array(["p", "p", *(f"q{k}" for k in range(18))], dtype=object)
    got = measure("a", y, score, np.full_like(y, 0.5), patients, PatientBootstrap.of(patients))
    a = got.document["labels"]["a"]
    assert a["auc"] is not None
    assert a["auc_ci"] is a["auc_ci_delong"] is a["recall_ci"] is a["f1_ci"] is None
    assert a["specificity_ci"] is not None
    assert a["recall_wilson"] is not None


def test_a_label_of_positives_only_is_undefined_where_it_must_be():
    y, score = np.ones((20, 1)), np.linspace(0.2, 0.9, 20)[:, None]
    patients = np.arange(20)
    a = measure("a", y, score, np.full_like(y, 0.5), patients,
                PatientBootstrap.of(patients)).document["labels"]["a"]  # fmt: skip
    assert a["auc"] is a["auc_ci"] is a["specificity"] is a["specificity_wilson"] is None
    assert a["recall_ci"][0] < a["recall"] < a["recall_ci"][1]
    assert a["precision"] == 1.0


def test_the_rsna_loss_has_an_interval():
    rng = np.random.default_rng(0)
    y, score = (rng.random((60, 6)) < 0.3).astype(float), rng.random((60, 6))
    patients = np.arange(60) // 2
    got = measure(RSNA_LABELS, y, score, np.full_like(y, 0.5), patients,
                  PatientBootstrap.of(patients)).document  # fmt: skip
    assert got["rsna_loss"] == pytest.approx(rsna_loss(RSNA_LABELS, y, score))
    low, high = got["rsna_loss_ci"]
    assert low < got["rsna_loss"] < high


def test_rows_that_stand_there_for_each_repeat_are_counted_once(clustered):
    y, score, patients, _ = clustered
    twice = [np.concatenate([x, x]) for x in (y, score, np.full_like(y, 0.45), patients)]
    bootstrap = PatientBootstrap.of(twice[3])
    got = measure("ab", *twice, bootstrap, repeats=2).document
    assert got["labels"]["a"]["positives"] == (y[:, 0] == 1).sum()
    assert got["micro"]["n"] == (~np.isnan(y)).sum()
