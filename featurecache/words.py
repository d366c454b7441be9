"""Counts in words."""


def plural(count: int, noun: str) -> str:
    """Give a count with its noun, e.g. ``"1 epoch"`` and ``"2 epochs"``.

    Parameters
    ----------
    count : int
        How many.
    noun : str
        In the singular; ``"series"`` stays as it is.

    Returns
    -------
    str
    """
    return f"{count:,} {noun}" if count == 1 or noun.endswith("s") else f"{count:,} {noun}s"
