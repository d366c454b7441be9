"""What a new feature set's plan is decided by."""

import logging
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from featurecache import plan as plans
from featurecache import trials
from featurecache.embed import can_compile
from featurecache.errors import StoreMismatchError
from featurecache.extract import extract
from featurecache.feature_array import FeatureArray
from featurecache.identifiers import Identifiers
from featurecache.open_storage import open_storage
from featurecache.options import FeatureOptions, RunOptions
from featurecache.plan import Plan, unit_slices
from featurecache.proof import unproven
from featurecache.trials import Compilation, choose_compilation, grow_batch

CPU = torch.device("cpu")
PLAIN = Plan("cpu", 4, 1, False, False, unproven("fp32"))
TINY = FeatureOptions(
    "tiny", "random:0", size=32, precision="fp32", dtype="float32", batch_size=4, compile="off"
)


# ---- the size of a batch on CUDA


@pytest.mark.parametrize(
    ("speeds", "best"),
    [({32: 10, 64: 19, 128: 30, 256: 31, 512: 99}, 128), ({32: 10, 64: 10.4}, 32),
     ({32: 1, 64: 2, 128: 4, 256: 8, 512: 16}, 512), ({32: 10, 64: 19}, 64), ({}, 32)],
)  # fmt: skip
def test_the_batch_grows_until_that_no_longer_pays_or_memory_is_short(speeds, best):
    def speed(size):
        if size not in speeds:
            raise torch.OutOfMemoryError("simulated")
        return speeds[size]

    assert grow_batch(speed) == best


# ---- compiled or not


@dataclass(frozen=True)
class FakeEmbedder:
    speed: float
    seconds: float = 0.0
    off: float = 0.0
    fails: bool = False
    batch_size: int = 4
    device: torch.device = CPU

    def bare_slices_per_s(self):
        return self.speed

    def warm_up(self):
        if self.fails:
            raise RuntimeError("BackendCompilerFailed\nmore")
        return self.seconds

    def refusal(self, decoded):
        return None

    def __call__(self, slices):
        return np.eye(2) * (1 + self.off)


@dataclass(frozen=True)
class FakePlanned:
    options: FeatureOptions
    eager: FakeEmbedder
    compiled: FakeEmbedder
    plan: Plan = PLAIN

    def embedder(self, device):
        return self.compiled if self.plan.compiled else self.eager


@pytest.fixture(autouse=True)
def compiler(monkeypatch):
    monkeypatch.setattr(trials, "can_compile", lambda device: True)


def choose(n_slices, asked="auto", eager=10.0, **compiled):
    compiled = FakeEmbedder(**{"speed": 20.0, "seconds": 15.0} | compiled)
    planned = FakePlanned(replace(TINY, compile=asked), FakeEmbedder(eager), compiled)
    return choose_compilation(planned, CPU, lambda count: [None] * count, n_slices)


def test_compiles_where_more_time_is_saved_than_compiling_takes():
    worth_it = choose(2_000)  # 200 s against 100 s
    assert worth_it == Compilation(
        True, "measured: saves more time than it takes", 10.0, 20.0, 15.0
    )
    assert not choose(2_000, seconds=101.0).used
    assert not choose(2_000, speed=9.0).used
    assert choose(2_000, seconds=101.0).note == "measured: takes more time than it saves"


def test_a_short_run_is_not_worth_measuring():
    assert choose(1_999) == Compilation(False, "too few slices to be worth it")
    assert choose(5_000, eager=1_000.0).note == "too quick to be worth it"


def test_on_and_off_are_what_they_say():
    assert choose(10**6, "off") == Compilation(False, "not asked for")
    assert choose(1, "on").used


def test_a_network_that_cannot_be_compiled_runs_uncompiled_and_it_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        assert not choose(10**6, "on", fails=True).used
    assert "cannot be compiled and runs uncompiled: BackendCompilerFailed" in caplog.text


def test_compiled_features_that_are_off_are_not_used(caplog):
    with caplog.at_level(logging.WARNING):
        refused = choose(10**6, "on", off=0.03)
    assert (refused.used, refused.note) == (False, "compiled features were off")
    assert "3.0 % off" in caplog.text
    assert choose(10**6, "on", off=0.01).used


def test_without_a_compiler_nothing_is_compiled(monkeypatch, caplog):
    monkeypatch.setattr(trials, "can_compile", lambda device: False)
    assert choose(10**6) == Compilation(False, "no compiler")
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        assert not choose(10**6, "on").used
    assert "--compile on: no compiler was found" in caplog.text


def test_a_plan_that_is_compiled_is_not_continued_without_a_compiler(
    tiny, small_index, tmp_path, monkeypatch
):
    def run(**options):
        return extract(
            small_index, tmp_path / "c.zarr", [TINY], RunOptions(workers=1, **options),
            Identifiers(None),
        )  # fmt: skip

    asked = Compilation(True, "asked for")
    monkeypatch.setattr(trials, "choose_compilation", lambda *_: asked)
    run(plan_only=True)
    stored = FeatureArray(open_storage(tmp_path / "c.zarr"), 0, "tiny").attributes["plan"]
    assert (stored["compiled"], stored["compile"]) == (True, "asked for")
    monkeypatch.setattr(plans, "can_compile", lambda device: False)
    with pytest.raises(StoreMismatchError, match="begun with a compiled network"):
        run()


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(CPU), reason="there is no C++ compiler")
def test_compiled_features_are_close_to_the_others_and_the_same_after_a_resume(
    small_index, tmp_path, store_content
):
    def run(store, name="net", **options):
        features = FeatureOptions(
            "squeezenet1_1", "random:0", name=name, size=64, dtype="float32", batch_size=4,
            precision=options.pop("precision", "fp32"), compile=options.pop("compile", "on"),
        )  # fmt: skip
        how = RunOptions(workers=1, unit_slices=8, **options)
        return extract(small_index, tmp_path / store, [features], how, Identifiers(None))

    first = run("clean.zarr")
    assert first.features[0].plan["compiled"]
    assert first.timing.compile_s > 0
    compiled = first.document()["features"][0]["compile"]
    assert compiled["used"]
    assert compiled["compiled_slices_per_s"] > 0
    run("killed.zarr", plan_only=True)
    run("killed.zarr")
    (tmp_path / "killed.zarr/part-0000/features/net/c.1.0").unlink()
    again = run("killed.zarr", compile="auto")
    assert again.timing.units == 1
    assert store_content(tmp_path / "killed.zarr") == store_content(tmp_path / "clean.zarr")
    for precision in ("fp32", "bf16"):
        stored = {}
        for compile_ in ("on", "off"):
            name = f"{precision}-{compile_}"
            run("both.zarr", name, precision=precision, compile=compile_)
            storage = open_storage(tmp_path / "both.zarr")
            stored[compile_] = FeatureArray(storage, 0, name).read()
        off = np.linalg.norm(stored["on"] - stored["off"], axis=1)
        assert (off / np.linalg.norm(stored["off"], axis=1)).max() < 0.02


# ---- units


def test_units_cover_the_same_rows_for_all_batch_sizes():
    assert unit_slices(750_000, [16]) == 1024
    assert unit_slices(750_000, [128, 96]) == 768
    assert unit_slices(1_000, [16]) == 48, "at least 16 units"
    assert unit_slices(20, [16]) == 16, "but no less than a batch"
    assert unit_slices(750_000, [16, 24], asked=50) == 96
