"""Pixels become the right Hounsfield units, or a reason why not."""

import io
import os
import time
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from featurecache import decoders, files, pixels
from featurecache.errors import ReadError
from featurecache.pixels import DecodeJob, decode_slice, job_for, to_hu

TEST_FILES = Path(pydicom.data.__file__).parent / "test_files"


def plain_hu(path) -> np.ndarray:
    """An independent computation: pydicom with its defaults."""
    ds = pydicom.dcmread(path)
    hu = ds.pixel_array.astype(np.float64) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    return np.clip(hu, -1024, 3071).astype(np.float32)


def test_a_known_pixel_has_its_hounsfield_units(write_ct, tmp_path, hu_of):
    values = np.full((16, 16), 1024 + 37, np.uint16)
    values[3, 5] = 1024 - 1000
    hu = hu_of(write_ct(tmp_path / "a.dcm", values))
    assert hu.dtype == np.float32
    assert (hu[3, 5], hu[0, 0]) == (-1000, 37)


def test_hounsfield_units_are_clamped(write_ct, tmp_path, hu_of):
    values = np.arange(-20000, 20000, 625, dtype=np.int16).reshape(8, 8)
    hu = hu_of(write_ct(tmp_path / "a.dcm", values, RescaleIntercept=0))
    assert (hu.min(), hu.max()) == (-1024, 3071)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_uncompressed_syntax_gives_the_same_values(
    write_ct, tmp_path, hu_of, head_values, syntax
):
    hu = hu_of(write_ct(tmp_path / "a.dcm", syntax=syntax))
    np.testing.assert_array_equal(hu, head_values.astype(np.float32) - 1024)


def test_big_endian_pixels_are_swapped(make_ct, tmp_path, hu_of, head_values):
    ds = make_ct(head_values.byteswap())
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "a.dcm", ds, enforce_file_format=True)
    np.testing.assert_array_equal(hu_of(tmp_path / "a.dcm"), head_values.astype(np.float32) - 1024)


COMPRESSED = [
    ("RLELossless", RLELossless),
    ("JPEGLosslessProcess14_1", JPEGLosslessSV1),
    ("JPEGLSLossless", JPEGLSLossless),
    ("JPEG2000Lossless", JPEG2000Lossless),
]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("name", "syntax"), COMPRESSED)
def test_lossless_compression_changes_nothing(
    write_ct, transcode, tmp_path, decode, head_values, name, syntax, signed
):
    values = head_values.astype(np.int16) - 1024 if signed else head_values
    plain = write_ct(tmp_path / "a.dcm", values, RescaleIntercept=0 if signed else -1024)
    path = transcode(plain, tmp_path / "b.dcm", name)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    decoded = decode(path)
    np.testing.assert_array_equal(to_hu(decoded), head_values.astype(np.float32) - 1024)
    assert decoded.warnings == ()


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_twelve_signed_bits_are_sign_extended_after_decompression(
    make_ct, tmp_path, decode, head_values, syntax
):
    ds = make_ct(head_values.astype(np.int16) - 1024, RescaleIntercept=0, BitsStored=12, HighBit=11)
    ds.compress(syntax, generate_instance_uid=False)
    ds.save_as(tmp_path / "a.dcm")
    decoded = decode(tmp_path / "a.dcm")
    np.testing.assert_array_equal(to_hu(decoded), head_values.astype(np.float32) - 1024)
    assert decoded.warnings == ()


def test_pixels_cut_anywhere_fail(write_ct, tmp_path, refused):
    """Case 7."""
    data = write_ct(tmp_path / "a.dcm").read_bytes()
    for missing in (1, 2, 100, 64 * 64 * 2 - 1, 64 * 64 * 2):
        (tmp_path / "b.dcm").write_bytes(data[:-missing])
        assert refused(tmp_path / "b.dcm").reason == "pixel data is short"


