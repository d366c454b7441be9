"""One file's header: is it a CT image we can use, and what must be known to place and decode it.

`read_header` raises ``SkipFileError`` for what is not a CT image and ``ReadError`` for a CT image
that cannot be trusted. It allocates nothing that the header merely claims.

References
----------
DICOM PS3.3 C.7.6.2 (image plane), C.7.6.3 (image pixel), C.7.6.16 (functional groups),
C.8.2.1 (CT image), C.11.1 (modality LUT).
"""

import hashlib
from dataclasses import dataclass

from featurecache.elements import DEFLATED, PIXEL_DATA, UNDEFINED, Elements, PixelElement
from featurecache.errors import ReadError
from featurecache.files import read_range
from featurecache.functional_groups import FrameHeader, frame_headers, rescale_of, single_frame
from featurecache.part10 import (
    INFLATED_LIMIT_BYTES,
    WINDOW_BYTES,
    MoreBytesNeeded,
    OpenFile,
    open_dataset,
)
from featurecache.reasons import CHANGED, PIXEL_FORMAT, SkipFileError
from featurecache.values import integer, text, uid, unsigned

HEADER_LIMIT_BYTES = 64 << 20
_MOST_PIXELS_A_SIDE = 8192
_MOST_FRAMES = 65535

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.2"
_CT_CLASSES = frozenset({CT_IMAGE, ENHANCED_CT, LEGACY_ENHANCED_CT})
_DICOMDIR = "1.2.840.10008.1.3.10"

_WANTED = frozenset(
    {
        0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x00080070, 0x0008103E,
        0x00100020, 0x00180050, 0x00180086, 0x00181210, 0x0020000D, 0x0020000E, 0x00200012,
        0x00200013, 0x00200032, 0x00200037, 0x00200100, 0x00280002, 0x00280004, 0x00280008,
        0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
        0x00280120, 0x00280121, 0x00281052, 0x00281053, 0x00281054, 0x00282110, 0x52009229,
        0x52009230, 0x60000102,
    }
)  # fmt: skip


def header_tags() -> list[int]:
    """Return the tags that are read from every header, in increasing order."""
    return sorted(_WANTED)


@dataclass(slots=True)
class FileHeader:
    """What the header of a usable CT file says.

    Parameters
    ----------
    data : bytes
        The bytes that `pixel` points into (inflated, for the deflated transfer syntax).
    little : bool
        Byte order of numbers.
    transfer_syntax, sop_uid, series_uid, study_uid, patient_id : str
        Identifiers.
    rows, columns, bits_allocated, bits_stored, high_bit, pixel_representation, n_frames : int
        Image Pixel module.
    pixel : PixelElement
        Where the pixel data element lies in the file.
    padding : tuple of bytes
        PixelPaddingValue and, if present, PixelPaddingRangeLimit: raw, because their VR depends
        on PixelRepresentation and writers get it wrong.
    overlay_bits : bool
        Overlays are stored in the unused high bits (retired).
    digest : str
        32 hex digits of the raw header bytes and the file size.
    frames : tuple of FrameHeader
        One per frame.
    warnings : tuple of str
        Findings about this file.
    """

    data: bytes
    little: bool
    transfer_syntax: str
    sop_uid: str
    series_uid: str
    study_uid: str
    patient_id: str
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    n_frames: int
    pixel: PixelElement
    padding: tuple[bytes, ...]
    overlay_bits: bool
    digest: str
    description: str
    manufacturer: str
    echo: str
    assumed_hu: bool
    frames: tuple[FrameHeader, ...]
    warnings: tuple[str, ...]

    @property
    def bytes_per_frame(self) -> int:
        """Size of one uncompressed frame."""
        return self.rows * self.columns * self.bits_allocated // 8

    @property
    def encapsulated(self) -> bool:
        """Whether the pixel data is a sequence of fragments (compressed)."""
        return self.pixel.length == UNDEFINED


