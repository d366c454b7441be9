"""A first batch, and the proof that a fast precision is good enough for it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from featurecache.embed import precision_errors
from featurecache.pixels import Decoded, DecodeJob, decode_slice
from featurecache.pool import isolated_map
from featurecache.rows import RowSource

_WORKERS = 2


def unproven(precision: str, note: str | None = None) -> dict[str, Any]:
    """A plan's ``precision`` where nothing was compared.

    Parameters
    ----------
    precision : str
        What is used.
    note : str, optional
        Why.

    Returns
    -------
    dict
        As `prove` returns it, with None for the errors.
    """
    return {"used": precision, "relative_error": None, "between_slices": None, "note": note}


def sample(source: RowSource, part: int, n_rows: int, count: int) -> list[Decoded]:
    """Decoded slices, spread evenly over a part.

    They hold what was measured on the way: seconds of reading and decoding.

    Parameters
    ----------
    source : RowSource
        Finds the file of each row.
    part : int
        Number of the part.
    n_rows : int
        Its rows.
    count : int
        At most so many.

    Returns
    -------
    list of Decoded
        Fewer where slices cannot be decoded.
    """
    rows = sorted({int(row) for row in np.linspace(0, n_rows - 1, count)})
    found = (job for row in rows for job in source.jobs(part, range(row, row + 1)))
    jobs = [job for job in found if isinstance(job, DecodeJob)]
    results = isolated_map(decode_slice, jobs, workers=_WORKERS)
    return [decoded for _, decoded in results if isinstance(decoded, Decoded)]


def prove(
    embed: Callable[[str], np.ndarray], fast: str, max_relative_error: float | None
) -> dict[str, Any]:
    """Decide on a precision by what it does to a batch.

    Parameters
    ----------
    embed : callable
        Precision -> features (n, D) of the sample, n may be 0.
    fast : {"bf16", "fp16"}
        The precision in question.
    max_relative_error : float or None
        Above it float32 is used; None to use `fast` whatever comes.

    Returns
    -------
    dict
        ``used``, ``relative_error`` (worst slice), ``between_slices`` (see `precision_errors`),
        ``note`` (why float32, or None); errors rounded to three digits.
    """
    exact = embed("fp32")
    if not len(exact):
        note = "no slice could be decoded to compare it with float32"
        return unproven("fp32" if max_relative_error is not None else fast, note)
    relative, between = precision_errors(embed(fast), exact)
    outcome = {**unproven(fast), "relative_error": _rounded(relative)}
    outcome["between_slices"] = _rounded(between)
    if max_relative_error is not None and not relative <= max_relative_error:
        outcome["used"] = "fp32"
        outcome["note"] = f"{fast} was {relative:.1%} off, more than {max_relative_error:.1%}"
    return outcome


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.3g}")
