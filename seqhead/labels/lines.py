"""Bytes of a label file to a header and rows with line numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from featurecache import csv_lines
from featurecache.csv_lines import Lines
from featurecache.errors import CsvError
from seqhead.errors import LabelError

__all__ = ["Lines", "parse_lines", "read_lines", "read_text", "require_columns"]

_WHAT = "label file"


@contextmanager
def _as_label_error() -> Iterator[None]:
    try:
        yield
    except CsvError as error:
        raise LabelError(str(error)) from error


def read_text(path: Path) -> str:
    """Read a label file as UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str

    Raises
    ------
    LabelError
        The file cannot be read or is not UTF-8 text.
    """
    with _as_label_error():
        return csv_lines.read_text(path, _WHAT)


def read_lines(path: Path) -> Lines:
    """Read a label file, see `featurecache.csv_lines.read_lines`.

    Parameters
    ----------
    path : Path
        The file; commas, semicolons or tabs between cells.

    Returns
    -------
    Lines

    Raises
    ------
    LabelError
        The file is empty, a row has another number of cells than the header, or two columns
        share a name.
    """
    with _as_label_error():
        return csv_lines.read_lines(path, _WHAT)


def parse_lines(text: str, source: str) -> Lines:
    """Split the text of a label file as `read_lines` does.

    Parameters
    ----------
    text : str
        The whole file.
    source : str
        File name, for messages.

    Returns
    -------
    Lines

    Raises
    ------
    LabelError
        As `read_lines`.
    """
    with _as_label_error():
        return csv_lines.parse_lines(text, source, _WHAT)


def require_columns(lines: Lines, wanted: list[str], label_format: str) -> None:
    """Check that columns exist.

    Parameters
    ----------
    lines : Lines
        The file.
    wanted : list of str
        Column names.
    label_format : str
        Name of the format, for the message.

    Raises
    ------
    LabelError
        A column is missing; the message has the nearest name there is.
    """
    missing = [name for name in wanted if name not in lines.header]
    if not missing:
        return
    close = get_close_matches(missing[0], lines.header, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise LabelError(
        f"{lines.source}: the format {label_format} needs the column {missing[0]!r}{hint} "
        f"(columns found: {', '.join(lines.header[:8])}). "
        "Another format is chosen with --labels-format table|cq500|rsna"
    )
