"""Small CT files written with pydicom, and a scan of a folder of them."""

import importlib.util
import os
import sqlite3
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from featurecache.errors import ReadError
from featurecache.index import Index
from featurecache.intake import read_file
from featurecache.options import RunOptions, feature_sets
from featurecache.pixels import DecodeJob, decode_slice, to_hu
from featurecache.scan import scan
from featurecache.walk import Entry

_TINY = '''
"""Networks that cost nothing, registered on import, as a user's own would be."""
import os
from torch import nn
from featurecache.backbones import register_backbone

class Scaled(nn.Module):
    def forward(self, maps):
        return maps * float(os.environ.get("TINY_SCALE", "1"))

def tiny():
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4), nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), Scaled()
    )

def flat():
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5))

register_backbone("tiny", tiny)
register_backbone("flat", flat, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
'''


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Registers the backbones ``tiny`` (D = 8) and ``flat`` (D = 5), in other processes too."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "tiny_backbones.py").write_text(_TINY)
    sys.path.insert(0, str(folder))
    import tiny_backbones

    yield tiny_backbones
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def small_phantom(tmp_path_factory):
    """DICOM of two patients, one thick series each, 64 x 64 pixels."""
    from featurecache.phantom import write_phantom

    out = tmp_path_factory.mktemp("small") / "phantom"
    write_phantom(out, patients=2, seed=3, series="thick", size=64)
    return out / "dicom"


@pytest.fixture(scope="session")
def small_index(small_phantom, tmp_path_factory):
    """The index of `small_phantom`."""
    path = tmp_path_factory.mktemp("small-index") / "index.sqlite"
    scan(small_phantom, path, workers=1)
    return path


@pytest.fixture(scope="session")
def store_content():
    """store_content(path) -> {relative path: bytes} of every file of a store."""

    def content(path):
        files = (file for file in sorted(Path(path).rglob("*")) if file.is_file())
        return {str(file.relative_to(path)): file.read_bytes() for file in files}

    return content


@pytest.fixture(scope="session")
def split_options():
    """split_options(**both) -> ([FeatureOptions], RunOptions), each with what is its own."""

    def split(**both):
        names = {field.name for field in fields(RunOptions)}
        run = {name: value for name, value in both.items() if name in names}
        features = {name: value for name, value in both.items() if name not in names}
        return list(feature_sets(**features)), RunOptions(**run)

    return split


