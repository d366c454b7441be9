"""What is on disk: valid DICOM, tables that agree, equal bytes, and safe writing."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from featurecache.errors import UsageError
from featurecache.phantom import FINDINGS, draw_case, render_slice, write_phantom
from featurecache.phantom.noise import background

IDS = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID"]
TYPE_1 = """SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality ImageType
FrameOfReferenceUID ImagePositionPatient ImageOrientationPatient PixelSpacing SamplesPerPixel
PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation
RescaleIntercept RescaleSlope RescaleType PixelData PatientPosition"""
TYPE_2 = """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID
AccessionNumber ReferringPhysicianName SeriesNumber Manufacturer InstanceNumber
PositionReferenceIndicator KVP AcquisitionNumber SliceThickness"""


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def thick(tmp_path_factory):
    out = tmp_path_factory.mktemp("thick") / "phantom"
    write_phantom(out, 4, 21, series="thick", size=64, workers=1)
    return out


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    out = tmp_path_factory.mktemp("full") / "phantom"
    write_phantom(out, 2, 22, size=128, workers=1)
    return out


@pytest.fixture(scope="module")
def headers(full):
    return [pydicom.dcmread(path) for path in sorted((full / "dicom").rglob("*.dcm"))]


def test_files_carry_what_a_ct_image_must(headers):
    for ds in headers:
        assert ds.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert ds.SOPClassUID == pydicom.uid.CTImageStorage
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        missing = [k for k in TYPE_1.split() if k not in ds or ds[k].is_empty]
        missing += [k for k in TYPE_2.split() if k not in ds]
        assert missing == []
        assert len(ds.PixelData) == 2 * ds.Rows * ds.Columns
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            assert pydicom.uid.UID(ds[keyword].value).is_valid


def test_sop_instances_are_unique(headers):
    uids = [ds.SOPInstanceUID for ds in headers]
    assert len(set(uids)) == len(uids)


def test_a_study_has_thin_thick_bone_and_a_localizer(headers):
    for patient in ("PH000000", "PH000001"):
        own = [ds for ds in headers if ds.PatientID == patient]
        assert len({ds.StudyInstanceUID for ds in own}) == 1
        counts = pd.Series([ds.SeriesDescription for ds in own]).value_counts()
        assert counts["SCOUT"] == 1
        assert 60 <= counts["HEAD THIN"] <= 100
        assert 20 <= counts["HEAD THICK"] <= 32
        assert 20 <= counts["HEAD BONE"] <= 32
        assert sum("LOCALIZER" in ds.ImageType for ds in own) == 1


def test_positions_step_evenly_and_the_tilt_is_in_the_orientation(headers):
    for uid in {ds.SeriesInstanceUID for ds in headers if "LOCALIZER" not in ds.ImageType}:
        own = [ds for ds in headers if ds.SeriesInstanceUID == uid]
        own.sort(key=lambda ds: ds.ImagePositionPatient[2])
        orientation = np.array(own[0].ImageOrientationPatient, float).reshape(2, 3)
        normal = np.cross(*orientation)
        assert orientation @ orientation.T == pytest.approx(np.eye(2), abs=1e-6)
        tilt = np.rad2deg(np.arctan2(normal[1], normal[2]))
        assert tilt == pytest.approx(float(own[0].GantryDetectorTilt), abs=1e-4)
        positions = np.array([ds.ImagePositionPatient for ds in own], float)
        assert np.ptp(positions[:, :2], axis=0) == pytest.approx([0, 0], abs=1e-6)
        gaps = np.diff(positions @ normal)
        assert gaps == pytest.approx(np.full(len(gaps), gaps[0]), abs=1e-5)
        assert gaps[0] >= float(own[0].SliceThickness) - 1e-6


def test_stored_values_and_rescale_give_the_rendered_units(full):
    case = draw_case(22, 1, 128)
    for series in case.study.series:
        circle = background(series)[1]
        folder = full / "dicom" / "PH000001" / "ST000001" / f"SE{series.number:06d}"
        files = [pydicom.dcmread(path) for path in folder.iterdir()]
        files.sort(key=lambda ds: ds.ImagePositionPatient[2])
        assert len(files) == series.n_slices
        k = series.n_slices // 2
        ds = files[k]
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        assert ds.pixel_array.dtype == np.int16
        assert np.array_equal(hu[circle], render_slice(case, series, k)[circle])


@pytest.mark.oracle
def test_simpleitk_reads_the_same_units(full):
    sitk = pytest.importorskip("SimpleITK")
    path = full / "dicom" / "PH000000" / "ST000001" / "SE000003" / "IM000010.dcm"
    ds = pydicom.dcmread(path)
    image = sitk.ReadImage(str(path))
    expected = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    assert np.array_equal(sitk.GetArrayFromImage(image)[0], expected)
    assert image.GetSpacing()[:2] == pytest.approx([float(v) for v in ds.PixelSpacing])


def test_files_of_a_kind_have_one_size(full, thick):
    sizes = {len(path.read_bytes()) for path in (thick / "dicom").rglob("SE000003/*.dcm")}
    by_maker = {}
    for path in (thick / "dicom").rglob("SE000003/*.dcm"):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        by_maker.setdefault("PixelPaddingValue" in ds, set()).add(path.stat().st_size)
    assert len(sizes) <= 2
    assert all(len(found) == 1 for found in by_maker.values())


def test_labels_are_the_drawn_findings_of_every_image_series(full):
    labels = pd.read_csv(full / "labels.csv", dtype=str)
    assert list(labels.columns) == [*IDS, *FINDINGS]
    assert len(labels) == 6
    for index in range(2):
        case = draw_case(22, index, 128)
        own = labels[labels.PatientID == case.study.patient_id]
        assert set(own.SeriesInstanceUID) == {s.uid for s in case.study.series}
        for name in FINDINGS:
            assert (own[name].astype(int) == case.labels[name]).all()


def test_slices_agree_with_labels_and_with_the_files(thick):
    labels = pd.read_csv(thick / "labels.csv")
    slices = pd.read_csv(thick / "slices.csv")
    assert list(slices.columns) == [*IDS, "SOPInstanceUID", *FINDINGS]
    any_slice = slices.groupby("SeriesInstanceUID")[list(FINDINGS)].max()
    by_series = labels.set_index("SeriesInstanceUID")[list(FINDINGS)]
    pd.testing.assert_frame_equal(any_slice.sort_index(), by_series.sort_index())
    on_disk = {
        pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
        for path in (thick / "dicom").rglob("SE000003/*.dcm")
    }
    assert set(slices.SOPInstanceUID) == on_disk


def test_thick_alone_writes_the_thick_series_and_the_localizer(thick):
    for patient in (thick / "dicom").iterdir():
        assert sorted(p.name for p in patient.rglob("SE*")) == ["SE000001", "SE000003"]


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes(thick, tmp_path):
    write_phantom(tmp_path / "again", 4, 21, series="thick", size=64, workers=2)
    assert digest(tmp_path / "again") == digest(thick)


def test_another_seed_gives_other_patients(thick, tmp_path):
    write_phantom(tmp_path / "other", 1, 23, series="thick", size=64, workers=1)
    ours = set(digest(tmp_path / "other" / "dicom").values())
    assert ours.isdisjoint(digest(thick / "dicom").values())


def test_an_interrupted_phantom_is_finished_by_the_same_command(thick, tmp_path):
    class StopError(Exception):
        pass

    def stop_after_two(done: int, total: int | None) -> None:
        if done >= total / 2:
            raise StopError

    out = tmp_path / "phantom"
    with pytest.raises(StopError):
        write_phantom(out, 4, 21, series="thick", size=64, workers=1, progress=stop_after_two)
    assert not (out / "labels.csv").exists()
    (out / "dicom" / ".partial-PH000003" / "ST000001").mkdir(parents=True)
    (out / "dicom" / ".partial-PH000003" / "ST000001" / "half.dcm").write_bytes(b"half")
    kept = out / "dicom" / "PH000000" / "ST000001" / "SE000003" / "IM000001.dcm"
    before_ns = kept.stat().st_mtime_ns
    write_phantom(out, 4, 21, series="thick", size=64, workers=1)
    assert kept.stat().st_mtime_ns == before_ns
    assert digest(out) == digest(thick)


def test_progress_reaches_the_number_of_slices(thick, tmp_path):
    seen = []
    write_phantom(
        tmp_path / "p",
        2,
        21,
        series="thick",
        size=64,
        workers=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    total = sum(draw_case(21, i, 64).study.only("thick")[0].n_slices for i in range(2))
    assert [t for _, t in seen] == [total, total]
    assert seen[-1][0] == total


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="Give another folder"):
        write_phantom(tmp_path, 1, 0, size=64, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_other_parameters_are_refused_by_name(thick):
    before = digest(thick)
    with pytest.raises(UsageError, match="seed 21 there, 99 asked"):
        write_phantom(thick, 4, 99, series="thick", size=64, workers=1)
    assert digest(thick) == before


def test_a_damaged_manifest_is_refused(thick, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(thick, out)
    (out / "phantom.json").write_text("{")
    with pytest.raises(UsageError, match="not valid JSON"):
        write_phantom(out, 4, 21, series="thick", size=64, workers=1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"patients": 0}, "patients must lie"),
        ({"seed": -1}, "seed must lie"),
        ({"size": 32}, "size must lie"),
        ({"size": 129}, "size must be even"),
        ({"series": "thin"}, "series must be"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, arguments, named):
    given = {"patients": 1, "seed": 0, "size": 64, "workers": 1} | arguments
    with pytest.raises(UsageError, match=named):
        write_phantom(tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()
