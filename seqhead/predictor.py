"""A run kept ready: folders of DICOM files in, probabilities out, without a store between."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from featurecache.crew import Crew
from featurecache.devices import keep_freed_memory, resolve_device
from featurecache.identifiers import Identifiers
from featurecache.new_scans import NewScans, new_scans
from featurecache.pixels import decode_slice
from featurecache.pool import default_workers
from featurecache.select import Selection
from seqhead.fitted_networks import fitted_networks
from seqhead.fresh_features import FeatureMaker, FreshFeatures
from seqhead.members import Member
from seqhead.predicted import FolderPredictions
from seqhead.run import Run

if TYPE_CHECKING:
    from featurecache.stacks import Stack

_MOST_WORKERS = 8
_OWN_IDS = Identifiers(None)

Progress = Callable[[int, int | None], None]


class Predictor:
    """The networks and heads of a run, and reader processes, loaded once for many folders.

    Each folder is scanned, checked and ordered as an extraction would, its features are made with
    the recipe of the fit, and nothing stays. Where a head looks at some slices only, the others
    are decoded and checked, but not embedded: a sample of a long series, and key slices enlarged
    (DrCT2). Use it in one thread, and close it.

    Parameters
    ----------
    run : Run, str or Path
        The fitted run, or its folder.
    device : str
        Where networks and heads compute: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    weights : Path, optional
        File of weights of the networks, where those of the fit came from a file that is not in
        the working folder.
    allow_numerics : bool
        Compute in float32 where the device lacks the precision of the fit.
    calibrate : str, optional
        ``"temperature"`` or ``"isotonic"``, see `seqhead.calibration`.
    batch_size : int, optional
        Slices of a batch. With that of an extraction (by default the same on a CPU), features are
        equal to its bit for bit; with another, to the last bits.
    compiled : bool
        Use torch.compile: minutes at the start, faster afterwards.
    workers : int, optional
        Reader processes; by default one per core, 8 at most.

    Attributes
    ----------
    networks : list of Network
        One for each feature set of the run.
    notes : list of str
        What was crossed, e.g. another precision.

    Raises
    ------
    RunError
        The run or its model is missing or damaged.
    MissingResourceError
        Weights or the device are not here.
    FeaturesError
        The features of the fit cannot be made here; the message names the fields.
    UsageError
        The backbone is unknown here, or the weights do not fit it.

    Examples
    --------
    >>> with Predictor("runs/drct2-1") as predictor:           # doctest: +SKIP
    ...     for folder in folders:
    ...         print(predictor.predict(folder).table)
    """

    def __init__(
        self, run: Run | str | Path, *, device: str = "auto", weights: Path | None = None,
        allow_numerics: bool = False, calibrate: str | None = None,
        batch_size: int | None = None, compiled: bool = False, workers: int | None = None,
    ) -> None:  # fmt: skip
        self.run = run if isinstance(run, Run) else Run.open(run)
        self._calibrate = calibrate
        on = resolve_device(device)
        keep_freed_memory()
        workers = workers or min(default_workers(), _MOST_WORKERS)
        self._crew = Crew(workers, ready_for=decode_slice)  # they start while networks are loaded
        try:
            self._members = [Member.load(member, str(on)) for member in self.run.members]
            self.networks, self.notes = fitted_networks(
                self.run.config, on, weights=weights, allow_numerics=allow_numerics,
                batch_size=batch_size, compiled=compiled,
            )  # fmt: skip
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the reader processes; safe to call twice."""
        self._crew.close()

    def predict(
        self, folder: str | Path, selection: Selection | None = None, *,
        progress: Progress | None = None, **scan_options: Any,
    ) -> FolderPredictions:  # fmt: skip
        """Score every usable series of a folder.

        Parameters
        ----------
        folder : str or Path
            One scan or many. Nothing is written there; what is found is kept in a temporary folder
            that nobody else can read, and that is removed at the end.
        selection : Selection, optional
            Which series are used; the others count as skipped.
        progress : callable, optional
            Called with (slices done, slices to do).
        **scan_options
            ``assume_hu``, ``min_slices`` and ``nifti_ids`` of `featurecache.scan.scan`.

        Returns
        -------
        FolderPredictions

        Raises
        ------
        UsageError
            It is no folder, has no usable series, or the selection leaves none.
        FeaturesError
            A network gave a value that the type of the features cannot hold.
        """
        started = perf_counter()
        maker = FeatureMaker(self.networks, self._members, self._crew)
        with new_scans(Path(folder), selection, workers=self._crew, **scan_options) as scans:
            seconds = {"scan": perf_counter() - started}
            found = _Found(scans, self.run, progress)
            for stack in scans.stacks():
                fresh = maker.make(scans.jobs(stack))
                began = perf_counter()
                found.add(stack, fresh, self._score(fresh))
                found.head_s += perf_counter() - began
            account = scans.document(found.failed_files, maker.spent.warnings)
        spent = maker.spent
        seconds |= {"read": spent.read_s, "decode": spent.decode_s, "head": found.head_s}
        seconds |= {"transform": spent.transform_s, "embed": spent.embed_s}
        return FolderPredictions(
            self.run, found.table(), found.empty, found.partial, list(self.notes), account,
            {**seconds, "wall": perf_counter() - started}, self._by_name(spent.embedded),
        )  # fmt: skip

    def _by_name(self, counts: Mapping[int, int]) -> dict[str, int]:
        """Counts of the networks under the names of their feature sets."""
        config = self.run.config
        sets = [one.name for one in (config.features, config.second_features) if one is not None]
        return {name: counts.get(number, 0) for number, name in enumerate(sets)}

    def _score(self, fresh: FreshFeatures) -> np.ndarray:
        """Mean of what the models say of one series: (1, K), or (n, K) of a run on slices."""
        if not len(fresh.X):
            return np.empty((0, len(self.run.config.labels)))
        scored = [one.probabilities([fresh.X], self._calibrate) for one in self._members]
        mean: np.ndarray = np.mean(scored, axis=0)
        return mean


