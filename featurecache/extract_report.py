"""What an extraction did: the account, where time went, and how fast it was."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from featurecache.options import Shard
from featurecache.timing import FeatureTiming, Timing
from featurecache.trials import Compilation
from featurecache.words import plural

_BETWEEN_SLICES_SHOWN = 0.05
_LISTED = 5
_STEPS = ("read", "decode", "wait", "transform", "embed", "write", "compile", "wall")


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """One feature set at the end of a run.

    Parameters
    ----------
    name : str
        Its name.
    units, units_done : int
        In the plan; committed now.
    rows, dim : int
        Shape (N, D) over all parts.
    failed_rows : int
        Rows without features, of all runs; superseded series do not count.
    plan : mapping
        As stored: batch size, precision, ...
    compilation : Compilation or None
        What was measured for its plan in this run.
    timing : FeatureTiming
        Of this run.
    """

    name: str
    units: int
    units_done: int
    rows: int
    dim: int
    failed_rows: int
    plan: Mapping[str, Any]
    compilation: Compilation | None
    timing: FeatureTiming

    def document(self) -> dict[str, Any]:
        """One entry of ``features`` in ``extract --json``."""
        measured = asdict(self.compilation) if self.compilation else {}
        return {
            "name": self.name,
            "units": self.units,
            "units_done": self.units_done,
            "units_this_run": self.timing.units,
            "slices": self.rows,
            "slices_failed": self.failed_rows,
            "slices_this_run": self.timing.slices,
            "dim": self.dim,
            "seconds": {
                "transform": round(self.timing.transform_s, 3),
                "embed": round(self.timing.embed_s, 3),
            },
            "bare_slices_per_s": _rounded(self.timing.bare_slices_per_s),
            "batch_size": self.plan["batch_size"],
            "precision": dict(self.plan["precision"]),
            "compile": {
                "used": self.plan["compiled"],
                "note": self.plan.get("compile", ""),
                **{
                    name: _rounded(measured.get(name))
                    for name in ("eager_slices_per_s", "compiled_slices_per_s", "seconds")
                },
            },
        }

    def text(self) -> str:
        """The same in two or three lines."""
        lines = [
            f"features   {self.name}: {plural(self.rows, 'slice')} x {self.dim}, "
            f"{self.units_done} of {plural(self.units, 'unit')}, "
            f"{plural(self.failed_rows, 'slice')} failed",
            f"precision  {self._precision_line()}",
        ]
        if self.plan["compiled"]:
            lines.append(f"compiled   {self._compile_line()}")
        return "\n".join(lines)

    def _precision_line(self) -> str:
        precision = self.plan["precision"]
        line = str(precision["used"])
        if precision.get("relative_error") is not None:
            line += f", {precision['relative_error']:.2%} from float32"
        between = precision.get("between_slices")
        if between is not None and between > _BETWEEN_SLICES_SHOWN:
            line += f" ({between:.0%} of what varies between slices)"
        return line + (f"; {precision['note']}" if precision.get("note") else "")

    def _compile_line(self) -> str:
        line, measured = str(self.plan.get("compile") or "as planned"), self.compilation
        if measured is None or measured.compiled_slices_per_s is None:
            return line
        return (
            f"{line}; {measured.eager_slices_per_s:.0f} slices/s before, "
            f"{measured.compiled_slices_per_s:.0f} after"
        )


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What one of several jobs was to do, and did.

    Parameters
    ----------
    shard : Shard
        Which.
    units, units_done : int
        Of its share, in all feature sets.
    """

    shard: Shard
    units: int
    units_done: int

    def document(self) -> dict[str, Any]:
        """``shard`` of ``extract --json``."""
        return {**asdict(self.shard), "units": self.units, "units_done": self.units_done}


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """The end of an extraction.

    Parameters
    ----------
    features : sequence of FeatureReport
        One a feature set.
    scan : dict
        The document of ``scan --json`` after extraction: files whose pixels could not be read
        have moved from used to failed.
    failed_rows : int
        Slices without features in some set, of all runs; of a shard, those of its share.
    missing_series : int
        Series of the store that are not, or no longer usable, in the index.
    unselected_series : int
        Series of the store that this run's selection would leave out; they stay.
    dropped_series : list of str
        Store ids of series that were in the store and are read no longer: their files changed,
        and the rest of their SeriesInstanceUID was written again without them.
    timing : Timing
        Of this run.
    shard : ShardReport, optional
        Where this run was one of several.
    """

    features: Sequence[FeatureReport]
    scan: dict[str, Any]
    failed_rows: int
    missing_series: int
    unselected_series: int
    dropped_series: list[str]
    timing: Timing
    shard: ShardReport | None = None

    @property
    def exit_code(self) -> int:
        """3 if some files failed or units wait for series that are not there, else 0."""
        return 3 if self.scan["files"]["failed"] or self.failed_rows or self.waiting else 0

    @property
    def name(self) -> str:
        """Names of the feature sets, separated by commas."""
        return ",".join(one.name for one in self.features)

    @property
    def units(self) -> int:
        """Units in the plan, of all feature sets."""
        return sum(one.units for one in self.features)

    @property
    def units_done(self) -> int:
        """Units committed now, of all feature sets."""
        return sum(one.units_done for one in self.features)

    @property
    def rows(self) -> int:
        """Rows N of all parts."""
        return self.features[0].rows

    @property
    def dim(self) -> int:
        """Features of a slice, of all feature sets together."""
        return sum(one.dim for one in self.features)

    @property
    def precision(self) -> dict[str, Any]:
        """As in the plan; of several feature sets, of that which is furthest from float32."""
        all_of_them = [dict(one.plan["precision"]) for one in self.features]
        return max(all_of_them, key=lambda one: one.get("relative_error") or 0.0)

    @property
    def waiting(self) -> int:
        """Units that were not computed because a series of theirs is not in the index."""
        ran = self.units_done or self.timing.units
        mine = self.shard or self
        return mine.units - mine.units_done if self.missing_series and ran else 0

    @property
    def slices_per_s(self) -> float | None:
        """Slices of this run per second of wall-clock time; None when there were none."""
        timing = self.timing
        return timing.slices / timing.wall_s if timing.slices and timing.wall_s else None

    @property
    def bare_slices_per_s(self) -> float | None:
        """What the bare backbones, one after another, would have reached on these slices."""
        bare_s = self.timing.bare_s
        return self.timing.slices / bare_s if bare_s else None

    @property
    def fraction_of_bare(self) -> float | None:
        """This run's speed as a fraction of the bare backbones'."""
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
            "shard": None if self.shard is None else self.shard.document(),
            "features": [one.document() for one in self.features],
        }

    def text(self) -> str:
        """The same for people, a few lines."""
        lines = [one.text() for one in self.features]
        if self.missing_series:
            lines.append(self._missing_line())
        if self.unselected_series:
            lines.append(
                f"selection  {self.unselected_series} series of the store are not selected now; "
                "their features stay and are read. Another --store leaves them out"
            )
        if self.dropped_series:
            lines.append(self._dropped_line())
        lines += self._run_lines()
        if self.shard is not None:
            lines.append(self._shard_line(self.shard))
        return "\n".join(lines)

    def _run_lines(self) -> list[str]:
        if self.slices_per_s is None:
            return ["this run   computed nothing"]
        timing = self.timing
        slices = plural(timing.slices, "slice")
        speed = f"{slices} in {timing.wall_s:.1f} s, {self.slices_per_s:.1f} slices/s"
        if self.fraction_of_bare is not None:
            bare = "backbone" if len(self.features) == 1 else "backbones together"
            speed += f", {self.fraction_of_bare:.2f} of the bare {bare}"
        where = (
            f"read {timing.read_s:.1f} s and decode {timing.decode_s:.1f} s in workers; transform "
            f"{timing.transform_s:.1f}, embed {timing.embed_s:.1f}, write {timing.write_s:.1f}, "
            f"waiting {timing.wait_s:.1f} s"
        )
        if timing.compile_s:
            where += f"; before it, compiling {timing.compile_s:.1f} s"
        return [f"this run   {speed}", f"time       {where}; bound by {self.bound_by}"]

    def _missing_line(self) -> str:
        line = f"missing    {self.missing_series} series of the store are not in the index now"
        if self.waiting:
            return (
                f"{line}, and {plural(self.waiting, 'unit')} cannot be computed without them. "
                "Bring the files back and run again, or take them for lost with --accept-missing"
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

    def _shard_line(self, shard: ShardReport) -> str:
        units = plural(shard.units, "unit")
        line = f"shard      {shard.shard}: {shard.units_done} of its {units} done"
        left = self.units - self.units_done
        if left:
            return f"{line}; {left} of all {self.units} are left"
        return f"{line}, and so are those of all others: the store is complete"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
