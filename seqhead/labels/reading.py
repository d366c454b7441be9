"""A path and the name of a format to a LabelFile."""

from pathlib import Path

from seqhead.errors import LabelError
from seqhead.labels.cq500 import read_cq500
from seqhead.labels.file import LabelFile
from seqhead.labels.rsna import has_rsna_header, read_rsna
from seqhead.labels.table import read_table

LABEL_FORMATS = {"table": read_table, "cq500": read_cq500, "rsna": read_rsna}
"""Readers by the name that ``--labels-format`` takes."""


def read_labels(path: Path, label_format: str = "table") -> LabelFile:
    """Read a label file.

    Parameters
    ----------
    path : Path
        A CSV file.
    label_format : str
        A key of `LABEL_FORMATS`.

    Returns
    -------
    LabelFile

    Raises
    ------
    LabelError
        The format is unknown, or the file is not of that format; the message names the line.
    """
    if label_format not in LABEL_FORMATS:
        raise LabelError(
            f"the label format must be one of {', '.join(LABEL_FORMATS)}. Got {label_format!r}"
        )
    return LABEL_FORMATS[label_format](path)


def slice_labels_format(path: Path) -> str:
    """Name the format of a file of slice labels.

    Parameters
    ----------
    path : Path
        A CSV file.

    Returns
    -------
    str
        ``"rsna"`` or ``"table"``.
    """
    return "rsna" if has_rsna_header(path) else "table"


def read_slice_labels(path: Path) -> LabelFile:
    """Read labels of slices, as ``--slice-labels`` takes them.

    Parameters
    ----------
    path : Path
        A CSV file of the format ``table`` with a column ``SOPInstanceUID``, or of the format
        ``rsna``, which its header ``ID,Label`` tells.

    Returns
    -------
    LabelFile
        Level slice.

    Raises
    ------
    LabelError
        The file has neither form, or as `read_labels`.
    """
    labels = read_labels(path, slice_labels_format(path))
    if labels.level != "slice":
        raise LabelError(
            f"{path.name}: slice labels need the column SOPInstanceUID (or the header ID,Label of "
            f"the RSNA challenge); found only labels of each {labels.level}. Give this file as "
            "--labels instead"
        )
    return labels
