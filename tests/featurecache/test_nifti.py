"""NIfTI volumes give the slices that the same volume gives as DICOM; SimpleITK is the oracle."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from featurecache.errors import ReadError
from featurecache.nifti import load_nifti
from featurecache.pixels import decode_slice, job_for, to_hu
from featurecache.scan import scan

nibabel = pytest.importorskip(
    "nibabel", reason="the nifti extra is not installed: pip install 'featurecache[nifti]'"
)


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
@pytest.mark.parametrize(
    ("axes", "suffix"),
    [("LPS", ".nii"), ("RAS", ".nii"), ("LAS", ".nii.gz"), ("RPI", ".nii.gz"), ("LPI", ".nii"),
     ("ASL", ".nii"), ("SRP", ".nii.gz"), ("PIL", ".nii.gz"), ("IRA", ".nii")],
)  # fmt: skip
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


def header_bytes() -> bytes:
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([-0.5, -0.5, 5.0, 1.0]))
    image.header["sform_code"] = image.header["qform_code"] = 1
    buffer = io.BytesIO()
    image.to_file_map({"header": nibabel.FileHolder(fileobj=buffer),
                       "image": nibabel.FileHolder(fileobj=buffer)})  # fmt: skip
    return buffer.getvalue()


HEADER = header_bytes()
AFFINE = np.diag([-0.5, -0.5, 5.0, 1.0])  # voxels run to the left, to the back, upwards


def patch(path: Path, at: int, values) -> None:
    """Overwrite a field of the header."""
    data = bytearray(path.read_bytes())
    data[at : at + values.nbytes] = values.tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("more_hu", [0, 0.37])
def test_every_type_and_scale_gives_the_same_hounsfield_units(
    tmp_path, voxels, volume, scanned, dtype, more_hu, write_nifti
):
    more_hu *= dtype.startswith("float")
    write_nifti(tmp_path / "n" / "a.nii.gz", (voxels + more_hu).astype(dtype))
    result = scanned(tmp_path / "n")
    for plane, decoded in zip(volume, slices_of(result, only_stack(result)), strict=True):
        assert decoded.stored.dtype in (np.int16, np.uint16, np.int32)
        expected = np.clip(plane + more_hu, -1024, 3071)
        np.testing.assert_allclose(to_hu(decoded), expected, atol=2e-4)


def test_slope_and_intercept_are_applied(tmp_path, voxels, volume, scanned, write_nifti):
    path = write_nifti(tmp_path / "n" / "a.nii", (2 * (voxels + 1100)).astype(np.uint16))
    patch(path, 112, np.array([0.5, -1100.0], "<f4"))  # scl_slope, scl_inter
    result = scanned(tmp_path / "n")
    for plane, decoded in zip(volume, slices_of(result, only_stack(result)), strict=True):
        np.testing.assert_array_equal(to_hu(decoded), np.clip(plane, -1024, 3071))


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_of_nothing_leaves_values_as_they_are(
    tmp_path, voxels, volume, scanned, slope, write_nifti
):
    path = write_nifti(tmp_path / "n" / "a.nii", voxels)
    patch(path, 112, np.array([slope, 7.0], "<f4"))
    result = scanned(tmp_path / "n")
    decoded = slices_of(result, only_stack(result))
    np.testing.assert_array_equal(to_hu(decoded[3]), volume[3])
    np.testing.assert_array_equal(to_hu(decoded[3]).T, nibabel.load(path).get_fdata()[:, :, 3])


@pytest.mark.parametrize(("slope", "intercept"), [(2, np.nan), (1, np.inf), (np.inf, 0)])
def test_half_a_scaling_is_refused(tmp_path, voxels, slope, intercept, write_nifti, record_of):
    path = write_nifti(tmp_path / "a.nii", voxels)
    patch(path, 112, np.array([slope, intercept], "<f4"))
    record = record_of(path)
    assert (record.status, record.reason) == ("failed", "rescale slope or intercept unusable")


def test_values_that_are_not_finite_are_air_and_reported(tmp_path, voxels, scanned, write_nifti):
    data = voxels.astype(np.float32)
    data[0, 0, 0] = np.nan
    write_nifti(tmp_path / "n" / "a.nii", data)
    result = scanned(tmp_path / "n")
    decoded = slices_of(result, only_stack(result))[0]
    assert to_hu(decoded)[0, 0] == -1024
    assert decoded.warnings == ("values that are not finite: taken as air",)


def test_a_sheared_affine_is_a_tilt(tmp_path, voxels, scanned, write_nifti):
    affine = AFFINE.copy()
    affine[1, 2] = 5.0 * np.tan(np.radians(18))
    write_nifti(tmp_path / "n" / "a.nii", voxels, affine)
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
    tmp_path, voxels, scanned, name, patient, warnings, write_nifti
):
    write_nifti(tmp_path / "n" / name, voxels)
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
        (np.zeros((4, 4, 4), np.int16), {"dim": [3, 8000, 8000, 9, 1, 1, 1, 1]}, "failed",
         "NIfTI volume larger than 1 GiB"),
        (np.zeros((4, 4, 4), np.int16), {"dim": [3, 4, -4, 4, 1, 1, 1, 1]}, "skipped",
         "NIfTI header is damaged"),
        (np.zeros((4, 4), np.int16), {}, "failed", "NIfTI file is not one volume"),
        (np.zeros((4, 4, 4), np.int16), {"datatype": 1536}, "failed",
         "NIfTI data type is not read"),
        (np.zeros((4, 4, 4), np.int16), {"datatype": 77}, "skipped", "NIfTI header is damaged"),
        (np.zeros((4, 4, 4), np.int16), {"vox_offset": 300.0}, "skipped",
         "NIfTI header is damaged"),
        (np.zeros((4, 4, 4), np.int16), {"vox_offset": 1e30}, "skipped",
         "NIfTI header is damaged"),
    ],
)  # fmt: skip
def test_what_is_no_ct_volume_is_refused(
    tmp_path, data, header, status, reason, write_nifti, record_of
):
    path = write_nifti(tmp_path / "n" / "a.nii", data)
    for field, value in header.items():
        at = {"sform_code": 254, "qform_code": 252, "dim": 40, "datatype": 70, "vox_offset": 108}
        patch(path, at[field], np.array(value, "<f4" if field == "vox_offset" else "<i2"))
    record = record_of(path)
    assert (record.status, record.reason) == (status, reason)


@given(
    st.lists(
        st.tuples(st.integers(4, 339), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6
    )
)
@settings(max_examples=300)
def test_any_damage_to_a_header_is_read_or_refused_in_words(damage):
    data = bytearray(HEADER)
    for at, new in damage:
        data[at : at + len(new)] = new
    fd = os.memfd_create("header")
    try:
        os.write(fd, data)
        header = load_nifti(fd, len(data), "sub-1.nii")
        assert len(header.frames) == header.n_frames <= 8192
        assert np.isfinite([frame.position for frame in header.frames]).all()
    except ReadError as error:
        assert error.reason
    finally:
        os.close(fd)


def header_of(path: Path, name="a.nii", listed=None):
    with path.open("rb") as file:
        return load_nifti(file.fileno(), path.stat().st_size, name, listed)


def test_voxels_that_are_missing_are_noticed_from_the_size(tmp_path, voxels, write_nifti):
    path = write_nifti(tmp_path / "a.nii", voxels)
    assert "pixel data is short" not in header_of(path).warnings
    path.write_bytes(path.read_bytes()[:-1])
    assert "pixel data is short" in header_of(path).warnings


def test_a_path_that_names_two_subjects_is_refused(tmp_path, voxels, write_nifti):
    path = write_nifti(tmp_path / "a.nii", voxels)
    assert header_of(path, "sub-7/ses-1/sub-7_ct.nii").patient_id == "7"
    with pytest.raises(ReadError, match="names two subjects: 7, 8"):
        header_of(path, "sub-7/sub-8_ct.nii")


def test_names_of_any_bytes_are_identifiers_that_can_be_stored(
    tmp_path, voxels, scanned, write_nifti
):
    """Case 15, for NIfTI: a byte that is no UTF-8, and a line break."""
    for name in (b"\xff.nii", b"a\nb.nii.gz"):
        (tmp_path / "n").mkdir(exist_ok=True)
        ending = ".nii.gz" if b"gz" in name else ".nii"
        source = write_nifti(tmp_path / f"plain{ending}", voxels + np.int16(len(name)))
        os.rename(source, os.path.join(os.fsencode(tmp_path / "n"), name))
    result = scanned(tmp_path / "n")
    assert result.account.used == 2
    assert [stack.key for stack in result.stacks] == ["\\xff", "a\nb"]
    assert [len(slices_of(result, stack)) for stack in result.stacks] == [5, 5]


def test_two_files_of_one_name_are_one_series_or_none(tmp_path, voxels, scanned, write_nifti):
    """``a.nii`` beside ``a.nii.gz``: a repeat if the voxels are the same, refused if not."""
    write_nifti(tmp_path / "n" / "a.nii", voxels)
    write_nifti(tmp_path / "n" / "a.nii.gz", voxels)
    same = scanned(tmp_path / "n")
    assert same.account.reasons["skipped", "duplicate of another file"] == 1
    assert len(only_stack(same).slices) == 5
    longer = np.concatenate([voxels[..., :4] + 1, voxels], axis=2)
    write_nifti(tmp_path / "n" / "a.nii.gz", longer.astype(np.int16))
    other = scanned(tmp_path / "n", "other.sqlite")
    assert other.account.reasons["failed", "one SOPInstanceUID, different pixels"] == 2
    assert other.stacks == [], "the four slices that only one of them has are not used either"


def test_without_the_extra_the_file_is_skipped_with_the_install_line(
    tmp_path, voxels, monkeypatch, write_nifti
):
    write_nifti(tmp_path / "n" / "a.nii", voxels)
    hidden = tmp_path / "hidden"
    (hidden / "nibabel").mkdir(parents=True)
    (hidden / "nibabel" / "__init__.py").write_text("raise ImportError('hidden')\n")
    with monkeypatch.context() as without:
        without.setattr(sys, "path", [str(hidden), *sys.path])
        account = scan(tmp_path / "n", tmp_path / "i.sqlite", workers=1)
    assert account.reasons == {("skipped", "NIfTI file: pip install 'featurecache[nifti]'"): 1}
    assert scan(tmp_path / "n", tmp_path / "i.sqlite", workers=1).used == 1, "once it is there"
