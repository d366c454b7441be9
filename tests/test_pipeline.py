"""The main job through the command line, as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featurecache import FeatureStore

COMMAND = [sys.executable, "-m", "featurecache"]


def fc(*arguments, cwd, allowed=(0,)):
    """Run a command; return its standard output."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode in allowed, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if 0 in allowed else done.stderr


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Twelve patients' thick series, small images."""
    from featurecache.phantom import write_phantom

    out = tmp_path_factory.mktemp("phantom") / "phantom"
    write_phantom(out, patients=12, seed=5, series="thick", size=64)
    return out


# --------------------------------------------------------------------------- real scans


def plain_features(folder: Path, weights: Path) -> tuple[list[str], np.ndarray]:
    """What pydicom and torchvision give: (SOPInstanceUIDs, features), ordered by position."""
    import pydicom
    import torch
    import torchvision
    from safetensors.torch import load_file
    from torchvision.transforms.v2 import functional

    slices = [pydicom.dcmread(path) for path in folder.iterdir() if path.name != "DIRFILE"]
    row, column = np.reshape(slices[0].ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(row, column)
    normal *= np.sign(normal[np.argmax(np.abs(normal))])
    slices.sort(key=lambda s: float(np.dot(normal, np.array(s.ImagePositionPatient, float))))
    images = []
    for dicom in slices:
        hu = dicom.pixel_array * float(dicom.RescaleSlope) + float(dicom.RescaleIntercept)
        grey = np.clip(hu / 80, 0, 1)  # level 40, width 80: 0 to 80 HU
        image = torch.from_numpy(grey.astype(np.float32))[None].repeat(3, 1, 1)
        image = functional.resize(image, [224, 224], antialias=True)
        images.append(functional.normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    model = torchvision.models.squeezenet1_1().eval()
    model.load_state_dict(load_file(weights), strict=False)
    with torch.inference_mode():
        features = torch.cat([model.features(image[None]).mean((2, 3)) for image in images])
    return [str(dicom.SOPInstanceUID) for dicom in slices], features.numpy()


@pytest.mark.real_data
@pytest.mark.oracle
def test_real_scans_give_what_plain_pydicom_and_torchvision_give(
    real_scans, squeezenet_weights, tmp_path
):
    fc("extract", real_scans, "--backbone", "squeezenet1_1", "--weights", squeezenet_weights,
       "--precision", "fp32", "--dtype", "float32", "--keep-ids", "--store", "cache.zarr",
       cwd=tmp_path)  # fmt: skip
    features = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]
    lengths = sorted(len(matrix) for matrix in features.values())
    assert lengths == [4, 4, 28, 28]
    for folder in ("head-ge", "head-phantom-study/S2010"):
        uids, expected = plain_features(real_scans / folder, squeezenet_weights)
        mine = features.slices[features.slices["slice"].isin(uids)]
        assert mine["slice"].tolist() == uids
        rows = features[mine["series"].iloc[0]]
        error = np.linalg.norm(rows - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert error.max() < 1e-5


@pytest.mark.real_data
def test_every_file_of_the_real_folder_is_accounted_for(real_scans, tmp_path):
    document = json.loads(fc("scan", real_scans, "--json", cwd=tmp_path, allowed=(0, 3)))
    files = document["files"]
    on_disk = sum(1 for path in real_scans.rglob("*") if path.is_file())
    assert files["seen"] == on_disk == files["used"] + files["skipped"] + files["failed"]
    usable = sorted(s["n_slices"] for s in document["series"] if s["usable"])
    assert usable == [4, 4, 28, 28]


# --------------------------------------------------------------------------- killed and resumed

EXTRACT = (
    "extract", "--backbone", "squeezenet1_1", "--weights", "random:0", "--precision", "fp32",
    "--size", "96", "--batch-size", "8", "--unit-slices", "16", "--workers", "1",
)  # fmt: skip


def chunks(store: Path) -> list[Path]:
    return sorted((store / "part-0000/features/squeezenet1_1").glob("c.*.0"))


def content(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def kill_between(store: Path, least: int, most: int, *arguments, cwd) -> None:
    """Start a command and SIGKILL its whole group once `least` chunks exist."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=cwd, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(chunks(store)) < least:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert least <= len(chunks(store)) <= most


def test_killed_and_resumed_equals_uninterrupted_byte_for_byte(phantom, tmp_path):
    fc("init", phantom / "dicom", "--labels", phantom / "labels.csv", cwd=tmp_path)
    fc(*EXTRACT, "--store", "clean.zarr", cwd=tmp_path)
    assert len(chunks(tmp_path / "clean.zarr")) >= 16
    store = tmp_path / "killed.zarr"
    kill_between(store, 4, 12, *EXTRACT, "--store", store, cwd=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in chunks(store)}
    fc(*EXTRACT, "--store", store, cwd=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert content(store) == content(tmp_path / "clean.zarr")


# --------------------------------------------------------------------------- refusals


@pytest.fixture(scope="module")
def project(phantom, tmp_path_factory):
    """A folder with a finished extraction."""
    folder = tmp_path_factory.mktemp("project")
    fc("init", phantom / "dicom", "--labels", phantom / "labels.csv", cwd=folder)
    fc(*EXTRACT, cwd=folder)
    return folder


def test_another_recipe_under_the_same_name_is_refused_with_the_fields(project):
    before = content(project / "cache.zarr")
    message = fc(*EXTRACT, "--windows", "bone", "--size", "128", cwd=project, allowed=(5,))
    assert "windows is [[40.0, 80.0]], not [[600.0, 2800.0]]" in message
    assert "size is 96, not 128" in message
    assert "--name" in message
    assert content(project / "cache.zarr") == before


def test_another_seed_of_weights_is_refused(project):
    arguments = [a.replace("random:0", "random:1") for a in EXTRACT]
    message = fc(*arguments, cwd=project, allowed=(5,))
    assert "weights is random:0" in message


def test_second_feature_set_lies_beside_the_first(project):
    fc(*EXTRACT, "--windows", "bone", "--name", "bone", cwd=project)
    document = json.loads(fc("info", "--json", cwd=project))
    assert document["schema_version"] == 1
    assert {"bone", "squeezenet1_1"} <= set(document["features"])
    assert all(features["complete"] for features in document["features"].values())


def test_model_refuses_another_feature_set_and_names_the_field(project):
    """Case 52."""
    seqhead = [sys.executable, "-m", "seqhead"]
    fit = [*seqhead, "fit", "--rnn", "gru", "--hidden", "8", "--epochs", "1",
           "--features", "squeezenet1_1", "--out", "run"]  # fmt: skip
    done = subprocess.run(fit, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fc(*EXTRACT, "--windows", "bone", "--name", "bone", cwd=project)
    predict = [*seqhead, "predict", "run", "cache.zarr", "--features", "bone"]
    done = subprocess.run(predict, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "windows" in done.stderr


def test_files_that_come_later_make_a_new_part(phantom, tmp_path):
    from featurecache.phantom import write_phantom

    tree = tmp_path / "tree"
    write_phantom(tree, patients=2, seed=6, series="thick", size=64)
    (tmp_path / "dicom").mkdir()
    patients = sorted((tree / "dicom").iterdir())
    patients[0].rename(tmp_path / "dicom" / patients[0].name)
    fc(*EXTRACT, "dicom", "--store", "cache.zarr", "--keep-ids", cwd=tmp_path)
    first = content(tmp_path / "cache.zarr")
    patients[1].rename(tmp_path / "dicom" / patients[1].name)
    fc(*EXTRACT, "dicom", "--store", "cache.zarr", "--keep-ids", cwd=tmp_path)
    both = content(tmp_path / "cache.zarr")
    assert {name: both[name] for name in first} == first
    features = FeatureStore.open(tmp_path / "cache.zarr")["squeezenet1_1"]
    assert features.series["patient"].nunique() == 2
    fc(*EXTRACT, "dicom", "--store", "cache.zarr", "--keep-ids", cwd=tmp_path)
    assert content(tmp_path / "cache.zarr") == both


def test_a_later_run_with_another_choice_of_identifiers_is_refused(phantom, project):
    message = fc(*EXTRACT, "--keep-ids", cwd=project, allowed=(5,))
    assert "--keep-ids" in message


def test_kernels_come_from_the_index_and_are_written_nowhere(phantom, project):
    labels = ("--labels", phantom / "labels.csv")
    run = [sys.executable, "-m", "seqhead"]

    def seqhead(*arguments):
        done = subprocess.run(
            [*run, *map(str, arguments)], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    seqhead("fit", "--features", "squeezenet1_1", *labels, "--folds", 2, "--head", "svm",
            "--out", "runs/kernels")  # fmt: skip
    document = json.loads(
        seqhead("evaluate", "runs/kernels", "--by", "kernel", "--by", "manufacturer", "--json")
    )
    kernels = document["subgroups"]["kernel"]
    assert sum(kind["n"] for kind in kernels) == 12
    names = {kind["kind"] for kind in kernels}
    assert names
    assert "unknown" not in names
    for path in (project / "runs/kernels").rglob("*"):
        if path.is_file():
            assert not any(name.encode() in path.read_bytes() for name in names), path.name