def read_header(data: bytes, size: int, *, assume_hu: bool = False) -> FileHeader:
    """Read the header of one file.

    Parameters
    ----------
    data : bytes
        The beginning of the file, or all of it.
    size : int
        Size of the whole file in bytes.
    assume_hu : bool
        Take stored values as Hounsfield units where rescale is absent.

    Returns
    -------
    FileHeader

    Raises
    ------
    SkipFileError
        If the file is not a CT image, or not an image one could hold in memory.
    ReadError
        If it is a CT image that cannot be trusted: an identifier, the rescale or the pixel
        format is missing or unusable.
    MoreBytesNeeded
        If `data` ends before the header does.

    References
    ----------
    DICOM PS3.10 section 7.1, PS3.3 C.7.6.3 and C.11.1.
    """
    draft = open_dataset(data, size, _WANTED)
    _check_is_ct(draft, size)
    pixel = _pixel_element(draft, data, size)
    return _checked(draft, pixel, size, assume_hu)


def load_header(
    fd: int, size: int, *, window: int = WINDOW_BYTES, assume_hu: bool = False
) -> FileHeader:
    """Read the header of an open file, in a window that grows only as far as the header goes.

    Parameters
    ----------
    fd, size : int
        Descriptor of a regular file, its size in bytes.
    window : int
        Bytes to begin with.
    assume_hu : bool
        As for `read_header`.

    Returns
    -------
    FileHeader

    Raises
    ------
    ReadError, SkipFileError
        As `read_header`; also if the disk fails.
    """
    while True:
        data = read_range(fd, 0, min(size, window))
        if len(data) < min(size, window):
            raise ReadError(CHANGED, f"expected {size} bytes, the file has {len(data)}")
        try:
            return read_header(data, size, assume_hu=assume_hu)
        except MoreBytesNeeded as more:
            if len(data) >= min(size, HEADER_LIMIT_BYTES):
                raise SkipFileError(
                    "header too large", f"expected at most {HEADER_LIMIT_BYTES >> 20} MiB"
                ) from None
            window = min(max(more.wanted, 2 * len(data)), HEADER_LIMIT_BYTES)


def _is_cut(elements: Elements, size: int) -> bool:
    """Say whether the file, all of it read, ends within an element before any pixel data."""
    whole = len(elements.data) >= size
    return elements.pixel is None and whole and elements.end != len(elements.data)


def _check_is_ct(draft: OpenFile, size: int) -> None:
    elements, meta = draft.elements, draft.meta
    sop_class = uid(elements, 0x00080016) or uid(meta, 0x00020002)
    modality = text(elements, 0x00080060)
    if sop_class == _DICOMDIR or uid(meta, 0x00020002) == _DICOMDIR:
        raise SkipFileError("DICOMDIR", "its entries are not followed: the tree itself is read")
    if sop_class in _CT_CLASSES:
        if modality and modality != "CT":
            draft.warnings.append("Modality is not CT, the SOP class is")
    elif _is_cut(elements, size):
        raise SkipFileError("cut in the header", f"the file ends at byte {size}")
    elif sop_class:
        raise SkipFileError(f"not CT: {_class_name(sop_class)}", f"SOPClassUID {sop_class}")
    elif not draft.prefixed and not modality and not uid(elements, 0x0020000E):
        raise SkipFileError("not DICOM", "no DICOM prefix, class, modality or series")
    elif modality != "CT":
        raise SkipFileError("not CT: no SOP class", f"Modality {modality or 'missing'!r}")
    elif elements.pixel is not None:
        draft.warnings.append("SOPClassUID missing: taken as CT by its modality")


def _class_name(sop_class: str) -> str:
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    name = str(UID(sop_class, validation_mode=IGNORE).name)
    return "unknown SOP class" if name == sop_class else name


