"""`seqhead systems`, `describe` and `fit --system` as a user types them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from cli.seqhead import main


def seqhead(*arguments, code=0):
    """Run a command line in this process."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.exit_code}\n{result.output}\n{result.exception}"
    return result


@pytest.fixture
def folder(tmp_path, monkeypatch, make_store):
    """A working folder with a store of plain VGG16 features and labels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    matrices = {
        f"2.{k}": rng.normal(size=(int(rng.integers(2, 9)), 6)).astype(np.float32)
        for k in range(12)
    }
    recipe = {
        "backbone": "vgg16", "weights": "digest", "weights_source": "imagenet",
        "layer": "features.30", "pool": "avg", "windows": [[40.0, 80.0]], "size": 224,
        "zoom": None, "resize": "squash, bilinear, antialiased, after windowing",
    }  # fmt: skip
    make_store(tmp_path / "cache.zarr", matrices, name="vgg16", recipe=recipe)
    lines = [f"{series},{k % 2}" for k, series in enumerate(matrices)]
    (tmp_path / "labels.csv").write_text("\n".join(["SeriesInstanceUID,ICH", *lines]))
    slices = [f"{s}.{k},{k % 2}" for s, matrix in matrices.items() for k in range(len(matrix))]
    (tmp_path / "slices.csv").write_text("\n".join(["SOPInstanceUID,ICH", *slices]))
    return tmp_path


LABELS = ("--labels", "labels.csv", "--device", "cpu")


def test_systems_are_listed_with_their_parameters():
    text = seqhead("systems").stdout
    assert "sdlm-vgg16-gru (sdlm)" in text
    assert "13,253,641" in text
    document = json.loads(seqhead("systems", "--json").stdout)
    assert document["schema_version"] == 1
    sdlm = {one["name"]: one for one in document["systems"]}["sdlm-vgg16-gru"]
    assert sdlm["parameters_paper"] == 5_382_153
    assert sdlm["reported"]["f1"] == 0.6412


def test_a_system_is_described_for_any_width_and_number_of_labels():
    document = json.loads(
        seqhead("describe", "sdlm", "--features", 1024, "--labels", 9, "--json").stdout
    )
    assert document["parameters_paper"] == 6_957_065
    assert document["layers"][-1]["shape"] == ["B", 9]
    text = seqhead("describe", "drct2").stdout
    assert "(B, 16, 512)" in text
    assert "--zoom 512" in text
    assert "is not a system" in seqhead("describe", "drct3", code=2).output


def test_a_fit_of_a_system_wants_its_features(folder):
    refused = seqhead("fit", *LABELS, "--system", "sdlm", code=5)
    assert "weights is imagenet, not imagenet:IMAGENET1K_FEATURES" in refused.output
    assert (
        "featurecache extract --backbone vgg16 --weights imagenet:IMAGENET1K_FEATURES "
        "--windows brain --size 224 --pool avg --name sdlm-vgg16" in refused.output
    )
    small = ("--set", "head.hidden=4", "--set", "training.epochs=1")
    text = seqhead("fit", *LABELS, "--system", "sdlm", "--any-recipe", *small).stdout
    assert "not the features of sdlm-vgg16-gru" in text
    assert text.splitlines()[-1] == "run: runs/sdlm-vgg16-gru-1"
    assert "AUC" in seqhead("evaluate", "runs/sdlm-vgg16-gru-1").stdout


def test_an_svm_of_the_papers_fits_the_plain_features(folder):
    document = json.loads(seqhead("fit", *LABELS, "--system", "svm", "--json").stdout)
    assert document["model"] == "svm"
    assert document["run"] == "runs/svm-1"


def test_rules_make_series_of_slices(folder):
    options = ("--slice-labels", "slices.csv", "--level", "slice", "--epochs", 1, "--hidden", 4)
    seqhead("fit", *LABELS, *options)
    series = ("evaluate", "runs/vgg16-gru-1", "--level", "series", "--combine")
    scores = {
        rule: json.loads(seqhead(*series, rule, "--json").stdout)
        for rule in ("max", "any", "p95", "3-consecutive")
    }
    assert [scores[rule]["combine"] for rule in scores] == list(scores)
    assert scores["max"]["labels"] == scores["any"]["labels"]
    text = seqhead(*series, "p95").stdout
    assert "by the rule p95" in text
    assert "no rule" in seqhead(*series, "p9", code=2).output
    assert "no effect" in seqhead("evaluate", "runs/vgg16-gru-1", "--combine", "max", code=2).output


def test_a_system_that_is_a_rule_says_how_it_is_used(folder):
    refused = seqhead("fit", *LABELS, "--system", "3-consecutive", code=2)
    assert "--combine 3-consecutive" in refused.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "pool=max"), "PART.FIELD=VALUE"),
        (("--set", "head.hiden=3"), "hiden"),
        (("--any-recipe",), "goes with --system"),
        (("--system", "sdlm2"), "is not a system"),
        (("--label-weight", "SDH=2"), "no such label"),
        (("--second-features", "nothing"), "no feature set 'nothing'"),
    ],
)
def test_what_cannot_be_is_refused(folder, options, message):
    assert message in seqhead("fit", *LABELS, *options, code=2).output


def test_weights_and_balance_reach_the_run(folder):
    from seqhead.run import Run

    seqhead("fit", *LABELS, "--epochs", 1, "--hidden", 4, "--label-weight", "ICH=2", "--balance",
            "loss", "--loss", "focal", "--rnn", "tcn", "--pool", "gated-attention")  # fmt: skip
    config = Run.open(folder / "runs/vgg16-tcn-1").config
    assert config.training.label_weights == (2.0,)
    assert (config.training.balance, config.training.loss) == ("loss", "focal")
    assert config.head.pool == "gated-attention"
