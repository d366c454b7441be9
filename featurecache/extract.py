"""Stage 1: plan, then units -> decode -> transform -> embed -> commit."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featurecache import arrays
from featurecache.arrays import OK
from featurecache.backbones import Backbone, check_backbone, load_backbone
from featurecache.chosen import Chosen, choose
from featurecache.devices import keep_freed_memory, native_bf16, resolve_device
from featurecache.embed import Embedder, can_compile
from featurecache.engines.local import Timing, Unit, run
from featurecache.errors import FeatureCacheError, UsageError
from featurecache.extract_report import ExtractReport
from featurecache.feature_array import FeatureArray
from featurecache.identifiers import Identifiers
from featurecache.index import Index
from featurecache.locks import store_lock
from featurecache.open_storage import open_storage
from featurecache.options import ExtractOptions, check_options
from featurecache.plan import (
    Plan,
    add_features,
    add_part,
    check_plan,
    check_recipe,
    check_requests,
)
from featurecache.pool import default_workers
from featurecache.proof import prove, sample, unproven
from featurecache.reasons import PASSING_REASONS
from featurecache.recipe import Recipe, parse_windows
from featurecache.rows import RowSource
from featurecache.scan_document import scan_document
from featurecache.select import Selection
from featurecache.storage import Storage
from featurecache.weights import WeightsSource

_log = logging.getLogger(__name__)

_CPU_BATCH, _GPU_BATCH = 16, 128
_COMPILE_FROM_SLICES = 20_000
_BARE_FROM_BATCHES = 20
_CPU_WORKERS = 4


def extract(
    index_path: Path, store: str | Path | Storage, options: ExtractOptions,
    identifiers: Identifiers, *,
    selection: Selection | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExtractReport:  # fmt: skip
    """Run a frozen backbone once over every slice of the index and commit the features.

    Units that are committed already are not computed again, so an interrupted run continues.

    Parameters
    ----------
    index_path : Path
        What `featurecache.scan.scan` wrote.
    store : str, Path or Storage
        The store; made if it is not there.
    options : ExtractOptions
        Backbone, recipe and how to compute.
    identifiers : Identifiers
        Turns UIDs into store ids.
    selection : Selection, optional
        Which series of the index are new work; what the store has stays whatever it says.
    progress : callable, optional
        Called with (slices done, slices to do).

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
    """
    store = open_storage(store)
    device = preflight(store, options)
    keep_freed_memory()
    backbone = load_backbone(
        options.backbone, options.weights, layer=options.layer, pool=options.pool,
        size=options.zoom or options.size,
    )  # fmt: skip
    with store_lock(store):
        with Index.open(index_path, readonly=True) as index:
            chosen = choose(index, selection)
            chosen.check()
            job = _Extraction(index, store, options, identifiers, backbone, device, chosen)
        return job.report(job.compute(progress))


def preflight(store: str | Path | Storage, options: ExtractOptions) -> torch.device:
    """Find what can be found wrong before any file is read.

    Parameters
    ----------
    store : str, Path or Storage
        The store.
    options : ExtractOptions
        What was asked for.

    Returns
    -------
    torch.device
        Where the backbone will run.

    Raises
    ------
    UsageError
        An option is wrong.
    MissingResourceError
        A weights file or the device is not there.
    StoreError
        The store is locked, or its folder cannot be written.
    """
    check_options(options)
    parse_windows(options.windows)
    arrays.check_name(options.feature_name)
    check_backbone(options.backbone)
    WeightsSource.parse(options.weights)
    store = open_storage(store)
    with store_lock(store):
        store.check_writable()
    return resolve_device(options.device)


class _Extraction:
    """One run: what it was told, and the plan that came of it."""

    def __init__(
        self, index: Index, store: Storage, options: ExtractOptions, identifiers: Identifiers,
        backbone: Backbone, device: torch.device, chosen: Chosen,
    ) -> None:  # fmt: skip
        self._store, self._options, self._chosen = store, options, chosen
        self._backbone, self._device, self._name = backbone, device, options.feature_name
        self._prepare_store(index, identifiers)
        self._document = scan_document(index, identifiers, chosen)
        plan = self._earlier_plan()
        add_part(store, index, identifiers, chosen.series)
        self._source = RowSource(store, index, identifiers)
        self._unselected = self._source.count_series(map(identifiers.series, chosen.series))
        self._plan = self._settle(plan or self._make_plan())
        torch.set_num_threads(self._plan.threads)
        recipe = self._recipe(self._plan.precision["used"])
        self._embedder = self._make_embedder(recipe, self._plan)
        self._arrays = [
            FeatureArray(store, part, self._name, writable=True)
            for part in range(self._source.part_count)
        ]

    def _earlier_plan(self) -> Plan | None:
        """The plan of the features that are there, if it can be followed here."""
        plan = check_plan(self._store, self._name, self._device.type)
        if plan is not None:
            check_recipe(self._store, self._name, self._recipe(self._wanted_precision(plan)))
            check_requests(plan, self._options)
        return plan

    def _settle(self, plan: Plan) -> Plan:
        """Create the features; where a rival comes first, its plan is checked and followed."""
        unit = self._options.unit_slices
        unit = unit and -(-unit // plan.batch_size) * plan.batch_size
        recipe = self._recipe(plan.precision["used"])
        if add_features(self._store, self._name, recipe, plan, dim=self._backbone.dim, unit=unit):
            return plan
        return self._settle(self._earlier_plan() or plan)

    def _prepare_store(self, index: Index, identifiers: Identifiers) -> None:
        if next(iter(index.stacks()), None) is None:
            raise UsageError(
                f"{index.root} has no usable CT series: `featurecache scan` says what became of "
                "each file"
            )
        arrays.create_store(self._store, identifiers.digest)
        identifiers.check(arrays.read_root(self._store)["key_digest"])
        self._store.remove_debris()

    def compute(self, progress: Callable[[int, int], None] | None) -> Timing:
        """Compute the units that are missing."""
        if self._options.plan_only:
            return Timing()
        units = [unit for array in self._arrays for unit in self._units(array)]
        total, done = sum(int(unit.wanted.sum()) for unit in units), 0
        self._bare = self._measure_bare(total)

        def advance(n_slices: int) -> None:
            nonlocal done
            done += n_slices
            if progress is not None:
                progress(done, total)

        return run(units, self._source, self._embedder, workers=self._workers(), progress=advance)

    def report(self, timing: Timing) -> ExtractReport:
        """The account: failed slices of this run and earlier ones move their files to failed."""
        document = self._document
        failed, failed_rows = self._failed_files()
        failed = {path: why for path, why in failed.items() if path not in self._chosen.files}
        counts = document["files"]
        counts["used"] -= len(failed)
        counts["failed"] += len(failed)
        if counts["seen"] != counts["used"] + counts["skipped"] + counts["failed"]:
            raise FeatureCacheError(f"files do not add up: {counts}; this is a bug")
        document["reasons"] += [
            {"kind": "failed", "reason": reason, "count": count}
            for reason, count in sorted(Counter(failed.values()).items())
        ]
        document["reasons"] += [
            {"kind": "warning", "reason": warning, "count": count}
            for warning, count in sorted(timing.warnings.items())
        ]
        return ExtractReport(
            name=self._name, scan=document,
            units=sum(array.n_units for array in self._arrays),
            units_done=sum(len(array.units_done()) for array in self._arrays),
            rows=sum(array.shape[0] for array in self._arrays), dim=self._backbone.dim,
            failed_rows=failed_rows, missing_series=self._source.missing_series(), timing=timing,
            unselected_series=self._unselected,
            bare_slices_per_s=getattr(self, "_bare", None), precision=dict(self._plan.precision),
        )  # fmt: skip

    def _recipe(self, precision: str) -> Recipe:
        options, backbone, framing = self._options, self._backbone, self._options.framing
        return Recipe(
            backbone=backbone.name, weights=backbone.weights,
            weights_source=backbone.weights_source, layer=backbone.layer, pool=options.pool,
            windows=parse_windows(options.windows), size=options.size, zoom=options.zoom,
            mean=backbone.mean, std=backbone.std, precision=precision, dtype=options.dtype,
            resize=framing.words, spacing_mm=framing.spacing_mm, fov_mm=framing.fov_mm,
        )  # fmt: skip

    def _wanted_precision(self, plan: Plan) -> str:
        asked = self._options.precision
        return str(plan.precision["used"]) if asked == "auto" else asked

    def _workers(self) -> int:
        cores = default_workers()
        return self._options.workers or (min(cores, _CPU_WORKERS) if self._on_cpu() else cores)

    def _on_cpu(self) -> bool:
        return self._device.type == "cpu"

    def _make_embedder(self, recipe: Recipe, plan: Plan) -> Embedder:
        return Embedder(
            self._backbone, recipe, self._device, plan.batch_size, compiled=plan.compiled
        )

    def _make_plan(self) -> Plan:
        options = self._options
        batch_size = options.batch_size or (_CPU_BATCH if self._on_cpu() else _GPU_BATCH)
        draft = Plan(
            self._device.type, batch_size, torch.get_num_threads(), self._compiled(),
            options.strict, {"used": "fp32"},
        )  # fmt: skip
        fast = options.precision
        if fast == "auto":
            fast = "bf16" if native_bf16(self._device) else "fp32"
        return replace(draft, precision=self._prove(fast, draft))

    def _compiled(self) -> bool:
        if self._options.compile == "on" and not can_compile(self._device):
            _log.warning("--compile on: no compiler was found, so the network runs uncompiled")
            return False
        if self._options.compile != "auto":
            return self._options.compile == "on"
        rows = sum(
            len(arrays.read_table(self._store, part, "slices"))
            for part in arrays.list_parts(self._store)
        )
        return rows >= _COMPILE_FROM_SLICES and can_compile(self._device)

    def _prove(self, fast: str, plan: Plan) -> dict[str, Any]:
        """Compare a first batch with float32 and decide."""
        if fast == "fp32":
            return unproven("fp32")
        part = arrays.list_parts(self._store)[-1]
        n_rows = len(arrays.read_table(self._store, part, "slices"))
        slices = sample(self._source, part, n_rows, plan.batch_size)
        eager = replace(plan, compiled=False)
        limit = self._options.max_relative_error if self._options.precision == "auto" else None
        embedder = self._make_embedder(self._recipe("fp32"), eager)
        slices = [decoded for decoded in slices if embedder.refusal(decoded) is None]
        return prove(lambda p: self._make_embedder(self._recipe(p), eager)(slices), fast, limit)

    def _measure_bare(self, total: int) -> float | None:
        if total < _BARE_FROM_BATCHES * self._plan.batch_size:
            return None
        return self._embedder.bare_slices_per_s()

    def _units(self, array: FeatureArray) -> Iterator[Unit]:
        """What is left to do: units without a commit, and rows to be tried again."""
        missing, done = self._source.missing(array.part), array.units_done()
        status = array.read_status()
        again = array.interrupted_rows(status, done)
        for number in sorted(set(range(array.n_units)) - done):
            if self._options.accept_missing or not missing[_slice(array.rows(number))].any():
                yield Unit(array, number)
        if self._options.retry_failed:
            passing = np.isin(status, sorted(PASSING_REASONS))
            again |= passing & self._source.current(array.part) & ~missing
        for number in sorted(done):
            rows = array.rows(number)
            retry = frozenset((np.flatnonzero(again[_slice(rows)]) + rows.start).tolist())
            if retry:
                yield Unit(array, number, retry)

    def _failed_files(self) -> tuple[dict[str, str], int]:
        """File -> reason over all parts, and the number of failed rows."""
        failed: dict[str, str] = {}
        rows = 0
        for array in self._arrays:
            status = array.read_status()
            bad = np.flatnonzero((status > OK) & self._source.current(array.part))
            rows += len(bad)
            for row in bad.tolist():
                path = self._source.path(array.part, row)
                if path is not None:
                    failed.setdefault(path, array.reason(int(status[row])))
        return failed, rows


def _slice(rows: range) -> slice:
    return slice(rows.start, rows.stop)
