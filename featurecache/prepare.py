"""What happens once, under a lock held alone: the store, a part for what is new, the plans."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from featurecache import arrays
from featurecache.backbones import Backbone
from featurecache.catalogue import Catalogue, read_catalogue
from featurecache.chosen import choose
from featurecache.devices import threads_kept
from featurecache.errors import UsageError
from featurecache.index import Index
from featurecache.job import Job
from featurecache.new_part import add_part
from featurecache.plan import Planned, add_features, earlier_plan, unit_slices
from featurecache.proof import sample
from featurecache.rows import RowSource
from featurecache.select import Selection
from featurecache.trials import Compilation, make_plan

if TYPE_CHECKING:
    from featurecache.pixels import Decoded


@dataclass(frozen=True, slots=True)
class Prepared:
    """Feature sets that can be computed.

    Parameters
    ----------
    planned : tuple of Planned
        One a feature set, in the order of the job.
    compilations : mapping of str to Compilation
        What was measured for those that are new, by name.
    catalogue : Catalogue
        Of the index.
    """

    planned: tuple[Planned, ...]
    compilations: dict[str, Compilation]
    catalogue: Catalogue


def prepare(
    job: Job, backbones: Sequence[Backbone], device: torch.device, selection: Selection | None,
    *, processes: int, beside: int = 1,
) -> Prepared:  # fmt: skip
    """Bring a store to where units can be computed by any number of processes.

    Parameters
    ----------
    job : Job
        Feature sets and how to run.
    backbones : sequence of Backbone
        Their networks.
    device : torch.device
        Where they will run; one of several of a kind.
    selection : Selection or None
        Which series are new work.
    processes : int
        How many processes will share the work, on this machine and others.
    beside : int
        How many of them share one machine, and on the CPU its cores.

    Returns
    -------
    Prepared

    Raises
    ------
    UsageError
        The index has no usable series, or none is selected.
    StoreError
        The store is damaged, or was made with another recipe, plan or key.
    """
    with Index.open(job.index, readonly=True) as index:
        chosen = choose(index, selection)
        chosen.check()
        catalogue = read_catalogue(index, job.identifiers, chosen.series)
        if not len(catalogue.numbers):
            raise UsageError(
                f"{index.root} has no usable CT series: `featurecache scan` says what became of "
                "each file"
            )
        _open_store(job)
        earlier = [
            earlier_plan(job.store, options, backbone, device)
            for options, backbone in zip(job.features, backbones, strict=True)
        ]
        add_part(job.store, index, job.identifiers, catalogue)
        source = RowSource(job.store, index, job.identifiers, catalogue)
        with threads_kept() as threads:
            if device.type == "cpu":
                threads = max(1, threads // beside)
            planned, compilations = _plan(
                job, backbones, device, earlier, source, processes, threads
            )
    while not _add_features(job, planned):  # a rival came first: its plans are the plans
        planned = tuple(
            earlier_plan(job.store, one.options, one.backbone, device) or one for one in planned
        )
    return Prepared(planned, compilations, catalogue)


def _open_store(job: Job) -> None:
    arrays.create_store(job.store, job.identifiers.digest)
    job.identifiers.check(arrays.read_root(job.store)["key_digest"])
    job.store.remove_debris()


def _plan(
    job: Job, backbones: Sequence[Backbone], device: torch.device,
    earlier: Sequence[Planned | None], source: RowSource, processes: int, threads: int,
) -> tuple[tuple[Planned, ...], dict[str, Compilation]]:  # fmt: skip
    """Follow earlier plans, and make those of feature sets that are new."""
    parts = arrays.list_parts(job.store)
    n_slices = sum(arrays.count_slices(job.store, part) for part in parts)
    sampled = lru_cache(lambda count: _sample(job, source, count))
    compilations: dict[str, Compilation] = {}
    planned: list[Planned] = []
    for options, backbone, there in zip(job.features, backbones, earlier, strict=True):
        if there is None:
            there, compilations[options.feature_name] = make_plan(
                options, backbone, device, sampled,
                n_slices=n_slices // processes, threads=threads,
            )  # fmt: skip
        planned.append(there)
    return tuple(planned), compilations


def _sample(job: Job, source: RowSource, count: int) -> "list[Decoded]":
    part = arrays.list_parts(job.store)[-1]
    return sample(source, part, arrays.count_slices(job.store, part), count)


def _add_features(job: Job, planned: Sequence[Planned]) -> bool:
    """Create the arrays that parts lack, with units that cover the same rows, unless beaten."""
    batch_sizes = [one.plan.batch_size for one in planned]
    for part in arrays.list_parts(job.store):
        have = arrays.list_features(job.store, part)
        n_slices = arrays.count_slices(job.store, part)
        unit = unit_slices(n_slices, batch_sizes, job.run.unit_slices)
        for one in planned:
            name = one.options.feature_name
            if name not in have and not add_features(
                job.store, part, name, one.recipe, one.plan, dim=one.backbone.dim, unit=unit
            ):
                return False
    return True
