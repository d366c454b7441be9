"""Work on CUDA: that it is queued in the right order can be seen without a GPU."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featurecache import cuda
from featurecache.backbones import load_backbone
from featurecache.cuda import CudaEmbedder, make_embedder
from featurecache.embed import Embedder
from featurecache.pixels import Decoded
from featurecache.recipe import Recipe

CPU = torch.device("cpu")


def decoded(seed, side=80):
    stored = np.random.default_rng(seed).integers(0, 100, (side, side)).astype("int16")
    return Decoded(stored, 1.0, 0.0, (), 0.0, 0.0)


@pytest.fixture
def arguments():
    backbone = load_backbone("squeezenet1_1", "random:0", size=64)
    recipe = Recipe(
        backbone.name, backbone.weights, "random:0", backbone.layer, "avg", ((40.0, 80.0),), 64,
        None, backbone.mean, backbone.std, "fp32", "float32",
    )  # fmt: skip
    return backbone, recipe


@pytest.fixture
def log(monkeypatch):
    """CUDA's calls, written down instead of made."""
    calls = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            calls.append(("record", stream))

        def synchronize(self):
            calls.append(("synchronize",))

        def elapsed_time(self, other):
            return 1000.0

    @contextmanager
    def stream(which):
        calls.append(("enter", which))
        yield
        calls.append(("leave", which))

    main = SimpleNamespace(wait_event=lambda event: calls.append(("main waits",)))
    fake = SimpleNamespace(
        Stream=lambda device: "side", Event=Event, stream=stream, OutOfMemoryError=RuntimeError,
        current_stream=lambda device: main, synchronize=lambda device: calls.append(("all",)),
    )  # fmt: skip

    def empty(shape, dtype, pin_memory):
        assert pin_memory
        return torch.empty(shape, dtype=dtype)

    names = SimpleNamespace(
        cuda=fake, empty=empty, from_numpy=torch.from_numpy, float32=torch.float32,
        inference_mode=torch.inference_mode,
    )  # fmt: skip
    monkeypatch.setattr(cuda, "torch", names)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda self, stream: calls.append(("kept for", stream))
    )
    return SimpleNamespace(calls=calls, main=main)


def test_the_side_stream_transforms_and_the_main_stream_waits_for_it(arguments, log):
    embed = CudaEmbedder(*arguments, CPU, 4)
    slices = [decoded(1), None, decoded(2), decoded(3, side=100)]
    batch = embed.submit(slices)
    assert log.calls == [
        ("enter", "side"), ("record", "side"), ("record", "side"), ("leave", "side"),
        ("main waits",), ("kept for", log.main), ("record", log.main), ("record", log.main),
    ]  # fmt: skip
    done = batch.result()
    assert log.calls[-1] == ("synchronize",)
    assert (done.transform_s, done.embed_s) == (1.0, 1.0)
    expected = Embedder(*arguments, CPU, 4)(slices)
    np.testing.assert_array_equal(done.values[[0, 2, 3]], expected[[0, 2, 3]])


def test_a_batch_is_queued_before_the_one_before_it_is_waited_for(arguments, log):
    embed = CudaEmbedder(*arguments, CPU, 4)
    first, second = embed.submit([decoded(1)]), embed.submit([decoded(2)])
    assert ("synchronize",) not in log.calls
    np.testing.assert_array_equal(first.result().values, embed([decoded(1)]))
    np.testing.assert_array_equal(second.result().values, embed([decoded(2)]))


def test_only_cuda_gets_streams(arguments):
    assert type(make_embedder(*arguments, CPU, 4)) is Embedder


def test_large_batches_are_transformed_in_pieces(arguments, monkeypatch):
    embed = Embedder(*arguments, CPU, 200)
    monkeypatch.setattr(embed, "device", SimpleNamespace(type="cuda"))
    slices = [decoded(k, side=80 if k % 3 else 100) for k in range(200)]
    groups = embed._groups(slices)
    assert sorted(place for places in groups for place in places) == list(range(200))
    assert max(map(len, groups)) <= 64
    assert all(len({slices[place].stored.shape for place in places}) == 1 for places in groups)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_features_on_cuda_are_those_of_the_cpu(arguments):
    device = torch.device("cuda")
    slices = [decoded(k) for k in range(7)]
    expected = Embedder(*arguments, CPU, 8)(slices)
    embed = make_embedder(*arguments, device, 8)
    batches = [embed.submit(slices) for _ in range(4)]
    values = [batch.result().values for batch in batches]
    np.testing.assert_allclose(values[0], expected, rtol=1e-3, atol=1e-4)
    for other in values[1:]:
        np.testing.assert_array_equal(other, values[0])
    assert embed.bare_slices_per_s(batch_size=32, halve=False) > 0
