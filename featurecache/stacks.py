"""What the index knows about images: frames as read, slices in order, stacks of slices."""

from dataclasses import dataclass

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of one file as its header describes it, before it has a place in a stack.

    Parameters
    ----------
    path : str
        Relative to the scanned root, with "/" separators; bytes that are not UTF-8 are kept as
        surrogates (``os.fsdecode``).
    frame : int
        0-based number within a multi-frame file.
    sop_uid, series_uid, study_uid, patient_id : str
        Identifiers as they stand in the header.
    source : str
        32 hex digits that change when the file changes, see `Slice`.
    rows, columns : int
        Image matrix.
    position : tuple of 3 float or None
        ImagePositionPatient (0020,0032), mm.
    orientation : tuple of 6 float or None
        ImageOrientationPatient (0020,0037), direction cosines of rows and columns.
    row_spacing_mm, column_spacing_mm : float
        PixelSpacing (0028,0030), NaN where unknown.
    thickness_mm : float
        SliceThickness (0018,0050), NaN where unknown.
    kernel, acquisition, image_type, echo, description, manufacturer : str
        ConvolutionKernel, AcquisitionNumber, ImageType, EchoNumbers with
        TemporalPositionIdentifier, SeriesDescription, Manufacturer; "" where absent.
    instance_number : int or None
        InstanceNumber (0020,0013).
    size, mtime_ns : int
        Of the file when its header was read.
    may_be_wrapped : bool
        Unsigned, 12 bits stored, slope 1, intercept above -100: the RSNA wrap is possible.
    assumed_hu : bool
        Rescale was absent and stored values are taken as Hounsfield units.
    warnings : tuple of str
        Findings about this file.
    """

    path: str
    frame: int
    sop_uid: str
    series_uid: str
    study_uid: str
    patient_id: str
    source: str
    rows: int
    columns: int
    position: Vector | None
    orientation: Vector | None
    row_spacing_mm: float
    column_spacing_mm: float
    thickness_mm: float
    kernel: str
    acquisition: str
    image_type: str
    echo: str
    description: str
    manufacturer: str
    instance_number: int | None
    size: int
    mtime_ns: int
    may_be_wrapped: bool
    assumed_hu: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """One image in its place in a stack.

    Parameters
    ----------
    path : str
        File, relative to the scanned root, "/" separators, ``os.fsdecode``'d.
    frame : int
        0-based frame number.
    sop_uid : str
        SOPInstanceUID (0008,0018).
    source : str
        32 hex digits: BLAKE2b of the raw header bytes before the pixel data, the file size and a
        revision that counts the changes in place seen by re-scans. Never contains a time.
    rows, columns : int
        Image matrix.
    z_mm : float
        Position projected on the stack's normal; NaN where there is no position.
    gap_mm : float
        Distance to the previous slice; NaN for the first and where there is no position.
    instance_number : int or None
        InstanceNumber (0020,0013), not used for the order where there are positions.
    size, mtime_ns : int
        Of the file when its header was read.
    """

    path: str
    frame: int
    sop_uid: str
    source: str
    rows: int
    columns: int
    z_mm: float
    gap_mm: float
    instance_number: int | None
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices of one series that belong together, in anatomical order.

    Parameters
    ----------
    key : str
        SeriesInstanceUID; the second and further stacks of a series end in "#2", "#3", ...
    series_uid, study_uid, patient_id : str
        Identifiers as they stand in the headers.
    slices : tuple of Slice
        By increasing projection of ImagePositionPatient on the slice normal, the normal turned
        so that its largest component is positive.
    usable : bool
        Whether features are extracted from it.
    reason : str or None
        Why not.
    warnings : tuple of str
        Findings, each once.
    tilt_deg : float
        Angle between the slice normal and the direction in which positions advance; positive as
        GantryDetectorTilt (0018,1120) counts it. NaN where unknown.
    row_spacing_mm, column_spacing_mm, thickness_mm : float
        Medians over the slices (the lower of two, so that the value occurs); NaN where unknown.
    median_gap_mm, z_extent_mm : float
        Median distance of neighbours; distance of the last slice from the first. NaN if unknown.
    fov_mm : float
        Width of a row: columns times column spacing. NaN where unknown.
    wrapped : bool
        Stored values are Hounsfield units modulo 4096 (RSNA 2019); decided per series.
    assume_hu : bool
        Rescale is absent and stored values were declared to be Hounsfield units.
    description, kernel, manufacturer : str
        SeriesDescription, ConvolutionKernel, Manufacturer of the first slice.
    """

    key: str
    series_uid: str
    study_uid: str
    patient_id: str
    slices: tuple[Slice, ...]
    usable: bool
    reason: str | None
    warnings: tuple[str, ...]
    tilt_deg: float
    row_spacing_mm: float
    column_spacing_mm: float
    thickness_mm: float
    median_gap_mm: float
    z_extent_mm: float
    fov_mm: float
    wrapped: bool
    assume_hu: bool
    description: str
    kernel: str
    manufacturer: str
