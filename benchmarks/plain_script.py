"""What one would write instead of featurecache: a loop over series, one .npy a series.

    python benchmarks/plain_script.py DICOM OUT vgg16 [--loader 2] [--tuned] [--size 224]

pydicom, the brain window, torchvision's antialiased resize, one batch a series. Without options
it is float32 in the usual memory layout, in one process. ``--loader`` reads in a torch DataLoader
with so many processes, ``--tuned`` computes in bfloat16 and channels_last. Prints JSON.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pydicom
import torch
from networks import build, normalisation
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional


def read_series(folder: Path, size: int, mean: tuple, std: tuple) -> tuple[str, Tensor]:
    """SeriesInstanceUID and network input (n, 3, size, size) of the slices in a folder."""
    slices = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    normal = np.cross(*np.reshape(slices[0].ImageOrientationPatient, (2, 3)).astype(float))
    normal = normal * np.sign(normal[np.abs(normal).argmax()])
    slices.sort(key=lambda s: np.dot(normal, np.array(s.ImagePositionPatient, float)))
    images = []
    for dicom in slices:
        hu = dicom.pixel_array * float(dicom.RescaleSlope) + float(dicom.RescaleIntercept)
        grey = torch.from_numpy(np.clip(hu / 80, 0, 1).astype(np.float32))  # brain: 40 +- 40 HU
        image = functional.resize(grey[None], [size, size], antialias=True)
        images.append(functional.normalize(image.repeat(3, 1, 1), list(mean), list(std)))
    return str(slices[0].SeriesInstanceUID), torch.stack(images)


class SeriesFolders(Dataset):
    """One item a folder."""

    def __init__(self, folders: list[Path], size: int, mean: tuple, std: tuple) -> None:
        self.folders, self.rest = folders, (size, mean, std)

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, number: int) -> tuple[str, Tensor]:
        return read_series(self.folders[number], *self.rest)


def enough(root: Path, n_slices: int) -> Iterator[Path]:
    """Folders of series until they hold so many slices."""
    for folder in sorted(root.iterdir()):
        if n_slices <= 0:
            return
        yield folder
        n_slices -= sum(1 for _ in folder.iterdir())


def main() -> None:
    """Embed, save, time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dicom", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("backbone")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--slices", type=int, default=10**9, help="stop after so many")
    parser.add_argument("--loader", type=int, default=0, help="processes that read")
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--device", default="cpu")
    told = parser.parse_args()
    dtype = torch.bfloat16 if told.tuned else torch.float32
    layout = torch.channels_last if told.tuned else torch.contiguous_format
    model = build(told.backbone).to(told.device, dtype).to(memory_format=layout)
    folders = list(enough(told.dicom, told.slices))
    told.out.mkdir()
    dataset = SeriesFolders(folders, told.size, *normalisation(told.backbone))
    started, count = perf_counter(), 0
    series: Iterable = dataset
    if told.loader:
        series = DataLoader(dataset, batch_size=None, num_workers=told.loader)
    else:
        series = (dataset[number] for number in range(len(dataset)))
    with torch.inference_mode():
        for uid, images in series:
            images = images.to(told.device, dtype, memory_format=layout)
            np.save(told.out / uid, model(images).float().cpu().numpy())
            count += len(images)
    seconds = perf_counter() - started
    print(json.dumps({"slices_per_s": count / seconds, "slices": count}))


if __name__ == "__main__":
    main()
