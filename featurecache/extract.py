"""Stage 1: plan once, then units -> decode -> transform -> embed -> commit."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from featurecache import arrays
from featurecache.backbones import Backbone, check_backbone
from featurecache.chosen import choose
from featurecache.devices import keep_freed_memory, resolve_devices
from featurecache.engines import local, ray
from featurecache.engines.cluster import Cluster, import_ray, join_cluster
from featurecache.extract_report import ExtractReport, FeatureReport, ShardReport
from featurecache.identifiers import Identifiers
from featurecache.index import Index
from featurecache.job import Job
from featurecache.locks import shard_lock, store_lock
from featurecache.open_storage import open_storage
from featurecache.options import FeatureOptions, RunOptions, check_options
from featurecache.parts import dropped_series, series_tables
from featurecache.prepare import Prepared, prepare
from featurecache.recipe import parse_windows
from featurecache.runner import Runner, follow_plans, open_backbone
from featurecache.scan_document import move_to_failed, scan_document
from featurecache.select import Selection
from featurecache.storage import Storage
from featurecache.timing import Timing
from featurecache.units import Work, count_slices
from featurecache.weights import WeightsSource

__all__ = ["FeatureOptions", "RunOptions", "extract", "preflight"]

Progress = Callable[[int, int], None]


def extract(
    index_path: Path, store: str | Path | Storage, features: Sequence[FeatureOptions],
    run: RunOptions, identifiers: Identifiers, *, selection: Selection | None = None,
    refresh: Callable[[], object] | None = None, progress: Progress | None = None,
    waiting: Callable[[str], None] | None = None,
) -> ExtractReport:  # fmt: skip
    """Run frozen backbones once over every slice of the index and commit the features.

    Each slice is read and decoded once for all feature sets. Units that are committed already are
    not computed again, so an interrupted run continues.

    Parameters
    ----------
    index_path : Path
        What `featurecache.scan.scan` wrote.
    store : str, Path or Storage
        The store; made if it is not there.
    features : sequence of FeatureOptions
        Backbones and recipes, one a feature set.
    run : RunOptions
        Where and how to compute.
    identifiers : Identifiers
        Turns UIDs into store ids.
    selection : Selection, optional
        Which series of the index are new work; what the store has stays whatever it says.
    refresh : callable, optional
        Brings the index up to date. Called before the plan is made, with the store locked, and
        not by a shard that joins others at work.
    progress : callable, optional
        Called with (slices done, slices to do).
    waiting : callable, optional
        Told who it is, when this shard waits for another one to make the plan.

    Returns
    -------
    ExtractReport

    Raises
    ------
    UsageError
        An option is wrong, the index has no usable series, or none is selected.
    MissingResourceError
        Weights or a device are not there.
    StoreError
        The store is locked, damaged, or was made with another recipe, plan or key.
    FeatureCacheError
        One of several processes failed.
    """
    store = open_storage(store, durable=run.durable)
    devices = preflight(store, features, run)
    keep_freed_memory()
    shares = () if run.shard is None else (run.shard,)
    job = Job(index_path, store, tuple(features), run, identifiers, shares)
    backbones = [open_backbone(options) for options in features]

    def make_ready() -> Prepared:
        if refresh is not None:
            refresh()
        beside = cluster.per_machine if cluster else len(devices)
        processes = cluster.n_actors if cluster else beside * (run.shard.of if run.shard else 1)
        return prepare(
            job, backbones, devices[0], selection, processes=processes, beside=beside
        )  # fmt: skip

    with ExitStack() as stack:
        cluster = None
        if run.engine == "ray":
            cluster = stack.enter_context(join_cluster(run, devices[0]))
        lock, prepared = stack.enter_context(_locked(job, make_ready, waiting))
        extraction = _Extraction(job, backbones, devices, prepared, selection, cluster)
        return extraction.run(lock, progress)


def preflight(
    store: str | Path | Storage, features: Sequence[FeatureOptions], run: RunOptions
) -> list[torch.device]:
    """Find what can be found wrong before any file is read.

    Parameters
    ----------
    store : str, Path or Storage
        The store.
    features : sequence of FeatureOptions
        What was asked for.
    run : RunOptions
        How.

    Returns
    -------
    list of torch.device
        Where the backbones will run.

    Raises
    ------
    UsageError
        An option is wrong.
    MissingResourceError
        A weights file, a device or the package ray is not there.
    StoreError
        The store's folder cannot be written.
    """
    check_options(features, run)
    if run.engine == "ray":
        import_ray()
    for one in features:
        parse_windows(one.windows)
        arrays.check_name(one.feature_name)
        check_backbone(one.backbone)
        WeightsSource.parse(one.weights)
    open_storage(store).check_writable()
    return resolve_devices(run.device)


@contextmanager
def _locked(
    job: Job, make_ready: Callable[[], Prepared], waiting: Callable[[str], None] | None
) -> Iterator[tuple[int | None, Prepared | None]]:
    """Hold the store, planned: a file descriptor of its lock if it has one, and the plans.

    No plans where another shard has made them, or may have changed them since.
    """
    if job.run.shard is None or job.store.folder is None:
        with store_lock(job.store) as descriptor:
            yield descriptor, make_ready()
        return
    with shard_lock(job.store, job.run.shard) as lock:
        lock.enter(waiting)
        if lock.alone:
            make_ready()
            lock.share()
        yield lock.fileno(), None


@dataclass(frozen=True, slots=True)
class _Extraction:
    """One run over a store that is planned and locked."""

    job: Job
    backbones: Sequence[Backbone]
    devices: Sequence[torch.device]
    prepared: Prepared | None
    selection: Selection | None
    cluster: Cluster | None

    def run(self, lock: int | None, progress: Progress | None) -> ExtractReport:
        """Compute what is left and report."""
        catalogue = self.prepared.catalogue if self.prepared else None
        with Index.open(self.job.index, readonly=True) as index:
            work = Work(self.job, index, catalogue)
            timing = self._compute(work, lock, progress)
            return self._report(work, timing, index)

    def _compute(self, work: Work, lock: int | None, progress: Progress | None) -> Timing:
        if self.job.run.plan_only:
            return Timing.nothing(len(self.job.features))
        units = work.units()
        advance = _counted(count_slices(units), progress)
        if self.cluster is not None:
            kind = self.devices[0].type
            return ray.run_on(self.cluster, self.job, kind, work, units, progress=advance)
        if len(self.devices) > 1:
            jobs = self.job.on([str(device) for device in self.devices])
            return local.run_on(jobs, lock=lock, progress=advance)
        planned = (
            self.prepared.planned if self.prepared
            else follow_plans(self.job, self.backbones, self.devices[0])
        )  # fmt: skip
        return Runner(self.job, work, planned, self.devices[0]).compute(units, advance)

    def _report(self, work: Work, timing: Timing, index: Index) -> ExtractReport:
        """The account: failed slices of this run and earlier ones move their files to failed."""
        chosen = choose(index, self.selection)
        identifiers = self.job.identifiers
        document = scan_document(index, identifiers, chosen)
        failed: dict[str, str] = {}
        failed_rows = 0
        for part, row, reason in work.failed_rows():
            failed_rows += 1
            path = work.source.path(part, row)
            if path is not None and path not in chosen.files:
                failed.setdefault(path, reason)
        move_to_failed(document, failed, timing.warnings)
        return ExtractReport(
            features=[
                self._feature_report(work, timing, place) for place in range(len(work.arrays))
            ],
            scan=document, failed_rows=failed_rows, missing_series=work.source.missing_series(),
            unselected_series=work.source.count_series(map(identifiers.series, chosen.series)),
            dropped_series=dropped_series(list(series_tables(self.job.store).values())),
            timing=timing, shard=self._shard_report(work),
        )  # fmt: skip

    def _feature_report(self, work: Work, timing: Timing, place: int) -> FeatureReport:
        parts, name = work.arrays[place], self.job.names[place]
        return FeatureReport(
            name=name, units=sum(array.n_units for array in parts),
            units_done=sum(len(array.units_done()) for array in parts),
            rows=sum(array.shape[0] for array in parts), dim=parts[0].shape[1],
            failed_rows=work.n_failed(place), plan=parts[0].attributes["plan"],
            compilation=self.prepared.compilations.get(name) if self.prepared else None,
            timing=timing.features[place],
        )  # fmt: skip

    def _shard_report(self, work: Work) -> ShardReport | None:
        if self.job.run.shard is None:
            return None
        shares = [(array, work.share(array)) for parts in work.arrays for array in parts]
        return ShardReport(
            self.job.run.shard, units=sum(len(share) for _, share in shares),
            units_done=sum(len(share & array.units_done()) for array, share in shares),
        )  # fmt: skip


def _counted(total: int, progress: Progress | None) -> Callable[[int], None]:
    done = 0

    def advance(n_slices: int) -> None:
        nonlocal done
        done += n_slices
        if progress is not None:
            progress(done, total)

    return advance
