"""Backbones give the features that torchvision's and timm's own forward passes give."""

import pickle
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from featurecache import registry
from featurecache.backbones import check_backbone, load_backbone, register_backbone
from featurecache.errors import MissingResourceError, UsageError

IMAGES = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def seeded(name, seed=0, **options):
    torch.manual_seed(seed)
    return torchvision.models.get_model(name, weights=None, **options).eval()


def embed(backbone, images=IMAGES):
    with torch.inference_mode():
        return backbone.module(images)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "dim", "maps"),
    [
        ("alexnet", 256, lambda m, x: m.features(x)),
        ("squeezenet1_1", 512, lambda m, x: m.features(x)),
        ("vgg11", 512, lambda m, x: m.features(x)),
        ("densenet121", 1024, lambda m, x: torch.relu(m.features(x))),
        ("mobilenet_v2", 1280, lambda m, x: m.features(x)),
    ],
)
def test_default_layer_is_the_last_map_before_the_networks_pooling(name, dim, maps):
    backbone = load_backbone(name, "random:3", size=96)
    with torch.inference_mode():
        expected = maps(seeded(name, 3), IMAGES).mean((2, 3))
    assert backbone.dim == dim
    torch.testing.assert_close(embed(backbone), expected)


@pytest.mark.oracle
@pytest.mark.parametrize(("pool", "reduce"), [("avg", "mean"), ("max", "amax")])
def test_resnet_pools_layer4(pool, reduce):
    backbone = load_backbone("resnet18", "random:0", pool=pool, size=96)
    model = seeded("resnet18")
    with torch.inference_mode():
        x = model.maxpool(model.relu(model.bn1(model.conv1(IMAGES))))
        maps = model.layer4(model.layer3(model.layer2(model.layer1(x))))
    torch.testing.assert_close(embed(backbone), getattr(maps, reduce)((2, 3)))


@pytest.mark.oracle
def test_named_layer_inside_the_classifier():
    backbone = load_backbone("alexnet", "random:0", layer="classifier.5", size=96)
    model = seeded("alexnet")
    with torch.inference_mode():
        expected = model.classifier[:6](torch.flatten(model.avgpool(model.features(IMAGES)), 1))
    assert backbone.dim == 4096
    torch.testing.assert_close(embed(backbone), expected)


@pytest.mark.parametrize(
    "name", ["swin_t", "shufflenet_v2_x0_5", "mnasnet0_5", "regnet_y_400mf", "efficientnet_b0",
             "convnext_tiny", "googlenet", "mobilenet_v3_small"],
)  # fmt: skip
def test_one_network_of_every_family_gives_what_its_classifier_is_fed(name):
    backbone = load_backbone(name, "random:0", size=96)
    model = seeded(
        name, **({"transform_input": True, "init_weights": True} if name == "googlenet" else {})
    )
    fed = {}
    dense = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    first = model.classifier[0] if name == "mobilenet_v3_small" else dense[-1]
    hook = first.register_forward_pre_hook(lambda _, inputs: fed.update(x=inputs[0]))
    with torch.inference_mode():
        model(IMAGES)
    hook.remove()
    got = embed(backbone)
    if name == "convnext_tiny":  # its normalisation comes after the pooling
        with torch.inference_mode():
            got = model.classifier[0](got[:, :, None, None]).flatten(1)
    torch.testing.assert_close(got, fed["x"].flatten(1), rtol=1e-4, atol=1e-5)


def test_no_pooling_flattens_the_map():
    backbone = load_backbone("squeezenet1_1", "random:0", pool="none", size=96)
    assert embed(backbone).shape == (2, backbone.dim)
    assert backbone.dim == 512 * 5 * 5


@pytest.mark.oracle
def test_timm_gives_what_forward_head_gives():
    import timm

    backbone = load_backbone("timm:legacy_xception", "random:1", size=96)
    torch.manual_seed(1)
    model = timm.create_model("legacy_xception", num_classes=0).eval()
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(IMAGES), pre_logits=True)
    assert backbone.dim == 2048
    torch.testing.assert_close(embed(backbone), expected)
    assert backbone.mean == (0.5, 0.5, 0.5)


def test_same_seed_gives_the_same_digest_and_another_seed_another():
    digests = [load_backbone("squeezenet1_1", f"random:{s}").weights for s in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_building_a_backbone_leaves_the_random_state_alone():
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    load_backbone("squeezenet1_1", "random:0")
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    "rename", [str, lambda k: f"module.backbone.{k}", lambda k: k.removeprefix("features.")]
)
def test_weights_file_gives_the_same_network_whatever_its_prefix(tmp_path, suffix, rename):
    state = {k: v for k, v in seeded("squeezenet1_1", 5).state_dict().items() if "features" in k}
    state = {rename(name): tensor for name, tensor in state.items()}
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    backbone = load_backbone("squeezenet1_1", str(path), size=96)
    expected = load_backbone("squeezenet1_1", "random:5", size=96)
    assert backbone.weights == expected.weights
    assert backbone.weights_source == path.name
    torch.testing.assert_close(embed(backbone), embed(expected))


