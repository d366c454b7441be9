"""On enough synthetic patients and real weights, a head learns what geometry cannot tell."""

import csv
import json
import random
import subprocess
import sys
from collections import defaultdict

import pydicom
import pytest


def run(*arguments, cwd):
    """One command as a user types it; returns its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Folder of 240 patients; drawn once, and changed by no test."""
    folder = tmp_path_factory.mktemp("drawn")
    run("featurecache", "phantom", "phantom", "--patients", 240, "--seed", 7, "--series", "thick",
        cwd=folder)  # fmt: skip
    return folder / "phantom"


@pytest.mark.slow
@pytest.mark.real_data
def test_gru_on_real_squeezenet_features_beats_the_baseline_for_haemorrhage(
    squeezenet_weights, phantom, tmp_path
):
    run("featurecache", "init", phantom / "dicom", "--labels", phantom / "labels.csv", cwd=tmp_path)
    run("featurecache", "extract", "--backbone", "squeezenet1_1", "--weights", squeezenet_weights,
        cwd=tmp_path)  # fmt: skip
    run("seqhead", "fit", "--rnn", "gru", cwd=tmp_path)
    document = json.loads(run("seqhead", "evaluate", "--json", cwd=tmp_path))
    haemorrhage, baseline = document["labels"]["ICH"], document["baseline"]["labels"]["ICH"]
    assert document["patients"] == 36
    assert baseline["auc_ci"][0] < 0.5 < baseline["auc_ci"][1]
    assert haemorrhage["auc"] > 0.75
    assert baseline["auc_difference_ci"][0] > 0


HAEMORRHAGES = ("ICH", "IPH", "IVH", "SDH", "EDH", "SAH")


def cut_series(phantom, folder, slices):
    """Some neighbouring slices of every series, from a random one on, and their labels."""
    rng, kept = random.Random(0), set()
    stacks = defaultdict(list)
    for path in sorted((phantom / "dicom").rglob("*.dcm")):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        height = float(header.ImagePositionPatient[2])
        stacks[header.SeriesInstanceUID].append((height, header.SOPInstanceUID, path))
    for stack in (one for one in stacks.values() if len(one) >= slices):  # localizers are shorter
        first = rng.randint(0, len(stack) - slices)
        for _, uid, path in sorted(stack)[first : first + slices]:
            target = folder / "dicom" / path.relative_to(phantom / "dicom")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
            kept.add(uid)
    with (phantom / "slices.csv").open() as source, (folder / "slices.csv").open("w") as target:
        columns = ("PatientID", "SeriesInstanceUID", "SOPInstanceUID", *HAEMORRHAGES)
        writer = csv.DictWriter(target, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row for row in csv.DictReader(source) if row["SOPInstanceUID"] in kept)


@pytest.mark.slow
@pytest.mark.real_data
def test_a_drct1_head_attends_to_lesions_more_than_chance_and_the_middle_do(
    squeezenet_weights, phantom, tmp_path
):
    """Series are cut at random: in whole ones lesions lie in the middle, and need no finding."""
    cut_series(phantom, tmp_path, slices=12)
    run("featurecache", "init", "dicom", "--labels", "slices.csv", cwd=tmp_path)
    run("featurecache", "extract", "--backbone", "squeezenet1_1", "--weights", squeezenet_weights,
        cwd=tmp_path)  # fmt: skip
    changes = ("head.normalise=standard", "head.feature_attention=false", "training.loss=bce")
    run("seqhead", "fit", "--system", "drct1", "--any-recipe", "--folds", 4, "--epochs", 40,
        *(word for change in changes for word in ("--set", change)), cwd=tmp_path)  # fmt: skip
    document = json.loads(run("seqhead", "evaluate", "--key-slices", "--json", cwd=tmp_path))
    found = document["key_slices"]
    tasks = found["lesion"]
    assert found["series"]["tested"] == 240
    assert found["series"]["with_lesion"] > 100
    for task in ("easy", "comprehensive"):
        assert tasks[task]["above_random_ci"][0] > 0.1, task
    assert tasks["comprehensive"]["above_middle_ci"][0] > 0.1
    assert tasks["difficult"]["above_middle_ci"][0] > 0
    assert tasks["easy"]["above_middle"] > 0
    assert (tmp_path / document["curves"][0]).is_file()
