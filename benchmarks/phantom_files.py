"""As many slices as wanted, from the files of a few phantom patients."""

import shutil
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom

from featurecache.phantom import write_phantom

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_DIGITS = 6


def write_slices(folder: Path, n_slices: int, *, patients: int = 8, holes: bool = False) -> int:
    """Write whole series until there are `n_slices`: the phantom's own, then copies of them.

    A copy differs in its UIDs and its PatientID, of the same lengths, and in nothing else: links
    and plain copies would be one image twice, which a scan uses once.

    Parameters
    ----------
    folder : Path
        Is made; one folder a series in it.
    n_slices : int
        At least so many.
    patients : int
        Phantom patients that are rendered; each has about 26 slices of 512 x 512 pixels.
    holes : bool
        Leave the pixels out: they read as zeros and take no space on disk.

    Returns
    -------
    int
        Slices that were written.
    """
    write_phantom(folder / "phantom", patients, seed=0, series="thick")
    folders = sorted({path.parent for path in (folder / "phantom/dicom").rglob("*.dcm")})
    series = [found for found in map(_read_series, folders) if len(found) > 1]  # no localizers
    written = number = 0
    while written < n_slices:
        copy, place = divmod(number, len(series))
        below = folder / "dicom" / f"series-{number:05d}"
        below.mkdir(parents=True)
        for name, header, pixels in series[place]:
            with (below / name).open("wb") as file:
                file.write(_renamed(header, copy, number))
                if holes:
                    file.truncate(len(header) + len(pixels))
                else:
                    file.write(pixels)
        written += len(series[place])
        number += 1
    return written


def write_scan(folder: Path, n_slices: int, *, patients: int = 8) -> int:
    """Write one scan: the lowest slices of the first phantom patient that has so many.

    Parameters
    ----------
    folder : Path
        Is made; only the scan lies in it.
    n_slices : int
        How many, 32 at most.
    patients : int
        Phantom patients that are rendered.

    Returns
    -------
    int
        Slices that were written.
    """
    with TemporaryDirectory() as name:
        write_phantom(Path(name), patients, seed=0, series="thick")
        for series in sorted({path.parent for path in Path(name).rglob("*.dcm")}):
            files = sorted(series.glob("*.dcm"), key=_height_mm)
            if len(files) >= n_slices:
                folder.mkdir(parents=True)
                for path in files[:n_slices]:
                    shutil.copy(path, folder)
                return n_slices
    raise SystemExit(f"none of {patients} phantoms has {n_slices} slices: ask for fewer")


def _height_mm(path: Path) -> float:
    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])


def _read_series(folder: Path) -> list[tuple[str, bytes, bytes]]:
    """Name, everything before the pixels, and pixels of each file."""
    found = []
    for path in sorted(folder.glob("*.dcm")):
        data = path.read_bytes()
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        start = len(data) - 2 * dataset.Rows * dataset.Columns
        found.append((path.name, data[:start], data[start:]))
    return found


def _renamed(header: bytes, copy: int, number: int) -> bytes:
    """The header of a copy."""
    dataset = pydicom.dcmread(BytesIO(header), stop_before_pixels=True)
    for keyword in _UIDS if copy else ():
        uid = str(dataset[keyword].value)
        header = header.replace(uid.encode(), f"{uid[:-_DIGITS]}{copy:0{_DIGITS}d}".encode())
    patient = str(dataset.PatientID)
    return header.replace(patient.encode(), f"PH{number:06d}".encode())
