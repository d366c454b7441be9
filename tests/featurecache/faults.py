"""Storages that stop at the n-th write, and a small extraction that survives it.

Tests get this module as the fixture `faults`; a child process imports it when `faults.FOLDER` is on
its PYTHONPATH. A run under test is given ``FaultyLocalStorage(folder, at=n, how=...)`` wherever it
takes a store:

* ``how="kill"``: `Killed` is raised, and from then on nothing changes the disk any more, not even
  a clean-up in a ``finally``: what is left is what SIGKILL leaves, without a process to start;
* ``how="sigkill"``: the process kills itself;
* ``how="torn"``: as ``kill``, after half of the bytes have been written;
* ``how=errno.ENOSPC`` or another error number: `OSError`, once; later writes succeed.

``at=None`` never stops; `steps` then says how many writes there are.
"""

import errno
import os
import signal
from collections.abc import MutableMapping
from pathlib import Path

import numpy as np
import pandas as pd
from zarr.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from featurecache import arrays
from featurecache.feature_array import FeatureArray
from featurecache.local_storage import LocalStorage
from featurecache.object_storage import ObjectStorage
from featurecache.storage import Storage
from featurecache.tables import SERIES_COLUMNS, SLICES_COLUMNS, PartTables

FOLDER = str(Path(__file__).parent)


class Killed(BaseException):
    """The process would be gone now."""


class Stop:
    """Counts writes and stops at one of them."""

    def __init__(self, at=None, how="kill"):
        self.at, self.how = at, how
        self.steps = []
        self.dead = False

    def step(self, what, half=lambda: None):
        """One write is about to happen; `half` does half of it."""
        if self.dead:
            raise Killed(what)
        self.steps.append(what)
        if len(self.steps) != self.at:
            return
        if self.how == "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(self.how, int):
            raise OSError(self.how, os.strerror(self.how), what)
        if self.how == "torn":
            half()
        self.dead = True
        raise Killed(what)


