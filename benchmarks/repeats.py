"""Repetitions in which the things compared alternate, their medians, and the medians of ratios."""

import statistics
from collections.abc import Callable, Mapping

Figures = dict[str, float]
"""Name of what was measured -> value, of one contender in one repetition."""

Table = dict[str, dict[str, list[float]]]
"""Contender -> figure -> one value a repetition."""


def alternate(contenders: Mapping[str, Callable[[], Figures]], repeats: int) -> Table:
    """Measure A B C, A B C, ... and print every repetition.

    Parameters
    ----------
    contenders : mapping
        Name -> what measures it once.
    repeats : int
        How often.

    Returns
    -------
    dict
        Contender -> figure -> values, one a repetition.
    """
    table: Table = {name: {} for name in contenders}
    for repeat in range(repeats):
        print(f"repetition {repeat + 1} of {repeats}")
        for name, measure in contenders.items():
            found = measure()
            print(f"  {name:32s} " + ", ".join(f"{k} {v:,.4g}" for k, v in found.items()),
                  flush=True)  # fmt: skip
            for figure, value in found.items():
                table[name].setdefault(figure, []).append(value)
    return table


def medians(table: Table) -> dict[str, Figures]:
    """Median over the repetitions of every figure."""
    return {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in table.items()
    }


def ratio(table: Table, mine: str, theirs: str, figure: str) -> float:
    """Median of the ratios of two contenders, each within one repetition.

    Parameters
    ----------
    table : dict
        From `alternate`.
    mine, theirs : str
        Contenders.
    figure : str
        What was measured of both.

    Returns
    -------
    float
    """
    pairs = zip(table[mine][figure], table[theirs][figure], strict=True)
    return statistics.median(a / b for a, b in pairs)


def show_medians(table: Table, repeats: int) -> None:
    """Print the medians, one contender a line."""
    print(f"\nmedians of {repeats}")
    for name, figures in medians(table).items():
        print(f"  {name:32s} " + ", ".join(f"{k} {v:,.4g}" for k, v in figures.items()))


def show_ratios(ratios: Mapping[str, float]) -> None:
    """Print ratios, one a line."""
    print("\nratios (medians of those within one repetition)")
    for name, value in ratios.items():
        print(f"  {name:60s} {value:8.3g}")
    print(flush=True)
