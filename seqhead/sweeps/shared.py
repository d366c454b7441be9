"""What trials see, in memory that several processes share and nobody has to clean up."""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featurecache.worker import anonymous_file
from seqhead.cohort import Cohort
from seqhead.matrices import Matrices
from seqhead.memory import available_bytes
from seqhead.sweeps.inner import InnerFold
from seqhead.sweeps.trial_data import TrialData, bare_cohort

_ALIGN = 64


@dataclass(frozen=True, slots=True)
class SharedData:
    """Trial data in shared memory.

    Parameters
    ----------
    descriptor : int
        Of a file without a name: it goes when the last process that has it open ends.
    document : dict
        What lies where in it, as JSON values.
    """

    descriptor: int
    document: dict[str, Any]

    def close(self) -> None:
        """Give it back; those who opened it keep it."""
        os.close(self.descriptor)


def why_not_shared(data: TrialData) -> str | None:
    """Why several processes cannot have trial data in memory, in words.

    Parameters
    ----------
    data : TrialData
        What trials see.

    Returns
    -------
    str or None
        None where they can: there is room for a copy, which is made before the first goes.
    """
    if any(isinstance(cohort.X, Matrices) for cohort in data.cohorts):
        return "features are read from the store batch by batch, and are shared in memory only"
    size = sum(matrix.nbytes for cohort in data.cohorts for matrix in cohort.X)
    there = available_bytes()
    if size <= there:
        return None
    return (
        f"features take {size / 1e9:.2g} GB, and there is no room for the copy that processes "
        f"share ({there / 1e9:.2g} GB are free)"
    )


def share(data: TrialData) -> SharedData:
    """Copy trial data into shared memory.

    Parameters
    ----------
    data : TrialData
        What trials see.

    Returns
    -------
    SharedData
    """
    plan = _Plan()
    inner = np.array([[fold.learn, fold.stop, fold.score] for fold in data.inner], dtype=np.uint8)
    document = {
        "reads": dict(data.reads),
        "inner": plan.add([inner]),
        "cohorts": [_cohort_document(cohort, plan) for cohort in data.cohorts],
    }
    descriptor = anonymous_file(max(plan.size, 1))
    with mmap.mmap(descriptor, max(plan.size, 1)) as memory:
        for offset, parts in plan.arrays:
            at = offset
            for part in parts:
                raw = np.ascontiguousarray(part).tobytes()
                memory[at : at + len(raw)] = raw
                at += len(raw)
    return SharedData(descriptor, document)


def received(document: dict[str, Any], descriptor: int) -> TrialData:
    """Trial data that another process shares.

    Parameters
    ----------
    document : dict
        Of `SharedData`.
    descriptor : int
        Of the same memory, in this process; closed here.

    Returns
    -------
    TrialData
        Its arrays are read-only and lie in the shared memory.
    """
    memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    os.close(descriptor)
    inner = _array(memory, document["inner"]).astype(bool)
    cohorts = tuple(_cohort(one, memory) for one in document["cohorts"])
    return TrialData(cohorts, document["reads"], tuple(InnerFold(*fold) for fold in inner))


class _Plan:
    """Where arrays will lie."""

    def __init__(self) -> None:
        self.size = 0
        self.arrays: list[tuple[int, Sequence[np.ndarray]]] = []

    def add(self, parts: Sequence[np.ndarray]) -> dict[str, Any]:
        """Lay arrays of one width one behind the other."""
        rows = sum(len(part) for part in parts)
        offset = -(-self.size // _ALIGN) * _ALIGN
        self.arrays.append((offset, parts))
        self.size = offset + sum(part.nbytes for part in parts)
        shape = [rows, *parts[0].shape[1:]]
        return {"offset": offset, "shape": shape, "dtype": parts[0].dtype.str}


def _cohort_document(cohort: Cohort, plan: _Plan) -> dict[str, Any]:
    return {
        "features": cohort.features,
        "names": list(cohort.names),
        "level": cohort.level,
        "groups": [str(group) for group in cohort.groups],
        "lengths": [len(matrix) for matrix in cohort.X],
        "X": plan.add(cohort.X),
        "y": plan.add([cohort.flat_y]),
        "series_y": plan.add([cohort.series_y]),
        "second": cohort.second,
    }


def _cohort(document: dict[str, Any], memory: mmap.mmap) -> Cohort:
    ends = np.cumsum(document["lengths"])[:-1]
    y = _array(memory, document["y"])
    return bare_cohort(
        features=document["features"],
        names=document["names"],
        level=document["level"],
        groups=document["groups"],
        X=np.split(_array(memory, document["X"]), ends),
        y=y if document["level"] == "series" else np.split(y, ends),
        series_y=_array(memory, document["series_y"]),
        second=document["second"],
    )


def _array(memory: mmap.mmap, where: dict[str, Any]) -> np.ndarray:
    dtype, shape = np.dtype(where["dtype"]), tuple(where["shape"])
    count = int(np.prod(shape))
    flat = np.frombuffer(memory, dtype=dtype, count=count, offset=where["offset"])
    return flat.reshape(shape)
