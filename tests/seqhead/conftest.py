"""A small planted problem: 60 patients, some with two series, one finding in a few slices."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

D = 12


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems on a shared machine: threads that wait for each other cost tenfold."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def write_csv(tmp_path):
    """Function that writes text to a label file, byte for byte."""

    def write(text: str, name: str = "labels.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write


def plant(patients: int = 60, seed: int = 0) -> SimpleNamespace:
    """Matrices, patients, and labels of series and slices that the matrices show."""
    rng = np.random.default_rng(seed)
    matrices, owner, series_labels, slice_labels = {}, {}, {}, {}
    for patient in range(patients):
        ill = patient % 2
        for repeat in range(1 + (patient % 3 == 0)):
            series = f"1.2.{patient}.{repeat}"
            n = int(rng.integers(6, 14))
            matrix = rng.normal(size=(n, D)).astype(np.float32)
            shown = np.zeros(n, dtype=int)
            if ill:
                start = int(rng.integers(0, n - 3))
                shown[start : start + 3] = 1
                matrix[shown == 1, :4] += 3.0
            fracture = int(rng.random() < 0.3)
            matrix[:, 8:] += 2.0 * fracture
            matrices[series], owner[series] = matrix, f"{patient:03d}"
            series_labels[series] = (ill, fracture)
            slice_labels.update({f"{series}.{k}": int(s) for k, s in enumerate(shown)})
    return SimpleNamespace(
        matrices=matrices, patients=owner, series=series_labels, slices=slice_labels
    )


@pytest.fixture(scope="session")
def planted() -> SimpleNamespace:
    """The planted problem in memory."""
    return plant()


@pytest.fixture(scope="session")
def make_toy(make_store, planted):
    """Function that writes the planted problem into a folder."""

    def make(folder: Path) -> SimpleNamespace:
        store = make_store(folder / "cache.zarr", planted.matrices, patients=planted.patients)
        lines = [
            f"{planted.patients[s]},{s},{ich},{fracture}"
            for s, (ich, fracture) in planted.series.items()
        ]
        labels = folder / "labels.csv"
        labels.write_text("\n".join(["PatientID,SeriesInstanceUID,ICH,Fracture", *lines]))
        slices = folder / "slices.csv"
        slices.write_text(
            "\n".join(["SOPInstanceUID,ICH", *(f"{s},{v}" for s, v in planted.slices.items())])
        )
        return SimpleNamespace(folder=folder, store=store, labels=labels, slices=slices)

    return make


@pytest.fixture
def toy(tmp_path, make_toy) -> SimpleNamespace:
    """The planted problem on disk: a store, labels.csv and slices.csv, in a working folder."""
    return make_toy(tmp_path)


@pytest.fixture(scope="session")
def crossed_run(tmp_path_factory, make_toy) -> Path:
    """Three folds of the planted problem, fitted once; to be read, not changed."""
    from seqhead.crossval import cross_validate
    from seqhead.options import parse_fit_options
    from seqhead.sources import Sources
    from seqhead.splitting import Splitting

    toy = make_toy(tmp_path_factory.mktemp("crossed"))
    report = cross_validate(
        Sources(toy.store, toy.labels), parse_fit_options(hidden=4, epochs=2, device="cpu"),
        splitting=Splitting(folds=3), out=toy.folder / "cv", project=toy.folder,
    )  # fmt: skip
    return report.run.path


@pytest.fixture
def crossed_copy(crossed_run, tmp_path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(crossed_run, tmp_path / "copied-cv"))
