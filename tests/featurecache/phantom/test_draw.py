"""What is drawn before anything is rendered: findings, geometry, and their independence."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featurecache.phantom import FINDINGS, draw_case, draw_study
from featurecache.phantom.displacement import displacement_field
from featurecache.phantom.findings import (
    Displacement,
    Extradural,
    Intraparenchymal,
    Subarachnoid,
    Subdural,
)

CASES = 2000
SLICE_RANGES = {"thin": (60, 100), "thick": (20, 32), "bone": (20, 32)}


@pytest.fixture(scope="module")
def cases():
    return [draw_case(5, index) for index in range(CASES)]


def what_a_header_tells(series) -> list[float]:
    return [
        series.n_slices,
        series.gap_mm * (series.n_slices - 1),
        series.gap_mm,
        series.thickness_mm,
        series.spacing_mm * series.size,
        series.tilt_deg,
    ]


def auc(y: np.ndarray, score: np.ndarray) -> float:
    """Mann and Whitney's statistic, many times quicker than scikit-learn's for small samples."""
    positives = int(y.sum())
    ranks = rankdata(score)[y == 1].sum() - positives * (positives + 1) / 2
    return ranks / (positives * (len(y) - positives))


def test_the_quick_auc_is_scikit_learns():
    rng = np.random.default_rng(1)
    y, score = rng.integers(0, 2, 200), rng.integers(0, 20, 200)
    assert auc(y, score) == pytest.approx(roc_auc_score(y, score))


def bootstrap_interval(y: np.ndarray, score: np.ndarray, alpha: float) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(y), len(y)) for _ in range(2000))
    aucs = [auc(y[i], score[i]) for i in draws]
    low, high = np.quantile(aucs, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


@pytest.mark.parametrize("kind", ["thick", "thin"])
def test_findings_cannot_be_guessed_from_geometry(cases, kind):
    X = np.array([what_a_header_tells(case.study.only(kind)[0]) for case in cases])
    half = CASES // 2
    # Pooled cross-validation would do no harm to a real signal, but its scores are correlated
    # under the null and their bootstrap interval is too narrow: fit and score separate halves.
    for name in FINDINGS:
        y = np.array([case.labels[name] for case in cases])
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:half], y[:half])
        alpha = 0.05 if name == "ICH" else 0.05 / 8  # ICH alone at 95 %, the other eight together
        low, high = bootstrap_interval(y[half:], model.decision_function(X[half:]), alpha)
        assert low < 0.5 < high, f"{name}: AUC of geometry alone in [{low:.3f}, {high:.3f}]"


def test_a_finding_that_changed_the_geometry_would_be_caught(cases):
    X = np.array([what_a_header_tells(case.study.only("thick")[0]) for case in cases])
    y = np.array([case.labels["ICH"] for case in cases])
    X[:, 0] += y
    half = CASES // 2
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:half], y[:half])
    low, _ = bootstrap_interval(y[half:], model.decision_function(X[half:]), 0.05)
    assert low > 0.5


def test_order_of_patients_says_nothing(cases):
    y = np.array([case.labels["ICH"] for case in cases])
    low, high = bootstrap_interval(y, np.arange(CASES), 0.05)
    assert low < 0.5 < high


def test_a_study_is_drawn_without_knowing_the_findings(cases):
    assert all(draw_study(5, i) == cases[i].study for i in range(0, CASES, 100))


def test_a_case_depends_on_seed_and_index_alone(cases):
    assert draw_case(5, 17) == cases[17]
    assert draw_case(6, 17) != cases[17]


def test_every_finding_is_common_enough_for_small_sets(cases):
    share = {name: np.mean([c.labels[name] for c in cases]) for name in FINDINGS}
    assert 0.43 < share["ICH"] < 0.53
    assert all(0.08 < share[name] < 0.4 for name in FINDINGS if name != "ICH"), share


def test_ich_is_any_haemorrhage(cases):
    kinds = ("IPH", "IVH", "SDH", "EDH", "SAH")
    assert all(c.labels["ICH"] == max(c.labels[k] for k in kinds) for c in cases)


def test_findings_go_together_as_in_patients_but_never_always(cases):
    def share(name, given, value):
        return np.mean([c.labels[name] for c in cases if c.labels[given] == value])

    assert share("CalvarialFracture", "EDH", 1) > share("CalvarialFracture", "EDH", 0) + 0.2
    assert share("MidlineShift", "SDH", 1) > share("MidlineShift", "SDH", 0) + 0.1
    pairs = [(a, b) for a in FINDINGS for b in FINDINGS if a != b and "ICH" not in (a, b)]
    for a, b in pairs:
        seen = {(c.labels[a], c.labels[b]) for c in cases}
        assert seen == {(0, 0), (0, 1), (1, 0), (1, 1)}, (a, b)


def test_labels_follow_from_the_lesions(cases):
    shapes = {"IPH": Intraparenchymal, "SDH": Subdural, "EDH": Extradural, "SAH": Subarachnoid}
    for case in cases:
        for name, shape in shapes.items():
            found = any(isinstance(x, shape) for x in case.pathology.lesions)
            assert found == bool(case.labels[name])


def test_lesions_measure_6_mm_or_more(cases):
    for case in cases:
        scale = case.anatomy.scale
        for lesion in case.pathology.lesions:
            if isinstance(lesion, Intraparenchymal):
                assert all(2 * a * s >= 6.0 for a, s in zip(lesion.axes, scale, strict=True))
            if isinstance(lesion, Subdural | Extradural):
                assert lesion.thickness_mm * min(scale) >= 5.8


def test_slice_counts_and_gaps_lie_in_their_ranges(cases):
    for case in cases:
        for series in case.study.series:
            least, most = SLICE_RANGES[series.kind]
            assert least <= series.n_slices <= most
            assert 0 < series.thickness_mm <= series.gap_mm


def test_geometry_varies(cases):
    thick = [case.study.only("thick")[0] for case in cases]
    assert {s.n_slices for s in thick} >= set(range(22, 32))
    assert 0.3 < np.mean([s.tilt_deg != 0 for s in thick]) < 0.5
    assert min(s.tilt_deg for s in thick) < -10
    assert max(s.tilt_deg for s in thick) > 10
    assert np.std([s.spacing_mm * s.size for s in thick]) > 5


def test_uids_are_unique(cases):
    uids = [s.uid for case in cases for s in case.study.series]
    uids += [case.study.uid for case in cases] + [case.study.localizer_uid for case in cases]
    assert len(set(uids)) == len(uids)
    assert all(len(uid) <= 64 for uid in uids)


def test_the_displacement_never_folds_the_brain(cases):
    axis = np.linspace(-60, 60, 25, dtype=np.float32)
    x, y, z = np.meshgrid(axis, axis * 1.3, axis + 10, indexing="ij")
    moved = [c.pathology.displacement for c in cases if c.pathology.displacement is not None]
    assert len(moved) > 300
    for displacement in moved[:150]:
        u = displacement_field(displacement, x, y, z)[:3]
        jacobian = np.stack(
            [np.stack(np.gradient(c, axis, axis * 1.3, axis + 10), -1) for c in u], -2
        )
        assert np.linalg.det(np.eye(3) - jacobian).min() > 0


def test_the_midline_moves_by_the_stated_shift():
    displacement = Displacement(
        center=(-50.0, 0.0, 15.0),
        inward=(1.0, 0.0, 0.0),
        push_mm=0.0,
        sigma_mm=25.0,
        shift_mm=9.0,
        shift_y_mm=-5.0,
        shift_z_mm=15.0,
        effacement=0.0,
    )
    points = np.array([[0, -5, 15], [62, -5, 15], [-62, -5, 15]], np.float32).T
    ux = displacement_field(displacement, *points)[0]
    assert ux == pytest.approx([9.0, 0.0, 0.0], abs=1e-5)
