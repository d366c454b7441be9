"""Headers: what is a CT image, what is refused, and with which words."""

import io
import math
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from featurecache.errors import ReadError
from featurecache.header import FileHeader, load_header, read_header
from featurecache.part10 import MoreBytesNeeded
from featurecache.reasons import SkipFileError

TEST_FILES = Path(pydicom.data.__file__).parent / "test_files"


def read(data: bytes, **options) -> FileHeader:
    return read_header(data, len(data), **options)


def skipped(data: bytes) -> str:
    with pytest.raises(SkipFileError) as caught:
        read(data)
    return caught.value.reason


def failed(data: bytes, **options) -> ReadError:
    with pytest.raises(ReadError) as caught:
        read(data, **options)
    assert not isinstance(caught.value, SkipFileError)
    return caught.value


@pytest.fixture(scope="module")
def ct_bytes(make_ct):
    """ct_bytes(values=None, **elements) -> bytes of a CT file."""

    def make(values=None, **elements):
        file = io.BytesIO()
        pydicom.dcmwrite(file, make_ct(values, **elements), enforce_file_format=True)
        return file.getvalue()

    return make


def body_of(data: bytes) -> bytes:
    """The data set without preamble and meta information."""
    file = io.BytesIO(data)
    file.seek(132)
    pydicom.filereader._read_file_meta_info(file)
    return data[file.tell() :]


def test_an_empty_file_is_skipped():
    """Case 1."""
    assert skipped(b"") == "empty file"


