"""Random features of as many series as wanted, and the tables that a store keeps beside them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from featurecache.identifiers import Identifiers
from featurecache.tables import SERIES_COLUMNS, SLICES_COLUMNS, PartTables

IDS = Identifiers(bytes(32))
_LEAST_SLICES = 20


@dataclass(frozen=True)
class Archive:
    """Features of series that follow each other in one array.

    Parameters
    ----------
    values : ndarray (N, D) float16
        All rows.
    n_slices : ndarray (B,) int
        Rows of each series.
    """

    values: np.ndarray
    n_slices: np.ndarray

    @classmethod
    def make(cls, n_series: int, n_rows: int, dim: int) -> "Archive":
        """Random features of series of random lengths, from a fixed seed."""
        rng = np.random.default_rng(0)
        values = rng.random((n_rows, dim), np.float32).astype(np.float16)
        least = min(_LEAST_SLICES, n_rows // n_series)
        rest = rng.multinomial(n_rows - least * n_series, np.full(n_series, 1 / n_series))
        return cls(values, least + rest)

    @cached_property
    def first(self) -> np.ndarray:
        """First row of each series: (B,) int."""
        return np.cumsum(self.n_slices) - self.n_slices

    @cached_property
    def ids(self) -> list[str]:
        """Store ids of the series."""
        return [IDS.series(f"1.2.{number}") for number in range(len(self.n_slices))]

    def rows(self, series: int) -> slice:
        """Rows of one series."""
        first = int(self.first[series])
        return slice(first, first + int(self.n_slices[series]))

    def head(self, n_series: int) -> "Archive":
        """The first series only."""
        n_slices = self.n_slices[:n_series]
        return Archive(self.values[: int(n_slices.sum())], n_slices)

    @cached_property
    def tables(self) -> PartTables:
        """The store's two tables for these rows; what nobody looks at is a constant."""
        numbers = np.repeat(np.arange(len(self.n_slices)), self.n_slices)
        series = pd.DataFrame(0.5, index=range(len(self.n_slices)), columns=list(SERIES_COLUMNS))
        series["series"] = series["series_of"] = self.ids
        for column, to_id in (("study", IDS.study), ("patient", IDS.patient)):
            series[column] = [to_id(f"1.2.{number}") for number in range(len(series))]
        series["source"] = [IDS.source(f"1.2.{number}") for number in range(len(series))]
        series["first_row"], series["n_slices"] = self.first, self.n_slices
        slices = pd.DataFrame(5.0, index=range(len(numbers)), columns=list(SLICES_COLUMNS))
        slices["slice"] = [IDS.slice(f"1.2.{number}") for number in range(len(numbers))]
        slices["source"] = [IDS.source(f"1.3.{number}") for number in range(len(numbers))]
        slices["series"] = numbers
        slices["position"] = np.arange(len(numbers)) - np.repeat(self.first, self.n_slices)
        return PartTables.of(series, slices)
