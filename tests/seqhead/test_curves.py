import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from seqhead.curves import draw_curves
from seqhead.evaluate import evaluate_run
from seqhead.reader_figures import reader_figures
from seqhead.reads import Reads
from seqhead.run import Run


@pytest.fixture(scope="module")
def evaluation(crossed_run):
    return evaluate_run(Run.open(crossed_run), "patient")


def texts(path):
    """Everything that is written in an SVG."""
    root = ElementTree.fromstring(path.read_text())  # noqa: S314  we have just drawn it
    return " ".join(element.text for element in root.iter() if element.text)


def test_every_curve_is_drawn_as_svg_and_png(evaluation, crossed_run, tmp_path):
    history = pd.read_csv(crossed_run / "history.csv")
    files = draw_curves(evaluation, tmp_path / "curves", history=history)
    names = {"roc-patient", "pr-patient", "calibration-patient", "learning"}
    expected = {f"{name}.{form}" for name in names for form in ("svg", "png")}
    assert {file.name for file in files} == expected
    for file in files:
        assert file.stat().st_size > 2000
        if file.suffix == ".png":
            assert file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    shown = texts(tmp_path / "curves" / "roc-patient.svg")
    auc = evaluation.model["labels"]["ICH"]["auc"]
    assert f"model {auc:.3f}" in shown
    assert "ICH, 30 of 60 positive" in shown
    assert "validation loss" in texts(tmp_path / "curves" / "learning.svg")


def test_equal_figures_are_equal_files(evaluation, tmp_path):
    once, twice = (draw_curves(evaluation, tmp_path / name) for name in ("one", "two"))
    for one, two in zip(once, twice, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name


def test_readers_are_points_beside_the_curve(evaluation, tmp_path):
    y = evaluation.judged.test.y[:, 0]
    reads = Reads(("Dr A",), ("ICH",), np.where(np.arange(60) % 5 == 0, 1 - y, y)[None, :, None])
    draw_curves(evaluation, tmp_path, readers=reader_figures(evaluation.judged, reads))
    assert "Dr A" in texts(tmp_path / "roc-patient.svg")


def test_a_label_with_one_class_is_an_empty_panel(evaluation, tmp_path):
    from seqhead.evaluation import evaluate_judged

    judged = evaluation.judged
    judged.test.y[:, 1] = 0.0
    draw_curves(evaluate_judged(judged, "patient", "test", 60), tmp_path)
    assert "n/a" in texts(tmp_path / "roc-patient.svg")
    assert "n/a" in texts(tmp_path / "pr-patient.svg")
