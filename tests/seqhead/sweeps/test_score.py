import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from seqhead.measures import measure
from seqhead.stats import PatientBootstrap
from seqhead.sweeps.pruning import LEAST_FINISHED, WARM_UP_EPOCHS, falls_behind
from seqhead.sweeps.score import score_of

ORACLES = {
    "auc": roc_auc_score,
    "average_precision": average_precision_score,
    "log_loss": log_loss,
    "brier": brier_score_loss,
}


def problem():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(60, 3)).astype(float)
    y[:, 2] = 0  # no positives
    probability = np.clip(0.3 * y + rng.uniform(0.1, 0.6, size=(60, 3)), 0, 1)
    return y, probability, np.repeat([f"p{k}" for k in range(30)], 2)


@pytest.mark.parametrize("metric", ORACLES)
def test_a_score_is_the_mean_over_the_labels_that_have_it(metric):
    y, probability, patients = problem()
    found = score_of(metric, ("a", "b", "none"), y, probability, patients)
    there = [0, 1] if metric in ("auc", "average_precision") else [0, 1, 2]
    expected = [
        ORACLES[metric](y[:, k], probability[:, k], **({"labels": [0, 1]} if metric == "log_loss"
                                                       else {}))
        for k in there
    ]  # fmt: skip
    assert found.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert (found.labels["none"] is None) == (len(there) == 2)


@pytest.mark.parametrize("metric", ORACLES)
def test_its_interval_is_that_of_evaluate(metric):
    y, probability, patients = problem()
    found = score_of(metric, ("a", "b", "none"), y, probability, patients)
    thresholds = np.full(y.shape, 0.5)
    document = measure(
        ("a", "b", "none"), y, probability, thresholds, patients, PatientBootstrap.of(patients)
    ).document
    assert found.interval == pytest.approx(document["macro"][f"{metric}_ci"], abs=1e-9)


def test_unknown_labels_count_nowhere():
    y, probability, patients = problem()
    unknown = y.copy()
    unknown[:20, 0] = np.nan
    found = score_of("auc", ("a", "b", "none"), unknown, probability, patients)
    assert found.labels["a"] == pytest.approx(roc_auc_score(y[20:, 0], probability[20:, 0]))


def curves(*bests: float):
    return [{epoch: best + 0.1 * (epoch == 1) for epoch in range(1, 10)} for best in bests]


def test_the_median_rule_waits_for_epochs_and_for_others():
    bad = dict.fromkeys(range(1, WARM_UP_EPOCHS + 1), 1.0)
    finished = curves(*[0.5] * LEAST_FINISHED)
    assert falls_behind(bad, finished)
    assert not falls_behind({1: 1.0}, finished)
    assert not falls_behind(bad, finished[1:])
    assert not falls_behind(bad, [])


def test_a_candidate_is_judged_by_its_best_epoch_and_others_by_theirs_until_then():
    finished = curves(*[0.5] * LEAST_FINISHED)
    once_good = {1: 0.4, 2: 2.0, 3: 2.0, 4: 2.0}
    assert not falls_behind(once_good, finished)
    late = [{epoch: 0.9 if epoch < 8 else 0.1 for epoch in range(1, 10)}] * LEAST_FINISHED
    assert not falls_behind(dict.fromkeys(range(1, 6), 0.8), late)
