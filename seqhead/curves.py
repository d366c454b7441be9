"""Figures of an evaluation as SVG and PNG files: curves, and where key slices lie."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seqhead.calibration import METHODS
from seqhead.evaluation import Evaluation
from seqhead.operating_points import has_both_classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
"""Files that each figure is written as."""

_PANEL_INCHES = 3.2
_COLUMNS = 3
_MARKERS = "os^DvPX*<>"
_SETTINGS: Any = {"svg.hashsalt": "seqhead", "font.size": 8, "svg.fonttype": "none"}


def draw_curves(
    evaluation: Evaluation,
    folder: Path,
    *,
    history: pd.DataFrame | None = None,
    readers: dict[str, Any] | None = None,
) -> list[Path]:
    """Draw the curves of an evaluation; equal figures give equal files.

    Parameters
    ----------
    evaluation : Evaluation
        The figures.
    folder : Path
        Where files go; made if it is not there, and files in it are replaced.
    history : DataFrame or None
        ``history.csv`` of the run, for the learning curves.
    readers : dict or None
        What `seqhead.reader_figures.reader_figures` gave: points beside the ROC curves.

    Returns
    -------
    list of Path
        The files.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    with mpl.rc_context(_SETTINGS):
        for name, figure in (
            ("roc", _panels(evaluation, _roc(readers or {}))),
            ("pr", _panels(evaluation, _precision_recall)),
            ("calibration", _panels(evaluation, _calibration)),
            ("learning", None if history is None else _learning(history)),
        ):
            if figure is not None:
                written += _save(figure, folder, f"{name}-{evaluation.level}"
                                 if name != "learning" else name)  # fmt: skip
    return written


def draw_positions(found: dict[str, Any], folder: Path) -> list[Path]:
    """Draw where the five slices of the highest attention lie, as a histogram.

    Parameters
    ----------
    found : dict
        What `seqhead.key_slice_figures.key_slice_figures` gave.
    folder : Path
        Where files go; made if it is not there, and files in it are replaced.

    Returns
    -------
    list of Path
        The files.

    References
    ----------
    DrCT2, Figure 7.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_SETTINGS):
        return _save(_positions(found), folder, "key-slices")


Drawer = Callable[["Axes", Evaluation, int], None]


def _panels(evaluation: Evaluation, draw: Drawer) -> "Figure":
    """One panel for each label, with its positives in the title."""
    from matplotlib.figure import Figure

    names = evaluation.judged.test.names
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(_PANEL_INCHES * columns, _PANEL_INCHES * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for k, (name, axes) in enumerate(zip(names, panels, strict=False)):
        figures = evaluation.model["labels"][name]
        axes.set_title(f"{name}, {figures['positives']} of {figures['n']} positive", fontsize=8)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        draw(axes, evaluation, k)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    if evaluation.leak is not None:
        figure.suptitle("this split LEAKS patients from training into the test", color="C3")
    return figure


def _known(evaluation: Evaluation, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and baseline of the rows whose label is known."""
    test = evaluation.judged.test
    known = ~np.isnan(test.y[:, k])
    return test.y[known, k], test.probability[known, k], test.baseline[known, k]


def _roc(readers: dict[str, Any]) -> Drawer:
    def draw(axes: "Axes", evaluation: Evaluation, k: int) -> None:
        from sklearn.metrics import roc_curve

        y, score, baseline = _known(evaluation, k)
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity")
        if not has_both_classes(y):
            axes.text(0.5, 0.5, "n/a", ha="center")
            return
        name = evaluation.judged.test.names[k]
        figures = evaluation.model["labels"][name]
        of_baseline = evaluation.baseline["labels"][name]
        for values, found, color, label in (
            (score, figures, "C0-", "model"),
            (baseline, of_baseline, "C7--", "baseline"),
        ):
            fpr, tpr, _ = roc_curve(y, values)
            axes.plot(fpr, tpr, color, label=f"{label} {_auc(found)}")
        axes.plot(1 - figures["specificity"], figures["recall"], "x", color="C0",
                  label=f"threshold: {evaluation.judged.rule}")  # fmt: skip
        shown = readers.get(name, {"readers": {}})["readers"].items()
        for marker, (reader, of_reader) in zip(_MARKERS * 9, shown, strict=False):
            if of_reader["recall"] is not None and of_reader["specificity"] is not None:
                axes.plot(1 - of_reader["specificity"], of_reader["recall"], marker, color="C1",
                          markersize=4, label=reader)  # fmt: skip
        axes.legend(loc="lower right", fontsize=6)

    return draw


