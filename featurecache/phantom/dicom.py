"""One slice -> one DICOM file: CT Image Storage, explicit little endian, signed 16 bit.

Nothing in a header depends on what is wrong with the patient, and numbers are written with a
fixed count of characters, so that files of a kind have one size.
"""

from collections.abc import Iterator
from io import BytesIO

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from featurecache.phantom.study import Series, Study, slice_uid

_IMPLEMENTATION_UID = generate_uid(entropy_srcs=["featurecache phantom implementation"])
_KERNELS = {"thin": "SOFT30", "thick": "SOFT40", "bone": "BONE70"}
_DESCRIPTIONS = {"thin": "HEAD THIN  ", "thick": "HEAD THICK ", "bone": "HEAD BONE  "}
_WINDOWS = {"thin": (40, 80), "thick": (40, 80), "bone": (600, 2800)}
_LOCALIZER_SHAPE = (256, 256)


class SeriesWriter:
    """Writes the slices of one series; what they share is prepared once.

    Parameters
    ----------
    study : Study
    series : Series
    """

    def __init__(self, study: Study, series: Series) -> None:
        self._study = study
        self._series = series
        self._dataset = _series_dataset(study, series)

    def instance_number(self, k: int) -> int:
        """Return the InstanceNumber of slice `k` counted from the feet.

        Parameters
        ----------
        k : int

        Returns
        -------
        int
            From 1; some scanners count from the head.
        """
        n = self._series.n_slices
        return k + 1 if self._study.vendor.feet_first_numbering else n - k

    def encode(self, k: int, hu: np.ndarray, circle: np.ndarray) -> bytes:
        """Return the file of slice `k`.

        Parameters
        ----------
        k : int
            Counted from the feet.
        hu : numpy.ndarray
            int16 (H, W), Hounsfield units.
        circle : numpy.ndarray
            bool (H, W), the reconstruction circle; outside lies padding, where the maker pads.

        Returns
        -------
        bytes
        """
        ds = self._dataset
        position = self._series.position_mm(k)
        ds.SOPInstanceUID = slice_uid(self._series, k)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.InstanceNumber = f"{self.instance_number(k):04d}"
        ds.ImagePositionPatient = [_ds(v) for v in position]
        ds.SliceLocation = _ds(float(position[2]))
        vendor = self._study.vendor
        stored = hu - np.int16(vendor.intercept)
        if vendor.padding is not None:
            stored[~circle] = vendor.padding
        ds.PixelData = stored.astype("<i2").tobytes()
        return _file_bytes(ds)


def _file_bytes(ds: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _ds(value: float) -> str:
    """A decimal string of 14 characters."""
    return f"{round(value, 10) + 0.0:.12f}"[:14]


def _series_dataset(study: Study, series: Series) -> Dataset:
    ds = _common(study, series.uid, series.number)
    ds.SeriesDescription = _DESCRIPTIONS[series.kind]
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ConvolutionKernel = _KERNELS[series.kind]
    ds.SliceThickness = _ds(series.thickness_mm)
    ds.GantryDetectorTilt = _ds(series.tilt_deg)
    ds.ReconstructionDiameter = _ds(series.spacing_mm * series.size)
    ds.ImageOrientationPatient = [_ds(v) for v in series.axes[:2].ravel()]
    ds.PixelSpacing = [_ds(series.spacing_mm)] * 2
    ds.WindowCenter, ds.WindowWidth = (f"{v:04d}" for v in _WINDOWS[series.kind])
    ds.Rows = ds.Columns = series.size
    ds.RescaleIntercept = _ds(study.vendor.intercept)
    if study.vendor.padding is not None:
        ds.add_new("PixelPaddingValue", "SS", study.vendor.padding)
    return ds


def _common(study: Study, series_uid: str, number: int) -> Dataset:
    """What every image of a study carries."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = _IMPLEMENTATION_UID
    ds.file_meta.ImplementationVersionName = "FEATURECACHE"
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = CTImageStorage
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20000101"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "120000"
    ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ""
    ds.Modality = "CT"
    ds.Manufacturer = "SYNTHETIC"
    ds.ManufacturerModelName = study.vendor.model
    ds.StudyDescription = "SYNTHETIC HEAD CT"
    ds.PatientName, ds.PatientID = f"PHANTOM^{study.patient_id}", study.patient_id
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "SYNTHETIC"
    ds.BodyPartExamined = "HEAD"
    ds.KVP = "120"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study.uid, series_uid
    ds.SeriesNumber, ds.AcquisitionNumber = number, 1
    ds.FrameOfReferenceUID = study.frame_uid
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleSlope, ds.RescaleType = "1", "HU"
    return ds


def localizer_file(study: Study) -> bytes:
    """Return the study's scout view: a lateral projection of an ellipse, one image.

    Parameters
    ----------
    study : Study

    Returns
    -------
    bytes
        A CT image whose ImageType says LOCALIZER.
    """
    ds = _common(study, study.localizer_uid, 1)
    ds.SOPInstanceUID = str(generate_uid(entropy_srcs=[study.localizer_uid, "1"]))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.SeriesDescription = "SCOUT      "
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.InstanceNumber = "0001"
    ds.SliceThickness = _ds(1.0)
    ds.ImageOrientationPatient = [_ds(v) for v in (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)]
    x, y, z = study.pose.center_mm
    ds.ImagePositionPatient = [_ds(v) for v in (x, y - 128.0, z + 128.0)]
    ds.PixelSpacing = [_ds(1.0)] * 2
    ds.WindowCenter, ds.WindowWidth = "0050", "0500"
    ds.Rows, ds.Columns = _LOCALIZER_SHAPE
    ds.RescaleIntercept = _ds(0)
    ds.PixelData = _scout().astype("<i2").tobytes()
    return _file_bytes(ds)


def _scout() -> np.ndarray:
    """A lateral scout: the path of rays through an ellipsoid of bone and one of brain."""
    rows, columns = _LOCALIZER_SHAPE
    z = (rows / 2 - np.arange(rows))[:, None]
    y = (np.arange(columns) - columns / 2)[None, :]
    outer = np.sqrt(np.maximum(1 - (y / 95) ** 2 - (z / 82) ** 2, 0))
    inner = np.sqrt(np.maximum(1 - (y / 87) ** 2 - (z / 74) ** 2, 0))
    return np.rint(-1000 + 1900 * outer - 700 * inner + 200 * (z < -40) * (outer > 0))


def series_folders(study: Study, kinds: str) -> Iterator[tuple[str, Series]]:
    """Yield the folder name of each series.

    Parameters
    ----------
    study : Study
    kinds : {"all", "thick"}

    Yields
    ------
    tuple of str and Series
    """
    for series in study.only(kinds):
        yield f"SE{series.number:06d}", series
