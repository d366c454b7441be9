"""What an extraction would do, without writing anything: counted, and measured on a few slices."""

from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np
import torch

from featurecache import arrays
from featurecache.catalogue import Catalogue, read_catalogue
from featurecache.chosen import choose
from featurecache.devices import keep_freed_memory, native_bf16, resolve_devices, threads_kept
from featurecache.estimate import Estimate, FeatureEstimate
from featurecache.feature_array import FeatureArray
from featurecache.index import Index
from featurecache.job import Job
from featurecache.new_part import new_stacks
from featurecache.parts import part_series
from featurecache.pixels import Decoded, DecodeJob, decode_slice, job_for
from featurecache.plan import Plan, Planned, earlier_plan, unit_slices
from featurecache.pool import default_workers, isolated_map
from featurecache.proof import unproven
from featurecache.runner import open_backbone
from featurecache.select import Selection
from featurecache.tables import SERIES_COLUMNS, SLICES_COLUMNS, TABLE_ROWS
from featurecache.trials import FIRST_BATCH

_SAMPLE = 16
_BYTES = {"str": 36, "int64": 8, "float64": 8}  # of a hashed id, and of numbers
_GROUPS_OF_A_PART = 5


def estimate(job: Job, selection: Selection | None = None) -> Estimate:
    """Look at what an extraction would do.

    Parameters
    ----------
    job : Job
        What would be done; neither the index nor the store is changed.
    selection : Selection, optional
        Which series of the index are new work.

    Returns
    -------
    Estimate

    Raises
    ------
    UsageError
        There is no index, or the selection leaves nothing.
    StoreError
        The store is damaged, or was made with another recipe, plan or key.
    """
    devices = resolve_devices(job.run.device)
    keep_freed_memory()
    with Index.open(job.index, readonly=True) as index:
        chosen = choose(index, selection)
        chosen.check()
        catalogue = read_catalogue(index, job.identifiers, chosen.series)
        there = _part_numbers(job)
        new = new_stacks(part_series(job.store) if there else [], catalogue)
        sample = _decoded(index, catalogue, len(devices))
    n_new = int(catalogue.n_slices[new].sum())
    rows = [arrays.count_slices(job.store, part) for part in there] + ([n_new] if n_new else [])
    planned = [_planned(job, place, devices[0]) for place in range(len(job.features))]
    batch_sizes = [one.plan.batch_size for one in planned]
    works = [_Work(job, one, rows, there, batch_sizes) for one in planned]
    with threads_kept():
        features = [work.estimate(devices[0], sample) for work in works]
    table_bytes, table_files = _tables(int(new.sum()), n_new) if n_new else (0, 0)
    table_files += not job.store.exists("zarr.json")  # its root
    return Estimate(
        int(catalogue.selected.sum()), int(new.sum()), n_new, _decoded_once(works), features,
        table_bytes, table_files, devices[0].type, len(devices), _workers(job, len(devices)),
        len(sample), fmean([one.read_s + one.decode_s for one in sample] or [0.0]),
    )  # fmt: skip


def _part_numbers(job: Job) -> list[int]:
    """Parts of the store, if there is one, and it is ours."""
    if not job.store.exists("zarr.json"):
        return []
    job.identifiers.check(arrays.read_root(job.store)["key_digest"])
    return arrays.list_parts(job.store)


def _planned(job: Job, place: int, device: torch.device) -> Planned:
    """A feature set as planned, or as it would be before anything is tried."""
    options = job.features[place]
    backbone = open_backbone(options)
    earlier = earlier_plan(job.store, options, backbone, device) if _part_numbers(job) else None
    if earlier is not None:
        return earlier
    fast = "bf16" if native_bf16(device) else "fp32"
    precision = fast if options.precision == "auto" else options.precision
    batch_size = options.batch_size or FIRST_BATCH[device.type]
    threads = torch.get_num_threads()
    plan = Plan(device.type, batch_size, threads, False, options.strict, unproven(precision))
    return Planned(options, backbone, plan)


