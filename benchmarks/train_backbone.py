"""Slices per second of a backbone forward and backward: what training end to end costs at least.

    python benchmarks/train_backbone.py [--backbone vgg16] [--precision bf16] [--batches 2]

Random weights and images, one batch of warm-up. Prints JSON.
"""

import argparse
import json
from time import perf_counter

import torch
import torchvision


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    told = parser.parse_args()
    torch.set_flush_denormal(True)
    network = torchvision.models.get_model(told.backbone, weights=None).train()
    network = network.to(memory_format=torch.channels_last)
    images = torch.randn(told.batch_size, 3, told.size, told.size)
    images = images.to(memory_format=torch.channels_last)
    times = []
    for _ in range(told.batches + 1):
        started = perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=told.precision == "bf16"):
            output = network(images)
        output.float().square().mean().backward()
        times.append(perf_counter() - started)
    print(json.dumps({"slices_per_s": told.batches * told.batch_size / sum(times[1:])}))


if __name__ == "__main__":
    main()
