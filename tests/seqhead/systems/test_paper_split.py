"""`--protocol paper` is the split and the threshold that the file of a system states."""

import numpy as np
import pytest

from seqhead.crossval import fit_as_split
from seqhead.errors import FitError
from seqhead.options import parse_fit_options
from seqhead.paper_split import as_the_paper
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splitting import parse_splitting
from seqhead.systems import load_system, system_names
from seqhead.systems.schema import SystemSplit

FITTED = [name for name in system_names() if load_system(name).kind != "rule"]
WAYS = {
    "sdlm": ("sdlm", None, "0.5"), "sdlm-binary": ("sdlm", None, "0.5"),
    "xception": ("xception-rnn", None, "0.5"), "xception-gru": ("xception-rnn", None, "0.5"),
    "drct1": (None, 10, "0.5"), "drct2-rsna": (None, 5, "0.5"), "svm": (None, None, "youden"),
}  # fmt: skip


def fit_by_the_paper(given, name, *settings, **options):
    chosen = parse_fit_options(
        system=name, settings=("training.epochs=1", *settings), device="cpu", **options
    )
    splitting = parse_splitting(protocol="paper")
    return fit_as_split(Sources(given.store, given.labels), chosen, splitting,
                        out=given.folder / "run", project=given.folder)  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_the_paper_of_a_system_says_how_to_split_and_where_to_call(name):
    found = as_the_paper(parse_splitting(protocol="paper"), parse_fit_options(system=name))
    assert (found.protocol, found.folds, found.operating_point) == WAYS[name]


@pytest.mark.parametrize("name", FITTED)
def test_a_paper_that_leaks_does_so_by_a_protocol_that_is_measured(name):
    split = load_system(name).split
    leaks = "at random" in split.paper or "one to eight series each" in split.paper
    assert (split.protocol is not None) == leaks


def test_what_is_given_stays(tmp_path):
    given = parse_splitting(protocol="paper", operating_point="youden")
    assert as_the_paper(given, parse_fit_options(system="sdlm")).operating_point == "youden"
    other = parse_splitting(folds=3)
    assert as_the_paper(other, parse_fit_options(system="drct2")) is other
    with pytest.raises(FitError, match="goes with --system"):
        as_the_paper(given, parse_fit_options())
    with pytest.raises(FitError, match="says how to split"):
        parse_splitting(protocol="paper", folds=3)
    with pytest.raises(ValueError, match="a protocol or folds"):
        SystemSplit(protocol="sdlm", folds=3, paper="both")


def test_slices_at_random_leak_and_the_run_says_how_much(cohort_of):
    given = cohort_of("xception-gru")
    report = fit_by_the_paper(given, "xception-gru", "head.hidden=4")
    assert report.leak is not None
    assert report.leak.patients_also_in_training > 0
    assert report.leak.series_also_in_training > 0
    config = Run.open(report.run.path).config
    assert (config.split.protocol, config.operating_point) == ("xception-rnn", "0.5")
    assert set(config.thresholds) == {0.5}
    said = [note for note in report.notes if note.startswith("split in the paper of xception-gru")]
    assert said == [f"split in the paper of xception-gru: {given.system.split.paper}"]


def test_ten_folds_are_folds_of_patients(cohort_of):
    given = cohort_of("drct1", patients=24)
    report = fit_by_the_paper(given, "drct1", "head.hidden=4", "head.step_dense=4", "head.mlp=[4]",
                              "head.dropout=0.5")  # fmt: skip
    folds = report.run.folds
    assert report.run.config.split.folds == 10
    for _, one in folds.groupby("fold"):
        assert one.groupby("group")["split"].nunique().max() == 1
    tested = folds[folds["split"] == "test"]
    assert sorted(tested["series"]) == sorted(given.lengths)
    assert np.isfinite(report.run.predictions[f"p:{given.names[0]}"]).all()


def test_without_it_patients_stay_together_and_the_note_says_how_to_have_it(cohort_of):
    given = cohort_of("sdlm")
    chosen = parse_fit_options(
        system="sdlm", settings=("training.epochs=1", "head.hidden=4", "head.mlp=[4, 4]"),
        device="cpu",
    )  # fmt: skip
    report = fit_as_split(Sources(given.store, given.labels), chosen, parse_splitting(),
                          out=given.folder / "run", project=given.folder)  # fmt: skip
    assert report.leak is None
    assert report.run.config.split.protocol is None
    assert any("--protocol paper splits so" in note for note in report.notes)
