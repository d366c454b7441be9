"""Features depend on nothing but the slice and the fixed batch size."""

import numpy as np
import pytest
import torch

from featurecache.backbones import load_backbone
from featurecache.embed import Embedder, can_compile, precision_errors
from featurecache.pixels import Decoded
from featurecache.proof import prove
from featurecache.recipe import Recipe


def decoded(seed, side=80, dtype="int16", spacing_mm=()):
    stored = np.random.default_rng(seed).integers(0, 100, (side, side)).astype(dtype)
    return Decoded(stored, 1.0, 0.0, (), 0.0, 0.0, *spacing_mm)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("squeezenet1_1", "random:0", size=64)


def embedder(backbone, batch_size=4, precision="fp32", **framing):
    recipe = Recipe(
        backbone.name, backbone.weights, "random:0", backbone.layer, "avg", ((40.0, 80.0),), 64,
        None, backbone.mean, backbone.std, precision, "float32", **framing,
    )  # fmt: skip
    return Embedder(backbone, recipe, torch.device("cpu"), batch_size)


def test_neighbours_place_padding_and_failed_slices_change_no_bit(backbone):
    embed = embedder(backbone)
    a, b, c = decoded(1), decoded(2), decoded(3)
    full = embed([a, b, c, a])
    np.testing.assert_array_equal(full[0], full[3])
    np.testing.assert_array_equal(embed([a])[0], full[0])
    np.testing.assert_array_equal(embed([None, b, None])[1], full[1])
    np.testing.assert_array_equal(embed([c, a, b, c])[[1, 2, 0]], full[:3])


def test_slices_of_different_size_and_type_share_a_batch(backbone):
    embed = embedder(backbone)
    a, b, c = decoded(1), decoded(2, side=100), decoded(3, dtype="uint16")
    together = embed([a, b, c])
    for place, alone in enumerate((a, b, c)):
        np.testing.assert_array_equal(together[place], embed([alone])[0])


def test_slices_of_one_batch_have_their_own_pixel_spacing(backbone):
    embed = embedder(backbone, spacing_mm=1.0, fov_mm=64.0)
    a, b, c = (decoded(1, spacing_mm=mm) for mm in ((0.5, 0.5), (0.8, 0.7), (0.5, 0.5)))
    together = embed([a, b, c])
    np.testing.assert_array_equal(together[0], together[2])
    np.testing.assert_array_equal(together[1], embed([b])[0])
    assert not np.array_equal(together[0], together[1])


def test_a_device_takes_slices_of_other_spacings_at_once_and_gets_the_same_images(
    backbone, monkeypatch
):
    embed = embedder(backbone, spacing_mm=1.0, fov_mm=64.0)
    slices = [decoded(n, spacing_mm=(0.4 + 0.1 * n, 0.9)) for n in range(4)]
    one_by_one = embed.images(slices)
    monkeypatch.setattr(embed, "_groups", lambda _: [[0, 1, 2, 3]])
    torch.testing.assert_close(embed.images(slices), one_by_one, rtol=0, atol=0)


def test_a_slice_without_spacing_is_refused_only_in_mm(backbone):
    unknown = decoded(1)
    assert embedder(backbone).refusal(unknown) is None
    assert embedder(backbone, spacing_mm=1.0, fov_mm=64.0).refusal(unknown) == (
        "pixel spacing unknown"
    )


def test_fast_precision_leaves_the_backbone_as_it_was(backbone):
    before = embedder(backbone)([decoded(1)])
    fast = embedder(backbone, precision="bf16")([decoded(1)])
    np.testing.assert_array_equal(embedder(backbone)([decoded(1)]), before)
    assert 0 < precision_errors(fast, before)[0] < 0.1


def test_out_of_memory_halves_the_batch(backbone, monkeypatch):
    embed = embedder(backbone)
    slices = [decoded(k) for k in range(4)]
    expected, whole, sizes = embed(slices), embed._module, []

    def small_device(images):
        sizes.append(len(images))
        if len(images) > 1:
            raise torch.OutOfMemoryError("simulated")
        return whole(images)

    monkeypatch.setattr(embed, "_module", small_device)
    np.testing.assert_allclose(embed(slices), expected, rtol=1e-4, atol=1e-5)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]


def test_precision_errors_against_the_vector_and_against_the_spread():
    exact = np.array([[3.0, 4.0], [3.0, 4.1]])
    fast = exact + np.array([[0.05, 0.0], [0.0, 0.0]])
    relative, between = precision_errors(fast, exact)
    assert relative == pytest.approx(0.01)
    assert between == pytest.approx(0.05 / np.hypot(0.05, 0.05))
    assert np.isnan(precision_errors(exact[:1], exact[:1])[1])


@pytest.mark.parametrize(
    ("error", "limit", "used"), [(0.01, 0.02, "bf16"), (0.05, 0.02, "fp32"), (0.05, None, "bf16"),
                                 (np.nan, 0.02, "fp32")],
)  # fmt: skip
def test_precision_is_decided_by_the_error(error, limit, used):
    features = {"fp32": np.eye(2), "bf16": np.eye(2) * (1 + error)}
    outcome = prove(features.__getitem__, "bf16", limit)
    assert outcome["used"] == used
    assert (outcome["note"] is not None) == (used == "fp32")
    if not np.isnan(error):
        assert outcome["relative_error"] == pytest.approx(error)


def test_precision_without_any_slice_is_float32():
    assert prove(lambda p: np.zeros((0, 3)), "bf16", 0.02)["used"] == "fp32"


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="there is no C++ compiler")
def test_one_process_may_compile_as_many_networks_as_it_likes(backbone, monkeypatch):
    from torch._dynamo import config

    monkeypatch.setattr(config, "recompile_limit", 1)
    monkeypatch.setattr(config, "accumulated_recompile_limit", 1)
    monkeypatch.setattr(config, "fail_on_recompile_limit_hit", True)  # else it is silently eager
    recipe = embedder(backbone).recipe
    slices = [decoded(n) for n in range(4)]
    found = [
        Embedder(backbone, recipe, torch.device("cpu"), 4, compiled=True)(slices) for _ in range(3)
    ]
    np.testing.assert_array_equal(found[0], found[2])
