"""`featurecache extract` takes features and series from a published system, and says so."""

import click
import pytest

from cli.extract_options import extract_options
from cli.options import select_option
from cli.requested import requested
from featurecache.errors import UsageError
from featurecache.project import write_project
from featurecache.select import PRESET_RULES, Selection
from seqhead.errors import SeqHeadError
from seqhead.systems import load_system


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """asked("--system", "sdlm", project=(...)) -> Requested, in a folder with these settings."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, project=()):
        write_project(select=list(project))
        caught = {}

        @click.command()
        @extract_options
        @select_option
        @click.option("--workers", type=int)
        @click.pass_context
        def command(context, select, dry_run, **options):
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


@pytest.fixture
def sdlm_of_thin_series(monkeypatch):
    """The system SDLM, as if its paper had used thin series only."""
    thin = load_system("sdlm").model_copy(update={"select": ("thickness<=2",)})
    monkeypatch.setattr("seqhead.systems.recipes.load_system", lambda name: thin)


def test_series_of_a_system_go_before_those_of_the_settings_and_that_is_said(asked, capsys):
    preset = PRESET_RULES["cq500"]
    assert asked("--system", "sdlm", project=preset).selection == Selection.parse(["all"])
    assert capsys.readouterr().err == (
        "Note: series are chosen as sdlm says (all), not by the 7 rules of featurecache.toml; "
        "--select says otherwise\n"
    )
    assert asked("--backbone", "vgg16", project=preset).selection == Selection.parse(preset)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("sdlm_of_thin_series")
def test_rules_of_a_system_hold_where_the_settings_have_none_or_others(asked, capsys):
    thin = Selection.parse(["thickness<=2"])
    for project in ((), ("thickness <= 2.0 mm",)):
        assert asked("--system", "sdlm", project=project).selection == thin
        assert capsys.readouterr().err == ""
    assert asked("--system", "sdlm", project=("all",)).selection == thin
    assert "as sdlm says (thickness<=2 mm), not by the 1 rule of" in capsys.readouterr().err


@pytest.mark.usefixtures("sdlm_of_thin_series")
@pytest.mark.parametrize(
    ("given", "variable", "rules", "said"),
    [
        (("slices>=9",), None, ["slices>=9"], "series are chosen by --select (slices>=9), not"),
        (("+slices>=9",), None, ["thickness<=2", "slices>=9"], "(thickness<=2 mm; slices>=9), not"),
        (("all",), None, [], "by --select (all), not as sdlm says (thickness<=2 mm)\n"),
        (("thickness<=2mm",), None, ["thickness<=2"], None),
        ((), "gap<=3;slices>=9", ["gap<=3", "slices>=9"], "by FEATURECACHE_SELECT (gap<=3 mm; sl"),
    ],
)
def test_series_that_are_asked_for_go_before_both(
    asked, capsys, monkeypatch, given, variable, rules, said
):
    if variable is not None:
        monkeypatch.setenv("FEATURECACHE_SELECT", variable)
    options = [word for rule in given for word in ("--select", rule)]
    request = asked("--system", "sdlm", *options, project=("kernel!=*bone*",))
    assert request.selection == Selection.parse(rules)
    shown = capsys.readouterr().err
    assert shown == "" if said is None else said in shown


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
