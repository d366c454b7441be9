"""The cells of the page on notebooks, run one after another as a reader would."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn

PAGE = Path(__file__).parents[1] / "docs/howto/notebook.md"


def cells(page: Path = PAGE) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory, make_store) -> SimpleNamespace:
    """Names after the last cell, in a folder with 40 patients of whom some show a finding."""
    import torch

    from featurecache.identifiers import create_key

    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("notebook")
    matrices, owners, lines = {}, {}, ["PatientID,SeriesInstanceUID,ICH,Fracture"]
    for number in range(50):
        patient, series = f"{number % 40:03d}", f"1.2.{number}"
        ich, fracture = int(patient) % 2, int(rng.random() < 0.4)
        matrix = rng.normal(size=(int(rng.integers(5, 12)), 8)).astype(np.float32)
        matrix[1:4, :3] += 3.0 * ich
        matrix[:, 6:] += 1.5 * fracture
        matrices[series], owners[series] = matrix, patient
        lines.append(f"{patient},{series},{ich},{'' if number % 9 == 0 else fracture}")
    make_store(folder / "cache.zarr", matrices, patients=owners, name="vgg16")
    (folder / "labels.csv").write_text("\n".join(lines))
    create_key(folder / "featurecache.key")
    before, threads = Path.cwd(), torch.get_num_threads()
    names: dict[str, object] = {}
    os.chdir(folder)
    torch.set_num_threads(1)
    try:
        for cell in cells():
            few = cell.replace("epochs=30", "epochs=12")
            exec(compile(few, PAGE.name, "exec"), names)  # noqa: S102  the page is ours
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)
        sklearn.set_config(enable_metadata_routing=False)
    return SimpleNamespace(**names, matrices=matrices, owners=owners, folder=folder)


def test_the_page_has_cells_for_each_step() -> None:
    assert len(cells()) >= 9


def test_features_labels_and_patients_are_those_of_the_files(notebook: SimpleNamespace) -> None:
    cohort = notebook.cohort
    assert cohort.names == ("ICH", "Fracture")
    for series, matrix in zip(cohort.series.index, notebook.X, strict=True):
        np.testing.assert_array_equal(matrix, notebook.matrices[series])
    assert notebook.patients.tolist() == list(notebook.owners.values())
    assert np.isnan(notebook.y).any()


def test_no_test_patient_is_learnt_from_or_chosen_on(notebook: SimpleNamespace) -> None:
    assert not set(notebook.patients_learn) & set(notebook.patients[notebook.test])
    assert len(notebook.X_learn) + len(notebook.X_test) == len(notebook.X)
    folds = notebook.run.folds
    of_run = set(folds.loc[folds["split"] == "test", "series"])
    assert of_run == set(notebook.cohort.series.index[notebook.test])


def test_what_is_planted_is_found(notebook: SimpleNamespace) -> None:
    assert np.isfinite(notebook.said).all()
    low, high = notebook.resamples.interval(
        notebook.resamples.auc(notebook.y_learn[:, 0], notebook.said[:, 0])
    )
    assert 0.6 < low <= high <= 1
    assert notebook.search.best_score_ > 0.6
    assert 0 <= notebook.scorers.roc_auc(notebook.search, notebook.X_test, notebook.y_test) <= 1


def test_predictions_have_the_names_of_series_and_labels(notebook: SimpleNamespace) -> None:
    predictions = notebook.predictions
    assert isinstance(predictions, pd.DataFrame)
    assert list(predictions) == ["ICH", "Fracture"]
    assert predictions.index.tolist() == notebook.cohort.series.index[notebook.test].tolist()
    assert predictions.to_numpy().min() > 0
    assert predictions.to_numpy().max() < 1
    assert (notebook.folder / "runs" / "notebook" / "metrics.json").is_file()


def test_the_sweep_of_its_page_runs_with_fewer_trials(
    notebook: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(notebook.folder)
    (cell,) = cells(PAGE.with_name("sweeps.md"))
    few = cell.replace("trials=30", "trials=2").replace(
        '"rnn":', '"hidden": [4], "epochs": [2], "rnn":'
    )
    assert few.count("trials=2") == few.count('"epochs": [2]') == 1
    names: dict[str, object] = {}

    exec(compile(few, "sweeps.md", "exec"), names)  # noqa: S102  the page is ours

    assert len(names["report"].leaderboard.standings) == 2
