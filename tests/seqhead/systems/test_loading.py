import re

import pytest

from featurecache.options import check_options
from featurecache.select import Selection
from seqhead.errors import FitError
from seqhead.systems import extraction, load_system, system_names
from seqhead.systems.loading import changed_system, merged, parse_settings
from seqhead.systems.recipes import extract_command, recipe_differences

ASKED_FOR = {
    *(f"sdlm-{cnn}-{rnn}" for cnn in ("vgg16", "vgg19", "resnet50", "densenet121")
      for rnn in ("gru", "lstm")),
    "sdlm-binary", "xception", "xception-lstm", "xception-gru", "drct1", "drct2", "drct2-native",
    "alexnet-svm", "svm", "max", "p95", "any",
}  # fmt: skip
READING = [name for name in system_names() if load_system(name).features]


def test_every_published_system_on_cached_features_is_there():
    assert set(system_names()) >= ASKED_FOR
    assert load_system("sdlm") == load_system("sdlm-vgg16-gru")


@pytest.mark.parametrize("name", system_names())
def test_a_system_says_where_it_had_to_choose(name):
    system = load_system(name)
    assert system.choices
    for choice in system.choices:
        settings = [one for one in choice.instead if not one.startswith("--")]
        for setting in settings:
            changed_system(system, parse_settings([setting]))
    abouts = [choice.about for choice in system.choices]
    assert len(abouts) == len(set(abouts))


@pytest.mark.parametrize("name", system_names())
def test_reported_numbers_are_fractions(name):
    def numbers(value):
        if isinstance(value, dict):
            return [
                n
                for key, one in value.items()
                if key not in ("parameters", "seconds_per_scan")
                for n in numbers(one)
            ]
        return [n for one in value for n in numbers(one)] if isinstance(value, list) else [value]

    assert all(0 <= number <= 1 for number in numbers(load_system(name).reported))


@pytest.mark.parametrize("model", ["xception", "xception-lstm", "xception-gru"])
def test_the_numbers_of_table_ii_put_right_pool_to_table_i(model):
    reported = load_system(model).reported
    tn, fp, fn, tp = 0.0, 0.0, 0.0, 0.0
    for one in reported["labels"].values():
        false_alarms = 1 / one["specificity"] - 1  # for one true negative
        hits = one["precision"] * false_alarms / (1 - one["precision"])
        missed = hits * (1 / one["recall"] - 1)
        total = 1 + false_alarms + hits + missed
        tn, fp = tn + 1 / total, fp + false_alarms / total
        fn, tp = fn + missed / total, tp + hits / total
        f1 = 2 * one["precision"] * one["recall"] / (one["precision"] + one["recall"])
        assert one["f1"] == pytest.approx(f1, abs=1.5e-3)
        assert one["accuracy"] == pytest.approx((1 + hits) / total, abs=5e-4)
    assert tp / (tp + fp) == pytest.approx(reported["precision"], abs=5e-4)
    assert tp / (tp + fn) == pytest.approx(reported["recall"], abs=1.5e-3)
    assert tn / (tn + fp) == pytest.approx(reported["specificity"], abs=1e-4)
    assert (tn + tp) / 6 == pytest.approx(reported["accuracy"], abs=1e-4)


def test_a_name_that_is_none_is_answered_with_those_that_are_close():
    with pytest.raises(FitError, match="did you mean sdlm-vgg16-gru"):
        load_system("sdlm-vgg16-gruu")
    with pytest.raises(FitError, match="seqhead systems"):
        load_system("../../etc")


def test_a_file_that_extends_another_takes_the_rest_from_it():
    parent, child = load_system("sdlm-vgg16-gru"), load_system("sdlm-resnet50-lstm")
    assert child.training == parent.training
    assert child.head.rnn == "lstm"
    assert child.head.features == child.features[0].width == 2048
    assert child.aliases == ()
    assert child.reported["f1"] != parent.reported["f1"]
    about = {choice.about for choice in child.choices}
    assert "reset gate of the GRU" not in about
    assert "size of the GRU" in about


@pytest.mark.parametrize("name", READING)
def test_extractions_are_valid_and_named(name):
    wanted = extraction(name)
    assert Selection.parse(wanted.select).texts == ("all",)
    names = [options.name for options in wanted.sets]
    assert len(names) == len(set(names))
    for options in wanted.sets:
        check_options(options)
        assert options.feature_name == options.name


def test_feature_sets_of_one_name_are_of_one_recipe():
    specs = {}
    for name in READING:
        for spec in load_system(name).features:
            assert specs.setdefault(spec.name, spec) == spec


def test_a_rule_reads_no_features():
    with pytest.raises(FitError, match="reads no features"):
        extraction("max")


def typed(line):
    """What the command line makes of a line of `featurecache extract`."""
    from cli.featurecache import main

    words = line.split()
    assert words[:2] == ["featurecache", "extract"]
    context = main.commands["extract"].make_context("extract", words[2:])
    return context.params


