"""Frames of a NIfTI volume lie where nibabel and SimpleITK say that their voxels lie."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from featurecache.geometry import slice_normal
from featurecache.nifti import load_nifti
from featurecache.nifti_grid import CONFLICT, IDENTITY, PIXDIM_DIFFERS

nibabel = pytest.importorskip(
    "nibabel", reason="the nifti extra is not installed: pip install 'featurecache[nifti]'"
)
SHAPE = (5, 6, 4)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def coded_volume():
    """A voxel's value says its indices: 100 i + 10 j + k."""
    i, j, k = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (100 * i + 10 * j + k).astype(np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("grid")


def rotation(angles):
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[[a, a, b, b], [a, b, a, b]] = [
            math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle),
        ]  # fmt: skip
        result = result @ turn
    return result


@st.composite
def affines(draw, shear=False):
    """Affines: any order and sense of axes, any rotation, any voxel size and place."""
    order = draw(st.permutations(range(3)))
    senses = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    sizes = draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))
    angles = draw(st.tuples(*[st.floats(-0.7, 0.7)] * 3))
    matrix = rotation(angles) @ np.eye(3)[:, order] * np.array(senses) * np.array(sizes)
    if shear:
        matrix[:, 2] += draw(st.floats(-0.5, 0.5)) * matrix[:, 1]
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = draw(arrays.arrays(np.float64, 3, elements=st.floats(-300, 300)))
    return affine.astype(np.float32).astype(np.float64)


def write(folder, affine, code=1):
    image = nibabel.Nifti1Image(coded_volume(), affine)
    image.set_sform(affine, code)
    path = folder / "volume.nii"
    nibabel.save(image, path)
    return path


def header_of(path):
    with path.open("rb") as file:
        return load_nifti(file.fileno(), path.stat().st_size, "sub-1.nii")


def corners(frame, shape):
    """Yield (row, column, position in mm) of the corners of a frame, as DICOM has it."""
    along_row, along_column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    for row, column in itertools.product((0, shape[0] - 1), (0, shape[1] - 1)):
        yield (
            row,
            column,
            (
                np.array(frame.position)
                + column * frame.column_spacing_mm * along_row
                + row * frame.row_spacing_mm * along_column
            ),
        )


@pytest.mark.oracle
@given(affines() | affines(shear=True))
def test_every_pixel_lies_where_nibabel_has_the_voxel_of_its_value(folder, decode, affine):
    path = write(folder, affine)
    header = header_of(path)
    voxel_of = np.linalg.inv(LPS @ nibabel.load(path).affine)
    assert sorted([header.rows, header.columns, header.n_frames]) == sorted(SHAPE)
    for number, frame in enumerate(header.frames):
        stored = decode(path, number).stored
        for row, column, position in corners(frame, stored.shape):
            i, j, k = voxel_of[:3] @ [*position, 1]
            assert stored[row, column] == pytest.approx(100 * i + 10 * j + k, abs=0.05)


@pytest.mark.oracle
@given(affines())
def test_every_pixel_lies_where_simpleitk_has_the_voxel_of_its_value(folder, decode, affine):
    path = write(folder, affine)
    image = sitk.ReadImage(str(path))
    for number, frame in enumerate(header_of(path).frames):
        stored = decode(path, number).stored
        for row, column, position in corners(frame, stored.shape):
            index = image.TransformPhysicalPointToIndex(position.tolist())
            assert stored[row, column] == image.GetPixel(*index)