@pytest.mark.parametrize(("name", "syntax"), COMPRESSED)
def test_compressed_pixels_cut_anywhere_fail(
    write_ct, transcode, tmp_path, decode, head_values, name, syntax
):
    """Case 7."""
    path = transcode(write_ct(tmp_path / "a.dcm"), tmp_path / "c.dcm", name)
    data = path.read_bytes()
    start = pydicom.dcmread(path)[0x7FE00010].file_tell
    expected = head_values.astype(np.float32) - 1024
    refusals = 0
    for end in range(start, len(data), 97):
        (tmp_path / "b.dcm").write_bytes(data[:end])
        try:
            hu = to_hu(decode(tmp_path / "b.dcm"))
        except ReadError as error:
            assert error.reason in {"pixel data is short", "decoder failed"}
            refusals += 1
        else:
            np.testing.assert_array_equal(hu, expected)
    assert refusals >= (len(data) - start) // 97 - 1


def test_a_matrix_larger_than_the_pixels_fails_without_allocating(write_ct, tmp_path, refused):
    """Case 37: what the element has is checked before anything is allocated."""
    assert (
        refused(write_ct(tmp_path / "a.dcm", Rows=8000, Columns=8000)).reason
        == "pixel data is short"
    )


def test_excess_pixel_bytes_are_reported(write_ct, tmp_path, decode, head_values):
    """Case 8."""
    path = write_ct(tmp_path / "a.dcm", head_values.tobytes() + b"\x01\x02")
    decoded = decode(path)
    assert decoded.warnings == ("excess pixel bytes",)
    np.testing.assert_array_equal(decoded.stored, head_values)


@pytest.mark.parametrize("row", [8, 30, 50])
@pytest.mark.parametrize("bits", [12, 16])
def test_noise_below_some_row_fails(write_ct, tmp_path, refused, head_values, row, bits):
    """Case 9."""
    values = head_values.copy()
    rng = np.random.default_rng(row)
    values[row:] = rng.integers(0, 1 << bits, values[row:].shape)
    error = refused(write_ct(tmp_path / "a.dcm", values, BitsStored=bits, HighBit=bits - 1))
    assert error.reason == "noise below some row"
    assert f"from row {row} of 64" in error.detail


def test_an_image_that_is_all_noise_is_not_called_damaged(write_ct, tmp_path, decode):
    values = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    assert decode(write_ct(tmp_path / "a.dcm", values)).warnings == ()


@settings(max_examples=60, deadline=None)
@given(
    noise=st.floats(0, 150),
    metal=st.booleans(),
    cut=st.integers(0, 512),
    seed=st.integers(0, 99),
)
def test_no_plausible_image_is_called_noise(noise, metal, cut, seed):
    """Strong noise, metal, a head that ends or begins at any row, air above or below."""
    from featurecache.sanity import check_noise

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:512, :512] - 255.5
    radius = np.hypot(x, y * 0.8)
    hu = np.where(radius < 230, 1200.0, -1000.0)
    hu[radius < 215] = 35
    hu += rng.normal(0, noise, hu.shape)
    if metal:
        hu[200:330, 240:270] = 3071
        hu[200:330] += 900 * np.sin(x[200:330] / 3) * (radius[200:330] < 230)
    hu[cut:] = -1000 if seed % 2 else hu[cut:]
    check_noise(np.clip(hu, -1024, 3071).astype(np.int16), 1.0)


@pytest.mark.real_data
def test_no_real_slice_is_called_noise_even_with_more_noise(real_scans):
    from featurecache.sanity import check_noise

    rng = np.random.default_rng(1)
    for path in sorted([*(real_scans / "head-ge").glob("*.dcm"), *real_scans.glob("*/S2010/I*")]):
        values = plain_hu(path)
        check_noise(values.astype(np.int16), 1.0)
        check_noise((values + rng.normal(0, 100, values.shape)).astype(np.int16), 1.0)
        check_noise(values.astype(np.int16).T, 1.0)


def test_a_file_that_vanished_fails(write_ct, tmp_path):
    """Case 13."""
    path = write_ct(tmp_path / "a.dcm")
    status = path.stat()
    job = DecodeJob(str(path), 0, status.st_size, status.st_mtime_ns, False, False)
    path.unlink()
    with pytest.raises(ReadError, match="file vanished"):
        decode_slice(job)


