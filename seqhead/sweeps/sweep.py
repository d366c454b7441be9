"""Many candidates compared on inner folds; the best one tested once on patients no trial saw."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurecache.pool import default_workers
from seqhead.errors import SweepError
from seqhead.run_folder import next_run_path
from seqhead.sources import Sources
from seqhead.splitting import Splitting
from seqhead.sweeps.asked import Asked, open_asked
from seqhead.sweeps.crew import work_side_by_side
from seqhead.sweeps.folder import SweepFolder
from seqhead.sweeps.leaderboard import Leaderboard, make_leaderboard
from seqhead.sweeps.locks import remove_signs_of_the_dead
from seqhead.sweeps.page import leaderboard_page
from seqhead.sweeps.prepare import Prepared, prepare, request_of, same_settings
from seqhead.sweeps.queue import Queue
from seqhead.sweeps.settings import Request, SweepSettings
from seqhead.sweeps.shared import share, why_not_shared
from seqhead.sweeps.winner import Winner, tested_winner
from seqhead.sweeps.worker import work

Progress = Callable[[int, int, float | None], None]
"""Told how many candidates are settled, of how many, and the best score so far."""

_CORES_A_JOB = 4  # a small head does not get faster on more
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepReport:
    """What a sweep found.

    Parameters
    ----------
    folder : SweepFolder
        Its folder.
    prepared : Prepared
        What it was told, and on whom.
    leaderboard : Leaderboard
        All candidates.
    winner : Winner or None
        The best one, tested; None if no candidate could be fitted.
    """

    folder: SweepFolder
    prepared: Prepared
    leaderboard: Leaderboard
    winner: Winner | None

    @property
    def exit_code(self) -> int:
        """3 if candidates failed, or series had to be left out for want of features, else 0."""
        return 3 if self.leaderboard.count("failed") or self.prepared.empty_series else 0

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead sweep --json``."""
        settings, board = self.prepared.settings, self.leaderboard
        states = ("complete", "given up", "failed")
        return {
            "schema_version": 1,
            "sweep": self.folder.path.as_posix(),
            "features": [one.name for one in settings.features],
            "level": settings.level,
            "labels": list(settings.labels),
            "metric": settings.metric,
            "sampler": settings.sampler,
            "inner_folds": settings.inner_folds,
            "trials": {"asked": settings.trials}
            | {state.replace(" ", "_"): board.count(state) for state in states},
            "patients": self.prepared.patients,
            "series": self.prepared.series,
            "winner": self.winner.document(settings.metric) if self.winner else None,
            "within_noise": board.within_noise,
            "leaderboard": [one.document() for one in board.standings],
            "empty_series": self.prepared.empty_series,
            "notes": self.prepared.notes,
        }


def sweep(
    sources: Sources,
    request: Request,
    *,
    splitting: Splitting | None = None,
    out: Path | None = None,
    project: Path | None = None,
    jobs: int | None = None,
    device: str = "auto",
    memory: float | None = None,
    progress: Progress | None = None,
) -> SweepReport:
    """Begin a sweep, or continue one of the same settings.

    Several processes, on several machines too, may sweep in one folder at the same time.

    Parameters
    ----------
    sources : Sources
        Store and labels.
    request : Request
        What to sweep.
    splitting : Splitting or None
        How to split off the test patients, and how the winner's thresholds are chosen.
    out : Path or None
        The folder; None: the one in ``sweeps`` with these settings, else a new one there.
    project : Path or None
        Folder that paths are remembered relative to; the working folder by default.
    jobs : int or None
        How many processes; None: see `default_jobs`.
    device : str
        Where heads are trained.
    memory : float or None
        Memory that all the features together may take, in 10^9 bytes; None: half of what is
        available. More are read from the store batch by batch, by one process. Changes no result.
    progress : callable or None
        Called whenever a candidate is settled.

    Returns
    -------
    SweepReport

    Raises
    ------
    SweepError
        The folder is of another sweep; the message names the fields that differ.
    LabelError, SplitError, FitError, StoreError
        Files, patients or values do not allow it.
    """
    project, splitting = project or Path(), splitting or Splitting()
    asked = open_asked(sources, request, memory)
    folder = SweepFolder(out or _default_path(asked, splitting, sources, project))
    prepared = prepare(asked, sources, splitting, folder, project)
    asked.cohorts.clear()  # what trials see is in `prepared`
    means = _Means(sources, project, jobs, device, memory)
    return _run(folder, prepared, means, progress)


def continue_sweep(
    path: Path,
    *,
    key: Path | None = None,
    project: Path | None = None,
    jobs: int | None = None,
    device: str = "auto",
    memory: float | None = None,
    progress: Progress | None = None,
) -> SweepReport:
    """Continue the sweep of a folder with the settings that it has.

    Parameters
    ----------
    path : Path
        The folder.
    key : Path or None
        Key of the store.
    project, jobs, device, memory, progress
        As for `sweep`.

    Returns
    -------
    SweepReport

    Raises
    ------
    SweepError
        It is not a sweep, or features or labels are not those that it began with.
    """
    folder, project = SweepFolder(path), project or Path()
    saved = folder.settings()
    sources = sources_of(saved, key, project)
    if isinstance(sources.store, Path) and not sources.store.exists():
        raise SweepError(
            f"{path} was begun in a folder that has {saved.sources.store}, which is not here: give "
            "the command there"
        )
    asked = open_asked(sources, request_of(saved), memory)
    prepared = prepare(asked, sources, None, folder, project)
    asked.cohorts.clear()
    return _run(folder, prepared, _Means(sources, project, jobs, device, memory), progress)


