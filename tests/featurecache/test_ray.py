"""The Ray engine: what is refused, how many actors there are, and a cluster whose nodes die."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from featurecache.engines.cluster import measure
from featurecache.errors import FeatureCacheError, MissingResourceError, UsageError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import FeatureOptions, RunOptions, Shard, check_options

KEEP = Identifiers(None)
TINY = FeatureOptions(
    "tiny", "random:0", size=32, precision="fp32", dtype="float32", batch_size=4, compile="off"
)
FLAT = replace(TINY, backbone="flat")
RAY = RunOptions(workers=1, unit_slices=4, device="cpu", engine="ray")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "dask"}, "expected local or ray"),
        ({"shard": Shard(1, 2)}, "--shard and --engine ray both divide"),
        ({"device": "cpu,cpu"}, "--device cpu,cpu with --engine ray"),
        ({"device": "cuda:1"}, "--device cuda:1 with --engine ray"),
        ({"ray_address": "ray://head:10001"}, "run the command on a machine of the cluster"),
        ({"ray_actors": 0}, "--ray-actors 0: expected a positive number"),
        ({"engine": "local", "ray_address": "auto"}, "--ray-address is for --engine ray"),
        ({"engine": "local", "ray_actors": 2}, "--ray-actors is for --engine ray"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(changes, words):
    check_options([TINY], RAY)
    with pytest.raises(UsageError, match=words):
        check_options([TINY], replace(RAY, **changes))


def test_without_the_package_the_line_that_installs_it(monkeypatch, tiny, small_index, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingResourceError, match=r"pip install 'featurecache\[ray\]'") as caught:
        extract(small_index, tmp_path / "cache.zarr", [TINY], RAY, KEEP)
    assert caught.value.exit_code == 4
    assert not (tmp_path / "cache.zarr").exists()


def node(cpus=0, gpus=0, alive=True):
    resources = {"CPU": float(cpus), "GPU": float(gpus), "memory": 1e9}
    return {"Alive": alive, "Resources": {name: n for name, n in resources.items() if n}}


def test_one_actor_for_each_gpu_or_for_each_machine():
    farm = [node(64, 8), node(64, 4), node(64, 8, alive=False), node(0)]
    assert measure(farm, replace(RAY, device="auto"), "cuda").n_actors == 12
    assert measure(farm, RAY, "cuda").per_machine == 8
    assert measure(farm, replace(RAY, ray_actors=5), "cuda").n_actors == 5
    assert measure(farm, replace(RAY, ray_actors=50), "cuda").n_actors == 12
    plain = measure(farm, RAY, "cpu")
    assert (plain.n_actors, plain.per_machine) == (2, 1)
    assert plain.resources == {"num_cpus": 64, "num_gpus": 0}
    more = measure(farm, replace(RAY, ray_actors=7), "cpu")
    assert (more.n_actors, more.per_machine, more.resources["num_cpus"]) == (7, 4, 16)
    assert measure([node(2)], replace(RAY, ray_actors=8), "cpu").resources["num_cpus"] == 0.25


def test_a_cluster_that_does_not_fit_this_machine_is_refused():
    with pytest.raises(UsageError, match="cluster has GPUs, but this machine"):
        measure([node(8, 1)], replace(RAY, device="auto"), "cpu")
    with pytest.raises(MissingResourceError, match="the cluster has no GPU"):
        measure([node(8)], replace(RAY, device="auto"), "cuda")
    with pytest.raises(MissingResourceError, match="offers a CPU"):
        measure([node()], RAY, "cpu")
    with pytest.raises(UsageError, match="does not compute on mps"):
        measure([node(8)], RAY, "mps")


# Networks that are slow, or end the process they are in: in actors only.
_DEADLY = """
import os, time
from pathlib import Path
from torch import nn
from featurecache.backbones import register_backbone

class Odd(nn.Module):
    def forward(self, maps):
        folder = Path(os.environ["ODD_FOLDER"])
        if "ray::" in Path("/proc/self/cmdline").read_text() or "default_worker" in Path(
            "/proc/self/cmdline").read_text():
            (folder / f"at-work-{os.getpid()}").touch()
            if (folder / "deadly").exists():
                os._exit(1)
            time.sleep(0.2)
        return maps

def odd():
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(3, 4, 1), Odd())

register_backbone("odd", odd)
"""
ODD = replace(TINY, backbone="odd")


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory):
    """Registers the backbone ``odd``; the folder where it says that it works."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd_backbones.py").write_text(_DEADLY)
    sys.path.insert(0, str(folder))
    os.environ["ODD_FOLDER"] = str(folder)
    import odd_backbones  # noqa: F401

    yield folder
    sys.path.remove(str(folder))
    del os.environ["ODD_FOLDER"]


@pytest.fixture(scope="module")
def cluster(odd_folder, tiny):
    """A head that computes nothing and two nodes with a CPU each, on loopback."""
    pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80_000_000, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    handler = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80_000_000)
    yield made
    made.shutdown()
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def run(cluster, tiny, small_index, tmp_path):
    """run(*features, **options) -> report, on the cluster unless told otherwise."""

    def call(*features, store="cache.zarr", progress=None, **options):
        how = {"ray_address": cluster.address, **options}
        if options.get("engine") == "local":
            del how["ray_address"]
        where = tmp_path / store
        return extract(
            small_index, where, features, replace(RAY, **how), KEEP, progress=progress
        )  # fmt: skip

    return call


