"""Do 95 % intervals hold the truth in 95 % of many simulated test sets of clustered rows?"""

import numpy as np
import pytest
from scipy.stats import norm

from seqhead.delong import delong
from seqhead.measures import measure
from seqhead.proportions import wilson_of_patients
from seqhead.stats import PatientBootstrap

SIMULATIONS = 500
SHIFTS = (1.6, 1.1)  # how far positives lie above negatives, for two models
OF_PATIENT, OF_ROW = 0.8, 0.6  # deviations, so that rows of a patient are alike
TRUE_AUC = [norm.cdf(shift / np.sqrt(2 * (OF_PATIENT**2 + OF_ROW**2))) for shift in SHIFTS]
CUT = 0.8
TRUE_RECALL = norm.sf((CUT - SHIFTS[0]) / np.hypot(OF_PATIENT, OF_ROW))


def draw(seed):
    """200 patients with one to five rows of one label each, scored by two models."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(200), rng.integers(1, 6, 200))
    y = (rng.random(200) < 0.4)[patient] * 1.0
    effect = rng.normal(scale=OF_PATIENT, size=200)[patient]  # both models find a patient hard
    scores = [y * shift + effect + rng.normal(scale=OF_ROW, size=len(y)) for shift in SHIFTS]
    return y, np.stack(scores, axis=1), patient


def holds(ends, truth):
    return ends[0] <= truth <= ends[1]


@pytest.fixture(scope="module")
def coverage():
    """Share of simulations whose interval holds the truth."""
    hits = {name: [] for name in ("auc", "difference", "recall", "delong", "delong difference",
                                  "wilson", "rows auc", "rows delong")}  # fmt: skip
    for seed in range(SIMULATIONS):
        y, scores, patient = draw(seed)
        bootstrap = PatientBootstrap.of(patient, seed=seed, resamples=1000)
        resampled = [bootstrap.auc(y, score) for score in scores.T]
        hits["auc"].append(holds(bootstrap.interval(resampled[0]), TRUE_AUC[0]))
        both = bootstrap.interval(resampled[0] - resampled[1])
        hits["difference"].append(holds(both, TRUE_AUC[0] - TRUE_AUC[1]))
        called = scores[:, 0] >= CUT
        found, positives = bootstrap.totals(np.stack([called & (y == 1), y == 1], axis=1)).T
        hits["recall"].append(holds(bootstrap.interval(found / positives), TRUE_RECALL))
        share = wilson_of_patients(called[y == 1], patient[y == 1])
        hits["wilson"].append(holds(share, TRUE_RECALL))
        clustered, naive = delong(y, scores, patient), delong(y, scores)
        hits["delong"].append(holds(clustered.interval(), TRUE_AUC[0]))
        difference = clustered.compare().ci
        hits["delong difference"].append(holds(difference, TRUE_AUC[0] - TRUE_AUC[1]))
        hits["rows delong"].append(holds(naive.interval(), TRUE_AUC[0]))
        rows = PatientBootstrap.of(np.arange(len(y)), seed=seed, resamples=300)
        hits["rows auc"].append(holds(rows.interval(rows.auc(y, scores[:, 0])), TRUE_AUC[0]))
    return {name: float(np.mean(values)) for name, values in hits.items()}


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["auc", "difference", "recall", "delong", "delong difference"])
def test_intervals_over_patients_hold_the_truth_nineteen_times_in_twenty(coverage, interval):
    # 500 simulations leave a standard error of 1 %.
    assert 0.92 <= coverage[interval] <= 0.975, coverage


@pytest.mark.slow
def test_wilson_over_patients_holds_it_at_least_as_often(coverage):
    assert coverage["wilson"] >= 0.94, coverage


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["rows auc", "rows delong"])
def test_intervals_that_take_rows_for_patients_are_too_narrow(coverage, interval):
    assert coverage[interval] < 0.88, coverage


@pytest.mark.slow
def test_intervals_of_every_metric_are_centred_on_many_draws():
    """The spread of the bootstrap is the spread of many test sets, metric by metric."""
    figures, widths = [], []
    for seed in range(200):
        y, scores, patient = draw(seed)
        p = norm.cdf(scores[:, :1] - CUT)
        bootstrap = PatientBootstrap.of(patient, seed=seed, resamples=300)
        found = measure("a", y[:, None], p, np.full_like(p, 0.5), patient, bootstrap).document
        a = found["labels"]["a"]
        names = [key.removesuffix("_ci") for key in a if key.endswith("_ci")]
        figures.append([a[name] for name in names])
        widths.append([a[f"{name}_ci"][1] - a[f"{name}_ci"][0] for name in names])
    spread = np.quantile(figures, 0.975, axis=0) - np.quantile(figures, 0.025, axis=0)
    ratio = dict(zip(names, np.mean(widths, axis=0) / spread, strict=True))
    assert all(0.8 < value < 1.25 for value in ratio.values()), ratio
