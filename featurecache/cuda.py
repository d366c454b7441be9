"""On CUDA: the next batch is copied and transformed while the backbone has this one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from featurecache.backbones import Backbone
from featurecache.embed import Embedded, Embedder
from featurecache.recipe import Recipe

if TYPE_CHECKING:
    from featurecache.pixels import Decoded


def make_embedder(
    backbone: Backbone, recipe: Recipe, device: torch.device, batch_size: int, *,
    compiled: bool = False, threads: int | None = None,
) -> Embedder:  # fmt: skip
    """The embedder for a kind of device; parameters are those of `Embedder`.

    Parameters
    ----------
    backbone, recipe, device, batch_size, compiled, threads
        As in `Embedder`.

    Returns
    -------
    Embedder
    """
    kind = CudaEmbedder if device.type == "cuda" else Embedder
    return kind(backbone, recipe, device, batch_size, compiled=compiled, threads=threads)


@dataclass(frozen=True, slots=True)
class _OnDevice:
    """A batch whose work is queued on the device; `marks` are the events between its steps."""

    features: Tensor  # (n, D) float32, pinned; filled when the last mark is passed
    marks: tuple[Any, Any, Any, Any]

    def result(self) -> Embedded:
        """Wait until the features are in host memory."""
        begun, ready, started, done = self.marks
        done.synchronize()
        return Embedded(
            self.features.numpy(), begun.elapsed_time(ready) / 1e3,
            started.elapsed_time(done) / 1e3,
        )  # fmt: skip


class CudaEmbedder(Embedder):
    """An embedder whose host never waits: copies, transform and backbone are only queued.

    Stored values lie in pinned memory, are copied and transformed on a side stream, and the
    features come back on their own; `submit` returns at once. Parameters are those of `Embedder`.
    """

    def __init__(
        self, backbone: Backbone, recipe: Recipe, device: torch.device, batch_size: int, *,
        compiled: bool = False, threads: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            backbone, recipe, device, batch_size, compiled=compiled, threads=threads
        )  # fmt: skip
        self._side = torch.cuda.Stream(device)

    def submit(self, slices: "Sequence[Decoded | None]") -> _OnDevice:
        """Queue a batch, see `Embedder.submit`."""
        main = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._side):
            begun = _mark(self._side)
            images = self.images(slices)
            ready = _mark(self._side)
        main.wait_event(ready)
        images.record_stream(main)  # made on the side stream: not to be reused before main is done
        started = _mark(main)
        with torch.inference_mode():
            features = self._forward(images)[: len(slices)].float()
            host = torch.empty(features.shape, dtype=torch.float32, pin_memory=True)
            host.copy_(features, non_blocking=True)
        return _OnDevice(host, (begun, ready, started, _mark(main)))

    def _to_device(self, slices: "Sequence[Decoded]") -> Tensor:
        shape = (len(slices), *slices[0].stored.shape)
        pinned = torch.empty(
            shape, dtype=torch.from_numpy(slices[0].stored).dtype, pin_memory=True
        )  # fmt: skip
        np.stack([decoded.stored for decoded in slices], out=pinned.numpy())
        return pinned.to(self.device, non_blocking=True)

    def _synchronise(self) -> None:
        torch.cuda.synchronize(self.device)


def _mark(stream: Any) -> Any:
    event = torch.cuda.Event(enable_timing=True)
    event.record(stream)
    return event


def memory_is_short(device: torch.device, fraction: float = 0.2) -> bool:
    """Whether little memory is free on a CUDA device.

    Parameters
    ----------
    device : torch.device
        A CUDA device.
    fraction : float
        Little is less than this part of all.

    Returns
    -------
    bool
    """
    free, total = torch.cuda.mem_get_info(device)
    return bool(free < fraction * total)
