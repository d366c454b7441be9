import pytest
import torch

from seqhead.errors import FitError
from seqhead.heads import make_head
from seqhead.systems import load_system, system_names
from seqhead.systems.describe import describe, keras_count, systems_document
from seqhead.systems_text import description_text, systems_text

TABLE_2 = {
    "resnet50-gru": 10_106_889, "resnet50-lstm": 13_253_641,
    "vgg16-gru": 5_382_153, "vgg16-lstm": 6_956_041,
    "vgg19-gru": 5_382_153, "vgg19-lstm": 6_956_041,
    "densenet121-gru": 6_957_065, "densenet121-lstm": 9_055_241,
}  # fmt: skip


@pytest.mark.parametrize(("model", "count"), TABLE_2.items())
def test_parameters_of_sdlm_are_exactly_those_of_its_table_2(model, count):
    description = describe(f"sdlm-{model}")
    assert description.parameters_paper == count
    assert description.system.reported["parameters"] == count
    assert sum(layer.parameters_paper for layer in description.layers) == count
    assert sum(layer.parameters for layer in description.layers) == description.parameters


def test_pytorchs_count_is_that_of_pytorch():
    head = make_head(load_system("sdlm-vgg16-lstm").head)
    lstm = torch.nn.LSTM(512, 1024)
    rest = 2 * 512 + 524_800 + 131_328 + 2_313
    assert describe("sdlm-vgg16-lstm").parameters == rest + sum(
        p.numel() for p in lstm.parameters()
    )
    assert keras_count(lstm) == 4 * (512 * 1024 + 1024 * 1024 + 1024)
    assert keras_count(torch.nn.BatchNorm1d(7)) == 4 * 7
    assert keras_count(head) == 6_956_041


def test_layers_are_listed_with_their_shapes_in_the_order_of_computation():
    layers = describe("sdlm").layers
    assert [layer.shape for layer in layers] == [
        ("B", "S", 512), ("B", "S", 1024), ("B", 1024), ("B", 512), ("B", 256), ("B", 9)
    ]  # fmt: skip
    assert [layer.kind for layer in layers][:3] == [
        "batch normalisation", "GRU, reset gate before the product", "last state"
    ]  # fmt: skip


def test_key_slices_are_sixteen():
    shapes = {layer.name: layer.shape for layer in describe("drct2").layers}
    assert shapes["primary.step_dense"] == ("B", "S", 256)
    assert shapes["zoom.input_dense"] == ("B", 16, 512)
    assert shapes["fusion.6"] == ("B", 9)


def test_other_widths_and_label_counts_are_laid_out():
    description = describe("drct2", features=96, labels=2)
    assert description.layers[-1].shape == ("B", 2)
    assert description.layers[0].shape == ("B", "S", 96)
    assert description.parameters < describe("drct2").parameters
    assert describe("alexnet-svm", labels=2).parameters == 2 * 4097
    assert describe("max").layers == ()
    with pytest.raises(FitError, match="is not a system"):
        describe("nothing")


def test_the_document_has_the_promised_fields():
    document = systems_document()
    assert document["schema_version"] == 1
    assert [one["name"] for one in document["systems"]] == list(system_names())
    for one in document["systems"]:
        assert {"name", "paper", "level", "input", "parameters", "parameters_paper",
                "reported"} <= set(one)  # fmt: skip
    counts = {one["name"]: one["parameters_paper"] for one in document["systems"]}
    assert counts["sdlm-vgg16-gru"] == 5_382_153
    assert counts["drct2"] == describe("drct2").parameters_paper


@pytest.mark.parametrize("name", system_names())
def test_every_system_can_be_described(name):
    import json

    description = describe(name, labels=2)
    document = json.loads(json.dumps(description.document(), allow_nan=False))
    assert document["name"] == name
    text = "\n".join(description_text(description))
    for choice in description.system.choices:
        assert choice.chosen in text


def test_the_table_lists_every_system():
    lines = systems_text(systems_document())
    assert any(line.startswith("sdlm-vgg16-gru (sdlm) ") and "5,382,153" in line for line in lines)
    assert {line.split()[0] for line in lines if line} >= set(system_names())
