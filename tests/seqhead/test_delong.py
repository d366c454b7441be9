import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from seqhead.delong import delong

# What R 4.2.2 with pROC 1.18.0 says of these forty rows: roc(), var(), cov(), ci.auc() and
# roc.test(paired=TRUE), all with method="delong" and direction="<".
Y = [0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 1,
     1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1]  # fmt: skip
A = [55, 16, 52, 65, 60, 79, 45, 61, 77, 34, 38, 83, 64, 63, 57, 61, 38, 79, 69, 95,
     68, 73, 76, 49, 65, 62, 66, 65, 92, 47, 46, 75, 20, 41, 70, 60, 59, 25, 29, 91]  # fmt: skip
B = [61, 44, 82, 71, 38, 79, 23, 75, 56, 56, 12, 55, 36, 48, 58, 83, 69, 61, 31, 59,
     53, 48, 45, 34, 48, 75, 31, 56, 86, 60, 44, 58, 65, 65, 54, 30, 78, 26, 52, 67]  # fmt: skip
PROC = {
    "auc": [0.85549872122762149, 0.73529411764705888],
    "variance": [0.0033510355053336196, 0.006388528719009615],
    "covariance": -0.00058144599691619921,
    "ci": [[0.74204007281145612, 0.96895736964378687], [0.57863758251718544, 0.89195065277693208]],
    "z": 1.1512215876676148,
    "p": 0.24964108623242004,
    "difference_ci": [-0.084444697924578704, 0.324853905085704164],
}


def direct(y, scores):
    """DeLong's estimator by comparing every positive with every negative."""
    positive, negative = scores[y == 1], scores[y == 0]
    m, n = len(positive), len(negative)
    pairs = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)  # (m, n, M)
    of_positive, of_negative = pairs.mean(axis=1), pairs.mean(axis=0)
    covariance = np.cov(of_positive, rowvar=False) / m + np.cov(of_negative, rowvar=False) / n
    return pairs.mean(axis=(0, 1)), np.atleast_2d(covariance)


SCORED = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=40
).filter(lambda rows: 2 <= sum(y for y, _, _ in rows) <= len(rows) - 2)


@settings(deadline=None)
@given(SCORED)
def test_the_fast_way_equals_comparing_every_pair(rows):
    table = np.array(rows, dtype=float)
    y, scores = table[:, 0], table[:, 1:]
    got = delong(y, scores)
    auc, covariance = direct(y, scores)
    np.testing.assert_allclose(got.auc, auc, atol=1e-13)
    np.testing.assert_allclose(got.auc[0], roc_auc_score(y, scores[:, 0]), atol=1e-13)
    np.testing.assert_allclose(got.covariance, covariance, atol=1e-13)


def test_it_equals_proc_to_thirteen_digits():
    got = delong(np.array(Y, float), np.stack([A, B], axis=1))
    test = got.compare()
    np.testing.assert_allclose(got.auc, PROC["auc"], rtol=1e-13)
    np.testing.assert_allclose(np.diag(got.covariance), PROC["variance"], rtol=1e-13)
    np.testing.assert_allclose(got.covariance[0, 1], PROC["covariance"], rtol=1e-13)
    np.testing.assert_allclose([got.interval(0), got.interval(1)], PROC["ci"], rtol=1e-13)
    np.testing.assert_allclose([test.z, test.p], [PROC["z"], PROC["p"]], rtol=1e-13)
    np.testing.assert_allclose(test.ci, PROC["difference_ci"], rtol=1e-13)


R_SCRIPT = """
suppressMessages(library(pROC)); data(aSAH); options(digits = 17)
d <- aSAH[c("outcome", "wfns", "s100b", "ndka")]
cat(paste(as.integer(d$outcome == "Poor"), as.integer(d$wfns), d$s100b, d$ndka), sep = "\\n")
curve <- function(x) roc(aSAH$outcome, as.numeric(x), levels = c("Good", "Poor"),
                         direction = "<", quiet = TRUE)
a <- curve(aSAH$s100b); b <- curve(aSAH$ndka); w <- curve(aSAH$wfns)
for (r in list(a, b, w)) cat("row", ci.auc(r, method = "delong"), "\\n")
for (r in list(b, w)) {
  t <- roc.test(a, r, method = "delong", paired = TRUE)
  cat("row", t$statistic, t$p.value, t$conf.int, "\\n")
}
"""


