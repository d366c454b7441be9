"""Batches of decoded slices to features, on the device."""

import logging
import shutil
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from featurecache.backbones import Backbone
from featurecache.devices import PRECISIONS
from featurecache.recipe import Recipe
from featurecache.transforms import to_input
from featurecache.views import matrices

if TYPE_CHECKING:
    from featurecache.pixels import Decoded

_COMPILED_AT_MOST = 10_000  # networks in one process
_AT_ONCE = 64  # slices transformed together on a device, whatever the batch: bounds its memory


@dataclass(frozen=True, slots=True)
class Embedded:
    """A batch that is done.

    Parameters
    ----------
    values : ndarray (n, D), float32
        Rows of failed slices mean nothing.
    transform_s, embed_s : float
        Seconds that the device spent on it, by step.
    """

    values: np.ndarray
    transform_s: float
    embed_s: float

    def result(self) -> "Embedded":
        """The batch itself; on CUDA it is waited for here."""
        return self


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
    threads : int, optional
        Threads of torch on the CPU; by default as many as it has now.
    """

    def __init__(
        self, backbone: Backbone, recipe: Recipe, device: torch.device, batch_size: int, *,
        compiled: bool = False, threads: int | None = None,
    ) -> None:  # fmt: skip
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.recipe, self.device, self.batch_size = recipe, device, batch_size
        self.dim = backbone.dim
        self._threads, self._compiled = threads or torch.get_num_threads(), compiled
        self._dtype = PRECISIONS[recipe.precision]
        module = deepcopy(backbone.module)  # .to() would round the caller's weights in place
        module = module.to(device, self._dtype).to(memory_format=torch.channels_last)
        self._module = _compile(module) if compiled else module
        # A slice is too small to be shared out among threads: each transforms another one.
        self._slices_at_once = ThreadPoolExecutor(
            self._threads, initializer=torch.set_num_threads, initargs=(1,)
        )
        self._map = self._slices_at_once.map if device.type == "cpu" else map

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
        return self.submit(slices).result().values

    def submit(self, slices: "Sequence[Decoded | None]") -> "Embedded | Pending":
        """Begin with a batch of up to B slices.

        Parameters
        ----------
        slices : sequence of Decoded or None
            None where a slice failed.

        Returns
        -------
        object
            Its ``result()`` is the batch, done.
        """
        self._use_threads()
        started = perf_counter()
        images = self.images(slices)
        transformed = perf_counter()
        with torch.inference_mode():
            features = self._forward(images)[: len(slices)].float().cpu().numpy()
        return Embedded(features, transformed - started, perf_counter() - transformed)

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
        images = self._zeros(self.batch_size)

        def fill(places: list[int]) -> None:
            some = [slices[place] for place in places]
            values = self._to_input([decoded for decoded in some if decoded is not None])
            for place, image in zip(places, values, strict=True):
                images[place] = image

        deque(self._map(fill, self._groups(slices)), maxlen=0)
        return images.contiguous(memory_format=torch.channels_last)

    def warm_up(self) -> float:
        """Compile now rather than in the first batch; the seconds that took, 0 uncompiled."""
        if not self._compiled:
            return 0.0
        self._use_threads()
        started = perf_counter()
        with torch.inference_mode():
            self._forward(self._blank(self.batch_size))
            self._synchronise()
        return perf_counter() - started

    def bare_slices_per_s(
        self, repeats: int = 3, batch_size: int | None = None, *, halve: bool = True
    ) -> float:
        """Speed of the backbone alone on this device, right now.

        Parameters
        ----------
        repeats : int
            Batches to time, after one that warms up; the median counts, for a machine may hiccup.
        batch_size : int, optional
            Of these batches; by default B.
        halve : bool
            Where memory does not suffice, run a batch in halves; otherwise it raises.

        Returns
        -------
        float

        Raises
        ------
        torch.OutOfMemoryError
            Memory does not suffice.
        """
        self._use_threads()
        images = self._blank(batch_size or self.batch_size)
        forward = self._forward if halve else self._module
        with torch.inference_mode():
            forward(images)
            self._synchronise()
            spent = [self._seconds(forward, images) for _ in range(repeats)]
        return len(images) / median(spent)

    def _seconds(self, forward: Callable[[Tensor], Tensor], images: Tensor) -> float:
        started = perf_counter()
        forward(images)
        self._synchronise()
        return perf_counter() - started

    def _blank(self, n_images: int) -> Tensor:
        """Black images, as a batch is: outside of inference mode, or compilation sees another."""
        return self._zeros(n_images).contiguous(memory_format=torch.channels_last)

    def _zeros(self, n_images: int) -> Tensor:
        side = self.recipe.zoom or self.recipe.size
        return torch.zeros(n_images, 3, side, side, dtype=self._dtype, device=self.device)

    def _use_threads(self) -> None:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)

    def _groups(self, slices: "Sequence[Decoded | None]") -> list[list[int]]:
        """Places to transform at once: one at a time on a CPU, where a slice fits the cache."""
        if self.device.type == "cpu":
            return [[place] for place, decoded in enumerate(slices) if decoded is not None]
        return [
            places[start : start + _AT_ONCE]
            for places in _places_by_shape(slices).values()
            for start in range(0, len(places), _AT_ONCE)
        ]

    def _to_input(self, slices: "Sequence[Decoded]") -> Tensor:
        slope = torch.tensor([decoded.slope for decoded in slices], dtype=torch.float64)
        intercept = torch.tensor([decoded.intercept for decoded in slices], dtype=torch.float64)
        spacing_mm = torch.tensor(
            [(decoded.row_spacing_mm, decoded.column_spacing_mm) for decoded in slices],
            dtype=torch.float64,
        )
        with torch.inference_mode():
            return to_input(
                self._to_device(slices), slope, intercept, self.recipe, spacing_mm,
                self._placements(slices),
            ).to(self._dtype)  # fmt: skip

    def _placements(self, slices: "Sequence[Decoded]") -> Tensor | None:
        """How the slices of an augmented view are placed: all of a series alike."""
        view = self.recipe.view
        if view is None:
            return None
        return matrices([view.placement(decoded.series) for decoded in slices]).to(self.device)

    def _to_device(self, slices: "Sequence[Decoded]") -> Tensor:
        """Stored values (n, H, W) of slices of one shape and type, on the device."""
        first = slices[0].stored
        alone = len(slices) == 1 and first.flags.carray  # then a copy would gain nothing
        stored = first[None] if alone else np.stack([decoded.stored for decoded in slices])
        return torch.from_numpy(stored).to(self.device)

    def _forward(self, images: Tensor) -> Tensor:
        """Run the backbone; where memory does not suffice, in halves down to single images."""
        try:
            return self._module(images)
        except torch.OutOfMemoryError:
            if len(images) == 1:
                raise
        halves = images.chunk(2)
        return torch.cat([self._forward(half) for half in halves])

    def _synchronise(self) -> None:
        """Wait for the device: nothing to wait for here."""


class Pending(Protocol):
    """A batch that a device is busy with."""

    def result(self) -> Embedded:
        """Wait for it."""


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
    from torch._dynamo import config as dynamo
    from torch._inductor import config

    config.freezing = True
    # Copies of a network share their code; by default the ninth would silently run uncompiled.
    dynamo.recompile_limit = max(dynamo.recompile_limit, _COMPILED_AT_MOST)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, _COMPILED_AT_MOST)
    # It says once that there is no CUDA, where a CUDA folder is; nobody asked.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    return torch.compile(module, dynamic=False)  # type: ignore[return-value]


def _places_by_shape(slices: "Sequence[Decoded | None]") -> dict[tuple[object, ...], list[int]]:
    places: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, decoded in enumerate(slices):
        if decoded is not None:
            places[(*decoded.stored.shape, decoded.stored.dtype)].append(place)
    return dict(places)
