"""A Ray cluster: joined, or started on this machine for one run; how many actors fit it."""

import logging
import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from featurecache.errors import MissingResourceError, UsageError
from featurecache.options import RunOptions

_OBJECT_STORE_BYTES = 100_000_000  # features never pass through it
_WITHOUT = "needs the package ray: pip install 'featurecache[ray]'"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is joined, and how it is used.

    Parameters
    ----------
    n_actors : int
        Processes that compute.
    per_machine : int
        How many of them share a machine, at most.
    resources : dict
        What Ray reserves for each: ``num_cpus``, ``num_gpus``.
    """

    n_actors: int
    per_machine: int
    resources: dict[str, float]


def import_ray() -> Any:
    """The package, told not to report its use to anyone.

    Raises
    ------
    MissingResourceError
        It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise MissingResourceError(f"--engine ray {_WITHOUT}") from None
    return ray


@contextmanager
def join_cluster(run: RunOptions, device: torch.device) -> Iterator[Cluster]:
    """Join a cluster, or start one on this machine; leave it afterwards.

    Parameters
    ----------
    run : RunOptions
        The address, and how many actors.
    device : torch.device
        Where this machine makes the plan: the actors compute on the same kind.

    Yields
    ------
    Cluster

    Raises
    ------
    MissingResourceError
        Ray is not installed, or the cluster has no such device.
    UsageError
        No cluster answers, or it was started with another version.
    """
    ray = import_ray()
    _connect(ray, run.ray_address)
    try:
        yield measure(ray.nodes(), run, device.type)
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    """Connect, with dashboard and logs of others off, and SIGTERM as it was."""
    if ray.is_initialized():
        raise UsageError("this process is in a Ray cluster already: ray.shutdown() first")
    started = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local", log_to_driver=False, logging_level=logging.ERROR,
            **({} if address else started),
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        words = str(error).strip().splitlines()
        raise UsageError(
            f"--ray-address {address or 'local'}: {words[0] if words else type(error).__name__}. "
            "Expected auto on a machine of the cluster, or HOST:PORT of its head; leave it out to "
            "start one on this machine"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own in place


def measure(nodes: list[dict[str, Any]], run: RunOptions, kind: str) -> Cluster:
    """How many actors a cluster takes: one for each GPU, or for each machine.

    Parameters
    ----------
    nodes : list of dict
        From ``ray.nodes()``.
    run : RunOptions
        ``ray_actors`` asks for another number, ``device`` for a kind of device.
    kind : {"cpu", "cuda", "mps"}
        What this machine would compute on.

    Returns
    -------
    Cluster

    Raises
    ------
    MissingResourceError
        The cluster has no such device.
    UsageError
        The cluster has GPUs and this machine has none, and nothing was said about that.
    """
    have = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = [int(one["GPU"]) for one in have if one.get("GPU", 0) >= 1]
    cpus = [int(one["CPU"]) for one in have if one.get("CPU", 0) >= 1]
    if kind == "cuda":
        if not gpus:
            raise MissingResourceError(
                "--engine ray: the cluster has no GPU, but this machine has. Start its nodes with "
                "`ray start --num-gpus N`, or compute with --device cpu"
            )
        n_actors = min(run.ray_actors or sum(gpus), sum(gpus))
        return Cluster(n_actors, max(gpus), {"num_cpus": 0, "num_gpus": 1})
    if kind != "cpu":
        raise UsageError(f"--engine ray does not compute on {kind}: say --device cpu")
    if gpus and run.device == "auto":
        raise UsageError(
            "--engine ray: the cluster has GPUs, but this machine, which makes the plan, has none. "
            "Run the command on a machine with a GPU, or compute with --device cpu"
        )
    if not cpus:
        raise MissingResourceError("--engine ray: no machine of the cluster offers a CPU")
    n_actors = run.ray_actors or len(cpus)
    per_machine = math.ceil(n_actors / len(cpus))
    share = min(cpus) / per_machine
    share = math.floor(share) if share >= 1 else math.floor(share * 100) / 100
    return Cluster(n_actors, per_machine, {"num_cpus": share, "num_gpus": 0})