@given(affines() | affines(shear=True))
def test_frames_are_axial_as_dicom_shows_them(folder, affine):
    """Rows run to the patient's left, columns to the back, and slices are the most axial ones."""
    frames = header_of(write(folder, affine)).frames
    for frame in frames:
        assert frame.orientation[0] >= 0
        assert frame.orientation[4] >= 0
        np.testing.assert_allclose(np.linalg.norm(np.reshape(frame.orientation, (2, 3)), axis=1), 1)
    step = np.subtract(frames[1].position, frames[0].position)
    directions = (LPS @ affine)[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    assert abs(step[2]) / np.linalg.norm(step) == pytest.approx(abs(directions[2]).max(), abs=1e-4)
    heights = [np.dot(frame.position, slice_normal(frame.orientation)) for frame in frames]
    assert np.all(np.diff(heights) > 0) or np.all(np.diff(heights) < 0)


def warnings_of(folder, affine, change):
    image = nibabel.Nifti1Image(coded_volume(), affine)
    change(image)
    path = folder / "volume.nii"
    nibabel.save(image, path)
    data = SimpleNamespace(path=path, header=header_of(path))
    return data.header.warnings


AFFINE = np.diag([-0.5, -0.5, 5.0, 1.0])


def qform(affine):
    def change(image):
        image.set_sform(image.affine, 1)
        image.set_qform(affine, 1)

    return change


@pytest.mark.parametrize(
    "other",
    [
        np.diag([0.5, -0.5, 5.0, 1.0]),  # mirrored
        np.diag([-0.5, -0.5, -5.0, 1.0]),  # upside down
        np.diag([-0.5, 0.5, -5.0, 1.0]),  # turned about the left-right axis
        AFFINE[[1, 0, 2, 3]],  # rows for columns
    ],
)
def test_a_qform_that_contradicts_the_sform_is_reported_and_the_sform_used(folder, other):
    assert CONFLICT in warnings_of(folder, AFFINE, qform(other))
    frame = header_of(folder / "volume.nii").frames[0]
    assert frame.orientation == (1, 0, 0, 0, 1, 0)


def test_a_qform_that_cannot_hold_the_shear_is_no_contradiction(folder):
    """As dcm2niix writes a tilted gantry: the shear is in the sform only."""
    sheared = AFFINE.copy()
    sheared[1, 2] = 5.0 * math.tan(math.radians(20))

    def change(image):
        image.set_sform(sheared, 1)
        image.set_qform(AFFINE, 1)
        image.header["pixdim"][1:4] = [0.5, 0.5, 5.0]

    assert warnings_of(folder, sheared, change) == ()


def test_without_an_sform_the_qform_counts_and_its_sense_may_be_0(folder):
    image = nibabel.Nifti1Image(coded_volume(), None)
    image.header.set_qform(np.diag([0.5, 0.5, 5.0, 1.0]), 1)
    path = folder / "volume.nii"
    nibabel.save(image, path)
    data = bytearray(path.read_bytes())
    data[76:80] = bytes(4)  # pixdim[0]
    path.write_bytes(data)
    header = header_of(path)
    assert header.warnings == ()
    assert (header.frames[0].row_spacing_mm, header.frames[0].position[2]) == (0.5, 0)


@pytest.mark.parametrize(("code", "factor"), [(1, 1e-3), (2, 1.0), (3, 1e3), (0, 1.0)])
def test_lengths_are_in_the_unit_of_the_header(folder, code, factor):
    def change(image):
        image.header["xyzt_units"] = code

    affine = AFFINE.copy()
    affine[:3] *= factor
    assert warnings_of(folder, affine, change) == ()
    frames = header_of(folder / "volume.nii").frames
    assert frames[0].column_spacing_mm == pytest.approx(0.5)
    assert frames[1].position[2] - frames[0].position[2] == pytest.approx(5.0)


def test_the_identity_is_reported(folder):
    assert IDENTITY in warnings_of(folder, np.eye(4), lambda image: None)


def test_a_voxel_size_that_contradicts_the_affine_is_reported(folder):
    path = write(folder, AFFINE)
    data = bytearray(path.read_bytes())
    data[80:88] = np.array([1.0, 1.0], "<f4").tobytes()
    path.write_bytes(data)
    assert header_of(path).warnings == (PIXDIM_DIFFERS,)
