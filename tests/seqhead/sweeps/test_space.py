import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqhead.errors import FitError
from seqhead.sweeps.candidates import fit_command, fit_options, model_name, varied_text
from seqhead.sweeps.search_file import default_search, parse_grid, read_search
from seqhead.sweeps.settings import SweepSettings
from seqhead.sweeps.space import parse_space
from seqhead.sweeps.values import Choice, Range, parse_values


def space_of(*grid: str, level="series"):
    return parse_space(parse_grid(grid), level)


def grid_of(space):
    return [space.at(picked).values for picked in space.grid()]


def test_a_grid_has_every_combination_once():
    found = grid_of(space_of("rnn=gru,lstm", "hidden=4,8,16", "dropout=0,0.5"))
    assert len(found) == 12
    assert len({tuple(one.values()) for one in found}) == 12


def test_options_without_effect_are_left_out_and_not_tried_twice():
    found = grid_of(space_of("rnn=gru,none,tcn", "hidden=4,8", "bidirectional=false,true"))
    assert found.count({"rnn": "none"}) == 1
    assert [one for one in found if one["rnn"] == "tcn"] == [
        {"rnn": "tcn", "hidden": 4},
        {"rnn": "tcn", "hidden": 8},
    ]
    assert len(found) == 4 + 1 + 2


def test_an_svm_and_heads_share_a_search():
    space = space_of("head=sequence,svm", "hidden=4,8", "svm.C=0.1,1", "training.weight_decay=0.1")
    assert grid_of(space) == [
        {"head": "sequence", "hidden": 4, "training.weight_decay": 0.1},
        {"head": "sequence", "hidden": 8, "training.weight_decay": 0.1},
        {"head": "svm", "svm.C": 0.1},
        {"head": "svm", "svm.C": 1},
    ]


def test_tables_of_models_have_values_of_their_own():
    space = parse_space(
        tomllib.loads(
            "hidden = [4, 8]\nepochs = 3\n"
            '[model.small]\nrnn = "gru"\n'
            '[model.large]\nrnn = "lstm"\nhidden = [64]\nhead.mlp = [[], [8, 4]]\n'
        ),
        "series",
    )
    found = [(one.model, one.values) for one in map(space.at, space.grid())]
    assert found == [
        ("small", {"rnn": "gru", "hidden": 4, "epochs": 3}),
        ("small", {"rnn": "gru", "hidden": 8, "epochs": 3}),
        ("large", {"rnn": "lstm", "hidden": 64, "epochs": 3, "head.mlp": []}),
        ("large", {"rnn": "lstm", "hidden": 64, "epochs": 3, "head.mlp": [8, 4]}),
    ]


def test_a_system_takes_no_values_of_others():
    text = 'hidden = [4, 8]\n[model.gru]\nrnn = "gru"\n[model.drct1]\nsystem = "drct1"\n'
    space = parse_space(tomllib.loads(text), "series")
    assert {"system": "drct1"} in grid_of(space)


def test_a_space_survives_being_written_down():
    space = parse_space(tomllib.loads(default_search("series")), "series")
    again = parse_space(space.document(), "series")
    assert again == space
    assert again.document() == space.document()


@pytest.mark.parametrize("level", ["series", "slice"])
def test_every_value_of_the_default_searches_can_be_fitted(level):
    space = parse_space(tomllib.loads(default_search(level)), level)
    kinds = {model_name(candidate) for candidate in space.examples()}
    assert {"gru", "lstm", "svm"} < kinds
    for candidate in space.examples():
        fit_options(candidate, level=level, seed=0)


def test_the_page_shows_the_default_search() -> None:
    page = Path(__file__).parents[3] / "docs/howto/sweeps.md"
    assert default_search("series") in page.read_text(encoding="utf-8")


