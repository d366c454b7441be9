"""How many test patients a split has also in training: none, unless a protocol asks for it."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True, slots=True)
class Leak:
    """What test and training share.

    Parameters
    ----------
    protocol : str
        Name of the protocol that made the split.
    test_patients, test_series : int
        Patients and series that are tested.
    patients_also_in_training, series_also_in_training : int
        How many of these the head learnt from.
    patients_also_in_validation : int
        How many of these fitting stopped on, or thresholds were chosen on.
    """

    protocol: str
    test_patients: int
    patients_also_in_training: int
    patients_also_in_validation: int
    test_series: int
    series_also_in_training: int

    def document(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """The warning that stands beside every figure."""
        series = ""
        if self.series_also_in_training:
            series = f", {self.series_also_in_training} of {self.test_series} test series too"
        return (
            f"this split LEAKS: {self.patients_also_in_training} of {self.test_patients} test "
            f"patients are also in training{series} (protocol {self.protocol}). Figures are too "
            "good; they can be compared with the paper's only"
        )


def measure_leak(folds: pd.DataFrame, protocol: str) -> Leak:
    """Count what test and training share.

    Parameters
    ----------
    folds : DataFrame
        ``folds.csv``: columns ``series``, ``group`` and ``split``.
    protocol : str
        Name of the protocol.

    Returns
    -------
    Leak
    """
    of = {
        (column, split): set(rows[column])
        for split, rows in folds.groupby("split")
        for column in ("group", "series")
    }
    test, tested = of.get(("group", "test"), set()), of.get(("series", "test"), set())
    return Leak(
        protocol=protocol,
        test_patients=len(test),
        patients_also_in_training=len(test & of.get(("group", "train"), set())),
        patients_also_in_validation=len(test & of.get(("group", "validation"), set())),
        test_series=len(tested),
        series_also_in_training=len(tested & of.get(("series", "train"), set())),
    )
