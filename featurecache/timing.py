"""Where the time of an extraction went, and how much it did."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class FeatureTiming:
    """What one feature set took.

    Parameters
    ----------
    transform_s, embed_s : float
        Seconds on the device.
    slices, units : int
        Computed, and chunks committed.
    bare_slices_per_s : float or None
        Speed of the backbone alone, measured in this run; of all devices together. None where the
        run was too short.
    """

    transform_s: float = 0.0
    embed_s: float = 0.0
    slices: int = 0
    units: int = 0
    bare_slices_per_s: float | None = None

    def add(self, other: "FeatureTiming") -> None:
        """Add what another part of the work took; speeds of devices side by side add up."""
        for name in ("transform_s", "embed_s", "slices", "units"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.bare_slices_per_s is not None:
            self.bare_slices_per_s = (self.bare_slices_per_s or 0.0) + other.bare_slices_per_s


@dataclass(slots=True)
class Timing:
    """Where the time of a run went, in seconds.

    ``read_s`` and ``decode_s`` are summed over worker processes; ``wait_s`` is how long the
    device waited for them; ``write_s`` is a thread's; ``compile_s`` lies before the rest.
    ``slices`` are decoded slices, each counted once; ``features`` has one entry a feature set.
    """

    read_s: float = 0.0
    decode_s: float = 0.0
    wait_s: float = 0.0
    write_s: float = 0.0
    compile_s: float = 0.0
    wall_s: float = 0.0
    slices: int = 0
    features: list[FeatureTiming] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)

    @classmethod
    def nothing(cls, n_features: int) -> "Timing":
        """Of a run of so many feature sets that computed nothing."""
        return cls(features=[FeatureTiming() for _ in range(n_features)])

    @property
    def transform_s(self) -> float:
        """Of all feature sets."""
        return sum(one.transform_s for one in self.features)

    @property
    def embed_s(self) -> float:
        """Of all feature sets."""
        return sum(one.embed_s for one in self.features)

    @property
    def units(self) -> int:
        """Chunks committed, of all feature sets."""
        return sum(one.units for one in self.features)

    @property
    def bare_s(self) -> float | None:
        """Seconds that the bare backbones would have taken for this run; None if not known."""
        known = [one for one in self.features if one.slices]
        speeds = [one.bare_slices_per_s for one in known]
        if not known or None in speeds:
            return None
        return sum(one.slices / speed for one, speed in zip(known, speeds, strict=True) if speed)

    def document(self) -> dict[str, Any]:
        """The timing as JSON values; `Timing.read` takes them back."""
        return {**asdict(self), "warnings": dict(self.warnings)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Timing":
        """Timing from `document`."""
        features = [FeatureTiming(**one) for one in document["features"]]
        warnings = Counter(document["warnings"])
        return cls(**{**document, "features": features, "warnings": warnings})


def in_turn(timings: Sequence[Timing]) -> Timing:
    """Sum up what one process did, one thing after another.

    Parameters
    ----------
    timings : sequence of Timing
        All of the same feature sets; at least one.

    Returns
    -------
    Timing
        Everything is summed but the speed of each backbone alone: the first that was measured.
    """
    total = together(timings)
    total.wall_s = sum(timing.wall_s for timing in timings)
    total.compile_s = sum(timing.compile_s for timing in timings)
    for place, mine in enumerate(total.features):
        speeds = (timing.features[place].bare_slices_per_s for timing in timings)
        mine.bare_slices_per_s = next((speed for speed in speeds if speed is not None), None)
    return total


def together(timings: Sequence[Timing]) -> Timing:
    """Sum up processes that ran side by side.

    Parameters
    ----------
    timings : sequence of Timing
        One a process, all of the same feature sets; at least one.

    Returns
    -------
    Timing
        Seconds of steps are summed, except that the wall-clock time and the time of compiling are
        those of the longest.
    """
    total = Timing.nothing(len(timings[0].features))
    for timing in timings:
        for name in ("read_s", "decode_s", "wait_s", "write_s", "slices"):
            setattr(total, name, getattr(total, name) + getattr(timing, name))
        total.warnings.update(timing.warnings)
        for mine, one in zip(total.features, timing.features, strict=True):
            mine.add(one)
    total.wall_s = max(timing.wall_s for timing in timings)
    total.compile_s = max(timing.compile_s for timing in timings)
    return total