@pytest.mark.parametrize("name", READING)
def test_the_printed_command_extracts_what_is_wanted(name):
    for spec, options in zip(load_system(name).features, extraction(name).sets, strict=False):
        given = typed(extract_command(spec))
        for field in ("backbone", "weights", "windows", "size", "fit", "zoom", "pool", "layer"):
            assert given[field] == getattr(options, field)
        assert given["name"] == spec.name


NETWORKS = {
    (spec.backbone, spec.layer): spec for name in READING for spec in load_system(name).features
}


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=lambda spec: spec.backbone)
def test_a_backbone_has_the_layer_and_width_that_a_system_names(spec):
    from featurecache.backbones import load_backbone

    backbone = load_backbone(spec.backbone, "random:0", layer=spec.layer, pool=spec.pool, size=96)
    assert (backbone.layer, backbone.dim) == (spec.node, spec.width)


@pytest.mark.parametrize("name", READING)
def test_features_of_the_right_recipe_have_no_differences(name, recipe):
    for spec in load_system(name).features:
        assert recipe_differences(spec, recipe(spec)) == []
        assert recipe_differences(spec, recipe(spec, precision="bf16", dtype="float16")) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 256}, "size is 256, not 224"),
        ({"zoom": 512}, "zoom is 512, not None"),
        ({"pool": "max"}, "pool is max, not avg"),
        ({"layer": "features.23"}, "layer is features.23"),
        ({"weights_source": "imagenet"}, "weights is imagenet, not imagenet:IMAGENET1K_FEATURES"),
        ({"windows": ((80.0, 200.0),)}, "windows is"),
        ({"backbone": "vgg19"}, "backbone is vgg19"),
        ({"resize": "crop to the central square"}, "resize is crop"),
        ({"view_number": 2, "view_seed": 0}, "view_number is 2, not None"),
        ({"spacing_mm": 1.0, "fov_mm": 250.0}, "spacing_mm is 1.0, not None"),
    ],
)
def test_another_recipe_is_told_by_its_fields(changes, said, recipe):
    spec = load_system("sdlm").features[0]
    assert any(said in one for one in recipe_differences(spec, recipe(spec, **changes)))


def test_imagenet_and_its_first_version_are_the_same_weights(recipe):
    spec = load_system("drct1").features[0]
    named = recipe(spec, weights_source="imagenet:IMAGENET1K_V1")
    assert recipe_differences(spec, named) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["head.pool=max"], {"head": {"pool": "max"}}),
        (["head.mlp=[3, 4]", "training.epochs=5"],
         {"head": {"mlp": [3, 4]}, "training": {"epochs": 5}}),
        (["head.zoom.branch.hidden=8", "head.zoom.slices=4"],
         {"head": {"zoom": {"branch": {"hidden": 8}, "slices": 4}}}),
        (["head.reset_after=true", "svm.C=0.5"],
         {"head": {"reset_after": True}, "svm": {"C": 0.5}}),
        (['head.zoom={ slices = 3 }'], {"head": {"zoom": {"slices": 3}}}),
    ],
)  # fmt: skip
def test_settings_are_toml_and_words_need_no_quotes(settings, expected):
    assert parse_settings(settings) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["pool=max"], "PART.FIELD=VALUE"),
        (["head.pool"], "PART.FIELD=VALUE"),
        (["features.size=3"], "PART.FIELD=VALUE"),
        (["head..x=3"], "PART.FIELD=VALUE"),
        (["head.pool=max", "head.pool=mean"], "set before"),
        (["head.zoom=3", "head.zoom.slices=4"], "as a whole before"),
        (["head.features=4"], "how wide"),
        (["training.seed=4"], "use --seed"),
    ],
)
def test_other_settings_are_refused(settings, message):
    with pytest.raises(FitError, match=re.escape(message)):
        parse_settings(settings)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("head.pol=max", r"sdlm-vgg16-gru: head\.pol"),
        ("head.pool=most", r"head\.pool"),
        ("head.rnn=lstm", "reset_after is of a GRU"),
        ("head.pool=none", "level slice goes with pool none"),
        ("svm.C=3", "has no svm"),
        ("training.epochs=0", r"training\.epochs"),
        ("training.learning_rate=-1", r"training\.learning_rate"),
    ],
)
def test_a_system_cannot_be_changed_to_something_that_is_none(setting, message):
    with pytest.raises(FitError, match=message):
        changed_system(load_system("sdlm"), parse_settings([setting]))


def test_a_change_leaves_the_rest_as_it_was():
    system = load_system("drct2")
    changed = changed_system(system, parse_settings(["head.zoom.slices=4"]))
    assert changed.head.zoom.slices == 4
    assert changed.head.zoom.branch == system.head.zoom.branch
    assert changed.training == system.training
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
