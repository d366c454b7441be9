"""A recipe -> its network on this machine, to make more features of the kind that there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from featurecache.backbones import asked_layer
from featurecache.cuda import make_embedder
from featurecache.embed import Embedder
from featurecache.errors import MissingResourceError, UsageError
from featurecache.framing import fit_of
from featurecache.options import FeatureOptions
from featurecache.plan import make_recipe
from featurecache.recipe import Recipe
from featurecache.runner import open_backbone
from featurecache.trials import FIRST_BATCH

_PUBLISHED = ("imagenet", "random")


@dataclass(frozen=True, slots=True)
class Network:
    """A frozen network on a device, with windows, size and normalisation of its recipe.

    Parameters
    ----------
    recipe : Recipe
        What its features are. It may differ from the recipe that was asked for, in the weights
        say: compare them.
    embedder : Embedder
        Batches of slices -> features, float32; a store rounds them to ``recipe.dtype``.
    """

    recipe: Recipe
    embedder: Embedder


def is_of_file(recipe: Mapping[str, Any]) -> bool:
    """Whether the weights of a feature set came from a file of the user's.

    Parameters
    ----------
    recipe : mapping
        `Recipe.document`.

    Returns
    -------
    bool
    """
    return str(recipe.get("weights_source")).partition(":")[0] not in _PUBLISHED


def options_of(
    recipe: Mapping[str, Any], *, weights: Path | None = None, name: str | None = None
) -> FeatureOptions:
    """What was asked for when features were made, from the recipe that came of it.

    Parameters
    ----------
    recipe : mapping
        `Recipe.document`.
    weights : Path, optional
        File of weights, instead of what the recipe says.
    name : str, optional
        Of the feature set.

    Returns
    -------
    FeatureOptions

    Raises
    ------
    MissingResourceError
        The weights came from a file, and none is named.
    UsageError
        It is not the recipe of features that were extracted.
    """
    if weights is None and is_of_file(recipe):
        raise MissingResourceError(
            f"the weights came from the file {recipe.get('weights_source')}: name it with "
            "--weights FILE"
        )
    try:
        backbone = str(recipe["backbone"])
        return FeatureOptions(
            backbone, str(weights or recipe["weights_source"]), name=name,
            windows=",".join("/".join(map(repr, window)) for window in recipe["windows"]),
            size=recipe["size"], fit=fit_of(recipe["resize"]),
            spacing_mm=recipe.get("spacing_mm"), fov_mm=recipe.get("fov_mm"),
            zoom=recipe.get("zoom"), pool=recipe["pool"],
            layer=asked_layer(backbone, recipe["layer"]),
            precision=recipe["precision"], dtype=recipe["dtype"],
            view_number=recipe.get("view_number"), view_seed=recipe.get("view_seed"),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this is not the recipe of extracted features: {error!r}") from error


def open_network(
    recipe: Mapping[str, Any], device: torch.device, *, precision: str | None = None,
    weights: Path | None = None, batch_size: int | None = None, compiled: bool = False,
) -> Network:  # fmt: skip
    """Build the network of a recipe.

    Parameters
    ----------
    recipe : mapping
        `Recipe.document`.
    device : torch.device
        Where it will run.
    precision : {"fp32", "bf16", "fp16"}, optional
        Instead of the recipe's.
    weights : Path, optional
        As in `options_of`.
    batch_size : int, optional
        Slices of a batch; by default 16 on CPU, 32 on CUDA.
    compiled : bool
        Use torch.compile, at once.

    Returns
    -------
    Network

    Raises
    ------
    MissingResourceError
        The weights are not here.
    UsageError
        The backbone is unknown here, or the weights do not fit it.
    """
    options = options_of(recipe, weights=weights)
    backbone = open_backbone(options)
    made = make_recipe(options, backbone, precision or options.precision)
    embedder = make_embedder(
        backbone, made, device, batch_size or FIRST_BATCH[device.type], compiled=compiled
    )
    embedder.warm_up()
    return Network(made, embedder)
