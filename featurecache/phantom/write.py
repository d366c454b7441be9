"""A phantom on disk: patients as DICOM, and the ground truth as two tables.

::

    OUT/phantom.json     what was asked for
        README.txt
        labels.csv       one line a series: the nine findings
        slices.csv       one line a slice: which findings it shows
        dicom/PH000000/ST000001/SE000003/IM000001.dcm

A patient's folder is written under another name and then renamed, the tables come last: what is
there is whole, and a run that was stopped goes on where it stopped.
"""

import csv
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from io import StringIO
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal

import numpy as np

from featurecache.errors import FeatureCacheError, UsageError
from featurecache.phantom.case import Case, draw_case
from featurecache.phantom.dicom import SeriesWriter, localizer_file, series_folders
from featurecache.phantom.findings import FINDINGS
from featurecache.phantom.noise import background
from featurecache.phantom.render import finish, render
from featurecache.phantom.study import Series, draw_study, slice_uid
from featurecache.phantom.truth import shown

_VERSION = 1
_IDS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
_PARTIAL = ".partial-"
_README = """Synthetic head CT

No patient was scanned for these images. They were computed from simple shapes, to try out and
to test software; nothing measured on them says anything about real scans.

dicom/       one folder a patient, CT Image Storage
labels.csv   which findings a series shows (1) or not (0)
slices.csv   the same for each slice
phantom.json the parameters; the same parameters give the same bytes
"""