class _Work:
    """The units of one feature set that are left, in a store that may not be there yet."""

    def __init__(
        self, job: Job, planned: Planned, rows: Sequence[int], there: Sequence[int],
        batch_sizes: Sequence[int],
    ) -> None:  # fmt: skip
        self.planned, self.new_arrays = planned, 0
        self.ranges: set[tuple[int, int, int]] = set()  # part, first row, row after the last
        for part, n_rows in enumerate(rows):
            done: set[int] = set()
            name = planned.options.feature_name
            if part in there and name in arrays.list_features(job.store, part):
                array = FeatureArray(job.store, part, name)
                size, done = array.unit_slices, array.units_done()
            else:
                size = unit_slices(n_rows, batch_sizes, job.run.unit_slices)
                self.new_arrays += 1
            for unit in range(-(-n_rows // size)):
                if unit not in done and job.has(unit, part):
                    rows_end = min((unit + 1) * size, n_rows)
                    self.ranges.add((part, unit * size, rows_end))

    def estimate(self, device: torch.device, sample: Sequence[Decoded]) -> FeatureEstimate:
        """Count, and measure one batch."""
        planned, recipe = self.planned, self.planned.recipe
        n_slices = sum(stop - start for _, start, stop in self.ranges)
        row_bytes = planned.backbone.dim * np.dtype(recipe.dtype).itemsize + 1
        transform_s, embed_s = _measured(planned, device, sample) if n_slices else (0.0, 0.0)
        return FeatureEstimate(
            name=planned.options.feature_name, dtype=recipe.dtype, precision=recipe.precision,
            dim=planned.backbone.dim, batch_size=planned.plan.batch_size, slices=n_slices,
            units=len(self.ranges), bytes=n_slices * row_bytes + 8 * len(self.ranges),
            files=2 * len(self.ranges) + 2 * self.new_arrays, transform_s=transform_s,
            embed_s=embed_s,
        )  # fmt: skip


def _decoded_once(works: Sequence[_Work]) -> int:
    """Slices of all ranges; those that several feature sets share count once."""
    ranges = set().union(*(work.ranges for work in works))
    return sum(stop - start for _, start, stop in ranges)


def _measured(
    planned: Planned, device: torch.device, sample: Sequence[Decoded]
) -> tuple[float, float]:
    """Seconds of transform and embedding for one slice: a second batch, after one to warm up."""
    embedder = planned.embedder(device)
    slices = [decoded for decoded in sample if embedder.refusal(decoded) is None]
    if not slices:
        return 0.0, 0.0
    repeated = (slices * embedder.batch_size)[: embedder.batch_size]
    embedder(repeated)
    done = embedder.submit(repeated).result()
    return done.transform_s / len(repeated), done.embed_s / len(repeated)


def _decoded(index: Index, catalogue: Catalogue, processes: int) -> list[Decoded]:
    """Decoded slices, spread evenly over the selected series."""
    jobs = list(_sample_jobs(index, catalogue))
    results = isolated_map(decode_slice, jobs, workers=min(2, default_workers()) * processes)
    return [decoded for _, decoded in results if isinstance(decoded, Decoded)]


def _sample_jobs(index: Index, catalogue: Catalogue) -> Iterator[DecodeJob]:
    numbers = catalogue.numbers[catalogue.selected]
    last = np.cumsum(catalogue.n_slices[catalogue.selected])
    for row in sorted({int(row) for row in np.linspace(0, last[-1] - 1, _SAMPLE)}):
        place = int(np.searchsorted(last, row, side="right"))
        stack = index.numbered_stack(int(numbers[place]))
        if stack is not None:
            yield job_for(index.root, stack, stack.slices[row - int(last[place])])


def _workers(job: Job, processes: int) -> int:
    return job.run.workers or max(1, default_workers() // processes)


def _tables(n_series: int, n_slices: int) -> tuple[int, int]:
    """Bytes and files of the tables of a part."""
    n_bytes, n_files = 0, _GROUPS_OF_A_PART
    for n_rows, columns in ((n_series, SERIES_COLUMNS), (n_slices, SLICES_COLUMNS)):
        n_bytes += n_rows * sum(_BYTES[kind] for kind in columns.values())
        n_files += len(columns) * (1 + -(-n_rows // TABLE_ROWS))
    return n_bytes, n_files
