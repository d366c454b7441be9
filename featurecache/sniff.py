"""What a file is that is not DICOM, told from its first bytes."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip archive: unzip it first"),
    (b"PK\x05\x06", "zip archive: unzip it first"),
    (b"\x1f\x8b", "gzip archive: unpack it first"),
    (b"BZh", "bzip2 archive: unpack it first"),
    (b"\xfd7zXZ\x00", "xz archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive: unpack it first"),
    (b"Rar!", "rar archive: unpack it first"),
    (b"\xff\xd8\xff", "JPEG picture, not DICOM"),
    (b"\x89PNG\r\n", "PNG picture, not DICOM"),
    (b"GIF8", "GIF picture, not DICOM"),
    (b"II*\x00", "TIFF picture, not DICOM"),
    (b"MM\x00*", "TIFF picture, not DICOM"),
    (b"BM", "bitmap picture, not DICOM"),
    (b"%PDF", "PDF document, not DICOM"),
    (b"SQLite format 3", "SQLite database, not DICOM"),
    (b"\x5c\x01\x00\x00", "NIfTI file, not DICOM"),
    (b"\x89HDF", "HDF5 file, not DICOM"),
)
_TAR_AT = 257
_TEXT_BYTES = 512


def has_prefix(head: bytes) -> bool:
    """Say whether the 128-byte preamble and the letters DICM are there.

    Parameters
    ----------
    head : bytes
        The first bytes of the file, at least 132 where it has so many.

    Returns
    -------
    bool
        False for a data set without a preamble too.

    References
    ----------
    DICOM PS3.10 section 7.1.
    """
    return head[128:132] == b"DICM"


def foreign_kind(head: bytes) -> str | None:
    """Name the kind of a file that has no DICOM prefix.

    Parameters
    ----------
    head : bytes
        The first bytes of the file, at least 512 where it has so many.

    Returns
    -------
    str or None
        The reason for skipping it, or None if it may be DICOM without a preamble.
    """
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return "tar archive: unpack it first"
    for magic, reason in _MAGIC:
        if head.startswith(magic):
            return reason
    if _is_text(head[:_TEXT_BYTES]):
        return "text, not DICOM"
    if not _may_begin_dataset(head):
        return "not DICOM"
    return None


def _is_text(head: bytes) -> bool:
    head = head.removeprefix(b"\xef\xbb\xbf")
    return bool(head) and not any(byte < 9 or 13 < byte < 32 for byte in head)


def _may_begin_dataset(head: bytes) -> bool:
    """Say whether the first element may belong to group 0002 or 0008, in either byte order."""
    if len(head) < 8:
        return False
    little = int.from_bytes(head[0:2], "little")
    big = int.from_bytes(head[0:2], "big")
    return little in {2, 8} or big in {2, 8}
