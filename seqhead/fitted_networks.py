"""The networks that made the features of a run, on this machine."""

from pathlib import Path

import torch

from featurecache.devices import native_bf16
from featurecache.errors import MissingResourceError
from featurecache.networks import Network, is_of_file, open_network
from featurecache.recipe import differences
from seqhead.config import FeaturesConfig, RunConfig
from seqhead.errors import FeaturesError


def fitted_networks(
    config: RunConfig, device: torch.device, *, weights: Path | None = None,
    allow_numerics: bool = False, batch_size: int | None = None, compiled: bool = False,
) -> tuple[list[Network], list[str]]:  # fmt: skip
    """Build the network of each feature set that a run was fitted on.

    Parameters
    ----------
    config : RunConfig
        Of the run.
    device : torch.device
        Where they will run.
    weights : Path, optional
        File of weights: for the feature sets whose weights came from a file; where there are none,
        for all. Their digest must be that of the fit.
    allow_numerics : bool
        Compute in float32 where the device lacks the precision of the fit.
    batch_size : int, optional
        Slices of a batch.
    compiled : bool
        Use torch.compile.

    Returns
    -------
    networks : list of Network
        One, or two for a run on two feature sets.
    notes : list of str
        What was crossed, in words.

    Raises
    ------
    MissingResourceError
        Weights are not here.
    FeaturesError
        The features of the fit cannot be made here; the message names the fields.
    UsageError
        The backbone is unknown here, or the weights do not fit it.
    """
    fitted = [one for one in (config.features, config.second_features) if one is not None]
    any_of_file = any(is_of_file(one.recipe) for one in fitted)
    networks, notes = [], []
    for one in fitted:
        of_file = is_of_file(one.recipe)
        network = open_network(
            one.recipe, device, precision=_precision(one, device, allow_numerics=allow_numerics),
            weights=_file(one, weights) if of_file else None if any_of_file else weights,
            batch_size=batch_size, compiled=compiled,
        )  # fmt: skip
        networks.append(network)
        notes += _crossed(one, network, allow_numerics=allow_numerics)
    return networks, notes


def _precision(fitted: FeaturesConfig, device: torch.device, *, allow_numerics: bool) -> str:
    """What to compute in: as the fit, or float32 where that is allowed."""
    wanted = str(fitted.recipe.get("precision"))
    if wanted != "bf16" or native_bf16(device):
        return wanted
    if allow_numerics:
        return "fp32"
    raise FeaturesError(
        f"the features {fitted.name} of the fit were computed in bf16, which {device.type} does "
        "not do natively here. --allow-numerics computes them in fp32; probabilities may differ "
        "slightly"
    )


def _file(fitted: FeaturesConfig, weights: Path | None) -> Path:
    """The file that was named, else one of the fit's name in the working folder."""
    name = str(fitted.recipe.get("weights_source"))
    here = weights or Path(name)
    if here.is_file():
        return here
    if weights is not None:
        raise MissingResourceError(f"--weights {weights}: there is no such file")
    raise MissingResourceError(
        f"the features {fitted.name} of this run were made with the weights file {name}, which is "
        "not in this folder: name it with --weights FILE. Its tensors are compared with the fit's "
        f"(SHA-256 {str(fitted.recipe.get('weights'))[:12]}...)"
    )


def _crossed(fitted: FeaturesConfig, network: Network, *, allow_numerics: bool) -> list[str]:
    """What differs in numerics; refuses what is not allowed to differ."""
    made = network.recipe.fingerprint()
    if made == fitted.fingerprint:
        return []
    fields = differences(network.recipe.document(), fitted.recipe)
    said = "; ".join(fields) or "the fingerprints differ"
    if made["identity"] != fitted.fingerprint.get("identity") or not allow_numerics:
        raise FeaturesError(
            f"the features {fitted.name} that the model was fitted on cannot be made here: {said}. "
            "Use the weights and the version of featurecache of the fit, or fit again"
        )
    return [f"numerics of {fitted.name} differ from the fit's, as allowed: {said}"]
