"""NIfTI volumes give the slices that the same volume gives as DICOM; SimpleITK is the oracle."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from featurecache.errors import ReadError
from featurecache.pixels import decode_slice, job_for, to_hu
from featurecache.scan import scan

nibabel = pytest.importorskip(
    "nibabel", reason="the nifti extra is not installed: pip install 'featurecache[nifti]'"
)


@pytest.fixture(scope="session")
def volume():
    """Hounsfield units (5, 12, 16) int16, every voxel different along every axis."""
    z, y, x = np.mgrid[:5, :12, :16]
    return (100 * z + 10 * y - 60 * (x > 7) + 3 * x - 900 * (y < 2)).astype(np.int16)


@pytest.fixture
def dicom(tmp_path, write_ct, volume):
    """The volume as a DICOM series; returns its folder and its files in anatomical order."""
    files = [
        write_ct(
            tmp_path / "dicom" / f"{number}.dcm", plane, SOPInstanceUID=f"1.2.3.{number}",
            SeriesInstanceUID="1.2.3", ImagePositionPatient=[-10.0, -20.0, 5.0 * number],
            PixelSpacing=[0.5, 0.75], RescaleIntercept=0,
        )
        for number, plane in enumerate(volume)
    ]  # fmt: skip
    return tmp_path / "dicom", [str(path) for path in files]


def slices_of(result, stack):
    root = result.index.root
    return [decode_slice(job_for(root, stack, slice_)) for slice_ in stack.slices]


def only_stack(result):
    assert result.account.failed == 0
    (stack,) = result.stacks
    return stack


@pytest.mark.oracle
@pytest.mark.parametrize("axes", ["LPS", "RAS", "LAS", "RPI", "LPI", "ASL", "SRP", "PIL", "IRA"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_any_order_of_voxels_gives_the_slices_of_the_dicom_series(
    tmp_path, dicom, volume, scanned, axes, suffix
):
    folder, files = dicom
    expected = only_stack(scanned(folder, "dicom.sqlite"))
    (tmp_path / "nifti").mkdir()
    image = sitk.DICOMOrient(sitk.ReadImage(files), axes)
    sitk.WriteImage(image, str(tmp_path / "nifti" / f"head{suffix}"))
    result = scanned(tmp_path / "nifti")
    stack = only_stack(result)
    assert [s.z_mm for s in stack.slices] == pytest.approx([s.z_mm for s in expected.slices])
    assert stack.tilt_deg == pytest.approx(0, abs=1e-3)
    assert stack.row_spacing_mm == pytest.approx(expected.row_spacing_mm)
    assert stack.column_spacing_mm == pytest.approx(expected.column_spacing_mm)
    assert stack.fov_mm == pytest.approx(12.0)
    for plane, decoded in zip(volume, slices_of(result, stack), strict=True):
        np.testing.assert_array_equal(to_hu(decoded), plane)
        assert (decoded.row_spacing_mm, decoded.column_spacing_mm) == pytest.approx((0.5, 0.75))


@pytest.mark.oracle
@pytest.mark.real_data
def test_a_real_series_is_the_same_as_nifti(tmp_path, real_scans, scanned):
    source = scanned(real_scans / "head-phantom-study" / "S2010", "dicom.sqlite")
    expected = only_stack(source)
    files = [str(source.index.root / slice_.path) for slice_ in expected.slices]
    (tmp_path / "nifti").mkdir()
    image = sitk.DICOMOrient(sitk.ReadImage(files), "LAS")  # as dcm2niix writes it
    sitk.WriteImage(sitk.Cast(image, sitk.sitkInt16), str(tmp_path / "nifti" / "head.nii.gz"))
    result = scanned(tmp_path / "nifti")
    stack = only_stack(result)
    assert len(stack.slices) == 28
    pairs = zip(slices_of(source, expected), slices_of(result, stack), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(to_hu(one), to_hu(other))


AFFINE = np.diag([-0.5, -0.5, 5.0, 1.0])  # voxels run to the left, to the back, upwards


def write(path: Path, data, affine=AFFINE, **header) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    image = nibabel.Nifti1Image(data, affine)
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(image, path)
    return path


@pytest.fixture
def voxels(volume):
    """The volume as nibabel has it: (x, y, z)."""
    return volume.transpose(2, 1, 0)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("factor", [1, 0.37])
def test_every_type_and_scale_gives_the_same_hounsfield_units(
    tmp_path, voxels, volume, scanned, dtype, factor
):
    if factor != 1 and dtype.startswith("float"):
        data = (voxels * factor).astype(dtype)
    else:
        data, factor = voxels.astype(dtype), 1
    write(tmp_path / "n" / "a.nii.gz", data)
    result = scanned(tmp_path / "n")
    for plane, decoded in zip(volume, slices_of(result, only_stack(result)), strict=True):
        assert decoded.stored.dtype in (np.int16, np.uint16, np.int32)
        expected = np.clip(plane * factor, -1024, 3071)
        np.testing.assert_allclose(to_hu(decoded), expected, atol=2e-4)


def test_slope_and_intercept_are_applied(tmp_path, voxels, volume, scanned):
    path = write(tmp_path / "n" / "a.nii", (voxels + 1024).astype(np.uint16))
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([2.0, -1024.0], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(data)
    result = scanned(tmp_path / "n")
    for plane, decoded in zip(volume, slices_of(result, only_stack(result)), strict=True):
        np.testing.assert_array_equal(to_hu(decoded), np.clip(2 * plane + 1024, -1024, 3071))


def test_values_that_are_not_finite_are_air_and_reported(tmp_path, voxels, scanned):
    data = voxels.astype(np.float32)
    data[0, 0, 0] = np.nan
    write(tmp_path / "n" / "a.nii", data)
    result = scanned(tmp_path / "n")
    decoded = slices_of(result, only_stack(result))[0]
    assert to_hu(decoded)[0, 0] == -1024
    assert decoded.warnings == ("values that are not finite: taken as air",)


def test_a_sheared_affine_is_a_tilt(tmp_path, voxels, scanned):
    affine = AFFINE.copy()
    affine[1, 2] = 5.0 * np.tan(np.radians(18))
    write(tmp_path / "n" / "a.nii", voxels, affine)
    stack = only_stack(scanned(tmp_path / "n"))
    assert abs(stack.tilt_deg) == pytest.approx(18, abs=0.01)
    assert "tilted gantry" in stack.warnings


@pytest.mark.parametrize(
    ("name", "patient", "warnings"),
    [
        ("head.nii", "head", {"identifiers from the file name: each file counts as a patient"}),
        ("sub-07/ct/sub-07_ct.nii.gz", "07", set()),
        ("sub-07_ct_Eq.nii", "07", {"resampled by dcm2niix (_Eq or _Tilt in its name)"}),
        ("sub-07_ct_Tilt_1.nii", "07", {"resampled by dcm2niix (_Eq or _Tilt in its name)"}),
        ("sub-07_Equal.nii", "07", set()),
    ],
)
def test_identifiers_and_warnings_come_from_the_name(
    tmp_path, voxels, scanned, name, patient, warnings
):
    write(tmp_path / "n" / name, voxels)
    result = scanned(tmp_path / "n")
    stack = only_stack(result)
    assert stack.patient_id == patient
    assert stack.key == stack.series_uid == name.partition(".")[0]
    assert set(stack.warnings) == warnings
    assert result.account.used == 1


@pytest.mark.parametrize(
    ("data", "header", "status", "reason"),
    [
        (np.zeros((4, 4, 4, 3), np.int16), {}, "failed", "NIfTI file is not one volume"),
        (np.zeros((4, 4, 4), np.uint8), {}, "skipped", "not CT: NIfTI values of 8 bits"),
        (
            np.zeros((4, 4, 4), np.dtype([(c, "u1") for c in "RGB"])), {},
            "skipped", "colour image",
        ),
        (
            np.zeros((4, 4, 4), np.int16), {"sform_code": 0, "qform_code": 0},
            "failed", "NIfTI file without orientation",
        ),
        (np.zeros((4, 4, 4), np.int16), {"dim": [3, 4, 9000, 4, 1, 1, 1, 1]}, "skipped",
         "implausible matrix"),
    ],
)  # fmt: skip
def test_what_is_no_ct_volume_is_refused(tmp_path, scanned, data, header, status, reason):
    path = write(tmp_path / "n" / "a.nii", data)
    image = bytearray(path.read_bytes())
    for field, value in header.items():
        at = {"sform_code": 254, "qform_code": 252, "dim": 40}[field]
        new = np.array(value, "<i2").tobytes()
        image[at : at + len(new)] = new
    path.write_bytes(image)
    account = scanned(tmp_path / "n").account
    assert account.reasons == {(status, reason): 1}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path, voxels, scanned, suffix):
    rng = np.random.default_rng(0)
    noisy = (voxels + rng.integers(0, 9, voxels.shape)).astype(np.int16)
    path = write(tmp_path / "n" / f"a{suffix}", noisy)
    whole = path.read_bytes()
    for number, cut in enumerate([len(whole) - 1, len(whole) // 2, 300, 20, 3]):
        path.write_bytes(whole[:cut])
        result = scanned(tmp_path / "n", f"{number}.sqlite")
        if not result.stacks:
            assert result.account.used == 0
            continue
        stack = result.stacks[0]
        for slice_ in stack.slices[-1:]:
            with pytest.raises(ReadError) as caught:
                decode_slice(job_for(result.index.root, stack, slice_))
            assert caught.value.reason in {"pixel data is short", "pixel data is malformed"}


def test_a_gzip_bomb_stops_at_the_volume_it_claims(tmp_path, voxels, scanned):
    path = write(tmp_path / "n" / "a.nii", voxels)
    data = path.read_bytes() + bytes(200 << 20)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.nii.gz").write_bytes(gzip.compress(data, 1))
    result = scanned(tmp_path / "b")
    assert len(slices_of(result, only_stack(result))) == 5
    from featurecache import voxels as module

    assert max(map(len, module._volumes.values())) <= voxels.nbytes


def test_without_the_extra_the_file_is_skipped_with_the_install_line(tmp_path, voxels, monkeypatch):
    write(tmp_path / "n" / "a.nii", voxels)
    hidden = tmp_path / "hidden"
    (hidden / "nibabel").mkdir(parents=True)
    (hidden / "nibabel" / "__init__.py").write_text("raise ImportError('hidden')\n")
    monkeypatch.setattr(sys, "path", [str(hidden), *sys.path])
    account = scan(tmp_path / "n", tmp_path / "i.sqlite", workers=1)
    assert account.reasons == {("skipped", "NIfTI file: pip install 'featurecache[nifti]'"): 1}