def sources_of(settings: SweepSettings, key: Path | None, project: Path) -> Sources:
    """Files that a sweep reads.

    Parameters
    ----------
    settings : SweepSettings
        Of its folder.
    key : Path or None
        Key of the store.
    project : Path
        Folder that their paths are relative to.

    Returns
    -------
    Sources
    """
    files = settings.sources
    slices = None if files.slice_labels is None else project / files.slice_labels
    store = files.store if "://" in files.store else project / files.store
    return Sources(store, project / files.labels, files.labels_format, slices, key)


def default_jobs(device: str = "auto") -> int:
    """How many processes try candidates side by side where nobody says.

    Parameters
    ----------
    device : str
        Where heads are trained.

    Returns
    -------
    int
        One for every four processor cores; one where a GPU does the work. On two cores one
        process of two threads and two of one thread take equally long.
    """
    from seqhead.train import choose_device

    if choose_device(device).type != "cpu":
        return 1
    return max(1, default_workers() // _CORES_A_JOB)


def _default_path(asked: Asked, splitting: Splitting, sources: Sources, project: Path) -> Path:
    """The sweep that has these settings already, else the next free name."""
    names = dict.fromkeys(one.features.name for one in asked.opened)
    stem = next(iter(names)) if len(names) == 1 else "features"
    sweeps = project / "sweeps"
    for path in sorted(sweeps.glob(f"{stem}-*"), key=lambda path: path.stat().st_mtime_ns)[::-1]:
        if _is_same(SweepFolder(path), asked, splitting, sources, project):
            return path
    return next_run_path(sweeps, stem)


def _is_same(
    folder: SweepFolder, asked: Asked, splitting: Splitting, sources: Sources, project: Path
) -> bool:
    try:
        return folder.is_sweep and same_settings(asked, sources, splitting, folder, project)
    except SweepError:  # damaged, or of another version: not the one that is looked for
        return False


class _View:
    """Tables and progress, brought up to date whenever a candidate is settled."""

    def __init__(
        self, folder: SweepFolder, prepared: Prepared, queue: Queue, progress: Progress | None
    ) -> None:
        self._folder, self._prepared, self._queue = folder, prepared, queue
        self._progress = progress
        self._settled = -1

    def publish(self) -> int:
        """Write the tables if anything changed; give how many candidates are settled."""
        if self._queue.settled() != self._settled:
            report = self.report(None)
            self._settled = report.leaderboard.settled
            self._folder.write("leaderboard.csv", report.leaderboard.csv())
            self._folder.write("leaderboard.html", leaderboard_page(report.document()))
            if self._progress is not None:
                first = report.leaderboard.first
                best = None if first is None else first.entry.outcome["score"]
                self._progress(self._settled, self._prepared.settings.trials, best)
        return self._settled

    def report(self, winner: Winner | None) -> SweepReport:
        """What the sweep found so far."""
        board = make_leaderboard(
            self._queue.entries(), self._prepared.settings, self._folder, self._queue.space
        )
        return SweepReport(self._folder, self._prepared, board, winner)


@dataclass(frozen=True, slots=True)
class _Means:
    """With what a sweep is carried out; none of it changes what is found."""

    sources: Sources
    project: Path
    jobs: int | None
    device: str
    memory: float | None


def _run(
    folder: SweepFolder, prepared: Prepared, means: _Means, progress: Progress | None
) -> SweepReport:
    settings, tested = prepared.settings, folder.winner.exists()
    queue = Queue(folder.journal, folder.signs, settings)
    queue.fill()
    view = _View(folder, prepared, queue, progress)
    if view.publish() < settings.trials:
        if tested:
            raise SweepError(
                f"{folder.path} has a tested winner, but {folder.journal.name} lacks trials that "
                "it was chosen from. Sweep again into a new folder"
            )
        _try_all(folder, prepared, means, view)
        view.publish()
    report = view.report(None)
    if report.leaderboard.first is not None:
        winner = tested_winner(
            report.leaderboard.first, settings, folder, means.sources, prepared.label_files,
            device=means.device, memory=means.memory, project=means.project,
        )  # fmt: skip
        report = view.report(winner)
    remove_signs_of_the_dead(folder.signs)
    folder.write("leaderboard.html", leaderboard_page(report.document()))
    return report


def _try_all(folder: SweepFolder, prepared: Prepared, means: _Means, view: _View) -> None:
    data, device = prepared.data, means.device
    jobs = _jobs(means, prepared)
    if jobs == 1:
        work(folder, prepared.settings, data, device=device, settled=view.publish)
        return
    shared = share(data)
    for cohort in data.cohorts:
        if isinstance(cohort.X, list):
            cohort.X.clear()  # now the children have them, in memory once
    try:
        work_side_by_side(
            folder, shared, jobs=jobs, threads=max(1, default_workers() // jobs), device=device,
            settled=view.publish,
        )  # fmt: skip
    finally:
        shared.close()


def _jobs(means: _Means, prepared: Prepared) -> int:
    """How many processes; one where features cannot be shared."""
    jobs = min(means.jobs or default_jobs(means.device), prepared.settings.trials)
    why = None if jobs == 1 else why_not_shared(prepared.data)
    if why is None:
        return jobs
    if means.jobs is not None:
        raise SweepError(f"--jobs {means.jobs}: {why}. Use --jobs 1")
    _log.warning("one process tries candidates: %s", why)
    return 1