def test_a_file_that_changed_since_the_scan_fails(write_ct, tmp_path):
    """Case 14."""
    path = write_ct(tmp_path / "a.dcm")
    status = path.stat()
    job = DecodeJob(str(path), 0, status.st_size, status.st_mtime_ns, False, False)
    os.utime(path, ns=(0, status.st_mtime_ns + 1))
    with pytest.raises(ReadError, match="file changed since the scan"):
        decode_slice(job)


def test_a_file_that_changes_while_it_is_read_fails(write_ct, tmp_path, decode, monkeypatch):
    """Case 14."""
    path = write_ct(tmp_path / "a.dcm")
    real = os.pread

    def pread(fd, length, start):
        data = real(fd, length, start)
        with open(path, "ab") as file:
            file.write(b"more")
        return data

    monkeypatch.setattr(files.os, "pread", pread)
    with pytest.raises(ReadError, match="file changed since the scan"):
        decode(path)


@pytest.mark.parametrize("error", [5, 116])
def test_disk_errors_that_pass_are_retried(write_ct, tmp_path, decode, monkeypatch, error):
    """EIO and ESTALE; after four in a row the slice fails."""
    path = write_ct(tmp_path / "a.dcm")
    expected = decode(path).stored
    failures = [error] * 3
    real = os.pread

    def pread(fd, length, start):
        if failures:
            raise OSError(failures.pop(), "sick disk")
        return real(fd, length, start)

    monkeypatch.setattr(files.os, "pread", pread)
    monkeypatch.setattr(files.time, "sleep", lambda pause_s: None)
    np.testing.assert_array_equal(decode(path).stored, expected)
    failures += [error] * 4
    with pytest.raises(ReadError, match="read error: sick disk"):
        decode(path)


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_nothing_but_a_regular_file_is_opened(write_ct, tmp_path, kind):
    """Cases 10 and 11, when the tree changes after the walk."""
    path = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(write_ct(tmp_path / "a.dcm"))
    else:
        path.mkdir()
    started = time.monotonic()
    with pytest.raises(ReadError):
        decode_slice(DecodeJob(str(path), 0, 0, 0, False, False))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("bits", [12, 16])
def test_padding_below_air_in_an_unsigned_tag_is_air(write_ct, tmp_path, decode, head_values, bits):
    """Case 28: -2000 reads 63536, in the tag and in the pixels."""
    values = head_values.copy()
    values[:4] = 63536
    path = write_ct(
        tmp_path / "a.dcm", values, BitsStored=bits, HighBit=bits - 1, PixelPaddingValue=63536
    )
    decoded = decode(path)
    hu = to_hu(decoded)
    assert (hu[:4] == -1024).all()
    np.testing.assert_array_equal(hu[4:], head_values[4:].astype(np.float32) - 1024)
    assert decoded.warnings == ()


def test_signed_padding_in_an_unsigned_tag_is_air(write_ct, tmp_path, decode):
    """Case 28, as in RSNA: pixels are signed, the tag is not."""
    values = np.full((16, 16), 40, np.int16)
    values[5] = 41
    values[:4] = -2000
    tag = pydicom.DataElement(0x00280120, "US", 63536)
    decoded = decode(
        write_ct(tmp_path / "a.dcm", values, PixelPaddingValue=tag, RescaleIntercept=0)
    )
    assert (to_hu(decoded)[:4] == -1024).all()
    assert (to_hu(decoded)[6:] == 40).all()
    assert decoded.warnings == ()


def test_a_padding_range_is_air_and_reported_if_it_looks_like_tissue(write_ct, tmp_path, decode):
    values = np.full((16, 16), 1064, np.uint16)
    values[0], values[1], values[2] = 0, 5, 10
    path = write_ct(tmp_path / "a.dcm", values, PixelPaddingValue=0, PixelPaddingRangeLimit=5)
    decoded = decode(path)
    hu = to_hu(decoded)
    assert (hu[:2] == -1024).all()
    assert (hu[2] == 10 - 1024).all()
    assert decoded.warnings == ("padding value within the CT range: taken as air",)