class _Found:
    """Predictions of a folder in the making."""

    def __init__(self, scans: NewScans, run: Run, progress: Progress | None) -> None:
        self.failed_files: dict[str, str] = {}
        self.empty: list[str] = []
        self.partial: list[str] = []
        self.head_s = 0.0
        self._run, self._progress = run, progress
        self._ids: list[tuple[Any, ...]] = []
        self._scored: list[np.ndarray] = []
        self._total, self._done = sum(len(stack.slices) for stack in scans.stacks()), 0

    def add(self, stack: "Stack", fresh: FreshFeatures, scored: np.ndarray) -> None:
        """Take what the models say of the next series."""
        for place, reason in fresh.failed.items():
            self.failed_files.setdefault(stack.slices[place].path, reason)
        if not len(fresh.X):
            self.empty.append(stack.key)
        elif fresh.failed:
            self.partial.append(stack.key)
        if self._run.config.level == "slice":
            for place in fresh.places.tolist():
                one = stack.slices[place]
                slice_id = _OWN_IDS.slice(one.sop_uid, one.frame)
                self._ids.append((stack.key, stack.patient_id, slice_id, place))
        elif len(fresh.X):
            self._ids.append((stack.key, stack.patient_id))
        self._scored.append(scored)
        self._done += len(stack.slices)
        if self._progress is not None:
            self._progress(self._done, self._total)

    def table(self) -> pd.DataFrame:
        """The table of `Predictions`."""
        of_slices = self._run.config.level == "slice"
        columns = ["series", "patient", *(["slice", "position"] if of_slices else [])]
        ids = pd.DataFrame(self._ids, columns=columns)
        labels = list(self._run.config.labels)
        return pd.concat([ids, pd.DataFrame(np.concatenate(self._scored), columns=labels)], axis=1)
