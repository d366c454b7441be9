import subprocess
import sys

import numpy as np
import pytest
import torch

from seqhead import SequenceClassifier
from seqhead.arithmetic import full_float32, over_slices, products_in, resolve_precision
from seqhead.head_config import BranchConfig, HeadConfig, ZoomConfig


def test_denormals_are_as_before_after_a_fit(planted):
    X, owners = list(planted.matrices.values()), list(planted.patients.values())
    y = np.array(list(planted.series.values()))
    SequenceClassifier(hidden=2, epochs=1, device="cpu").fit(X, y, groups=owners)
    assert (torch.tensor([1e-40]) * 1.0).item() > 0


@pytest.mark.parametrize("before", [True, False])
def test_products_are_in_full_float32_inside_and_as_before_outside(before):
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    saved = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = before
        with full_float32():
            assert not matmul.allow_tf32
            assert not cudnn.allow_tf32
        assert matmul.allow_tf32 == cudnn.allow_tf32 == before
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = saved


def test_threads_flush_denormals_after_the_start_and_the_caller_does_not():
    program = (
        "import torch; torch.set_num_threads(2)\n"
        "from seqhead.arithmetic import start_up\n"
        "start_up()\n"
        "tiny = torch.full((1 << 20,), 1e-30) * 1e-9\n"
        "print((tiny == 0).float().mean().item(), (torch.tensor([1e-40]) * 1.0).item() > 0)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    share, kept = done.stdout.split()
    assert float(share) == pytest.approx(0.5, abs=0.1)  # the half of the other thread
    assert kept == "True"


@pytest.mark.parametrize(("native", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_where_the_hardware_has_it(monkeypatch, native, chosen):
    from seqhead import arithmetic

    monkeypatch.setattr(arithmetic, "native_bf16", lambda _: native)
    cpu, head = torch.device("cpu"), HeadConfig(features=8, labels=1)
    assert resolve_precision("auto", cpu, head) == chosen
    assert [resolve_precision(name, cpu, head) for name in ("fp32", "bf16")] == ["fp32", "bf16"]


@pytest.mark.parametrize(
    ("parts", "chosen"),
    [
        ({}, "fp32"),
        ({"pool": "attention", "mlp": (16,)}, "fp32"),
        ({"input_dense": 4}, "bf16"),
        ({"step_dense": 4}, "bf16"),
        ({"rnn": "tcn"}, "bf16"),
        ({"rnn": "gru"}, "bf16"),
    ],
)
def test_auto_is_fp32_for_a_head_that_multiplies_no_slices(monkeypatch, parts, chosen):
    from seqhead import arithmetic

    monkeypatch.setattr(arithmetic, "native_bf16", lambda _: True)
    cpu = torch.device("cpu")
    head = HeadConfig(**{"features": 8, "labels": 1, "rnn": "none", "pool": "mean", **parts})
    assert resolve_precision("auto", cpu, head) == chosen
    plain = HeadConfig(features=8, labels=1, rnn="none", pool="attention")
    zoom = ZoomConfig(features=4, branch=BranchConfig(**{"rnn": "none", "pool": "mean", **parts}))
    assert resolve_precision("auto", cpu, plain.model_copy(update={"zoom": zoom})) == chosen


def test_products_over_slices_are_in_bf16_only_where_that_was_said():
    x = torch.ones(2, 3)
    kinds = []
    for precision in ("fp32", "bf16"):
        with products_in(precision), over_slices(x):
            kinds.append((x @ x.T).dtype)
    with over_slices(x):
        kinds.append((x @ x.T).dtype)
    assert kinds == [torch.float32, torch.bfloat16, torch.float32]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_fit_remembers_its_precision_and_learns_in_either(planted, precision):
    X, owners = list(planted.matrices.values()), list(planted.patients.values())
    y = np.array(list(planted.series.values()))
    model = SequenceClassifier(
        hidden=8, epochs=25, learning_rate=1e-2, device="cpu", precision=precision
    ).fit(X, y, groups=owners)
    assert model.training_.precision == model.history_.precision == precision
    assert model.get_params()["precision"] == precision
    scored = model.predict_proba(X)
    assert ((scored > 0.5) == y).mean() > 0.9
    alone = np.concatenate([model.predict_proba([matrix]) for matrix in X])
    np.testing.assert_allclose(alone, scored, atol=1e-5)