@pytest.mark.ray
def test_a_cluster_gives_the_bytes_of_this_machine(run, tmp_path, store_content):
    told = []
    report = run(TINY, FLAT, progress=lambda done, total: told.append((done, total)))
    one = run(TINY, FLAT, engine="local", store="one.zarr")
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "one.zarr")
    assert report.units_done == report.units == report.timing.units == one.timing.units
    assert report.timing.slices == report.rows
    assert told[-1] == (report.rows, report.rows)
    assert report.bound_by is not None
    assert run(TINY, FLAT).timing.units == 0, "nothing is left"


@pytest.mark.ray
def test_what_a_killed_run_has_left_is_computed_and_no_more(run, tmp_path, store_content):
    run(TINY, engine="local", store="one.zarr")
    run(TINY, engine="local")
    chunks = sorted((tmp_path / "cache.zarr").glob("part-*/features/tiny/c.*"))
    for chunk in chunks[::2]:
        chunk.unlink()
    report = run(TINY)
    assert report.timing.units == len(chunks[::2])
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "one.zarr")


@pytest.mark.ray
def test_what_an_actor_says_is_raised_here_as_it_was_there(run, monkeypatch, tmp_path):
    """A network that is not on the nodes, nor anywhere else by then."""
    run(ODD, engine="local", plan_only=True)
    plans = list((tmp_path / "cache.zarr").glob("part-*/features/odd/zarr.json"))
    assert plans
    import featurecache.engines.ray as engine

    told = engine._told_anywhere

    def without_index(job, device):
        return replace(told(job, device), index=tmp_path / "not-there.sqlite")

    monkeypatch.setattr(engine, "_told_anywhere", without_index)
    with pytest.raises(FeatureCacheError, match=r"not-there\.sqlite"):
        run(ODD)


@pytest.mark.ray
def test_units_that_kill_their_actors_are_given_up_and_reported(run, odd_folder, caplog):
    run(ODD, engine="local", plan_only=True)
    (odd_folder / "deadly").touch()
    try:
        with pytest.raises(FeatureCacheError, match=r"units? not computed.*run the same"):
            run(ODD)
    finally:
        (odd_folder / "deadly").unlink()
    assert "are given to others" in caplog.text
    report = run(ODD)
    assert report.units_done == report.units


@pytest.mark.ray
def test_a_node_that_dies_in_mid_run_changes_no_byte(
    run, cluster, odd_folder, tmp_path, store_content, caplog
):
    psutil = pytest.importorskip("psutil")
    one = run(ODD, engine="local", store="one.zarr")
    for old in odd_folder.glob("at-work-*"):
        old.unlink()

    def kill_a_node():
        while len(list(odd_folder.glob("at-work-*"))) < 2:
            time.sleep(0.02)
        for _, process in next(iter(cluster.worker_nodes)).live_processes():
            parent = psutil.Process(process.pid)
            for one in [*parent.children(recursive=True), parent]:
                one.kill()

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    told = []
    report = run(ODD, progress=lambda done, total: told.append((done, total)))
    killer.join()
    assert "are given to others" in caplog.text
    assert report.units_done == report.units == report.timing.units == one.units
    assert report.timing.slices == report.rows
    assert told[-1] == (report.rows, report.rows)
    assert store_content(tmp_path / "cache.zarr") == store_content(tmp_path / "one.zarr")


@pytest.mark.ray
def test_a_cluster_of_ones_own_through_the_command_line(small_phantom, tmp_path, store_content):
    """JSON alone on stdout; interrupted while actors start, it ends with 130, and continues."""
    arguments = [
        sys.executable, "-m", "featurecache", "extract", small_phantom, "--backbone",
        "squeezenet1_1", "--weights", "random:0", "--size", "64", "--precision", "fp32",
        "--batch-size", "4", "--unit-slices", "4", "--workers", "1", "--json", "--device", "cpu",
        "--key", tmp_path / "key", "--index", tmp_path / "index.sqlite",
    ]  # fmt: skip
    subprocess.run([*arguments, "--store", "one.zarr"], cwd=tmp_path, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    ours = [*arguments, "--store", "cache.zarr", "--engine", "ray"]
    first = subprocess.Popen(ours, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    features = tmp_path / "cache.zarr"
    while not list(features.glob("part-*/features/*/zarr.json")) and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    output, errors = first.communicate(timeout=120)
    assert first.returncode == 130, errors
    assert output == b""
    second = subprocess.run(ours, cwd=tmp_path, capture_output=True, check=True, text=True)
    assert second.stdout.startswith("{")
    assert second.stdout.rstrip().endswith("}")
    key = (tmp_path / "key").read_text().strip()
    assert key not in second.stderr
    assert store_content(features) == store_content(tmp_path / "one.zarr")
