"""What an extraction did: the account, where time went, and how fast it was."""

from dataclasses import dataclass
from typing import Any

from featurecache.engines.local import Timing

_BETWEEN_SLICES_SHOWN = 0.05
_LISTED = 5
_STEPS = ("read", "decode", "wait", "transform", "embed", "write", "wall")


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """The end of an extraction.

    Parameters
    ----------
    name : str
        Name of the feature set.
    scan : dict
        The document of ``scan --json`` after extraction: files whose pixels could not be read
        have moved from used to failed.
    units, units_done : int
        In the plan; committed now.
    rows, dim : int
        Shape (N, D) of the feature set over all parts.
    failed_rows : int
        Rows without features, of all runs; superseded series do not count.
    missing_series : int
        Series of the store that are not, or no longer usable, in the index.
    unselected_series : int
        Series of the store that this run's selection would leave out; they stay.
    dropped_series : list of str
        Store ids of series that were in the store and are read no longer: their files changed,
        and the rest of their SeriesInstanceUID was written again without them.
    timing : Timing
        Of this run.
    bare_slices_per_s : float or None
        Speed of the backbone alone, measured in this run; None where it was too short.
    precision : dict
        As in the plan.
    """

    name: str
    scan: dict[str, Any]
    units: int
    units_done: int
    rows: int
    dim: int
    failed_rows: int
    missing_series: int
    unselected_series: int
    dropped_series: list[str]
    timing: Timing
    bare_slices_per_s: float | None
    precision: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """3 if some files failed or units wait for series that are not there, else 0."""
        return 3 if self.scan["files"]["failed"] or self.failed_rows or self.waiting else 0

    @property
    def waiting(self) -> int:
        """Units that were not computed because a series of theirs is not in the index."""
        ran = self.units_done or self.timing.units
        return self.units - self.units_done if self.missing_series and ran else 0

    @property
    def slices_per_s(self) -> float | None:
        """Slices of this run per second of wall-clock time; None when there were none."""
        timing = self.timing
        return timing.slices / timing.wall_s if timing.slices and timing.wall_s else None

    @property
    def fraction_of_bare(self) -> float | None:
        """This run's speed as a fraction of the bare backbone's."""
        if self.bare_slices_per_s is None or self.slices_per_s is None:
            return None
        return self.slices_per_s / self.bare_slices_per_s

    @property
    def bound_by(self) -> str | None:
        """The step that the run waited for most; None when it computed nothing."""
        timing = self.timing
        if not timing.slices:
            return None
        reader = "read" if timing.read_s > timing.decode_s else "decode"
        steps = {
            reader: timing.wait_s, "transform": timing.transform_s, "embed": timing.embed_s,
            "write": timing.write_s,
        }  # fmt: skip
        return max(steps, key=lambda step: steps[step])

    def document(self) -> dict[str, Any]:
        """The document of ``extract --json``."""
        timing = self.timing
        return {
            **self.scan,
            "name": self.name,
            "units": self.units,
            "units_done": self.units_done,
            "units_this_run": timing.units,
            "slices": self.rows,
            "slices_failed": self.failed_rows,
            "slices_this_run": timing.slices,
            "dim": self.dim,
            "series_not_in_index": self.missing_series,
            "series_not_selected_now": self.unselected_series,
            "series_read_no_longer": self.dropped_series,
            "seconds": {step: round(getattr(timing, f"{step}_s"), 3) for step in _STEPS},
            "bound_by": self.bound_by,
            "slices_per_s": _rounded(self.slices_per_s),
            "bare_slices_per_s": _rounded(self.bare_slices_per_s),
            "fraction_of_bare": _rounded(self.fraction_of_bare),
            "precision": self.precision,
        }

    def text(self) -> str:
        """The same for people, a few lines."""
        lines = [
            f"features   {self.name}: {self.rows} slices x {self.dim}, "
            f"{self.units_done} of {self.units} units, {self.failed_rows} slices failed",
            f"precision  {self._precision_line()}",
        ]
        if self.missing_series:
            lines.append(self._missing_line())
        if self.unselected_series:
            lines.append(
                f"selection  {self.unselected_series} series of the store are not selected now; "
                "their features stay and are read. Another --store leaves them out"
            )
        if self.dropped_series:
            lines.append(self._dropped_line())
        if self.slices_per_s is None:
            return "\n".join([*lines, "this run   computed nothing"])
        timing = self.timing
        speed = f"{timing.slices} slices in {timing.wall_s:.1f} s, {self.slices_per_s:.1f} slices/s"
        if self.fraction_of_bare is not None:
            speed += f", {self.fraction_of_bare:.2f} of the bare backbone"
        where = (
            f"read {timing.read_s:.1f} s and decode {timing.decode_s:.1f} s in workers; transform "
            f"{timing.transform_s:.1f}, embed {timing.embed_s:.1f}, write {timing.write_s:.1f}, "
            f"waiting {timing.wait_s:.1f} s"
        )
        return "\n".join(
            [*lines, f"this run   {speed}", f"time       {where}; bound by {self.bound_by}"]
        )

    def _missing_line(self) -> str:
        line = f"missing    {self.missing_series} series of the store are not in the index now"
        if self.waiting:
            return (
                f"{line}; {self.waiting} units wait for them. Bring the files back and run again, "
                "or take them for lost with --accept-missing"
            )
        return f"{line}; their features stay and are read"

    def _dropped_line(self) -> str:
        names = ", ".join(self.dropped_series[:_LISTED])
        more = len(self.dropped_series) - _LISTED
        names += f" and {more} more: --json lists them all" if more > 0 else ""
        return (
            f"dropped    {len(self.dropped_series)} series of the store are read no longer: their "
            "files changed, and the rest of their SeriesInstanceUID was written again without "
            f"them ({names}). Select them to have those that still exist computed again"
        )

    def _precision_line(self) -> str:
        precision = self.precision
        line = str(precision["used"])
        if precision.get("relative_error") is not None:
            line += f", {precision['relative_error']:.2%} from float32"
        between = precision.get("between_slices")
        if between is not None and between > _BETWEEN_SLICES_SHOWN:
            line += f" ({between:.0%} of what varies between slices)"
        return line + (f"; {precision['note']}" if precision.get("note") else "")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
