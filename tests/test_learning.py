"""On enough synthetic patients and real weights, a head learns what geometry cannot tell."""

import json
import subprocess
import sys

import pytest


def run(*arguments, cwd):
    """One command as a user types it; returns its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.real_data
def test_gru_on_real_squeezenet_features_beats_the_baseline_for_haemorrhage(
    squeezenet_weights, tmp_path
):
    run("featurecache", "phantom", "phantom", "--patients", 240, "--seed", 7, "--series", "thick",
        cwd=tmp_path)  # fmt: skip
    run("featurecache", "init", "phantom/dicom", "--labels", "phantom/labels.csv", cwd=tmp_path)
    run("featurecache", "extract", "--backbone", "squeezenet1_1", "--weights", squeezenet_weights,
        cwd=tmp_path)  # fmt: skip
    run("seqhead", "fit", "--rnn", "gru", cwd=tmp_path)
    document = json.loads(run("seqhead", "evaluate", "--json", cwd=tmp_path))
    haemorrhage, baseline = document["labels"]["ICH"], document["baseline"]["labels"]["ICH"]
    assert document["patients"] == 36
    assert baseline["auc_ci"][0] < 0.5 < baseline["auc_ci"][1]
    assert haemorrhage["auc"] > 0.75
    assert baseline["auc_difference_ci"][0] > 0
