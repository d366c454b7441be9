"""The frozen networks of the benchmark, built as a user of torchvision or timm would.

Weights come of seed 0 as with ``--weights random:0``, so that nothing is downloaded and all
contenders compute the same features.
"""

import torch
from torch import Tensor, nn

PREFIX = "timm:"


class Body(nn.Module):
    """Images (N, 3, S, S) to features (N, D): the last map of a classifier, averaged."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import torchvision

        model = torchvision.models.get_model(name, weights=None)
        features = getattr(model, "features", None)
        self.body = features or nn.Sequential(*list(model.children())[:-2])
        self.after = nn.ReLU() if name.startswith("densenet") else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.body(images)).mean((2, 3))


def build(name: str) -> nn.Module:
    """A network in evaluation mode, float32.

    Parameters
    ----------
    name : str
        Of torchvision (VGG, ResNet, DenseNet, SqueezeNet), or ``timm:NAME``.

    Returns
    -------
    nn.Module
    """
    torch.manual_seed(0)
    if name.startswith(PREFIX):
        import timm

        return timm.create_model(name.removeprefix(PREFIX), num_classes=0).eval()
    return Body(name).eval()


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that a network's published weights were trained with."""
    if name.startswith(PREFIX):
        import timm

        config = timm.get_pretrained_cfg(name.removeprefix(PREFIX))
        return tuple(config.mean), tuple(config.std)
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
