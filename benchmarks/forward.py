"""Slices per second of a network alone on one ready batch: what an extraction cannot beat.

    python benchmarks/forward.py torch|openvino vgg16 --precision bf16 [--compile]

Timed for `--seconds` after a warm-up, whose time is reported. Prints JSON.
"""

import argparse
import json
from collections.abc import Callable
from time import perf_counter

import torch
from networks import build


def with_torch(told: argparse.Namespace) -> Callable[[], object]:
    """channels_last in the precision asked for, compiled with frozen weights if wanted."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[told.precision]
    module = build(told.backbone).to(told.device, dtype).to(memory_format=torch.channels_last)
    images = torch.rand(told.batch_size, 3, told.size, told.size, device=told.device)
    images = images.to(dtype, memory_format=torch.channels_last)
    if told.compile:
        from torch._inductor import config

        config.freezing = True
        module = torch.compile(module, dynamic=False)

    def forward() -> None:
        with torch.inference_mode():
            module(images)
            if told.device.startswith("cuda"):
                torch.cuda.synchronize()

    return forward


def with_openvino(told: argparse.Namespace) -> Callable[[], object]:
    """The same network, converted."""
    import openvino

    images = torch.rand(told.batch_size, 3, told.size, told.size)
    model = openvino.convert_model(build(told.backbone), example_input=images)
    model.reshape(list(images.shape))
    options = {"INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(told.precision, told.precision)}
    options |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(model, "CPU", options)
    request, tensor = compiled.create_infer_request(), openvino.Tensor(images.numpy())
    return lambda: request.infer([tensor])


def main() -> None:
    """Warm up, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["torch", "openvino"])
    parser.add_argument("backbone")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=8.0)
    told = parser.parse_args()
    forward = {"torch": with_torch, "openvino": with_openvino}[told.engine](told)
    started = perf_counter()
    forward()
    warm_up_s = perf_counter() - started
    forward()
    started, batches = perf_counter(), 0
    while perf_counter() - started < told.seconds:
        forward()
        batches += 1
    slices_per_s = batches * told.batch_size / (perf_counter() - started)
    print(json.dumps({"slices_per_s": slices_per_s, "warm_up_s": warm_up_s}))


if __name__ == "__main__":
    main()
