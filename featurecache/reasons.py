"""The words in which the reader says why a file or a slice is not used, and their codes.

A reason is short and countable: the same words for the same fault in every file, so that an
account can say "12 times". What differs from file to file stands in the *detail* of the error.

A store's ``status`` array holds the codes of :data:`SLICE_REASONS`; 0 means not written yet and
1 means ok, so codes begin at 2. The table is append-only: a store written today must mean the
same in ten years.
"""

from featurecache.errors import ReadError

PIXELS_SHORT = "pixel data is short"
DECODER_FAILED = "decoder failed"
DECODER_MISSING = "decoder not installed"
NOISE = "noise below some row"
VANISHED = "file vanished"
CHANGED = "file changed since the scan"
IO_ERROR = "read error"
TIME_OUT = "time-out"
MEMORY_LIMIT = "memory limit"
KILLED = "killed the reader"
READER_ERROR = "reader error"
RESCALE_MISSING = "rescale slope or intercept missing"
RESCALE_UNUSABLE = "rescale slope or intercept unusable"
PIXELS_MALFORMED = "pixel data is malformed"
PIXEL_FORMAT = "pixel format not supported"
NOT_USABLE_ANY_MORE = "header cannot be used"
SPACING_UNKNOWN = "pixel spacing unknown"
SPACING_IMPLAUSIBLE = "pixel spacing implausible"
OTHER = "other reason"

UNREADABLE = "unreadable file"
NIFTI_EXTRA = "NIfTI file: pip install 'featurecache[nifti]'"
NIFTI_UNLISTED = "NIfTI file without a row in the table of --nifti-ids"
ROW_WITHOUT_FILE = "row of the table of --nifti-ids without a NIfTI file"
VALUES_UNDECIDED = "what the values mean is undecided: pixels cannot be read now"
COPIES_OF_PATIENTS = "NIfTI files with the same voxels, of different patients"
REPEAT_UNDECIDED = "a repeated image cannot be compared: pixels cannot be read now"
NOT_HU = "NIfTI values are no Hounsfield units (--assume-hu takes them as such)"
MASK = "not CT: NIfTI file with few different values"

SLICE_REASONS: dict[int, str] = {
    2: PIXELS_SHORT,
    3: DECODER_FAILED,
    4: DECODER_MISSING,
    5: NOISE,
    6: VANISHED,
    7: CHANGED,
    8: IO_ERROR,
    9: TIME_OUT,
    10: MEMORY_LIMIT,
    11: KILLED,
    12: READER_ERROR,
    13: RESCALE_MISSING,
    14: RESCALE_UNUSABLE,
    15: PIXELS_MALFORMED,
    16: PIXEL_FORMAT,
    17: NOT_USABLE_ANY_MORE,
    18: SPACING_UNKNOWN,
    19: SPACING_IMPLAUSIBLE,
    255: OTHER,
}
"""Code in a store's ``status`` array -> reason. Append only, never renumber."""

PASSING_REASONS: frozenset[int] = frozenset({4, 6, 7, 8, 9, 10})
"""Codes of reasons that may be gone on a later attempt; ``--retry-failed`` takes these up."""

RETRIED_REASONS: frozenset[str] = frozenset(
    {*(SLICE_REASONS[code] for code in PASSING_REASONS), KILLED, UNREADABLE, NIFTI_EXTRA}
)
"""Reasons that say nothing lasting about a file: every scan tries again."""

_CODES = {reason: code for code, reason in SLICE_REASONS.items()}


def slice_reason_code(reason: str) -> int:
    """Return the status code of a reason.

    Parameters
    ----------
    reason : str
        ``ReadError.reason`` or ``Failure.reason``.

    Returns
    -------
    int
        A key of :data:`SLICE_REASONS`; 255 ("other reason") for words that are not in the table,
        so that a failed slice is never without a code.
    """
    return _CODES.get(reason, _CODES[OTHER])


def is_passing(reason: str) -> bool:
    """Say whether a fault may be gone on a later attempt (disk, time-out, missing decoder).

    Parameters
    ----------
    reason : str
        ``ReadError.reason`` or ``Failure.reason``.

    Returns
    -------
    bool
        True if its code is one of :data:`PASSING_REASONS`; False for words not in the table.
    """
    return slice_reason_code(reason) in PASSING_REASONS


class SkipFileError(ReadError):
    """A file is not a CT image of ours; it is counted as skipped, not as failed.

    Parameters are those of :class:`~featurecache.errors.ReadError`.
    """