def test_examples_have_every_value_and_both_ends_of_a_range():
    space = parse_space(
        {"rnn": ["gru", "lstm"], "hidden": [4, 8], "dropout": {"low": 0.0, "high": 0.5}}, "series"
    )
    seen = {(name, value) for one in space.examples() for name, value in one.values.items()}
    assert seen == {("rnn", "gru"), ("rnn", "lstm"), ("hidden", 4), ("hidden", 8),
                    ("dropout", 0.0), ("dropout", 0.5)}  # fmt: skip


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["hiden=4"], "Did you mean hidden?"),
        (["lr=0.1"], "Did you mean learning-rate?"),
        (["bs=16"], "Did you mean batch-size?"),
        (["head.mpl=[4]"], "Did you mean mlp?"),
        (["zoom.slices=4"], "expected one of head, training, svm"),
        (["seed=1,2"], "use --seed"),
        (["level=slice"], "use --level"),
        (["hidden=4,4"], "named twice"),
        (["svm-input=pooled"], "svm_input has no effect"),
        (["rnn=none", "hidden=4"], "hidden has no effect"),
        (["hidden"], "expected NAME=VALUE"),
        (["hidden=4", "hidden=8"], "given twice"),
        (["learning-rate=0.1", "learning_rate=0.2"], "given twice"),
    ],
)
def test_mistakes_are_named_with_what_was_meant(grid, message):
    with pytest.raises(FitError, match=message.replace("?", r"\?")):
        space_of(*grid)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "empty"),
        ({"low": 1}, "high is missing"),
        ({"low": 2, "high": 1}, "below high"),
        ({"low": 0, "high": 1, "log": True}, "above 0"),
        ({"low": 1.0, "high": 2.0, "log": True, "step": 0.1}, "no step"),
        ({"low": 1, "high": 4, "step": 0.5}, "whole number"),
        ({"low": 1, "high": 4, "by": 2}, "Got 'by'"),
        ({"low": "a", "high": "b"}, "must be a number"),
    ],
)
def test_ranges_that_are_none_are_refused(value, message):
    with pytest.raises(FitError, match=message):
        parse_values(value)


def test_ranges_of_whole_numbers_stay_whole():
    assert parse_values({"low": 1, "high": 4}).whole
    assert not parse_values({"low": 1, "high": 4.0}).whole


def test_a_grid_has_no_ranges():
    space = parse_space({"dropout": {"low": 0.0, "high": 0.5}}, "series")
    with pytest.raises(FitError, match="list of values, not a range"):
        list(space.grid())


def test_a_search_file_that_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(FitError, match=r"nothing\.toml: No such file"):
        read_search(tmp_path / "nothing.toml")
    (tmp_path / "bad.toml").write_text("hidden = [")
    with pytest.raises(FitError, match=r"bad\.toml is not TOML"):
        read_search(tmp_path / "bad.toml")
    with pytest.raises(FitError, match="nothing to search"):
        parse_space({}, "series")
    with pytest.raises(FitError, match="expected a table for each model"):
        parse_space({"model": ["gru"]}, "series")


def test_values_in_brackets_are_one_value():
    assert parse_grid(["head.mlp=[512, 256],[],[8]"]) == {"head.mlp": [[512, 256], [], [8]]}
    assert parse_grid(["pool=max,mean", "bidirectional=true"]) == {
        "pool": ["max", "mean"],
        "bidirectional": [True],
    }


def test_the_name_of_a_model_says_what_the_settings_need_not():
    space = space_of("rnn=gru,lstm", "bidirectional=false,true", "hidden=4,8", "epochs=2")
    found = {(model_name(one), varied_text(one, space)) for one in map(space.at, space.grid())}
    assert ("bilstm", "hidden 8") in found
    assert len(found) == 8


scalars = st.sampled_from(["gru", "lstm", 3, 0.5, True])


@given(st.lists(scalars, min_size=1, max_size=4, unique_by=repr))
def test_values_survive_being_written_down(values):
    parsed = parse_values(values)
    assert parse_values(parsed.document()) == parsed == Choice(tuple(values))
    assert parse_values(Range(0.1, 2.0, log=True).document()) == Range(0.1, 2.0, log=True)


def test_a_candidate_is_a_command_line():
    space = space_of("rnn=gru", "bidirectional=true", "hidden=4", "head.mlp=[8, 4]",
                     "label-weight=['a=2', 'b=3']")  # fmt: skip
    (picked,) = space.grid()
    settings = SweepSettings(
        level="series", metric="auc", sampler="grid", trials=1, pruning=False, inner_folds=1,
        seed=3, labels=("a", "b"), labels_digest="", features=(), search=space.document(),
        operating_point="max-sensitivity", duplicate_scans="together",
        sources={"store": "c.zarr", "labels": "reads.csv", "labels_format": "cq500",
                 "slice_labels": "slices.csv"},
    )  # fmt: skip
    assert fit_command(space.at(picked), settings, split="s.csv") == (
        "seqhead fit c.zarr --labels reads.csv --labels-format cq500 --slice-labels slices.csv "
        "--rnn gru --bidirectional --hidden 4 --set 'head.mlp=[8, 4]' --label-weight "
        "a=2 --label-weight b=3 --level series --seed 3 --split s.csv --duplicate-scans together "
        "--operating-point max-sensitivity"
    )


@pytest.mark.parametrize("name", ["views", "seed", "memory", "device", "level"])
def test_what_trials_do_not_read_cannot_be_searched(name):
    with pytest.raises(FitError, match=f"{name}: it cannot be searched"):
        parse_space({"rnn": "gru", name: [1, 2]}, "series")
