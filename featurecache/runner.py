"""Compute units of a store that was planned: in this process or in any other that knows the job."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from featurecache.backbones import Backbone, load_backbone
from featurecache.crew import Crew
from featurecache.devices import keep_freed_memory, resolve_device, threads_kept
from featurecache.embed import Embedder
from featurecache.errors import StoreIncompleteError
from featurecache.index import Index
from featurecache.job import Job
from featurecache.options import FeatureOptions
from featurecache.pipeline import run
from featurecache.pixels import decode_slice
from featurecache.plan import Planned, earlier_plan
from featurecache.pool import default_workers
from featurecache.timing import Timing
from featurecache.units import Unit, Work, count_slices

_BARE_FROM_BATCHES = 20
_CPU_WORKERS = 4


class Runner:
    """Computes units as they were planned; it changes no plan and adds no part.

    Parameters
    ----------
    job : Job
        How to run.
    work : Work
        The feature sets in the store.
    planned : sequence of Planned
        The same feature sets, with their networks.
    device : torch.device
        Where the networks run.
    """

    def __init__(
        self, job: Job, work: Work, planned: Sequence[Planned], device: torch.device
    ) -> None:
        self.work = work
        self._job, self._planned, self._device = job, planned, device
        self._embedders: list[Embedder] = []

    def compute(
        self, units: Sequence[Unit], progress: Callable[[int], None] | None = None
    ) -> Timing:
        """Compute and commit units; networks stay on the device for the next call.

        Parameters
        ----------
        units : sequence of Unit
            Of `Work.units`.
        progress : callable, optional
            Called with the number of slices done since the last call.

        Returns
        -------
        Timing
        """
        if not units:
            return Timing.nothing(len(self._planned))
        with threads_kept(), Crew(self._workers(units), ready_for=decode_slice) as readers:
            compile_s, bare = self._warm_up(units, readers)
            timing = run(
                units, self.work.source, self._embedders, workers=readers, progress=progress
            )
        timing.compile_s = compile_s
        for spent, slices_per_s in zip(timing.features, bare, strict=True):
            spent.bare_slices_per_s = slices_per_s
        return timing

    def _warm_up(self, units: Sequence[Unit], readers: Crew) -> tuple[float, list[float | None]]:
        """Before the first units: seconds of compiling, and speeds of the backbones alone.

        Readers start meanwhile, and take no time from the backbones once those are timed.
        """
        if self._embedders:
            return 0.0, [None] * len(self._embedders)
        self._embedders = [one.embedder(self._device) for one in self._planned]
        compile_s = sum(embedder.warm_up() for embedder in self._embedders)
        readers.wait()
        bare = [self._bare(one, place, units) for place, one in enumerate(self._embedders)]
        return compile_s, bare

    def _bare(self, embedder: Embedder, place: int, units: Sequence[Unit]) -> float | None:
        """Speed of a backbone alone; None where the run is too short for it to be worth it."""
        mine = [unit for unit in units if any(target.place == place for target in unit.targets)]
        enough = count_slices(mine) >= _BARE_FROM_BATCHES * embedder.batch_size
        return embedder.bare_slices_per_s() if enough else None

    def _workers(self, units: Sequence[Unit]) -> int:
        cores = default_workers()
        on_cpu = self._device.type == "cpu"
        asked = self._job.run.workers or (min(cores, _CPU_WORKERS) if on_cpu else cores)
        return min(asked, max(1, count_slices(units)))


@contextmanager
def open_runner(job: Job) -> Iterator[Runner]:
    """Open all that a job names, in a process that knows nothing else.

    Parameters
    ----------
    job : Job
        For one device.

    Yields
    ------
    Runner

    Raises
    ------
    StoreMismatchError
        The store was planned in another way.
    StoreIncompleteError
        The store was not planned for these feature sets.
    """
    device = resolve_device(job.run.device)
    keep_freed_memory()
    backbones = [open_backbone(options) for options in job.features]
    planned = follow_plans(job, backbones, device)
    with Index.open(job.index, readonly=True) as index:
        yield Runner(job, Work(job, index), planned, device)


def follow_plans(
    job: Job, backbones: Sequence[Backbone], device: torch.device
) -> tuple[Planned, ...]:
    """The feature sets of a job as they were planned before.

    Parameters
    ----------
    job : Job
        Store and feature sets.
    backbones : sequence of Backbone
        Their networks.
    device : torch.device
        Where they will run.

    Returns
    -------
    tuple of Planned

    Raises
    ------
    StoreMismatchError
        One was planned in another way.
    StoreIncompleteError
        One was not planned.
    """
    planned = []
    for options, backbone in zip(job.features, backbones, strict=True):
        there = earlier_plan(job.store, options, backbone, device)
        if there is None:
            raise StoreIncompleteError(
                f"{job.store} has no plan for features {options.feature_name!r}, and none can be "
                "made while other shards run. Wait for them, or ask for what they compute"
            )
        planned.append(there)
    return tuple(planned)


def open_backbone(options: FeatureOptions) -> Backbone:
    """The network of a feature set.

    Parameters
    ----------
    options : FeatureOptions
        What makes it.

    Returns
    -------
    Backbone

    Raises
    ------
    MissingResourceError
        Its weights are not there.
    UsageError
        The weights, the layer or the size do not fit.
    """
    return load_backbone(
        options.backbone, options.weights, layer=options.layer, pool=options.pool,
        size=options.zoom or options.size,
    )  # fmt: skip
