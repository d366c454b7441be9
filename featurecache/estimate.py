"""What an extraction would take: work, disk and time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from featurecache.words import plural


@dataclass(frozen=True, slots=True)
class FeatureEstimate:
    """What one feature set needs.

    Parameters
    ----------
    name, dtype, precision : str
        As they would be; precision before any proof.
    dim, batch_size : int
        D and B.
    slices, units : int
        To be computed, in this job's share.
    bytes, files : int
        To be written.
    transform_s, embed_s : float
        Seconds of the device for one slice, measured.
    """

    name: str
    dtype: str
    precision: str
    dim: int
    batch_size: int
    slices: int
    units: int
    bytes: int
    files: int
    transform_s: float
    embed_s: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an extraction would do.

    Parameters
    ----------
    series, new_series, new_slices : int
        Usable and selected in the index; of these, what the store lacks.
    slices : int
        To be decoded, once for all feature sets.
    features : sequence of FeatureEstimate
        One a feature set.
    table_bytes, table_files : int
        To be written for the tables of a new part.
    device, processes, workers
        What computes: kind of device, how many of them, and readers for each.
    sampled : int
        Slices that were decoded and embedded to measure.
    decode_s : float
        Seconds of one reader for one slice.
    """

    series: int
    new_series: int
    new_slices: int
    slices: int
    features: Sequence[FeatureEstimate]
    table_bytes: int
    table_files: int
    device: str
    processes: int
    workers: int
    sampled: int
    decode_s: float

    @property
    def seconds(self) -> float | None:
        """How long it would take; None where no slice could be decoded to measure."""
        if not self.sampled:
            return None if self.slices else 0.0
        device_s = sum(one.slices * (one.transform_s + one.embed_s) for one in self.features)
        decode_s = self.slices * self.decode_s / self.workers
        both = device_s + decode_s if self.device == "cpu" else max(device_s, decode_s)
        return both / self.processes

    def document(self) -> dict[str, Any]:
        """The document of ``extract --dry-run --json``."""
        features = [
            {name: round(value, 6) if isinstance(value, float) else value
             for name, value in asdict(one).items()}
            for one in self.features
        ]  # fmt: skip
        return {
            "schema_version": 1,
            "dry_run": True,
            "series_usable": self.series,
            "series_new": self.new_series,
            "slices_new": self.new_slices,
            "slices_to_do": self.slices,
            "units_to_do": sum(one.units for one in self.features),
            "bytes_to_write": self.table_bytes + sum(one.bytes for one in self.features),
            "files_to_write": self.table_files + sum(one.files for one in self.features),
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "measured": {
                "slices": self.sampled, "decode_s": round(self.decode_s, 6), "device": self.device,
                "processes": self.processes, "workers": self.workers,
            },
            "features": features,
        }  # fmt: skip

    def text(self) -> str:
        """The same for people, a few lines."""
        lines = [
            "dry run    nothing was written",
            f"series     {self.series:,} usable and selected, {self.new_series:,} of them "
            f"({plural(self.new_slices, 'slice')}) new to the store",
        ]
        lines += [
            f"features   {one.name}: {plural(one.slices, 'slice')} x {one.dim} {one.dtype} to "
            f"compute in {plural(one.units, 'unit')}; {_size(one.bytes)} in "
            f"{plural(one.files, 'file')}"
            for one in self.features
        ]
        if self.table_files:
            lines.append(
                f"tables     {_size(self.table_bytes)} in {plural(self.table_files, 'file')}"
            )
        return "\n".join([*lines, f"time       {self._time_line()}"])

    def _time_line(self) -> str:
        if self.seconds is None:
            return "unknown: none of the slices that were tried could be decoded"
        if not self.slices:
            return "none: the store has it all"
        each = ", ".join(
            f"{one.name} {1e3 * one.transform_s:.1f} + {1e3 * one.embed_s:.1f} ms"
            for one in self.features if one.slices
        )  # fmt: skip
        return (
            f"about {_duration(self.seconds)}. Measured on {plural(self.sampled, 'slice')}: "
            f"decoding {1e3 * self.decode_s:.1f} ms in each of {plural(self.workers, 'reader')}; "
            f"transform + embed on {self.device}: {each}. Waiting for disks, and what compiling "
            "saves, are not in it"
        )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