def test_random_bytes_are_skipped():
    """Case 2."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        data = rng.bytes(int(rng.integers(1, 4000)))
        assert skipped(data) in {"not DICOM", "text, not DICOM"}


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"PK\x03\x04\x14\x00", "zip archive: unzip it first"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG picture, not DICOM"),
        (b"name,Category,R1:ICH\nCQ500-CT-0,B1,1\n" * 20, "text, not DICOM"),
        (b"\xef\xbb\xbfID,Label\r\nID_1_any,0\r\n" * 20, "text, not DICOM"),
        (b"\x89PNG\r\n\x1a\n", "PNG picture, not DICOM"),
        (b"\x1f\x8b\x08\x00", "gzip archive: unpack it first"),
        (b"%PDF-1.4", "PDF document, not DICOM"),
        (b"\x00" * 257 + b"ustar\x00", "tar archive: unpack it first"),
    ],
)
def test_other_formats_are_named_with_what_to_do(head, reason):
    """Case 3."""
    assert skipped(head + bytes(600)) == reason or skipped(head) == reason


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_file_without_preamble_is_read(ct_bytes, make_ct, syntax):
    """Case 4."""
    ds = make_ct()
    ds.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    big = syntax == ExplicitVRBigEndian
    if big:
        ds[0x7FE00010].value = ds.PixelData  # same bytes, other meaning: only the header is read
    pydicom.dcmwrite(
        file, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=not big,
        force_encoding=True,
    )  # fmt: skip
    data = file.getvalue()
    with_meta = read(data)
    without = read(body_of(data))
    assert without.sop_uid == with_meta.sop_uid == "1.2.3.4"
    assert (without.rows, without.columns) == (64, 64)
    assert without.transfer_syntax == with_meta.transfer_syntax == syntax


def test_a_preamble_alone_is_skipped():
    """Case 5."""
    assert skipped(bytes(128) + b"DICM") == "preamble only"


def test_a_file_cut_anywhere_in_its_header_is_skipped(ct_bytes):
    """Case 6: at every byte."""
    data = ct_bytes()
    end = read(data).pixel.value
    reasons = set()
    for length in range(133, end):
        reasons.add(skipped(data[:length]))
    assert reasons <= {
        "preamble only",
        "cut in the header",
        "no pixel data",
        "not CT: no SOP class",
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dicomdirtests/DICOMDIR", "DICOMDIR"),
        ("rtstruct.dcm", "not CT: RT Structure Set Storage"),
        ("test-SR.dcm", "not CT: Comprehensive SR Storage"),
        ("rtdose.dcm", "not CT: RT Dose Storage"),
        ("MR_small.dcm", "not CT: MR Image Storage"),
        ("SC_rgb_rle.dcm", "not CT: Secondary Capture Image Storage"),
    ],
)
def test_objects_that_are_no_ct_are_skipped_by_name(name, reason):
    """Cases 16, 17 and 35."""
    assert skipped((TEST_FILES / name).read_bytes()) == reason


def test_a_localizer_is_skipped(ct_bytes):
    """Case 18."""
    assert skipped(ct_bytes(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])) == "localizer"


def test_colour_is_skipped(ct_bytes):
    """Case 35."""
    assert skipped(ct_bytes(PhotometricInterpretation="RGB")) == "colour image"
    assert skipped(ct_bytes(SamplesPerPixel=3)) == "colour image"


@pytest.mark.parametrize("missing", ["RescaleIntercept", "RescaleSlope"])
def test_missing_rescale_fails_unless_hu_is_assumed(ct_bytes, missing):
    """Case 31."""
    data = ct_bytes(**{missing: None})
    error = failed(data)
    assert error.reason == "rescale slope or intercept missing"
    assert missing in error.detail
    assert "--assume-hu" in error.detail
    header = read(data, assume_hu=True)
    assert header.assumed_hu
    assert "rescale missing: stored values taken as HU" in header.warnings


@pytest.mark.parametrize(
    "raw",
    [b"0", b"0.0 ", b"NaN ", b"nan ", b"inf ", b"-1,024", b"1_0 ", b"1e999 ", b"1\\1 ", b"x "],
)
def test_an_unusable_rescale_fails_even_if_hu_is_assumed(ct_bytes, raw):
    """Case 32."""
    data = ct_bytes(RescaleSlope=777777)
    assert data.count(b"777777") == 1
    data = data.replace(b"777777", raw.ljust(6))
    for assume_hu in (False, True):
        error = failed(data, assume_hu=assume_hu)
        assert error.reason == "rescale slope or intercept unusable"
        assert "RescaleSlope" in error.detail


def test_slopes_are_read_as_float64(ct_bytes):
    """Case 33."""
    header = read(ct_bytes(RescaleSlope="0.1234567890123", RescaleIntercept="-1024.5"))
    assert (header.frames[0].slope, header.frames[0].intercept) == (0.1234567890123, -1024.5)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Rows": 0}, "Rows or Columns is 0"),
        ({"Columns": 0}, "Rows or Columns is 0"),
        ({"Rows": 65535}, "implausible matrix"),
        ({"NumberOfFrames": 2_000_000_000}, "implausible number of frames"),
        ({"NumberOfFrames": 0}, "implausible number of frames"),
        ({"NumberOfFrames": -5}, "implausible number of frames"),
    ],
)
def test_impossible_sizes_are_skipped(ct_bytes, elements, reason):
    """Cases 37 and 38."""
    assert skipped(ct_bytes(**elements)) == reason


def test_frames_without_functional_groups_fail(ct_bytes):
    assert failed(ct_bytes(NumberOfFrames=4)).reason == "several frames without functional groups"


@pytest.mark.parametrize("missing", ["SeriesInstanceUID", "Rows", "PixelRepresentation"])
def test_what_cannot_be_guessed_is_not_guessed(ct_bytes, missing):
    assert failed(ct_bytes(**{missing: None})).reason


def test_missing_patient_and_study_are_replaced_with_a_warning(ct_bytes):
    header = read(ct_bytes(PatientID=None, StudyInstanceUID=None))
    assert header.study_uid == header.series_uid == header.patient_id == "1.2.2"
    assert len(header.warnings) == 2
    assert read(ct_bytes(PatientID=None)).patient_id == "1.2.1"


def test_hostile_identifiers_are_only_text(ct_bytes):
    """Cases 44 and 45: they are escaped where they are shown, and never become a path."""
    script = "<script>alert(1)</script>"
    header = read(ct_bytes(PatientID="../../x", SeriesDescription=script))
    assert (header.patient_id, header.description) == ("../../x", script)


def test_a_rsna_header_without_sop_class_is_ct_by_its_modality(ct_bytes):
    data = ct_bytes(SOPClassUID=None)
    start = data.index(b"1.2.840.10008.5.1.4.1.1.2\0")
    data = data[:start] + bytes(26) + data[start + 26 :]
    assert read(data).warnings == ("SOPClassUID missing: taken as CT by its modality",)


def bomb(make_ct, filler: int) -> bytes:
    """A deflated file whose header inflates to `filler` bytes of zeros."""
    ds = make_ct(syntax=DeflatedExplicitVRLittleEndian)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds, enforce_file_format=True)
    body = body_of(file.getvalue())
    private = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, filler)
    deflater = zlib.compressobj(9, wbits=-15)
    at = body.index(struct.pack("<HH", 0x0010, 0x0020))
    zipped = [deflater.compress(body[:at] + private)]
    block = bytes(1 << 20)
    zipped += [deflater.compress(block) for _ in range(filler >> 20)]
    zipped += [deflater.compress(body[at:]), deflater.flush()]
    head = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(
        head, make_ct(syntax=DeflatedExplicitVRLittleEndian).file_meta
    )
    return bytes(128) + b"DICM" + head.getvalue() + b"".join(zipped)


def test_a_deflated_file_is_read(make_ct):
    data = bomb(make_ct, 1 << 20)
    header = read(data)
    assert header.sop_uid == "1.2.3.4"
    assert header.transfer_syntax == DeflatedExplicitVRLittleEndian


def test_a_deflate_bomb_is_skipped_in_little_memory(make_ct, tmp_path):
    """Case 39: 800 MB of header."""
    path = tmp_path / "bomb.dcm"
    path.write_bytes(bomb(make_ct, 800 << 20))
    assert path.stat().st_size < 2 << 20
    program = (
        f"import sys, resource; sys.path[:] = {sys.path!r}\n"
        "from featurecache.header import read_header\n"
        f"data = open({str(path)!r}, 'rb').read()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400 << 20,) * 2)\n"
        "try:\n    read_header(data, len(data))\n"
        "except Exception as error:\n    print(error.reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "header too large\n", done.stderr


def nested(depth: int, *, undefined: bool) -> bytes:
    """A private sequence nested `depth` deep, explicit little endian."""
    if undefined:
        head = struct.pack("<HH2sHL", 0x0009, 0x1010, b"SQ", 0, 0xFFFFFFFF)
        item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
        tail = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
        return (head + item) * depth + tail * depth
    data = b""
    for _ in range(depth):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data
        data = struct.pack("<HH2sHL", 0x0009, 0x1010, b"SQ", 0, len(item)) + item
    return data


@pytest.mark.parametrize("depth", [300, 3000])
def test_deep_sequences_are_skipped(ct_bytes, depth):
    """Case 40."""
    data = ct_bytes()
    at = data.index(struct.pack("<HH2s", 0x0010, 0x0020, b"LO"))
    undefined = data[:at] + nested(depth, undefined=True) + data[at:]
    assert skipped(undefined) == "sequences nested too deeply"
    defined = data[:at] + nested(depth, undefined=False) + data[at:]
    assert skipped(defined) == "sequences nested too deeply"


def test_moderately_nested_sequences_are_stepped_over(ct_bytes):
    data = ct_bytes()
    at = data.index(struct.pack("<HH2s", 0x0010, 0x0020, b"LO"))
    for undefined in (True, False):
        deep = data[:at] + nested(20, undefined=undefined) + data[at:]
        assert read(deep).patient_id == "p1"


def test_a_long_header_is_read_through_a_growing_window(ct_bytes, tmp_path):
    path = tmp_path / "long.dcm"
    private = pydicom.DataElement(0x00091001, "UN", bytes(700_000))
    path.write_bytes(ct_bytes(long=private))
    with open(path, "rb") as file:
        header = load_header(file.fileno(), path.stat().st_size)
    assert header.sop_uid == "1.2.3.4"
    with pytest.raises(MoreBytesNeeded):
        read_header(path.read_bytes()[:65536], path.stat().st_size)


def test_an_element_that_claims_four_gigabytes_allocates_nothing(ct_bytes):
    data = ct_bytes()
    at = data.index(struct.pack("<HH2s", 0x0010, 0x0020, b"LO"))
    liar = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFF0)
    assert skipped(data[:at] + liar + data[at:]) == "cut in the header"


def test_short_pixel_data_is_noticed_without_decoding(ct_bytes):
    """Case 7, at the scan."""
    data = ct_bytes()
    assert read(data).warnings == ()
    assert read(data[:-2]).warnings == ("pixel data is short",)


def test_the_digest_depends_on_the_header_and_the_size_only(ct_bytes, head_values):
    plain = read(ct_bytes()).digest
    assert len(plain) == 32
    assert read(ct_bytes(np.roll(head_values, 1))).digest == plain
    assert read(ct_bytes() + b"\0\0").digest != plain
    assert read(ct_bytes(SeriesDescription="other")).digest != plain


@pytest.fixture(scope="module")
def enhanced(make_ct, item):
    """enhanced(order, **elements) -> bytes: three frames 4 mm apart, stored in this order."""

    def make(order=(0, 1, 2), shared=True, **elements):
        values = np.stack([np.full((8, 8), 100 * (n + 1), np.uint16) for n in order])
        ds = make_ct(
            values,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
            NumberOfFrames=len(order),
            RescaleSlope=None,
            RescaleIntercept=None,
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
            PixelSpacing=None,
            **elements,
        )
        groups = []
        for number in order:
            rescale = item(RescaleSlope=number + 1, RescaleIntercept=-1000, RescaleType="HU")
            groups.append(
                item(
                    PlanePositionSequence=Sequence(
                        [item(ImagePositionPatient=[0, 0, 4.0 * number])]
                    ),
                    PixelValueTransformationSequence=Sequence([rescale]),
                    CTReconstructionSequence=Sequence([item(ConvolutionKernel="H30")]),
                )
            )
        ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
        if shared:
            plane = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
            measures = item(PixelSpacing=[0.4, 0.5], SliceThickness=4)
            ds.SharedFunctionalGroupsSequence = Sequence(
                [
                    item(
                        PlaneOrientationSequence=Sequence([plane]),
                        PixelMeasuresSequence=Sequence([measures]),
                    )
                ]
            )
        file = io.BytesIO()
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
        return file.getvalue()

    return make


def test_enhanced_ct_is_read_frame_by_frame(enhanced):
    """Case 27."""
    header = read(enhanced((2, 0, 1)))
    assert [frame.position[2] for frame in header.frames] == [8, 0, 4]
    assert [frame.slope for frame in header.frames] == [3, 1, 2]
    first = header.frames[0]
    assert first.orientation == (1, 0, 0, 0, 1, 0)
    assert (first.row_spacing_mm, first.column_spacing_mm) == (0.4, 0.5)
    assert (first.thickness_mm, first.kernel) == (4, "H30")


def test_enhanced_ct_in_sequences_of_undefined_length(enhanced):
    ds = pydicom.dcmread(io.BytesIO(enhanced()))

    def undefine(ds: Dataset) -> None:
        for element in ds:
            if element.VR == "SQ":
                element.is_undefined_length = True
                for inner in element.value:
                    inner.is_undefined_length_sequence_item = True
                    undefine(inner)

    undefine(ds)
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds)
    assert file.getvalue() != enhanced()
    assert [frame.position[2] for frame in read(file.getvalue()).frames] == [0, 4, 8]


def test_enhanced_ct_with_missing_groups_fails(enhanced):
    data = enhanced()
    wrong = read(data)
    assert wrong.n_frames == 3
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.NumberOfFrames = 4
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds)
    assert failed(file.getvalue()).reason == "functional groups do not match NumberOfFrames"


def test_text_is_decoded_by_its_character_set(ct_bytes):
    data = ct_bytes(SpecificCharacterSet="ISO_IR 100", PatientID="Müller-7")
    assert read(data).patient_id == "Müller-7"
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    data = ct_bytes(SpecificCharacterSet="ISO_IR 192", PatientID="患者-7")
    assert read(data).patient_id == "患者-7"


@pytest.mark.oracle
def test_headers_equal_pydicoms_on_every_test_file_of_pydicom():
    compared = 0
    for path in filter(Path.is_file, TEST_FILES.rglob("*")):
        with open(path, "rb") as file:
            data = file.read()
        try:
            header = read(data)
        except ReadError:
            continue
        ds = pydicom.dcmread(path, force=True)
        compared += 1
        assert (header.rows, header.columns) == (ds.Rows, ds.Columns), path
        assert header.sop_uid == ds.SOPInstanceUID
        assert header.series_uid == ds.SeriesInstanceUID
        assert header.patient_id == (ds.PatientID or header.study_uid)
        assert header.frames[0].slope == float(ds.RescaleSlope)
        assert header.frames[0].intercept == float(ds.RescaleIntercept)
        assert list(header.frames[0].position) == [float(x) for x in ds.ImagePositionPatient]
        assert list(header.frames[0].orientation) == [float(x) for x in ds.ImageOrientationPatient]
        thickness = ds.get("SliceThickness")
        ours = header.frames[0].thickness_mm
        assert math.isnan(ours) if not thickness else ours == float(thickness)
        value = ds[0x7FE00010]
        if not header.encapsulated and header.transfer_syntax != DeflatedExplicitVRLittleEndian:
            assert header.pixel.length == len(value.value)
    assert compared >= 10