def test_air_that_the_pixel_type_cannot_hold_is_held_by_a_wider_one(write_ct, tmp_path, decode):
    values = np.full((16, 16), 40, np.uint16)
    values[0] = 4095
    path = write_ct(tmp_path / "a.dcm", values, PixelPaddingValue=4095, RescaleIntercept=0)
    decoded = decode(path)
    assert decoded.stored.dtype == np.int32
    assert (to_hu(decoded)[0] == -1024).all()


def test_values_below_bits_stored_are_kept_not_masked(write_ct, tmp_path, decode):
    """pydicom by default makes +1072 of -3024 with BitsStored 12."""
    values = np.full((16, 16), 40, np.int16)
    values[0] = -3024
    path = write_ct(tmp_path / "a.dcm", values, BitsStored=12, HighBit=11, RescaleIntercept=0)
    assert pydicom.dcmread(path).pixel_array[0, 0] == 1072
    decoded = decode(path)
    assert (decoded.stored[0] == -3024).all()
    assert (to_hu(decoded)[0] == -1024).all()
    assert decoded.warnings == ("values outside BitsStored",)


def test_negative_values_in_an_unsigned_type_are_air_and_reported(write_ct, tmp_path, decode):
    values = np.full((16, 16), 1064, np.uint16)
    values[0] = 63536
    decoded = decode(write_ct(tmp_path / "a.dcm", values))
    assert (to_hu(decoded)[0] == -1024).all()
    assert (to_hu(decoded)[1:] == 40).all()
    assert decoded.warnings == ("values outside BitsStored",)


def test_values_above_bits_stored_are_kept_and_reported(write_ct, tmp_path, decode):
    values = np.full((16, 16), 1064, np.uint16)
    values[0] = 5000
    decoded = decode(write_ct(tmp_path / "a.dcm", values))
    assert (decoded.stored[0] == 5000).all()
    assert decoded.warnings == ("values outside BitsStored",)


@pytest.mark.oracle
def test_missing_sign_extension_is_read_as_the_standard_says(write_ct, tmp_path, decode):
    values = np.full((16, 16), 40, np.int16)
    values[:8] = -1000 & 0xFFF
    path = write_ct(tmp_path / "a.dcm", values, BitsStored=12, HighBit=11, RescaleIntercept=0)
    decoded = decode(path)
    np.testing.assert_array_equal(decoded.stored, pydicom.dcmread(path).pixel_array)
    np.testing.assert_array_equal(decoded.stored, sitk.GetArrayFromImage(sitk.ReadImage(path))[0])
    assert decoded.warnings == ("negative values are not sign-extended",)


def test_overlays_in_the_high_bits_are_cut_off(write_ct, tmp_path, decode, head_values):
    values = head_values | np.uint16(0x8000)
    bit = pydicom.DataElement(0x60000102, "US", 15)
    decoded = decode(write_ct(tmp_path / "a.dcm", values, OverlayBitPosition=bit))
    np.testing.assert_array_equal(decoded.stored, head_values)


def test_a_shifted_high_bit_is_shifted_back(write_ct, tmp_path, decode, head_values):
    decoded = decode(write_ct(tmp_path / "a.dcm", head_values << 4, HighBit=15))
    np.testing.assert_array_equal(decoded.stored, head_values)


@pytest.mark.parametrize("bits", [8, 32])
def test_other_cell_sizes_are_read(write_ct, tmp_path, hu_of, bits):
    dtype = {8: np.uint8, 32: np.int32}[bits]
    values = np.arange(256, dtype=dtype).reshape(16, 16)
    path = write_ct(
        tmp_path / "a.dcm", values, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1
    )
    np.testing.assert_array_equal(hu_of(path), values.astype(np.float32) - 1024)


def test_the_rsna_wrap_is_undone_exactly(write_ct, tmp_path, decode):
    """Case 29: every value from -1024 to 3071 HU."""
    hu = np.arange(-1024, 3072, dtype=np.int32).reshape(64, 64)
    path = write_ct(tmp_path / "a.dcm", (hu % 4096).astype(np.uint16), RescaleIntercept=0)
    np.testing.assert_array_equal(to_hu(decode(path, wrapped=True)), hu)
    assert not np.array_equal(to_hu(decode(path)), hu)