@pytest.mark.oracle
def test_it_equals_proc_on_procs_own_data():
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed here: apt-get install r-cran-proc")
    script = "if (!requireNamespace('pROC', quietly = TRUE)) quit(status = 9)\n" + R_SCRIPT
    done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=False)
    if done.returncode == 9:
        pytest.skip("R has no pROC here: apt-get install r-cran-proc")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    data = np.array([line.split() for line in lines if line and "row" not in line], float)
    said = [np.array(line.split()[1:], float) for line in lines if line.startswith("row")]
    got = delong(data[:, 0], data[:, [2, 3, 1]])  # s100b, ndka, wfns
    for k in range(3):
        low, high = got.interval(k)
        np.testing.assert_allclose([low, got.auc[k], high], said[k], rtol=1e-13)
    for other in (1, 2):
        test = got.compare(0, other)
        np.testing.assert_allclose([test.z, test.p, *test.ci], said[2 + other], rtol=1e-12)
    assert len(data) == 113


def test_unknown_labels_are_left_out():
    y, a = np.array([*Y, np.nan, np.nan], float), np.array([*A, 1000, -5])
    np.testing.assert_allclose(delong(y, a).auc[0], PROC["auc"][0], rtol=1e-13)


def test_one_row_for_each_patient_is_delong_itself():
    scores = np.stack([A, B], axis=1)
    plain = delong(np.array(Y, float), scores)
    named = delong(np.array(Y, float), scores, [f"p{k}" for k in range(40)])
    np.testing.assert_allclose(named.covariance, plain.covariance, rtol=1e-12)


def test_repeating_every_row_of_a_patient_adds_no_evidence():
    scores, patients = np.stack([A, B], axis=1), np.arange(40)
    once = delong(np.array(Y, float), scores)
    thrice = delong(np.tile(np.array(Y, float), 3), np.tile(scores, (3, 1)), np.tile(patients, 3))
    naive = delong(np.tile(np.array(Y, float), 3), np.tile(scores, (3, 1)))
    np.testing.assert_allclose(thrice.covariance, once.covariance, rtol=1e-12)
    assert naive.covariance[0, 0] < 0.4 * once.covariance[0, 0]


def test_the_variance_of_clustered_rows_is_that_of_many_draws():
    """Patients with a score level of their own and rows of both classes."""

    def draw(seed):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(60), 3)
        y = (rng.random(180) < 0.4) * 1.0
        return y, y + rng.normal(size=60)[patient] + rng.normal(size=180), patient

    areas = [roc_auc_score(*draw(seed)[:2]) for seed in range(1500)]
    variances = [delong(*draw(seed)).covariance[0, 0] for seed in range(200)]
    assert np.mean(variances) == pytest.approx(np.var(areas), rel=0.12)


def test_two_patients_of_each_class_are_needed():
    y, score = np.array([1.0, 1.0, 0.0, 0.0]), np.array([3.0, 4.0, 1.0, 2.0])
    assert delong(y, score) is not None
    assert delong(y, score, ["a", "a", "b", "c"]) is None
    assert delong(np.array([1.0, 0.0, 0.0, 0.0]), score) is None


def test_a_perfect_order_has_no_interval_and_equal_scores_do_not_differ():
    y = np.array([0.0, 0.0, 1.0, 1.0])
    got = delong(y, np.array([[1, 1, 4], [2, 2, 3], [3, 3, 2], [4, 4, 1]], float))
    assert got.interval(0) is None
    assert (got.compare(0, 1).difference, got.compare(0, 1).p) == (0.0, 1.0)
    assert (got.compare(0, 2).difference, got.compare(0, 2).p) == (1.0, None)
