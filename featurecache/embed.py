"""Batches of decoded slices to features, on the device."""

import shutil
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from featurecache.backbones import Backbone
from featurecache.devices import PRECISIONS
from featurecache.recipe import Recipe
from featurecache.transforms import to_input

if TYPE_CHECKING:
    from featurecache.pixels import Decoded


class Embedder:
    """A backbone on a device, fed with batches of one fixed size.

    The last bits of a feature depend on the batch it was computed in, so every batch is padded
    to the same size, and a slice that failed keeps its place as zeros.

    Parameters
    ----------
    backbone : Backbone
        The frozen network.
    recipe : Recipe
        Windows, size, normalisation, and the precision to compute in.
    device : torch.device
        Where.
    batch_size : int
        B, the same for every batch.
    compiled : bool
        Use torch.compile with frozen weights.

    Attributes
    ----------
    transform_s, embed_s : float
        Seconds spent so far, by step.
    """

    def __init__(
        self, backbone: Backbone, recipe: Recipe, device: torch.device, batch_size: int, *,
        compiled: bool = False,
    ) -> None:  # fmt: skip
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.recipe, self.device, self.batch_size = recipe, device, batch_size
        self.dim = backbone.dim
        self.transform_s = self.embed_s = 0.0
        self._dtype = PRECISIONS[recipe.precision]
        module = deepcopy(backbone.module)  # .to() would round the caller's weights in place
        module = module.to(device, self._dtype).to(memory_format=torch.channels_last)
        self._module = _compile(module) if compiled else module

    def __call__(self, slices: "Sequence[Decoded | None]") -> np.ndarray:
        """Embed up to B slices.

        Parameters
        ----------
        slices : sequence of Decoded or None
            None where a slice failed.

        Returns
        -------
        ndarray (len(slices), D), float32
            Rows of failed slices mean nothing.
        """
        started = perf_counter()
        images = self.images(slices)
        self._wait()
        transformed = perf_counter()
        with torch.inference_mode():
            features = self._forward(images)[: len(slices)].float().cpu().numpy()
        self.transform_s += transformed - started
        self.embed_s += perf_counter() - transformed
        return features

    def refusal(self, decoded: "Decoded") -> str | None:
        """Say why a slice cannot be embedded as the recipe asks.

        Parameters
        ----------
        decoded : Decoded
            A slice.

        Returns
        -------
        str or None
            A reason of `featurecache.reasons`; None where nothing stands in the way.
        """
        framing = self.recipe.framing
        return framing.refusal(decoded.row_spacing_mm, decoded.column_spacing_mm)

    def images(self, slices: "Sequence[Decoded | None]") -> Tensor:
        """Network input of up to B slices.

        Parameters
        ----------
        slices : sequence of Decoded or None
            None where a slice failed, or was refused (`refusal`).

        Returns
        -------
        Tensor (B, 3, size, size)
            In the computing precision; zeros for failed slices and for padding.
        """
        side = self.recipe.zoom or self.recipe.size
        images = torch.zeros(self.batch_size, 3, side, side, device=self.device)
        for places in self._groups(slices):
            some = [slices[place] for place in places]
            images[places] = self._to_input([decoded for decoded in some if decoded is not None])
        return images.to(self._dtype, memory_format=torch.channels_last)

    def bare_slices_per_s(self, repeats: int = 2) -> float:
        """Speed of the backbone alone on this device, right now.

        Parameters
        ----------
        repeats : int
            Batches to time, after one that warms up.

        Returns
        -------
        float
        """
        side = self.recipe.zoom or self.recipe.size
        images = torch.zeros(self.batch_size, 3, side, side, device=self.device, dtype=self._dtype)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            self._forward(images)
            self._wait()
            started = perf_counter()
            for _ in range(repeats):
                self._forward(images)
            self._wait()
        return repeats * self.batch_size / (perf_counter() - started)

    def _groups(self, slices: "Sequence[Decoded | None]") -> list[list[int]]:
        """Places to transform at once: one at a time on a CPU, where a slice fits the cache."""
        if self.device.type == "cpu":
            return [[place] for place, decoded in enumerate(slices) if decoded is not None]
        return list(_places_by_shape(slices).values())

    def _to_input(self, slices: "Sequence[Decoded]") -> Tensor:
        stored = np.stack([decoded.stored for decoded in slices])
        slope = torch.tensor([decoded.slope for decoded in slices], dtype=torch.float64)
        intercept = torch.tensor([decoded.intercept for decoded in slices], dtype=torch.float64)
        spacing_mm = torch.tensor(
            [(decoded.row_spacing_mm, decoded.column_spacing_mm) for decoded in slices],
            dtype=torch.float64,
        )
        if self.device.type == "mps":
            slope, intercept = slope.float(), intercept.float()
        device = self.device
        with torch.inference_mode():
            return to_input(
                torch.from_numpy(stored).to(device), slope.to(device), intercept.to(device),
                self.recipe, spacing_mm,
            )  # fmt: skip

    def _forward(self, images: Tensor) -> Tensor:
        """Run the backbone; where memory does not suffice, in halves down to single images."""
        try:
            return self._module(images)
        except torch.OutOfMemoryError:
            if len(images) == 1:
                raise
        halves = images.chunk(2)
        return torch.cat([self._forward(half) for half in halves])

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def precision_errors(fast: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """How far features in a fast precision are from float32.

    Parameters
    ----------
    fast, exact : ndarray (n, D)
        The same slices in both.

    Returns
    -------
    relative_error : float
        Norm of the difference over the norm of the feature vector, worst slice.
    between_slices : float
        Norm of the difference over that of the deviations from the mean slice: the error as a
        head sees it. NaN when all slices are equal.
    """
    difference = fast.astype(np.float64) - exact
    norms = np.linalg.norm(exact, axis=1)
    relative = np.linalg.norm(difference, axis=1)[norms > 0] / norms[norms > 0]
    spread = np.linalg.norm(exact - exact.mean(axis=0))
    between = float(np.linalg.norm(difference) / spread) if spread > 0 else float("nan")
    return float(relative.max(initial=0.0)), between


def can_compile(device: torch.device) -> bool:
    """Whether inductor has what it needs.

    Parameters
    ----------
    device : torch.device
        Where the backbone runs.

    Returns
    -------
    bool
        A C++ compiler is there for a CPU, Triton for CUDA.
    """
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return bool(has_triton())
    return device.type == "cpu" and any(shutil.which(name) for name in ("c++", "g++", "clang++"))


def _compile(module: torch.nn.Module) -> torch.nn.Module:
    from torch._inductor import config

    config.freezing = True
    return torch.compile(module, dynamic=False)  # type: ignore[return-value]


def _places_by_shape(slices: "Sequence[Decoded | None]") -> dict[tuple[object, ...], list[int]]:
    places: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, decoded in enumerate(slices):
        if decoded is not None:
            places[(*decoded.stored.shape, decoded.stored.dtype)].append(place)
    return dict(places)
