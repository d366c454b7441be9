"""Ours beside SimpleITK and others: equal where they are right, and where they are not, shown.

docs/explanation/other-readers.md has the list; each of its entries is a test here.
"""

from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
import SimpleITK as sitk

from featurecache.phantom import write_phantom
from featurecache.pixels import decode_slice, job_for, to_hu

pytestmark = pytest.mark.oracle

PYDICOM_FILES = Path(pydicom.data.__file__).parent / "test_files"
TILTED = [1.0, 0.0, 0.0, 0.0, float(np.cos(np.radians(18))), -float(np.sin(np.radians(18)))]
EVEN_MM = [0, 5, 10, 15, 20]


@pytest.fixture(autouse=True)
def _quiet_itk():
    """ITK writes its warnings to stderr, past Python's."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    yield
    sitk.ProcessObject.SetGlobalWarningDisplay(True)


def itk_files(folder, series_uid) -> list[str]:
    """Files of a series in the order in which SimpleITK reads them."""
    return list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series_uid))


def itk_volume(files) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    return reader.Execute()


def itk_hu(path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]


def our_files(result, stack) -> list[str]:
    return [str(result.index.root / slice_.path) for slice_ in stack.slices]


def our_hu(result, stack) -> list[np.ndarray]:
    jobs = [job_for(result.index.root, stack, slice_) for slice_ in stack.slices]
    return [to_hu(decode_slice(job)) for job in jobs]


def compare(result) -> int:
    """Order, heights and Hounsfield units of every usable stack; return how many slices."""
    compared = 0
    for stack in result.stacks:
        ours = our_files(result, stack)
        assert ours == itk_files(Path(ours[0]).parent, stack.series_uid)
        for path, slice_, hu in zip(ours, stack.slices, our_hu(result, stack), strict=True):
            image = sitk.ReadImage(path)
            normal = np.reshape(image.GetDirection(), (3, 3))[:, 2]
            assert slice_.z_mm == pytest.approx(np.dot(image.GetOrigin(), normal), abs=1e-3)
            expected = np.clip(sitk.GetArrayFromImage(image)[0], -1024, 3071)
            np.testing.assert_array_equal(hu, expected)
            compared += 1
    return compared


@pytest.fixture
def write_stack(write_ct, head_values):
    """write_stack(folder, z_mm, names=None, **elements) -> folder: one series, one slice a z."""

    def write(folder, z_mm, names=None, **elements):
        for number, z in enumerate(z_mm):
            own = {
                "SOPInstanceUID": f"1.2.9.{number}",
                "SeriesInstanceUID": "1.2.9",
                "InstanceNumber": number + 1,
                "ImagePositionPatient": [0.0, 0.0, float(z)],
            } | elements
            name = f"{number:03}" if names is None else names[number]
            write_ct(folder / f"{name}.dcm", np.roll(head_values, number, axis=0), **own)
        return folder

    return write


@pytest.mark.real_data
def test_every_real_series_is_read_as_simpleitk_reads_it(real_scans, scanned):
    assert compare(scanned(real_scans)) == 28 + 28 + 4 + 4


def test_every_series_of_pydicoms_files_is_read_as_simpleitk_reads_it(scanned):
    assert compare(scanned(PYDICOM_FILES)) == 4 + 5


def test_a_phantom_is_read_as_simpleitk_reads_it(tmp_path, scanned):
    write_phantom(tmp_path / "phantom", 2, seed=3, series="thick", size=64, workers=1)
    result = scanned(tmp_path / "phantom" / "dicom")
    assert len(result.stacks) >= 2
    assert compare(result) == result.account.used


@pytest.mark.parametrize(
    ("numbers", "claimed"),
    [
        ([6, 5, 4, 3, 2, 1], "abcdef"),
        ([1, 1, 1, 1, 1, 1], "abcdef"),
        ([1, 2, 3, 4, 5, 6], "fedcba"),
    ],
)
def test_simpleitk_ignores_positions_where_two_slices_share_one(
    tmp_path, write_stack, scanned, numbers, claimed
):
    """It falls back to InstanceNumber, then to file names: the stack may come out reversed."""
    folder = write_stack(tmp_path / "s", [0, 5, 10, 10, 15, 20], "fedcba")
    for path, number in zip(sorted(folder.iterdir(), reverse=True), numbers, strict=True):
        ds = pydicom.dcmread(path)
        ds.InstanceNumber = number
        ds.save_as(path)
    stack = scanned(folder).stacks[0]
    assert [slice_.z_mm for slice_ in stack.slices] == [0, 5, 10, 10, 15, 20]
    assert "several slices at one position" in stack.warnings
    assert [Path(path).stem for path in itk_files(folder, "1.2.9")] == list(claimed)


def test_simpleitk_spreads_uneven_slices_evenly(tmp_path, write_stack, scanned):
    z_mm = [0, 5, 10, 20, 25]
    folder = write_stack(tmp_path / "s", z_mm)
    stack = scanned(folder).stacks[0]
    assert [slice_.z_mm for slice_ in stack.slices] == z_mm
    assert {"uneven slice spacing", "gap between slices"} <= set(stack.warnings)
    volume = itk_volume(itk_files(folder, "1.2.9"))
    claimed = [volume.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(5)]
    assert claimed == [0, 6.25, 12.5, 18.75, 25]


def test_simpleitk_shears_or_refuses_a_tilted_stack(tmp_path, write_stack, scanned):
    folder = write_stack(tmp_path / "s", EVEN_MM, ImageOrientationPatient=TILTED)
    stack = scanned(folder).stacks[0]
    assert abs(stack.tilt_deg) == pytest.approx(18, abs=1e-3)
    assert "tilted gantry" in stack.warnings
    try:
        volume = itk_volume(itk_files(folder, "1.2.9"))
    except RuntimeError:
        return  # some versions of ITK refuse
    where = volume.TransformIndexToPhysicalPoint((0, 0, 4))
    assert np.linalg.norm(np.subtract(where, [0, 0, 20])) > 5  # the last slice is 6 mm off


def test_simpleitk_turns_a_series_around_with_its_normal(tmp_path, write_ct, scanned):
    """Slices that differ in nothing but the sign of the row direction are ordered in reverse."""
    for kind, row in (("a", [0, 1, 0]), ("b", [0, -1, 0])):
        for number in range(4):
            write_ct(
                tmp_path / kind / f"{number}.dcm", SOPInstanceUID=f"1.2.{number}",
                ImagePositionPatient=[5.0 * number, 0.0, 0.0],
                ImageOrientationPatient=[*row, 0, 0, -1],
            )  # fmt: skip
        stack = scanned(tmp_path / kind, f"{kind}.sqlite").stacks[0]
        assert [slice_.z_mm for slice_ in stack.slices] == [0, 5, 10, 15]
    one, other = (
        [Path(path).stem for path in itk_files(tmp_path / kind, "1.2.2")] for kind in "ab"
    )
    assert one == other[::-1]


def test_simpleitk_puts_two_kernels_into_one_volume(tmp_path, write_stack, scanned):
    folder = write_stack(tmp_path / "s", EVEN_MM, ConvolutionKernel="soft")
    for number, path in enumerate(sorted(folder.iterdir())):
        ds = pydicom.dcmread(path)
        ds.ConvolutionKernel, ds.SOPInstanceUID = "bone", f"1.2.99.{number}"
        ds.save_as(folder / f"b{number}.dcm")
    assert [stack.kernel for stack in scanned(folder).stacks] == ["soft", "bone"]
    assert len(itk_files(folder, "1.2.9")) == 10


def test_simpleitk_and_pydicom_mask_bits_that_carry_a_value(
    tmp_path, write_ct, decode, head_values
):
    values = head_values.astype(np.int16) - 1024
    values[0, 0] = -3024
    path = write_ct(tmp_path / "a.dcm", values, BitsStored=12, HighBit=11, RescaleIntercept=0)
    decoded = decode(path)
    assert to_hu(decoded)[0, 0] == -1024
    assert "values outside BitsStored" in decoded.warnings
    assert itk_hu(path)[0, 0] == pydicom.dcmread(path).pixel_array[0, 0] == 1072


def test_simpleitk_keeps_unsigned_padding_as_tissue(tmp_path, write_ct, hu_of, head_values):
    values = head_values.copy()
    values[0] = 63536  # -2000 read as unsigned
    padding = pydicom.DataElement(0x00280120, "US", 63536)
    path = write_ct(
        tmp_path / "a.dcm", values, BitsStored=16, HighBit=15, PixelPaddingValue=padding
    )
    assert np.all(hu_of(path)[0] == -1024)
    assert np.all(itk_hu(path)[0] == 62512)


def test_simpleitk_takes_stored_values_for_hounsfield_units(tmp_path, write_ct, refused):
    path = write_ct(tmp_path / "a.dcm", RescaleSlope=None, RescaleIntercept=None)
    assert refused(path).reason == "rescale slope or intercept missing"
    np.testing.assert_array_equal(itk_hu(path), pydicom.dcmread(path).pixel_array)


@pytest.mark.parametrize("numbers", [[5, 4, 3, 2, 1], [1, 1, 1, 1, 1], [3, 1, 5, 2, 4]])
def test_sorting_by_instance_number_is_not_anatomical_order(
    tmp_path, write_stack, scanned, numbers
):
    """What loaders do that sort by InstanceNumber."""
    folder = write_stack(tmp_path / "s", EVEN_MM, names="ecadb")
    for path, number in zip(sorted(folder.iterdir()), numbers, strict=True):
        ds = pydicom.dcmread(path)
        ds.InstanceNumber = number
        ds.save_as(path)
    stack = scanned(folder).stacks[0]
    assert [slice_.z_mm for slice_ in stack.slices] == EVEN_MM
    headers = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    headers.sort(key=lambda ds: ds.InstanceNumber)
    assert [ds.ImagePositionPatient[2] for ds in headers] != EVEN_MM


def test_slices_without_instance_number_are_kept(tmp_path, write_stack, scanned):
    """Loaders that key slices by InstanceNumber drop these."""
    folder = write_stack(tmp_path / "s", EVEN_MM, InstanceNumber=None)
    stack = scanned(folder).stacks[0]
    assert [slice_.z_mm for slice_ in stack.slices] == EVEN_MM
    assert len({ds.get("InstanceNumber") for ds in map(pydicom.dcmread, folder.iterdir())}) == 1


@pytest.mark.parametrize(
    ("z_mm", "orientation"), [([0, 5, 10, 20, 25], [1, 0, 0, 0, 1, 0]), (EVEN_MM, TILTED)]
)
def test_highdicom_refuses_what_is_no_regular_volume(
    tmp_path, write_stack, scanned, z_mm, orientation
):
    from highdicom import get_volume_from_series

    folder = write_stack(
        tmp_path / "s", z_mm, ImageOrientationPatient=orientation, FrameOfReferenceUID="1.2"
    )
    assert [slice_.z_mm for slice_ in scanned(folder).stacks[0].slices] == pytest.approx(
        np.multiply(z_mm, 1 if orientation[4] == 1 else TILTED[4])
    )
    with pytest.raises(ValueError, match="not a regularly-spaced volume"):
        get_volume_from_series([pydicom.dcmread(path) for path in folder.iterdir()])
