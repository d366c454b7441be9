"""What TensorBoard is told is what history.csv says, and changes nothing else of a run."""

import socket

import numpy as np
import pandas as pd
import pytest

from seqhead.crossval import cross_validate
from seqhead.errors import FitError
from seqhead.fit import fit
from seqhead.options import parse_fit_options
from seqhead.sources import Sources
from seqhead.splitting import Splitting

pytest.importorskip(
    "tensorboard",
    reason="the tensorboard extra is not installed: pip install 'featurecache[tensorboard]'",
)


def options(**given):
    quick = {"hidden": 4, "epochs": 4, "patience": 4, "device": "cpu", "tensorboard": True}
    return parse_fit_options(**{**quick, **given})


def scalars(folder) -> pd.DataFrame:
    """The only event file of a folder, as TensorBoard reads it: a column for each scalar."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (file,) = folder.iterdir()
    assert "tfevents" in file.name  # how TensorBoard knows them
    assert socket.gethostname() not in file.name
    rows: dict[int, dict[str, float]] = {}
    for event in EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            rows.setdefault(event.step, {})[value.tag] = float(value.tensor.float_val[0])
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("epoch").reset_index()


def history(run) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv").astype({"epoch": int})


def fitted(toy, name, progress=None, **given):
    report = fit(
        Sources(toy.store, toy.labels), options(**given), out=toy.folder / name,
        project=toy.folder, progress=progress,
    )  # fmt: skip
    return report.run.path


def test_epochs_are_those_of_the_history_and_the_rest_of_the_run_is_as_without(toy):
    schedule = {"settings": ("training.schedule=step",), "learning_rate": 0.01}
    told = []
    run = fitted(toy, "with", lambda epoch, *_: told.append(epoch), **schedule)
    shown = scalars(run / "tensorboard")
    expected = history(run)
    pd.testing.assert_frame_equal(shown, expected, rtol=1e-6)
    assert expected["learning_rate"].nunique() > 1
    assert told == expected["epoch"].tolist()
    plain = fitted(toy, "without", **schedule, tensorboard=False)
    names = {path.name for path in plain.iterdir()}
    assert {path.name for path in run.iterdir()} == names | {"tensorboard"}
    for name in names - {"log.txt"}:
        assert (run / name).read_bytes() == (plain / name).read_bytes(), name


def test_every_fold_has_a_folder_of_its_own(toy):
    report = cross_validate(
        Sources(toy.store, toy.labels), options(), splitting=Splitting(folds=2),
        out=toy.folder / "cv", project=toy.folder,
    )  # fmt: skip
    run = report.run.path
    assert {path.name for path in (run / "tensorboard").iterdir()} == {"fold-1", "fold-2"}
    seen = [scalars(run / "tensorboard" / fold)["train_loss"] for fold in ("fold-1", "fold-2")]
    for fold, losses in zip(("fold-1", "fold-2"), seen, strict=True):
        np.testing.assert_allclose(losses, history(run / fold)["train_loss"], rtol=1e-6)
    assert not np.allclose(*seen)


def test_a_fit_that_is_given_up_leaves_nothing(toy):
    def give_up(epoch, *_):
        if epoch == 2:
            raise FitError("given up")

    with pytest.raises(FitError, match="given up"):
        fitted(toy, "runs/given-up", give_up)
    assert not (toy.folder / "runs").exists()