Progress = Callable[[int, int | None], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class _Request:
    """What was asked for; equal requests give equal trees."""

    version: int
    patients: int
    seed: int
    series: str
    size: int


def write_phantom(
    out: Path,
    patients: int,
    seed: int,
    *,
    series: Literal["all", "thick"] = "all",
    size: int = 512,
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a labelled synthetic head-CT archive.

    The same arguments give the same bytes (on one kind of machine with the same versions of
    NumPy and SciPy; elsewhere single values may round differently). A run that was interrupted
    is finished by calling again with the same arguments; patients already there are not
    written again.

    Parameters
    ----------
    out : pathlib.Path
        Folder to create; must be empty, missing, or a phantom made with the same arguments.
    patients : int
        1 or more.
    seed : int
        0 or more.
    series : {"all", "thick"}
        All series of a patient, or the thick one alone (a localizer comes with both).
    size : int
        Rows and columns, an even number from 64 to 1024.
    workers : int or None
        Processes; None for one a core.
    progress : callable or None
        Called as ``progress(slices_done, slices_in_all)``.

    Raises
    ------
    UsageError
        If an argument is out of range, or `out` holds something else.
    FeatureCacheError
        If the disk is full or a worker was killed; what is there is whole.
    """
    request = _Request(_VERSION, patients, seed, series, size)
    _check(request)
    out = Path(out)
    if _prepare(out, request):
        return
    try:
        _write_all(out, request, workers, progress)
    except (OSError, BrokenProcessPool) as error:
        raise FeatureCacheError(
            f"Writing the phantom {out} stopped: {error}. Patients already there are whole: "
            "free space or memory, then run the same command again to go on."
        ) from error


def _write_all(
    out: Path, request: _Request, workers: int | None, progress: Progress | None
) -> None:
    """Write patients, then the tables."""
    patients = request.patients
    rows: dict[int, tuple[list[Row], list[Row]]] = {}
    counts = [_count_slices(request, i) for i in range(patients)]
    done = 0
    for index, *tables in _each_patient(out, request, _worker_count(workers, patients)):
        rows[index] = (tables[0], tables[1])
        done += counts[index]
        if progress is not None:
            progress(done, sum(counts))
    ordered = [rows[i] for i in range(patients)]
    slices = [row for _, table in ordered for row in table]
    _write_text(out / "slices.csv", _table((*_IDS, "SOPInstanceUID"), slices))
    _write_text(out / "labels.csv", _table(_IDS, [row for table, _ in ordered for row in table]))


def _check(request: _Request) -> None:
    ranges = (
        ("patients", request.patients, 1, 999_999),
        ("seed", request.seed, 0, 2**63 - 1),
        ("size", request.size, 64, 1024),
    )
    for name, value, least, most in ranges:
        if not least <= value <= most:
            raise UsageError(f"{name} must lie between {least} and {most}; got {value}.")
    if request.size % 2:
        raise UsageError(f"size must be even; got {request.size}.")
    if request.series not in ("all", "thick"):
        raise UsageError(f"series must be 'all' or 'thick'; got {request.series!r}.")


def _prepare(out: Path, request: _Request) -> bool:
    """Make or check the folder; True if the phantom is already complete."""
    manifest = out / "phantom.json"
    if manifest.is_file():
        _check_same(manifest, request)
        for left in (out / "dicom").glob(f"{_PARTIAL}*"):
            shutil.rmtree(left)
        return (out / "labels.csv").is_file()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} exists and is not an empty folder or a phantom. "
            "Nothing was written. Give another folder, or empty this one."
        )
    try:
        (out / "dicom").mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"Cannot create {out}: {error.strerror}. Give another folder.") from error
    _write_text(out / "README.txt", _README)
    _write_text(manifest, json.dumps(asdict(request), indent=1) + "\n")
    return False


def _check_same(manifest: Path, request: _Request) -> None:
    try:
        found = json.loads(manifest.read_text())
    except ValueError as error:
        raise UsageError(f"{manifest} is not valid JSON ({error}). Give another folder.") from error
    wanted = asdict(request)
    if not isinstance(found, dict):
        found = {}
    differing = [k for k in wanted if found.get(k) != wanted[k]]
    if differing:
        lines = ", ".join(f"{k} {found.get(k)!r} there, {wanted[k]!r} asked" for k in differing)
        raise UsageError(
            f"{manifest.parent} holds a phantom made with other parameters ({lines}). "
            "Nothing was written. Give another folder, or remove this one first."
        )


def _worker_count(workers: int | None, patients: int) -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(workers or available or 1, patients))


def _count_slices(request: _Request, index: int) -> int:
    study = draw_study(request.seed, index, request.size)
    return sum(s.n_slices for s in study.only(request.series))


def _each_patient(
    out: Path, request: _Request, workers: int
) -> Iterator[tuple[int, list[Row], list[Row]]]:
    """Write every patient, in this process or in `workers` spawned ones."""
    indices = range(request.patients)
    if workers == 1:
        _keep_memory()
        for index in indices:
            yield _write_patient(out, request, index)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker)
    try:
        jobs = [pool.submit(_write_patient, out, request, index) for index in indices]
        for job in as_completed(jobs):
            yield job.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _keep_memory() -> None:
    """Have the C library keep freed arrays: it keeps what is below its largest freed block.

    Giving pages back and fetching them again for every array takes a quarter of the time.
    """
    np.empty(30 << 20, np.uint8)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it dies: a pool's workers would wait for ever."""
    _keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()


def _write_patient(out: Path, request: _Request, index: int) -> tuple[int, list[Row], list[Row]]:
    """Write one patient's folder unless it is there; return its lines of both tables."""
    case = draw_case(request.seed, index, request.size)
    folder = out / "dicom" / case.study.patient_id
    partial = folder.with_name(_PARTIAL + folder.name)
    there = folder.is_dir()
    labels: list[Row] = []
    slices: list[Row] = []
    study_folder = partial / "ST000001"
    if not there:
        _write_bytes(study_folder / "SE000001" / "IM000001.dcm", localizer_file(case.study))
    for name, series in series_folders(case.study, request.series):
        labels.append(_ids(case, series) | case.labels)
        slices += _write_series(case, series, None if there else study_folder / name)
    if not there:
        partial.rename(folder)
    return index, labels, slices


def _ids(case: Case, series: Series) -> Row:
    return dict(zip(_IDS, (case.study.patient_id, case.study.uid, series.uid), strict=True))


def _write_series(case: Case, series: Series, folder: Path | None) -> list[Row]:
    """Render a series, write it if there is a folder to write to, and return its truth."""
    writer = SeriesWriter(case.study, series)
    circle = background(series)[1]
    rows = []
    for k in range(series.n_slices):
        rendered = render(case, series, k)
        uid = {"SOPInstanceUID": slice_uid(series, k)}
        rows.append(_ids(case, series) | uid | shown(case, rendered))
        if folder is not None:
            file = folder / f"IM{writer.instance_number(k):06d}.dcm"
            _write_bytes(file, writer.encode(k, finish(case, series, k, rendered), circle))
    return rows


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _table(ids: tuple[str, ...], rows: list[Row]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, (*ids, *FINDINGS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    """Write under another name, then rename."""
    partial = path.with_name(_PARTIAL + path.name)
    partial.write_bytes(text.encode())
    partial.rename(path)