def _auc(figures: dict[str, Any]) -> str:
    ends = figures["auc_ci"]
    return f"{figures['auc']:.3f}" + (f" ({ends[0]:.2f}-{ends[1]:.2f})" if ends else "")


def _precision_recall(axes: "Axes", evaluation: Evaluation, k: int) -> None:
    from sklearn.metrics import precision_recall_curve

    y, score, _ = _known(evaluation, k)
    axes.set(xlabel="sensitivity (recall)", ylabel="precision")
    if not (y == 1).any():
        axes.text(0.5, 0.5, "n/a", ha="center")
        return
    axes.axhline(y.mean(), color="0.8", linewidth=0.8)
    precision, recall, _ = precision_recall_curve(y, score)
    found = evaluation.model["labels"][evaluation.judged.test.names[k]]
    label = f"AP {found['average_precision']:.3f}"
    axes.plot(recall, precision, drawstyle="steps-post", label=label)
    axes.legend(loc="lower left", fontsize=6)


def _calibration(axes: "Axes", evaluation: Evaluation, k: int) -> None:
    from seqhead.calibration import reliability

    y, score, _ = _known(evaluation, k)
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
    axes.set(xlabel="probability", ylabel="share of positives")
    test = evaluation.judged.test
    known = ~np.isnan(test.y[:, k])
    every = [("as it is", score)]
    every += [(m, evaluation.judged.calibrated[m][known, k]) for m in METHODS]
    for number, (name, values) in enumerate(every):
        table = reliability(y, values)
        x, share = ([row[key] for row in table] for key in ("probability", "share"))
        axes.plot(x, share, marker="o", markersize=2.5, color=f"C{number}", label=name)
        if number == 0:
            ends = np.array([row["share_ci"] for row in table]).reshape(-1, 2).T
            axes.vlines(x, ends[0], ends[1], color="C0", linewidth=0.6)
    axes.legend(loc="upper left", fontsize=6)


def _learning(history: pd.DataFrame) -> "Figure":
    """Losses of each epoch; of a cross-validation thin lines, one for each model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, _PANEL_INCHES), layout="constrained")
    axes = figure.subplots()
    losses = [c for c in history.columns if str(c).endswith("loss")]
    models: Sequence[pd.DataFrame] = [history]
    if "fold" in history:
        models = [rows for _, rows in history.groupby(["repeat", "fold"])]
    for number, loss in enumerate(losses):
        for place, rows in enumerate(models):
            label = str(loss).replace("_", " ") if place == 0 else None
            axes.plot(rows["epoch"], rows[loss], color=f"C{number}", label=label,
                      linewidth=1.5 if len(models) == 1 else 0.7)  # fmt: skip
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend(fontsize=7)
    return figure


def _positions(found: dict[str, Any]) -> "Figure":
    """Bars of all series, those with a lesion below; a line where the lesions are."""
    from matplotlib.figure import Figure

    positions, series = found["positions"], found["series"]
    bins, ill = positions["bins"], np.array(positions["top_of_series_with_lesion"])
    every, lesions = np.array(positions["top"]), np.array(positions["lesions"])
    x, width = (np.arange(1, bins + 1), 0.9) if positions["each_is_a_slice"] else (
        100 * (np.arange(bins) + 0.5) / bins, 90 / bins)  # fmt: skip
    figure = Figure(figsize=(6.4, _PANEL_INCHES), layout="constrained")
    axes = figure.subplots()
    count = series["tested"] - series["not_in_store"]
    axes.bar(x, ill, width, color="C3", label="of series with a lesion")
    axes.bar(x, every - ill, width, bottom=ill, color="0.7", label="of other series")
    axes.axhline(every.sum() / bins, color="k", linewidth=0.8, linestyle=":", label="random choice")
    if lesions.any():
        axes.plot(x, lesions * ill.sum() / lesions.sum(), "C0.-", linewidth=1.2,
                  label="slices with a lesion, scaled to the red bars")  # fmt: skip
    axes.set_title(f"the five slices of the highest attention, {count} series", fontsize=8)
    axes.set(
        xlabel="slice, from the lowest" if positions["each_is_a_slice"] else
        "position in the series, from the lowest slice (%)", ylabel="slices",
    )  # fmt: skip
    axes.legend(fontsize=6)
    return figure


def _save(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Without dates and versions, so that the same curves are the same bytes."""
    files = [folder / f"{name}.{form}" for form in FORMATS]
    figure.savefig(files[0], metadata={"Date": None, "Creator": None})
    figure.savefig(files[1], dpi=150, metadata={"Software": None})
    return files
