"""Voxels come out of a NIfTI file whole, however they are packed, or not at all."""

import gzip

import numpy as np
import pytest

from featurecache import voxels as module
from featurecache.errors import ReadError
from featurecache.pixels import to_hu

nibabel = pytest.importorskip(
    "nibabel", reason="the nifti extra is not installed: pip install 'featurecache[nifti]'"
)
AFFINE = np.diag([-0.5, -0.5, 5.0, 1.0])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_extension_of_any_size_before_the_voxels_is_passed_over(
    tmp_path, voxels, volume, suffix, decode, record_of
):
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 200_000))
    path = tmp_path / f"a{suffix}"
    nibabel.save(image, path)
    assert len(record_of(path).frames) == 5
    np.testing.assert_array_equal(to_hu(decode(path, 2)), volume[2])


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_versions_and_byte_orders_are_read(tmp_path, voxels, volume, kind, order, decode):
    image = kind(voxels, AFFINE)
    header = image.header.as_byteswapped(order)
    path = tmp_path / "a.nii"
    nibabel.save(kind(voxels, AFFINE, header), path)
    np.testing.assert_array_equal(to_hu(decode(path, 4)), volume[4])


def test_a_file_compressed_in_many_members_is_one_volume(
    tmp_path, voxels, volume, decode, write_nifti
):
    data = write_nifti(tmp_path / "a.nii", voxels).read_bytes()
    parts = [gzip.compress(data[at : at + 700]) for at in range(0, len(data), 700)]
    path = tmp_path / "b.nii.gz"
    path.write_bytes(b"".join(parts))
    np.testing.assert_array_equal(to_hu(decode(path, 3)), volume[3])
    path.write_bytes(b"".join(parts)[:-1])
    with pytest.raises(ReadError, match="the compressed file is cut"):
        decode(path, 3)


@pytest.mark.parametrize("side", [8, 128])
def test_a_wrong_checksum_fails_every_slice(tmp_path, decode, write_nifti, side):
    """Found with the header where the file is small, else with the voxels."""
    noise = np.random.default_rng(0).integers(-1000, 1000, (side, side, 6), dtype=np.int16)
    path = write_nifti(tmp_path / "a.nii.gz", noise)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        with pytest.raises(ReadError, match="pixel data is malformed: gzip: "):
            decode(path, 1)
        assert all(isinstance(kept, ReadError) for kept in module._volumes.values())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_cut_file_is_refused_wherever_it_is_cut(
    tmp_path, voxels, suffix, refused, write_nifti, record_of
):
    rng = np.random.default_rng(0)
    noisy = (voxels + rng.integers(0, 9, voxels.shape)).astype(np.int16)
    path = write_nifti(tmp_path / f"a{suffix}", noisy)
    whole = path.read_bytes()
    for cut in [len(whole) - 1, len(whole) // 2, 300, 20, 3, 0]:
        path.write_bytes(whole[:cut])
        record = record_of(path)
        if record.status == "image":
            reason = refused(path, 4).reason
            assert reason in {"pixel data is short", "pixel data is malformed"}
        else:
            assert record.status in {"skipped", "failed"}


def test_a_gzip_bomb_stops_at_the_volume_it_claims(tmp_path, voxels, volume, decode, write_nifti):
    path = write_nifti(tmp_path / "a.nii", voxels)
    bomb = tmp_path / "b.nii.gz"
    bomb.write_bytes(gzip.compress(path.read_bytes() + bytes(200 << 20), 1))
    np.testing.assert_array_equal(to_hu(decode(bomb, 4)), volume[4])
    assert max(map(len, module._volumes.values())) <= voxels.nbytes
