import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from seqhead.errors import FitError
from seqhead.judged import decide
from seqhead.scores import Scores
from seqhead.subgroups import RUN_SUBGROUPS, judge_subgroups, kinds_of_series, owners_of


def series_table():
    return pd.DataFrame(
        {
            "thickness_mm": [0.625, 2.0, 3.0, 5.0, np.nan],
            "tilt_deg": [0.0, -20.0, 10.0, 0.5, 1.0],
            "kernel": ["H30s", "H30s", "BONE", "", "H30s "],
        },
        index=list("abcde"),
    )


def test_series_are_sorted_into_kinds_and_unknown_stays_unknown():
    kinds = kinds_of_series(series_table(), "thickness")
    assert kinds.tolist() == ["up to 2 mm", "up to 2 mm", "2 to 4 mm", "over 4 mm", "unknown"]
    tilt = kinds_of_series(series_table(), "tilt")
    assert tilt["b"] == "over 15 deg"  # of either sign
    assert kinds_of_series(series_table(), "kernel").tolist() == [
        "H30s", "H30s", "BONE", "unknown", "H30s"
    ]  # fmt: skip


def test_rare_kernels_are_put_together():
    table = pd.DataFrame({"kernel": ["H30"] * 3 + [f"K{k:02d}" for k in range(30)]})
    kinds = kinds_of_series(table, "kernel")
    assert kinds.value_counts()["other"] == 33 - 3 - 11
    assert kinds.cat.categories[0] == "H30"


def test_what_is_not_known_is_refused_with_what_to_do():
    with pytest.raises(FitError, match="--by must be one of thickness, fov, tilt"):
        kinds_of_series(series_table(), "age")
    with pytest.raises(FitError, match="needs the index"):
        kinds_of_series(series_table(), "manufacturer")
    with pytest.raises(FitError, match="lacks fov_mm"):
        kinds_of_series(series_table(), "fov")
    assert "thickness" in RUN_SUBGROUPS


def judged(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 1)) < 0.4).astype(float)
    score = np.clip(0.4 + 0.3 * y + rng.normal(0, 0.2, (n, 1)), 0, 1)
    ids = np.array([f"s{k}" for k in range(n)], dtype=object)
    scores = Scores(("a",), y, score, score, ids, ids)
    return decide(scores.take(np.arange(n) < n // 2), scores.take(np.arange(n) >= n // 2))


def test_each_kind_is_judged_by_its_own_rows_and_the_thresholds_of_all():
    rows = judged()
    thickness = pd.DataFrame({"thickness_mm": [1.0, 5.0, np.nan, 3.0] * 50},
                             index=[f"s{k}" for k in range(200)])  # fmt: skip
    kinds = kinds_of_series(thickness, "thickness")
    found = judge_subgroups(rows, kinds, owners_of(rows.test.ids, rows.test.ids))
    assert [kind["kind"] for kind in found] == ["up to 2 mm", "2 to 4 mm", "over 4 mm", "unknown"]
    assert sum(kind["n"] for kind in found) == 100
    thin = (kinds.loc[rows.test.ids] == "up to 2 mm").to_numpy()
    a = found[0]["labels"]["a"]
    expected = roc_auc_score(rows.test.y[thin, 0], rows.test.probability[thin, 0])
    assert a["auc"] == pytest.approx(expected)
    assert a["positives"] == rows.test.y[thin, 0].sum()
    assert {kind["labels"]["a"]["threshold"] for kind in found} == {a["threshold"]}


def test_somebody_with_scans_of_several_kinds_is_mixed():
    rows = judged(n=8)
    kinds = kinds_of_series(
        pd.DataFrame({"thickness_mm": [1, 1, 5, 5, 1, 5]}, index=list("abcdef")), "thickness"
    )
    owners = owners_of(["s4", "s4", "s5", "s6", "s7", "s7"], list("abcdef"))
    found = judge_subgroups(rows, kinds, owners)
    assert {kind["kind"]: kind["n"] for kind in found} == {
        "up to 2 mm": 1, "over 4 mm": 2, "mixed": 1
    }  # fmt: skip