class FaultyLocalStorage(LocalStorage):
    """A folder whose n-th change of the disk does not happen."""

    def __init__(self, folder, *, durable=False, at=None, how="kill"):
        super().__init__(folder, durable=durable)
        self.stop = Stop(at, how)

    @property
    def steps(self):
        """The writes so far: (what, name)."""
        return self.stop.steps

    def put_file(self, path, data):
        self.stop.step(
            f"put {path.name}",
            half=lambda: LocalStorage.put_file(self, path, data[: len(data) // 2]),
        )
        super().put_file(path, data)

    def move(self, draft, target):
        self.stop.step(f"move {target.name}")
        super().move(draft, target)

    def remove(self, path):
        if not path.exists():
            return
        if isinstance(self.stop.how, int):  # the clean-up after an error is no step of its own
            super().remove(path)
            return
        self.stop.step(f"remove {path.name}")
        super().remove(path)


class FaultyObjectStorage(ObjectStorage):
    """A bucket whose n-th request to write does not arrive."""

    def __init__(self, url, *, at=None, how="kill"):
        super().__init__(url)
        self.stop = Stop(at, how)

    @property
    def steps(self):
        """The writes so far."""
        return self.stop.steps

    def put(self, key, data, mode):
        self.stop.step(f"put {key}")
        return super().put(key, data, mode)


class MemoryStorage(Storage):
    """An object store in a dict, which `gate` may make wait before each request."""

    shared = True

    def __init__(self, objects=None, gate=lambda what: None):
        self.objects = {} if objects is None else objects
        self.gate = gate

    def __str__(self):
        return "memory://"

    @property
    def name(self):
        return "memory"

    def read(self, key):
        self.gate(f"read {key}")
        if key not in self.objects:
            raise FileNotFoundError(key)
        return self.objects[key]

    def read_below(self, prefix):
        self.gate(f"read below {prefix}")
        below = f"{prefix}/"
        return {k.removeprefix(below): v for k, v in self.objects.items() if k.startswith(below)}

    def exists(self, key):
        self.gate(f"exists {key}")
        return key in self.objects

    def files(self, prefix=""):
        self.gate(f"files {prefix}")
        return sorted(name for name in self._below(prefix) if "/" not in name)

    def folders(self, prefix=""):
        self.gate(f"folders {prefix}")
        return sorted({name.partition("/")[0] for name in self._below(prefix) if "/" in name})

    def _below(self, prefix):
        below = f"{prefix}/" if prefix else ""
        return [key.removeprefix(below) for key in self.objects if key.startswith(below)]

    def write(self, key, data):
        self.gate(f"write {key}")
        self.objects[key] = data

    def create(self, key, data):
        self.gate(f"create {key}")
        return self.objects.setdefault(key, data) is data

    def replace(self, key, data, expected):
        self.gate(f"replace {key}")
        if self.objects[key] != expected:
            return False
        self.objects[key] = data
        return True

    def publish(self, prefix, files):
        for name, data in files.items():
            key = f"{prefix}/{name}".lstrip("/")
            if not self.create(key, data) and self.read(key) != data:
                return False
        return True

    def discard_debris(self, prefix):
        pass

    def check_writable(self):
        pass

    def remove_debris(self):
        return 0

    def zarr_store(self):
        self.gate("zarr")
        return MemoryStore(_Buffers(self.objects))


class _Buffers(MutableMapping):
    """A dict of bytes as zarr wants it."""

    def __init__(self, objects):
        self.objects = objects

    def __getitem__(self, key):
        return Buffer.from_bytes(self.objects[key])

    def __setitem__(self, key, value):
        raise AssertionError(f"zarr writes {key}")

    def __delitem__(self, key):
        raise AssertionError(f"zarr deletes {key}")

    def __iter__(self):
        return iter(self.objects)

    def __len__(self):
        return len(self.objects)


def small_tables(lengths):
    """Tables of series of these many slices, with ids kept."""
    series, slices, first = [], [], 0
    for number, n_slices in enumerate(lengths):
        series.append(
            {
                **dict.fromkeys(SERIES_COLUMNS, 0.5),
                **{"series": f"s{number}", "series_of": f"s{number}", "study": "t"},
                **{"patient": f"p{number}", "source": f"{number}"},
                **{"first_row": first, "n_slices": n_slices},
            }
        )
        slices += [
            {
                **{"slice": f"s{number}.{k}", "source": f"{number}.{k}", "series": number},
                **{"position": k, "z_mm": 5.0 * k, "gap_mm": 5.0 if k else np.nan},
            }
            for k in range(n_slices)
        ]
        first += n_slices
    return PartTables.of(
        pd.DataFrame(series, columns=list(SERIES_COLUMNS)),
        pd.DataFrame(slices, columns=list(SLICES_COLUMNS)),
    )


ATTRIBUTES = {
    "recipe": {"backbone": "toy"}, "fingerprint": {"identity": "i", "numerics": "n"},
    "plan": {"batch_size": 4}, "reason_codes": {"8": "I/O error", "2": "pixel data is short"},
}  # fmt: skip


def small_extract(storage, values, status, *, unit_slices=4, retry=(8,), attributes=ATTRIBUTES):
    """What `extract` does to a store, without a network: creates and commits what is missing.

    Rows whose stored status is in `retry`, and those that an interrupted retry left, are computed
    again. Returns the array.
    """
    arrays.create_store(storage, None)
    storage.remove_debris()
    if not arrays.list_parts(storage):
        arrays.create_part(storage, small_tables([3, len(values) - 3]), 0)
    if "toy" not in arrays.list_features(storage, 0):
        arrays.create_features(
            storage, 0, "toy", n_slices=len(values), dim=values.shape[1], dtype="float32",
            unit_slices=unit_slices, attributes=attributes,
        )  # fmt: skip
    array = FeatureArray(storage, 0, "toy", writable=True)
    done, stored = array.units_done(), array.read_status()
    again = array.interrupted_rows(stored, done) | np.isin(stored, retry)
    for unit in range(array.n_units):
        rows = slice(array.rows(unit).start, array.rows(unit).stop)
        if unit not in done:
            array.write_unit(unit, values[rows], status[rows])
        elif again[rows].any():
            array.update_unit(unit, values[rows], status[rows], again[rows])
    return array


ENOSPC, EIO = errno.ENOSPC, errno.EIO
