"""Files per second of a scan, beside a bare loop of pydicom over the same headers.

    python benchmarks/bench_headers.py [--files 4000] [--many 20000] [--repeats 3] [--json FILE]

(a) ``pydicom.dcmread(stop_before_pixels=True, specific_tags=[...])`` with the tags that the scan
    uses, one process, nothing kept;
(b) `featurecache.scan` of the same tree into a new index, with 1 and with 2 workers;
(c) the same scan again, nothing changed.

They alternate in one process tree (A B B C, A B B C, ...). "Per core" is files per second of
processor time, parent and workers together, so that a second core counts against the scan. The
many files lie in one folder; their scan runs in a process of its own, whose peak memory the
operating system reports, beside that of a scan of a tenth of the files.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from featurecache.header import header_tags
from featurecache.scan import scan

SLICES = 32
_PATIENT, _SERIES, _SOP, _PLACE = (
    b"PPPPPPPPPPPP",
    b"9.8.777777777777",
    b"9.8.999999999999",
    b"5" * 8,
)


def template(size: int) -> bytes:
    """One CT file with the elements that scanners write; its identifiers are to be replaced."""
    ds = FileDataset("", {}, preamble=bytes(128))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = _SOP.decode()
    ds.SeriesInstanceUID, ds.StudyInstanceUID = _SERIES.decode(), _SERIES.decode() + ".1"
    ds.PatientID = _PATIENT.decode()
    ds.ImagePositionPatient = [-125.0, -130.5, float(_PLACE)]
    values = {
        "SpecificCharacterSet": "ISO_IR 100", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "StudyDate": "20200101", "SeriesDate": "20200101", "AcquisitionDate": "20200101",
        "ContentDate": "20200101", "StudyTime": "101010", "SeriesTime": "101010",
        "AcquisitionTime": "101010", "ContentTime": "101010", "AccessionNumber": "",
        "Modality": "CT", "Manufacturer": "BENCHMARK", "InstitutionName": "", "StationName": "CT1",
        "StudyDescription": "HEAD", "SeriesDescription": "5mm", "ManufacturerModelName": "M",
        "PatientName": "", "PatientBirthDate": "", "PatientSex": "", "PatientAge": "050Y",
        "BodyPartExamined": "HEAD", "ScanOptions": "HELICAL", "SliceThickness": 5, "KVP": 120,
        "DataCollectionDiameter": 500, "SoftwareVersions": "1", "ProtocolName": "Head",
        "ReconstructionDiameter": 250, "DistanceSourceToDetector": 1000,
        "DistanceSourceToPatient": 550, "GantryDetectorTilt": 0, "TableHeight": 150,
        "RotationDirection": "CW", "ExposureTime": 1000, "XRayTubeCurrent": 300, "Exposure": 300,
        "FilterType": "1", "FocalSpots": 1, "ConvolutionKernel": "H31s", "PatientPosition": "HFS",
        "StudyID": "1", "SeriesNumber": 2, "AcquisitionNumber": 1, "InstanceNumber": 1,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "FrameOfReferenceUID": "1.2.3",
        "PositionReferenceIndicator": "", "SliceLocation": 0, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "Rows": size, "Columns": size,
        "PixelSpacing": [0.5, 0.5], "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
        "PixelRepresentation": 0, "WindowCenter": 40, "WindowWidth": 80,
        "RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "HU",
    }  # fmt: skip
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "X", "HEAD"
    ds.ProcedureCodeSequence = Sequence([code])
    ds.add_new(0x7FE00010, "OW", np.zeros((size, size), np.uint16).tobytes())
    with tempfile.TemporaryFile() as file:
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
        file.seek(0)
        return file.read()


def write_tree(folder: Path, n_files: int, size: int, slices: int, one_folder: bool) -> None:
    """Files of series of `slices`, by replacing identifiers; pixels are a hole in the file."""
    folder.mkdir()
    whole = template(size)
    head, length = whole[: -2 * size * size], len(whole)
    for number in range(n_files):
        series, place = divmod(number, slices)
        name = number * 7919 % n_files  # neighbours in the series are not neighbours in the folder
        data = head
        for mark, value in (
            (_PATIENT, f"{series // 2:012d}"),
            (_SERIES, f"9.8.7{series:011d}"),
            (_SOP, f"9.8.9{number:011d}"),
            (_PLACE, f"{1000 + 5 * place:08d}"),
        ):
            data = data.replace(mark, value.encode())
        below = folder if one_folder else folder / f"s{series:05d}"
        below.mkdir(exist_ok=True)
        with (below / f"{name:08d}.dcm").open("wb") as file:
            file.write(data)
            file.truncate(length)


def processor_s() -> float:
    """Seconds of processor time of this process and of the children it has waited for."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@contextlib.contextmanager
def timed(rates: dict[str, dict[str, list[float]]], what: str, n_files: int) -> Iterator[None]:
    """Note files per second and files per second of processor time."""
    started_s, began_s = perf_counter(), processor_s()
    yield
    entry = rates.setdefault(what, {"files_per_s": [], "files_per_core_s": []})
    entry["files_per_s"].append(n_files / (perf_counter() - started_s))
    entry["files_per_core_s"].append(n_files / (processor_s() - began_s))