def test_monochrome1_does_not_invert(write_ct, tmp_path, hu_of, head_values):
    """Case 34."""
    hu = hu_of(write_ct(tmp_path / "a.dcm", PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(hu, head_values.astype(np.float32) - 1024)


def test_fractional_slopes_are_applied_in_float64(write_ct, tmp_path, hu_of, head_values):
    """Case 33."""
    path = write_ct(tmp_path / "a.dcm", RescaleSlope="0.5", RescaleIntercept="-1000.25")
    np.testing.assert_array_equal(hu_of(path), (head_values * 0.5 - 1000.25).astype(np.float32))


def test_a_constant_slice_is_reported(write_ct, tmp_path, decode):
    """Case 36."""
    path = write_ct(tmp_path / "a.dcm", np.full((16, 16), 1024, np.uint16))
    assert decode(path).warnings == ("constant slice",)


def test_a_slice_without_any_ct_number_is_reported(write_ct, tmp_path, decode, head_values):
    path = write_ct(tmp_path / "a.dcm", RescaleIntercept=9000)
    assert decode(path).warnings == ("no pixel within the CT range",)


@pytest.mark.parametrize("syntax", sorted(decoders.PLUGIN_ORDER))
def test_a_missing_decoder_says_how_to_install_it(make_ct, tmp_path, refused, monkeypatch, syntax):
    """Case 43."""
    import pydicom.pixels

    class Bare:
        available_plugins = ()

    frame = b"\xff\xd8\xff\xd9"
    ds = make_ct(pydicom.encaps.encapsulate([frame]), syntax=pydicom.uid.UID(syntax))
    ds[0x7FE00010].is_undefined_length = True
    ds.save_as(tmp_path / "a.dcm")
    monkeypatch.setattr(pydicom.pixels, "get_decoder", lambda uid: Bare)
    error = refused(tmp_path / "a.dcm")
    assert error.reason == "decoder not installed"
    assert "pip install" in error.detail
    words = error.detail.split()
    plugins = [word for word in words if word.startswith("pylibjpeg-")]
    assert not plugins or "pylibjpeg" in words, "pydicom finds the plugins through pylibjpeg"


def test_plugins_are_tried_in_a_fixed_order(make_ct, tmp_path, decode, monkeypatch, head_values):
    used = []
    real = decoders._decode

    def record(decoder, data, plugin, options):
        used.append(plugin)
        if plugin == "pyjpegls":
            raise RuntimeError("broken")
        return real(decoder, data, plugin, options)

    monkeypatch.setattr(decoders, "_decode", record)
    ds = make_ct()
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    ds.save_as(tmp_path / "a.dcm")
    decoded = decode(tmp_path / "a.dcm")
    assert used == ["pyjpegls", "gdcm"]
    assert decoded.warnings == ("decoded by gdcm: the usual decoder failed",)
    np.testing.assert_array_equal(decoded.stored, head_values)


class Panic(BaseException):
    """What a plugin written in Rust raises (pyo3_runtime.PanicException), no Exception."""


@pytest.mark.parametrize("error", [Panic, KeyboardInterrupt])
def test_a_plugin_that_panics_is_passed_over_and_an_interrupt_is_not(
    make_ct, tmp_path, decode, monkeypatch, head_values, error
):
    real = decoders._decode

    def panicking(decoder, data, plugin, options):
        if plugin == "pylibjpeg":
            raise error("index out of bounds")
        return real(decoder, data, plugin, options)

    monkeypatch.setattr(decoders, "_decode", panicking)
    ds = make_ct()
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(tmp_path / "a.dcm")
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            decode(tmp_path / "a.dcm")
        return
    decoded = decode(tmp_path / "a.dcm")
    assert decoded.warnings == ("decoded by pydicom: the usual decoder failed",)
    np.testing.assert_array_equal(decoded.stored, head_values)


@pytest.mark.parametrize(("name", "syntax"), COMPRESSED[1:])
def test_a_codestream_of_another_size_fails(write_ct, transcode, tmp_path, refused, name, syntax):
    ds = pydicom.dcmread(transcode(write_ct(tmp_path / "a.dcm"), tmp_path / "b.dcm", name))
    ds.Rows = 32
    ds.save_as(tmp_path / "a.dcm")
    error = refused(tmp_path / "a.dcm")
    assert error.reason == "pixel data is malformed"
    assert "64 x 64" in error.detail


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
def test_frames_of_an_enhanced_ct_are_decoded_one_by_one(make_ct, item, tmp_path, hu_of, syntax):
    """Case 27."""
    volume = np.random.default_rng(0).integers(0, 2000, (3, 64, 64)).astype(np.uint16)
    ds = make_ct(
        volume, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=3,
        RescaleSlope=None, RescaleIntercept=None,
    )  # fmt: skip
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])],
            PixelValueTransformationSequence=[
                item(RescaleSlope=slope, RescaleIntercept=-1000, RescaleType="HU")
            ],
        )
        for z, slope in ((8, 1), (0, 0.5), (4, 1))
    ]
    if syntax != ExplicitVRLittleEndian:
        ds.compress(syntax, generate_instance_uid=False)
    ds.save_as(tmp_path / "a.dcm")
    for number, slope in enumerate((1, 0.5, 1)):
        np.testing.assert_array_equal(
            hu_of(tmp_path / "a.dcm", number),
            (volume[number] * np.float64(slope) - 1000).astype(np.float32),
        )


