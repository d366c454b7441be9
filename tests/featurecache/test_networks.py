"""A recipe leads back to the network that it came of."""

from dataclasses import replace

import pytest
import torch

from featurecache.errors import MissingResourceError, UsageError
from featurecache.networks import is_of_file, open_network, options_of
from featurecache.options import FeatureOptions
from featurecache.plan import make_recipe
from featurecache.recipe import differences
from featurecache.runner import open_backbone

CPU = torch.device("cpu")
PLAIN = FeatureOptions("squeezenet1_1", weights="random:0", size=48)


def document(options):
    return make_recipe(options, open_backbone(options), "fp32").document()


@pytest.mark.parametrize(
    "options",
    [
        PLAIN,
        replace(PLAIN, windows="40.5/80,subdural,bone", pool="max", zoom=64, dtype="float32"),
        replace(PLAIN, layer="features.9", fit="pad"),
        replace(PLAIN, spacing_mm=0.7, fov_mm=210.0),
        replace(PLAIN, view_number=2, view_seed=5, name="squeezenet1_1.view2"),
        FeatureOptions("timm:test_resnet", weights="random:1", size=64),
        FeatureOptions("timm:test_resnet", weights="random:1", size=64, layer="layer3"),
        FeatureOptions("swin_t", weights="random:0", size=64),
        FeatureOptions("tiny", weights="random:0", size=32),
    ],
    ids=lambda options: f"{options.backbone} {options.layer} {options.fit} {options.view_number}",
)
def test_a_recipe_leads_back_to_its_network(tiny, options):
    recipe = document(options)
    again = open_network(recipe, CPU, precision="fp32").recipe
    assert differences(again.document(), recipe) == []
    assert again.fingerprint() == make_recipe(options, open_backbone(options), "fp32").fingerprint()


def test_weights_of_a_file_are_to_be_named_and_their_digest_tells_others(tmp_path):
    from safetensors.torch import save_file

    files = []
    for seed in (0, 1):
        body = open_backbone(replace(PLAIN, weights=f"random:{seed}")).module.body
        files.append(tmp_path / f"{seed}.safetensors")
        save_file(
            {name: value.contiguous() for name, value in body.state_dict().items()}, files[-1]
        )
    recipe = document(replace(PLAIN, weights=str(files[0])))
    assert is_of_file(recipe)
    assert not is_of_file(document(PLAIN))
    with pytest.raises(MissingResourceError, match=r"file 0\.safetensors: name it with --weights"):
        options_of(recipe)
    same = open_network(recipe, CPU, precision="fp32", weights=files[0]).recipe
    assert differences(same.document(), recipe) == []
    other = open_network(recipe, CPU, precision="fp32", weights=files[1]).recipe
    assert [text.split()[0] for text in differences(other.document(), recipe)] == ["weights"]


def test_another_precision_is_numerics_and_a_batch_is_as_asked_for():
    network = open_network(document(PLAIN), CPU, precision="bf16", batch_size=3)
    assert (
        network.recipe.fingerprint()["identity"]
        == make_recipe(PLAIN, open_backbone(PLAIN), "fp32").fingerprint()["identity"]
    )
    assert network.recipe.precision == "bf16"
    assert network.embedder.batch_size == 3


@pytest.mark.parametrize(
    "change", [{"resize": "stretched"}, {"layer": None}, {"backbone": 3}, {"windows": 7}]
)
def test_what_is_no_recipe_is_refused(change):
    recipe = {k: v for k, v in {**document(PLAIN), **change}.items() if v is not None}
    with pytest.raises(UsageError):
        open_network(recipe, CPU)
