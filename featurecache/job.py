"""What a process must know to compute units of a store; another process can be told it as JSON."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from featurecache.backbones import registering_modules
from featurecache.identifiers import Identifiers
from featurecache.open_storage import open_storage
from featurecache.options import FeatureOptions, RunOptions, Shard
from featurecache.pool import default_workers
from featurecache.storage import Storage


@dataclass(frozen=True, slots=True)
class Job:
    """Where things lie, which feature sets, how to run, and which share of the units.

    Parameters
    ----------
    index : Path
        What a scan wrote.
    store : Storage
        Where the store lies.
    features : tuple of FeatureOptions
        One a feature set.
    run : RunOptions
        How.
    identifiers : Identifiers
        The key of the store; secret, so it never goes into a command line.
    shares : tuple of Shard
        A share of the units, then a share of that, and so on; none: all units.
    """

    index: Path
    store: Storage
    features: tuple[FeatureOptions, ...]
    run: RunOptions
    identifiers: Identifiers
    shares: tuple[Shard, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the feature sets."""
        return tuple(one.feature_name for one in self.features)

    def has(self, unit: int, part: int) -> bool:
        """Whether a unit of a part is in this job's share.

        It depends on nothing else, so that jobs that know of other feature sets agree; parts
        begin with different shards, since each may be small.
        """
        number = unit + part
        for share in self.shares:
            if number % share.of != share.number - 1:
                return False
            number //= share.of
        return True

    def on(self, devices: Sequence[str]) -> "list[Job]":
        """The same job divided among devices of this machine."""
        workers = self.run.workers or max(1, default_workers() // len(devices))
        return [
            replace(
                self, run=replace(self.run, device=device, workers=workers),
                shares=(*self.shares, Shard(number, len(devices))),
            )
            for number, device in enumerate(devices, 1)
        ]  # fmt: skip

    def document(self) -> dict[str, Any]:
        """The job as JSON values; `Job.read` takes them back."""
        key = self.identifiers.key
        return {
            "index": str(self.index), "store": str(self.store),
            "features": [asdict(one) for one in self.features],
            "run": asdict(self.run),
            "key": None if key is None else key.hex(),
            "shares": [asdict(one) for one in self.shares],
            "modules": registering_modules(one.backbone for one in self.features),
            "search_path": [entry or str(Path.cwd()) for entry in sys.path],
        }  # fmt: skip

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Job":
        """A job from `document`."""
        key, run = document["key"], dict(document["run"])
        shard = run.pop("shard")
        return cls(
            Path(document["index"]), open_storage(document["store"], durable=run["durable"]),
            tuple(FeatureOptions(**one) for one in document["features"]),
            RunOptions(**run, shard=None if shard is None else Shard(**shard)),
            Identifiers(None if key is None else bytes.fromhex(key)),
            tuple(Shard(**one) for one in document["shares"]),
        )  # fmt: skip