def test_names_missing_and_misshapen_tensors(tmp_path):
    state = seeded("squeezenet1_1").state_dict()
    short = {k: v for k, v in state.items() if k != "features.0.bias"}
    save_file(short, tmp_path / "short.safetensors")
    with pytest.raises(UsageError, match=r"features\.0\.bias missing"):
        load_backbone("squeezenet1_1", str(tmp_path / "short.safetensors"))
    state["features.0.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "shape.safetensors")
    with pytest.raises(UsageError, match=r"features\.0\.bias is \(3,\), not \(64,\)"):
        load_backbone("squeezenet1_1", str(tmp_path / "shape.safetensors"))


def test_refuses_weights_that_are_not_finite(tmp_path):
    state = seeded("squeezenet1_1").state_dict()
    state["features.0.bias"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(UsageError, match=r"features\.0\.bias has values that are not finite"):
        load_backbone("squeezenet1_1", str(tmp_path / "nan.safetensors"))


class Boom:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was executed')",))


def test_pickle_offered_as_weights_is_refused_and_not_executed(tmp_path):
    """Case 53."""
    for name in ("plain.pth", "plain.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps({"state_dict": Boom()}))
        with pytest.raises(UsageError, match="Nothing in the file was executed"):
            load_backbone("squeezenet1_1", str(tmp_path / name))
    torch.save({"state_dict": Boom()}, tmp_path / "zip.pth")
    with pytest.raises(UsageError, match="Nothing in the file was executed"):
        load_backbone("squeezenet1_1", str(tmp_path / "zip.pth"))


def test_failed_download_names_the_three_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    with pytest.raises(MissingResourceError) as caught:
        load_backbone("squeezenet1_1", "imagenet")
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "Name or service not known" in message
    assert "--weights FILE" in message
    assert "random:0" in message


def test_downloaded_weights_are_taken_from_the_cache(tmp_path, monkeypatch):
    """What an earlier download, or a person, put into the cache of torch hub."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    published = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / published.url.rsplit("/", 1)[1]
    torch.save(seeded("squeezenet1_1", 5).state_dict(), file)
    backbone = load_backbone("squeezenet1_1", "imagenet")
    assert backbone.weights == load_backbone("squeezenet1_1", "random:5").weights


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "vgg61"}, "did you mean vgg"),
        ({"name": "timm:resnet1818"}, "not a timm model"),
        ({"name": "alexnet", "layer": "featurs"}, "not a layer"),
        ({"name": "alexnet", "pool": "median"}, "expected avg, max or none"),
        ({"name": "alexnet", "weights": "random:x"}, "random:SEED"),
        ({"name": "alexnet", "weights": "imagenet:V9"}, "not weights of alexnet"),
        ({"name": "alexnet", "size": 8}, "does not take images of 8 x 8 pixels"),
    ],
)
def test_says_what_is_wrong(arguments, words):
    with pytest.raises(UsageError, match=words):
        load_backbone(**{"weights": "random:0", **arguments})


def test_missing_weights_file_is_a_missing_resource():
    with pytest.raises(MissingResourceError, match="no such file"):
        load_backbone("alexnet", "nowhere.safetensors")


# ---- networks of one's own


def test_a_registered_network_is_a_backbone(tiny, tmp_path):
    one, same, other = (load_backbone("tiny", f"random:{seed}", size=32) for seed in (0, 0, 1))
    assert (one.name, one.dim, one.layer, one.weights_source) == ("tiny", 8, "output", "random:0")
    assert one.weights == same.weights != other.weights
    assert one.mean == (0.485, 0.456, 0.406)
    assert load_backbone("flat", "random:0", size=32).mean == (0.5, 0.5, 0.5)
    images = torch.rand(2, 3, 32, 32)
    assert one.module(images).shape == (2, 8)
    assert load_backbone("tiny", "random:0", size=32, pool="none").dim == 8 * 4 * 4
    assert load_backbone("flat", "random:0", size=32, layer="0").dim == 3
    file = tmp_path / "tiny.safetensors"
    save_file(other.module.body.state_dict(), file)
    assert load_backbone("tiny", str(file), size=32).weights == other.weights


def test_a_registered_network_has_no_published_weights(tiny):
    with pytest.raises(UsageError, match="tiny is registered and has no published weights"):
        load_backbone("tiny", "imagenet", size=32)


@pytest.mark.parametrize("name", ["vgg16", "timm:mine", "a,b", "", "x" * 65])
def test_names_that_mean_something_else_cannot_be_registered(tiny, name):
    with pytest.raises(UsageError, match="a backbone cannot be called"):
        register_backbone(name, tiny.tiny)


def test_a_mistyped_registered_name_is_suggested(tiny):
    with pytest.raises(UsageError, match="did you mean tiny"):
        check_backbone("tinny")


def test_an_installed_package_can_bring_backbones(tiny, monkeypatch):
    def plugins(group, name):
        assert group == "featurecache.backbones"
        load = lambda: register_backbone("theirs", tiny.tiny)  # noqa: E731
        return [SimpleNamespace(load=load)] if name == "theirs" else []

    monkeypatch.setattr(registry, "entry_points", plugins)
    check_backbone("theirs")
    assert load_backbone("theirs", "random:0", size=32).dim == 8