def test_the_jobs_path_is_absolute_and_takes_any_bytes(tmp_path, write_series, scanned):
    """Case 15."""
    root = tmp_path / "root"
    for path in write_series(root, 2):
        os.rename(path, os.fsencode(root) + b"/\xff\n" + os.fsencode(path.name))
    result = scanned(root)
    stack = result.stacks[0]
    jobs = [job_for(result.index.root, stack, slice_) for slice_ in stack.slices]
    assert all(os.path.isabs(job.path) for job in jobs)
    assert [decode_slice(job).stored.shape for job in jobs] == [(64, 64)] * 2


@pytest.mark.oracle
def test_hounsfield_units_equal_pydicom_and_simpleitk_on_pydicoms_test_files(decode):
    compared = 0
    for path in sorted(filter(Path.is_file, TEST_FILES.rglob("*"))):
        try:
            decoded = decode(path)
        except ReadError:
            continue
        np.testing.assert_array_equal(to_hu(decoded), plain_hu(path), err_msg=str(path))
        image = sitk.GetArrayFromImage(sitk.ReadImage(path))[0]
        np.testing.assert_array_equal(to_hu(decoded), np.clip(image, -1024, 3071), str(path))
        compared += 1
    assert compared >= 10


@pytest.mark.real_data
@pytest.mark.oracle
def test_hounsfield_units_equal_pydicom_and_simpleitk_on_real_scans(real_scans, scanned):
    result = scanned(real_scans)
    compared = 0
    for stack in result.stacks:
        for slice_ in stack.slices:
            job = job_for(result.index.root, stack, slice_)
            decoded = decode_slice(job)
            hu = to_hu(decoded)
            np.testing.assert_array_equal(hu, plain_hu(job.path))
            image = sitk.GetArrayFromImage(sitk.ReadImage(job.path))[0]
            np.testing.assert_array_equal(hu, np.clip(image, -1024, 3071))
            assert decoded.warnings == ()
            compared += 1
    assert compared == 64


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file: flip, overwrite, delete, insert or cut, mostly in the header."""
    data = bytearray(data)
    end_of_header = data.index(b"\xe0\x7f\x10\x00")
    for _ in range(int(rng.integers(1, 3))):
        header = rng.random() < 0.8
        at = int(rng.integers(128, min(end_of_header, len(data)) if header else len(data)))
        kind = rng.integers(0, 6)
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at] = int(rng.integers(0, 256))
        elif kind == 2:
            data[at : at + 4] = rng.bytes(4)
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 20))]
        elif kind == 4:
            data[at:at] = rng.bytes(int(rng.integers(1, 20)))
        elif rng.random() < 0.2:
            del data[at:]
    return bytes(data)


def independent_hu(data: bytes) -> np.ndarray | None:
    """What a plain reader makes of the same bytes; None where it cannot."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(io.BytesIO(data), force=True)
            stored = ds.pixel_array
            hu = stored.astype(np.float64) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a plugin written in Rust panics
            return None
    return np.clip(hu, -1024, 3071).astype(np.float32)


