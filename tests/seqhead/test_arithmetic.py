import numpy as np
import pytest
import torch

from seqhead import SequenceClassifier
from seqhead.arithmetic import full_float32


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