@pytest.fixture(scope="session")
def head_values():
    """Stored values (64, 64) uint16 of a crude head for intercept -1024: air, skull, brain."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(x, y)
    hu = np.where(radius < 26, 1000.0, -1000.0)
    hu[radius < 23] = 35
    hu += rng.normal(0, 6, hu.shape)
    return np.clip(np.rint(hu) + 1024, 0, 4095).astype(np.uint16)


@pytest.fixture(scope="session")
def make_ct(head_values):
    """make_ct(values=None, *, syntax, **elements) -> Dataset: a valid CT image.

    An element given as None is left out. `values` (H, W) or raw bytes become the pixel data.
    """

    def make(values=None, *, syntax=ExplicitVRLittleEndian, meta=True, **elements):
        values = head_values if values is None else values
        ds = FileDataset("", {}, preamble=b"\0" * 128)
        ds.file_meta = FileMetaDataset()
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = "1.2.3.4"
        ds.Modality = "CT"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PatientID = "p1"
        ds.StudyInstanceUID = "1.2.1"
        ds.SeriesInstanceUID = "1.2.2"
        ds.InstanceNumber = 1
        ds.ImagePositionPatient = [0.0, 0.0, 0.0]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing = [0.5, 0.5]
        ds.SliceThickness = 5
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        shape = (64, 64) if isinstance(values, bytes) else values.shape[-2:]
        ds.Rows, ds.Columns = shape
        signed = not isinstance(values, bytes) and values.dtype.kind == "i"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16 if signed else 12, 15 if signed else 11
        ds.PixelRepresentation = int(signed)
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        for keyword, value in elements.items():
            if value is None:
                if keyword in ds:
                    delattr(ds, keyword)
            elif isinstance(value, pydicom.DataElement):
                ds[value.tag] = value
            else:
                setattr(ds, keyword, value)
        data = values if isinstance(values, bytes) else values.astype(values.dtype).tobytes()
        ds.add_new(0x7FE00010, "OB" if syntax.is_compressed else "OW", data)
        ds.file_meta.TransferSyntaxUID = syntax
        ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3.4")
        return ds

    return make


@pytest.fixture(scope="session")
def write_ct(make_ct):
    """write_ct(path, values=None, **elements) -> path: one small CT file."""

    def write(path, values=None, **elements):
        ds = make_ct(values, **elements)
        os.makedirs(os.path.dirname(os.fspath(path)), exist_ok=True)
        pydicom.dcmwrite(path, ds, enforce_file_format=True)
        return path

    return write


@pytest.fixture(scope="session")
def write_series(write_ct, head_values):
    """write_series(folder, n=4, uid="1.2.2", gap_mm=5.0, **elements) -> list of paths."""

    def write(folder, n=4, uid="1.2.2", gap_mm=5.0, **elements):
        paths = []
        for number in range(n):
            own = {
                "SOPInstanceUID": f"{uid}.{number + 1}",
                "SeriesInstanceUID": uid,
                "InstanceNumber": number + 1,
                "ImagePositionPatient": [0.0, 0.0, gap_mm * number],
            } | elements
            values = np.roll(head_values, number, axis=0)
            paths.append(write_ct(Path(folder) / f"{uid}-{number:03}.dcm", values, **own))
        return paths

    return write


@pytest.fixture
def scanned(tmp_path):
    """scanned(root, **options) -> namespace(account, stacks, index): scan with two workers."""
    indexes = []

    def run(root, index="index.sqlite", **options):
        path = tmp_path / index
        account = scan(Path(root), path, workers=options.pop("workers", 1), **options)
        opened = Index.open(path, readonly=True)
        indexes.append(opened)
        return SimpleNamespace(
            account=account,
            index=opened,
            path=path,
            all_stacks=list(opened.stacks(usable_only=False)),
            stacks=list(opened.stacks()),
        )

    yield run
    for index in indexes:
        index.close()


@pytest.fixture(scope="session")
def decode():
    """decode(path, frame=0, *, wrapped=False, assume_hu=False) -> Decoded."""

    def run(path, frame=0, *, wrapped=False, assume_hu=False):
        status = os.stat(path)
        return decode_slice(
            DecodeJob(
                os.fspath(path), frame, status.st_size, status.st_mtime_ns, wrapped, assume_hu
            )
        )

    return run


@pytest.fixture(scope="session")
def hu_of(decode):
    """hu_of(path, ...) -> float32 (H, W) of Hounsfield units."""
    return lambda *args, **options: to_hu(decode(*args, **options))


@pytest.fixture(scope="session")
def refused(decode):
    """refused(path, ...) -> ReadError: the reason why a slice is not decoded."""

    def run(*args, **options):
        with pytest.raises(ReadError) as caught:
            decode(*args, **options)
        return caught.value

    return run


@pytest.fixture(scope="session")
def item():
    """item(**elements) -> Dataset for a sequence."""

    def make(**elements):
        ds = Dataset()
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
        return ds

    return make


@pytest.fixture(scope="session")
def transcode():
    """transcode(path, out, name) -> out: compress with GDCM; name as in gdcm.TransferSyntax."""

    def run(path, out, name):
        import gdcm

        reader = gdcm.ImageReader()
        reader.SetFileName(os.fspath(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(os.fspath(out))
        assert writer.Write()
        return out

    return run


@pytest.fixture(scope="session")
def content():
    """content(path) -> dict: everything an index says, without its internal numbers."""

    def run(path):
        with sqlite3.connect(path) as database:
            files = database.execute(
                "SELECT path, size, mtime_ns, revision, status, reason, detail, warnings, "
                "series_uid FROM files ORDER BY path"
            ).fetchall()
            frames = database.execute(
                "SELECT path, frame, frames.series_uid, sop_uid, digest, position, orientation, "
                "stacks.key, place, z_mm, gap_mm FROM frames JOIN files ON files.id = file "
                "LEFT JOIN stacks ON stacks.id = stack ORDER BY path, frame"
            ).fetchall()
            stacks = database.execute(
                "SELECT key, usable, reason, tilt_deg, z_extent_mm, wrapped FROM stacks "
                "ORDER BY key"
            ).fetchall()
            findings = database.execute(
                "SELECT key, warning FROM findings JOIN stacks ON stacks.id = stack ORDER BY 1, 2"
            ).fetchall()
            meta = database.execute("SELECT * FROM meta ORDER BY key").fetchall()
        return {
            "files": files, "frames": frames, "stacks": stacks, "findings": findings, "meta": meta
        }  # fmt: skip

    return run


@pytest.fixture(scope="session")
def volume():
    """Hounsfield units (5, 12, 16) int16, every voxel different along every axis."""
    z, y, x = np.mgrid[:5, :12, :16]
    return (100 * z + 10 * y - 60 * (x > 7) + 3 * x - 970 * (y < 2)).astype(np.int16)


@pytest.fixture
def voxels(volume):
    """The volume as nibabel has it: (x, y, z)."""
    return volume.transpose(2, 1, 0)


@pytest.fixture(scope="session")
def record_of():
    """record_of(path) -> FileRecord: what the scan notes of a file below its folder."""

    def run(path):
        status = path.stat()
        entry = Entry(os.fsencode(path.name), status.st_size, status.st_mtime_ns)
        return read_file(entry, root=os.fsencode(path.parent), assume_hu=False)

    return run


@pytest.fixture(scope="session")
def write_nifti():
    """write_nifti(path, data, affine=None) -> path: one NIfTI file, by nibabel.

    Without an affine voxels run to the left, to the back and upwards, as DICOM's pixels do.
    """
    nibabel = pytest.importorskip(
        "nibabel", reason="the nifti extra is not installed: pip install 'featurecache[nifti]'"
    )

    def write(path, data, affine=None):
        path.parent.mkdir(exist_ok=True, parents=True)
        affine = np.diag([-0.5, -0.5, 5.0, 1.0]) if affine is None else affine
        nibabel.save(nibabel.Nifti1Image(data, affine), path)
        return path

    return write


@pytest.fixture(scope="session")
def faults():
    """The module beside this file: storages that stop at the n-th write."""
    spec = importlib.util.spec_from_file_location("faults", Path(__file__).with_name("faults.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["faults"] = module
    spec.loader.exec_module(module)
    return module