def check_mutations(sources, count, seed, tmp_path, decode):
    """No crash, no silent difference. Returns how many were read, refused, warned of."""
    from featurecache.header import read_header

    rng = np.random.default_rng(seed)
    outcomes = {"equal": 0, "refused": 0, "warned": 0, "unread by pydicom": 0}
    path = tmp_path / "mutant.dcm"
    for number in range(count):
        data = mutated(sources[number % len(sources)], rng)
        path.write_bytes(data)
        try:
            header = read_header(data, len(data))
            decoded = decode(path)
        except ReadError:
            outcomes["refused"] += 1
            continue
        expected = independent_hu(data)
        if header.warnings or decoded.warnings:
            outcomes["warned"] += 1
        elif expected is None:
            outcomes["unread by pydicom"] += 1
        else:
            np.testing.assert_array_equal(to_hu(decoded), expected, err_msg=f"mutant {number}")
            outcomes["equal"] += 1
    return outcomes


@pytest.fixture(scope="module")
def mutation_sources(make_ct, transcode, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    sources = []
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        comment = pydicom.DataElement(0x00204000, "LT", "a comment that changes nothing " * 40)
        ds = make_ct(ImageComments=comment, RescaleType="HU", syntax=syntax)
        pydicom.dcmwrite(folder / "a.dcm", ds, enforce_file_format=True)
        sources.append((folder / "a.dcm").read_bytes())
    for name, _ in COMPRESSED:
        sources.append(transcode(folder / "a.dcm", folder / "b.dcm", name).read_bytes())
    return sources


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_never_give_other_values_silently(mutation_sources, tmp_path, decode, seed):
    outcomes = check_mutations(mutation_sources, 100, seed, tmp_path, decode)
    assert sum(outcomes.values()) == 100
    assert min(outcomes["equal"], outcomes["refused"]) > 20, outcomes


@pytest.mark.slow
@pytest.mark.oracle
def test_ten_thousand_damaged_files_never_give_other_values_silently(
    mutation_sources, tmp_path, decode
):
    outcomes = check_mutations(mutation_sources, 10_000, 99, tmp_path, decode)
    assert outcomes["equal"] > 1000


@pytest.mark.real_data
@pytest.mark.oracle
def test_damaged_real_files_never_give_other_values_silently(real_scans, tmp_path, decode):
    sources = [
        (real_scans / "head-ge" / "10.dcm").read_bytes(),
        (real_scans / "head-phantom-study" / "S2010" / "I100").read_bytes(),
    ]
    outcomes = check_mutations(sources, 60, 5, tmp_path, decode)
    assert outcomes["equal"] > 3


def test_multi_frame_headers_are_kept_only_a_few_at_a_time(make_ct, item, tmp_path, decode):
    for number in range(4):
        ds = make_ct(
            np.zeros((2, 64, 64), np.uint16), SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
            NumberOfFrames=2,
        )  # fmt: skip
        ds.PerFrameFunctionalGroupsSequence = [item(), item()]
        ds.save_as(tmp_path / f"{number}.dcm")
        decode(tmp_path / f"{number}.dcm", 1)
    assert len(pixels._headers) <= 2


def test_filling_padding_never_wraps_large_unsigned_values() -> None:
    from featurecache.stored import fill_with_air

    stored = np.array([[4294965296, 7]], np.uint32)  # padding -2000 in 32 unsigned bits
    filled = fill_with_air(stored, stored > 1 << 31, 1.0, 0.0)
    assert filled.tolist() == [[-1024, 7]]
    with pytest.raises(ReadError, match="31 bits"):
        fill_with_air(np.array([[3000000000, 7]], np.uint32), np.array([[False, True]]), 1.0, 0.0)
