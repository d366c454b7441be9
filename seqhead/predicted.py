"""What a run says of scans: probabilities, and of which scans there are none."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from seqhead.run import Run

_IDS = ("series", "patient", "slice", "position")


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a run says of a store, or of a folder of scans.

    Parameters
    ----------
    run : Run
        The run.
    table : DataFrame
        ``series``, ``patient`` (ids of the store; of a folder the user's own), at level slice
        ``slice`` and ``position``, and the probability of each label under its name.
    empty_series : list of str
        Series that have no features and so no prediction.
    partial_series : list of str
        Series that are predicted without their failed slices.
    notes : list of str
        What was crossed, e.g. another precision.
    """

    run: Run
    table: pd.DataFrame
    empty_series: list[str]
    partial_series: list[str]
    notes: list[str]

    @property
    def exit_code(self) -> int:
        """3 if a series has no prediction, else 0."""
        return 3 if self.empty_series else 0

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead predict --json``."""
        config = self.run.config
        rows = self.table.itertuples(index=False, name=None)
        return {
            "schema_version": 1,
            "run": self.run.path.as_posix(),
            "level": config.level,
            "labels": list(config.labels),
            "predictions": [self._entry(row) for row in rows],
            "series_without_prediction": self.empty_series,
            "series_without_failed_slices": self.partial_series,
            "notes": self.notes,
        }

    def _entry(self, row: tuple[Any, ...]) -> dict[str, Any]:
        ids = _IDS if self.run.config.level == "slice" else _IDS[:2]
        of_labels = zip(self.run.config.labels, row[len(ids) :], strict=True)
        return {**dict(zip(ids, row[: len(ids)], strict=True)), "probabilities": dict(of_labels)}


@dataclass(frozen=True, slots=True)
class FolderPredictions(Predictions):
    """What a run says of a folder of scans.

    Parameters
    ----------
    run, table, empty_series, partial_series, notes
        As of `Predictions`; ids are the user's own.
    account : dict
        As the document of ``extract --json``: files seen, used, skipped and failed, with reasons,
        and every series.
    seconds : dict of str to float
        ``scan`` (headers, series, checks of values), ``read`` and ``decode`` (summed over reader
        processes), ``transform``, ``embed``, ``head``, and ``wall``, all of it.
    embedded : dict of str to int
        Name of each feature set -> slices that its network embedded: those that the heads look at.
    """

    account: dict[str, Any]
    seconds: dict[str, float]
    embedded: dict[str, int]

    @property
    def exit_code(self) -> int:
        """3 if a file failed or a series has no prediction, else 0."""
        return 3 if self.empty_series or self.account["files"]["failed"] else 0

    def document(self) -> dict[str, Any]:
        """The document of ``seqhead predict --json``."""
        seconds = {step: round(spent_s, 4) for step, spent_s in self.seconds.items()}
        mine = {"seconds": seconds, "slices_embedded": self.embedded}
        return {**Predictions.document(self), **self.account, **mine}