def bare_loop(root: Path) -> int:
    """(a) What pydicom does with the same headers, the values not even looked at."""
    tags, count = header_tags(), 0
    for folder, _, names in os.walk(root):
        for name in names:
            pydicom.dcmread(Path(folder) / name, stop_before_pixels=True, specific_tags=tags)
            count += 1
    return count


def measure(root: Path, folder: Path, n_files: int, repeats: int) -> dict[str, dict[str, list]]:
    """All repetitions of (a), (b) and (c), alternating, after one warm-up of each."""
    rates: dict[str, dict[str, list[float]]] = {}
    for repeat in range(repeats + 1):
        now: dict[str, dict[str, list[float]]] = {}
        with timed(now, "pydicom loop", n_files):
            if bare_loop(root) != n_files:
                raise SystemExit("The loop did not read every file.")
        for workers in (1, 2):
            index = folder / f"{repeat}-{workers}.sqlite"
            for again in (False, True):
                what = f"{'re-scan' if again else 'scan'}, workers {workers}"
                with timed(now, what, n_files):
                    account = scan(root, index, workers=workers)
                if account.used != n_files:
                    raise SystemExit(f"The scan did not use every file: {account}")
            index.unlink()
        print(("warm-up" if not repeat else f"repetition {repeat}") + ": " + ", ".join(
            f"{what} {values['files_per_s'][0]:,.0f}/s" for what, values in now.items()
        ))  # fmt: skip
        for what, values in now.items() if repeat else ():
            entry = rates.setdefault(what, {key: [] for key in values})
            for key, value in values.items():
                entry[key] += value
    return rates


def ratios(rates: dict[str, dict[str, list]]) -> dict[str, float]:
    """Medians of ratios within one repetition."""

    def of(mine: str, theirs: str, key: str) -> float:
        pairs = zip(rates[mine][key], rates[theirs][key], strict=True)
        return statistics.median(a / b for a, b in pairs)

    return {
        "scan / pydicom loop, per core, workers 1": of(
            "scan, workers 1", "pydicom loop", "files_per_core_s"
        ),
        "scan / pydicom loop, per core, workers 2": of(
            "scan, workers 2", "pydicom loop", "files_per_core_s"
        ),
        "scan / pydicom loop, wall, workers 2": of(
            "scan, workers 2", "pydicom loop", "files_per_s"
        ),
        "workers 2 / workers 1, wall": of("scan, workers 2", "scan, workers 1", "files_per_s"),
        "re-scan / scan, wall, workers 1": of(
            "re-scan, workers 1", "scan, workers 1", "files_per_s"
        ),
        "re-scan / scan, wall, workers 2": of(
            "re-scan, workers 2", "scan, workers 2", "files_per_s"
        ),
        "re-scan / scan, per core, workers 2": of(
            "re-scan, workers 2", "scan, workers 2", "files_per_core_s"
        ),
    }


def peaks(root: Path, index: Path, workers: int) -> dict[str, float]:
    """Scan in a fresh process: seconds, and peak memory of it and of its largest worker."""
    program = [sys.executable, __file__, "--scan-only", str(root), str(index), str(workers)]
    answer = subprocess.run(program, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def scan_only(root: str, index: str, workers: str) -> None:
    """The process that `peaks` starts."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started_s = perf_counter()
    account = scan(Path(root), Path(index), workers=int(workers))
    numbers = {
        "files": account.used,
        "seconds": perf_counter() - started_s,
        "parent_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parent_before_mb": before,
        "worker_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(numbers))


def many_files(folder: Path, n_files: int) -> list[dict[str, float]]:
    """Scan and re-scan of a tenth of the files and of all of them, in one folder."""
    found = []
    for count in (n_files // 10, n_files):
        root = folder / f"many-{count}"
        write_tree(root, count, size=8, slices=3, one_folder=True)
        index = folder / f"many-{count}.sqlite"
        for what in ("scan", "re-scan"):
            numbers = peaks(root, index, 2) | {"what": what}
            found.append(numbers)
            print(
                f"{what:8s} of {count:7,d} files in one folder: {numbers['seconds']:7.2f} s, "
                f"peak {numbers['parent_mb']:.0f} MB, its largest worker "
                f"{numbers['worker_mb']:.0f} MB"
            )
    return found


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--many", type=int, default=20_000, help="100000 for the full load; 0: no")
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scan-only", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scan_only:
        scan_only(*arguments.scan_only)
        return
    versions = {"python": platform.python_version(), "pydicom": pydicom.__version__}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}, {versions}, {arguments.files} files of {arguments.size} px")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tree(folder / "tree", arguments.files, arguments.size, SLICES, one_folder=False)
        rates = measure(folder / "tree", folder, arguments.files, arguments.repeats)
        for what, values in rates.items():
            wall, core = (statistics.median(values[key]) for key in values)
            print(f"{what:22s} {wall:10,.0f} files/s {core:10,.0f} files/core-s (medians)")
        found = ratios(rates)
        for what, ratio in found.items():
            print(f"{what:42s} {ratio:6.2f}")
        many = many_files(folder, arguments.many) if arguments.many else []
    if arguments.json:
        document = {"machine": machine, "versions": versions, "files": arguments.files}
        document |= {"size": arguments.size, "rates": rates, "ratios": found, "many": many}
        arguments.json.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
