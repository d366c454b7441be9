"""`featurecache extract` takes features and series from a published system, and says so."""

from types import SimpleNamespace

import click
import pytest

from cli.extract_options import extract_options
from cli.requested import requested
from featurecache.errors import UsageError
from featurecache.select import PRESET_RULES, Selection
from seqhead.errors import SeqHeadError


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """asked("--system", "sdlm", select=(...), project=(...)) -> Requested."""

    def run(*arguments, select=(), project=()):
        monkeypatch.setattr("cli.requested.load_project", lambda: SimpleNamespace(select=project))
        monkeypatch.setattr("cli.tasks.load_project", lambda: SimpleNamespace(select=project))
        caught = {}

        @click.command()
        @extract_options
        @click.option("--workers", type=int)
        @click.pass_context
        def command(context, **options):
            caught["asked"] = requested(context, options, select)

        command.main(list(arguments), standalone_mode=False)
        return caught["asked"]

    return run


def test_a_system_brings_its_feature_sets_and_its_series(asked, capsys):
    request = asked("--system", "drct2", "--weights", "random:0", "--precision", "fp32")
    small, zoomed = request.features
    assert (small.backbone, small.size, small.zoom, small.pool) == ("vgg16", 224, None, "max")
    assert (zoomed.backbone, zoomed.size, zoomed.zoom) == ("vgg16", 224, 512)
    assert {one.weights for one in request.features} == {"random:0"}
    assert {one.precision for one in request.features} == {"fp32"}
    assert capsys.readouterr().err == ""


def test_without_weights_of_ones_own_a_system_has_those_of_its_paper(asked):
    (features,) = asked("--system", "sdlm").features
    assert features.weights == "imagenet:IMAGENET1K_FEATURES"
    assert features.feature_name == "sdlm-vgg16"


def test_series_of_a_system_go_before_those_of_a_preset_and_that_is_said(asked, capsys):
    preset = PRESET_RULES["cq500"]
    assert asked("--system", "sdlm", project=preset).selection == Selection.parse(["all"])
    assert "sdlm uses all, instead of the project's" in capsys.readouterr().err
    kept = asked("--system", "sdlm", project=preset, select=("slices>=10",)).selection
    assert kept == Selection.parse(["slices>=10"])


def test_views_of_a_system_are_views_of_each_of_its_sets(asked):
    names = [one.feature_name for one in asked("--system", "drct2", "--views", "1").features]
    assert names[2:] == [f"{name}.view1" for name in names[:2]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a --backbone"),
        (("--system", "sdlm", "--backbone", "vgg19"), "leave out --backbone"),
        (("--system", "sdlm", "--size", "128", "--fov", "250"), "leave out --size, --fov"),
        (("--system", "sdml"), "sdml"),
        (("--system", "max"), "reads no features of its own"),
    ],
)
def test_what_a_system_says_cannot_be_said_twice(asked, arguments, words):
    with pytest.raises((UsageError, SeqHeadError), match=words):
        asked(*arguments)