def _pixel_element(draft: OpenFile, data: bytes, size: int) -> PixelElement:
    elements = draft.elements
    if elements.pixel is not None:
        return elements.pixel
    if draft.transfer_syntax == DEFLATED:
        if len(elements.data) >= INFLATED_LIMIT_BYTES:
            raise SkipFileError(
                "header too large",
                f"no pixel data within {INFLATED_LIMIT_BYTES >> 20} MiB after inflating",
            )
    elif len(data) < size:
        if len(data) >= HEADER_LIMIT_BYTES:
            raise SkipFileError(
                "header too large", f"no pixel data within {HEADER_LIMIT_BYTES >> 20} MiB"
            )
        raise MoreBytesNeeded(max(elements.end + WINDOW_BYTES, 4 * len(data)))
    if elements.end != len(elements.data):
        raise SkipFileError("cut in the header", f"the file ends at byte {size}")
    raise SkipFileError("no pixel data", "the header ends without a pixel data element")


def _checked(draft: OpenFile, pixel: PixelElement, size: int, assume_hu: bool) -> FileHeader:
    elements, warnings = draft.elements, draft.warnings
    image_type = text(elements, 0x00080008)
    if "LOCALIZER" in image_type.upper().split("\\"):
        raise SkipFileError("localizer", f"ImageType {image_type}")
    _check_monochrome(elements, warnings)
    rows, columns = _matrix(elements)
    n_frames = _n_frames(elements)
    bits_allocated, bits_stored, high_bit, representation = _pixel_format(elements, pixel)
    sop_uid, series_uid, study_uid, patient_id = _identifiers(draft)
    if text(elements, 0x00282110) == "01":
        warnings.append("lossy compression")
    rescale_type = text(elements, 0x00281054)
    if rescale_type not in {"", "HU"}:
        warnings.append("RescaleType is not HU")
    if 0x52009230 in elements.spans or 0x52009229 in elements.spans:
        frames, assumed = frame_headers(elements, n_frames, image_type, assume_hu)
    elif n_frames > 1:
        raise ReadError(
            "several frames without functional groups",
            f"NumberOfFrames is {n_frames}, PerFrameFunctionalGroupsSequence is missing",
        )
    else:
        slope, intercept, assumed = rescale_of([elements], assume_hu)
        frames = (single_frame(elements, slope, intercept, image_type),)
    if assumed:
        warnings.append("rescale missing: stored values taken as HU")
    if any(frame.slope < 0 for frame in frames):
        warnings.append("rescale slope is negative")
    digest = hashlib.blake2b(elements.data[: pixel.start], digest_size=16)
    digest.update(b"%d" % size)
    header = FileHeader(
        data=elements.data,
        little=elements.little,
        transfer_syntax=draft.transfer_syntax,
        sop_uid=sop_uid,
        series_uid=series_uid,
        study_uid=study_uid,
        patient_id=patient_id,
        rows=rows,
        columns=columns,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=high_bit,
        pixel_representation=representation,
        n_frames=n_frames,
        pixel=pixel,
        padding=_padding(elements),
        overlay_bits=bool(unsigned(elements, 0x60000102)),
        digest=digest.hexdigest(),
        description=text(elements, 0x0008103E),
        manufacturer=text(elements, 0x00080070),
        echo=_echo(elements),
        assumed_hu=assumed,
        frames=frames,
        warnings=(),
    )
    _check_size(header, size, warnings)
    header.warnings = tuple(warnings)
    return header


def _check_monochrome(elements: Elements, warnings: list[str]) -> None:
    photometric = text(elements, 0x00280004)
    samples = unsigned(elements, 0x00280002)
    if (samples or 1) != 1 or photometric not in {"", "MONOCHROME1", "MONOCHROME2"}:
        raise SkipFileError(
            "colour image", f"PhotometricInterpretation {photometric!r}, {samples} samples a pixel"
        )
    if photometric == "MONOCHROME1":
        warnings.append("MONOCHROME1: for display only, Hounsfield units are not inverted")


def _matrix(elements: Elements) -> tuple[int, int]:
    rows, columns = unsigned(elements, 0x00280010), unsigned(elements, 0x00280011)
    if rows is None or columns is None:
        raise ReadError("Rows or Columns missing", f"Rows {rows}, Columns {columns}")
    if not rows or not columns:
        raise SkipFileError("Rows or Columns is 0", f"Rows {rows}, Columns {columns}")
    if max(rows, columns) > _MOST_PIXELS_A_SIDE:
        raise SkipFileError(
            "implausible matrix",
            f"Rows {rows}, Columns {columns}; expected at most {_MOST_PIXELS_A_SIDE}",
        )
    return rows, columns


def _n_frames(elements: Elements) -> int:
    raw = (elements.raw(0x00280008) or b"").strip(b" \x00")
    count = integer(elements, 0x00280008) if raw else 1
    if count is None or not 1 <= count <= _MOST_FRAMES:
        raise SkipFileError(
            "implausible number of frames",
            f"NumberOfFrames {raw[:32].decode('ascii', 'replace')!r}, expected 1 to {_MOST_FRAMES}",
        )
    return count


def _pixel_format(elements: Elements, pixel: PixelElement) -> tuple[int, int, int, int]:
    allocated, stored = unsigned(elements, 0x00280100), unsigned(elements, 0x00280101)
    representation = unsigned(elements, 0x00280103)
    found = f"BitsAllocated {allocated}, BitsStored {stored}, PixelRepresentation {representation}"
    if pixel.tag != PIXEL_DATA:
        raise ReadError(PIXEL_FORMAT, "floating-point pixel data, expected PixelData (7FE0,0010)")
    if allocated not in {8, 16, 32} or stored is None or representation not in {0, 1}:
        raise ReadError(PIXEL_FORMAT, f"{found}; expected 8, 16 or 32 bits and 0 or 1")
    high_bit = unsigned(elements, 0x00280102)
    high_bit = stored - 1 if high_bit is None else high_bit
    if not 1 <= stored <= allocated or not stored - 1 <= high_bit < allocated:
        raise ReadError(PIXEL_FORMAT, f"{found}, HighBit {high_bit} do not fit each other")
    return allocated, stored, high_bit, representation


def _identifiers(draft: OpenFile) -> tuple[str, str, str, str]:
    """Return SOP, series, study UID and patient; the first two cannot be replaced."""
    elements, warnings = draft.elements, draft.warnings
    sop_uid = uid(elements, 0x00080018) or uid(draft.meta, 0x00020003)
    series_uid, study_uid = uid(elements, 0x0020000E), uid(elements, 0x0020000D)
    patient_id = text(elements, 0x00100020)
    if not series_uid:
        raise ReadError("SeriesInstanceUID missing", "slices cannot be grouped by guessing")
    if not sop_uid:
        raise ReadError("SOPInstanceUID missing", "the slice cannot be named")
    if not study_uid:
        warnings.append("StudyInstanceUID missing: the series stands for the study")
        study_uid = series_uid
    if not patient_id:
        warnings.append("PatientID missing: the study stands for the patient")
        patient_id = study_uid
    return sop_uid, series_uid, study_uid, patient_id


def _padding(elements: Elements) -> tuple[bytes, ...]:
    values = (elements.raw(0x00280120), elements.raw(0x00280121))
    if not values[0]:
        return ()
    return tuple(value for value in values if value)


def _echo(elements: Elements) -> str:
    return "/".join((text(elements, 0x00180086), text(elements, 0x00200100))).strip("/")


def _check_size(header: FileHeader, size: int, warnings: list[str]) -> None:
    if header.encapsulated or header.transfer_syntax == DEFLATED:
        return
    needed = header.bytes_per_frame * header.n_frames
    if min(header.pixel.length, size - header.pixel.value) < needed:
        warnings.append("pixel data is short")
